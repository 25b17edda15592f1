"""Which jobs get nodes: pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Nodes = Mapping[str, int]
"""So many nodes of each cluster."""


def admitted(waiting: Iterable[tuple[str, Nodes]], most: Nodes, held: Iterable[Nodes]) -> list[str]:
    """The jobs that get their nodes now, of those that wait in this order. One that must wait keeps those behind it
    from its clusters, so that a large job is not passed by small ones for ever."""
    free = dict(most)
    for nodes in held:
        for cluster, count in nodes.items():
            free[cluster] = free.get(cluster, 0) - count
    found = []
    for name, nodes in waiting:
        if all(free.get(cluster, 0) >= count for cluster, count in nodes.items()):
            found.append(name)
            for cluster, count in nodes.items():
                free[cluster] -= count
        else:
            for cluster in nodes:
                free[cluster] = 0
    return found


def too_many(nodes: Nodes, most: Nodes) -> str | None:
    """What is wrong with a job that asks for more nodes than a cluster can ever have."""
    for cluster, count in nodes.items():
        if count > most.get(cluster, 0):
            return (
                f"Requested {count} nodes but AzureMLCompute cluster {cluster!r} only has "
                f"{most.get(cluster, 0)} maximum nodes."
            )
    return None
