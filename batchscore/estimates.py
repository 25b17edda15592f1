"""What a run takes with so many nodes and such mini-batches: time by the clock, node-hours and money. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Place:
    """What a step runs on: nodes of a cluster, or this machine."""

    cluster: str
    size: str
    """The VM size, `local` of this machine."""
    workers: int = 1
    """What a node has where a step does not say how many: one for each GPU, or for each core."""
    min_nodes: int = 0
    """How many are there all the time."""
    max_nodes: int = 1
    start_s: float = 0
    """Until a node that was not there can work, image included."""
    idle_s: float = 0
    """How long a node stays, and is paid for, after its last work."""
    step_s: float = 0
    """What the service takes to begin a step on nodes that are there."""
    mini_batch_s: float = 0
    """What handing out a mini-batch takes."""
    price: float | None = 0
    """Of a node-hour; None when nobody knows."""
    lost_per_hour: float = 0
    """How many times a node is lost (preempted, say) in an hour that it works."""


@dataclass(frozen=True)
class Work:
    """A step, as far as it takes time. `items` of a command step is None."""

    name: str
    place: Place
    after: tuple[str, ...] = ()
    """The steps that it waits for."""
    seconds: float = 0
    """Worker-seconds of all its items; of a command step how long it takes."""
    start_s: float = 0
    """What a worker takes before its first mini-batch."""
    items: int | None = None
    nodes: int = 1
    mini_batch_size: int = 1
    sized: bool = True
    """Whether a run may cut it into other mini-batches: not when they are bytes of a table, or its partitions."""
    workers: int | None = None
    timeout_s: float = math.inf

    @property
    def item_s(self) -> float:
        return self.seconds / max(1, self.items or 1)

    def size(self, asked: int | None) -> int:
        return self.mini_batch_size if asked is None or not self.sized else asked


@dataclass(frozen=True)
class StepEstimate:
    """What one step is expected to take."""

    name: str
    cluster: str
    size: str
    nodes: int
    seconds: float
    """By the clock, without waiting for nodes."""
    items: int | None = None
    price: float | None = 0


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to take with so many nodes and such mini-batches; None leaves the file's own values."""

    nodes: int | None
    mini_batch_size: int | None
    seconds: float
    """By the clock, from its start to its results; without waiting for its turn or for quota."""
    node_seconds: float
    """Of all nodes together: starting, working, redoing what lost nodes were at, and idle at the end."""
    waiting_node_seconds: float
    """The part of them in which nodes start or are idle."""
    cost: float | None
    waiting_cost: float | None
    """The part of it that starting and idle nodes cost."""
    starts: int
    """How many times a step waits for nodes that are not there yet."""
    mini_batches: int
    redo_at_most_s: float
    """What a worker that is lost was at, at most."""
    steps: tuple[StepEstimate, ...] = ()
    currency: str = ""
    prices_of: str = ""
    """The date of the prices."""
    basis: tuple[str, ...] = ()
    """What the figures rest on, a sentence each."""

    @property
    def expense(self) -> float:
        """What choices are compared by: money, or node-seconds where it is unknown or nothing."""
        return self.cost or self.node_seconds


@dataclass
class _Cluster:
    place: Place
    free_at: float
    nodes: int


@dataclass
class _Bill:
    """Node-seconds and money, as they add up."""

    node_seconds: float = 0
    waiting: float = 0
    cost: float | None = 0
    waiting_cost: float | None = 0
    clusters: dict[str, _Cluster] = field(default_factory=dict)

    def add(self, place: Place, node_seconds: float, *, waiting: bool = False) -> None:
        self.node_seconds += node_seconds
        self.waiting += node_seconds if waiting else 0
        if place.price is None or self.cost is None or self.waiting_cost is None:
            self.cost = self.waiting_cost = None
            return
        money = node_seconds / 3_600 * place.price
        self.cost += money
        self.waiting_cost += money if waiting else 0

    def warm(self, place: Place, begin: float) -> int:
        """How many nodes are free when a step begins; what they were idle since the step before is paid."""
        cluster = self.clusters.get(place.cluster)
        if cluster is None or begin < cluster.free_at:
            return place.min_nodes
        gap = begin - cluster.free_at
        self.add(place, min(gap, place.idle_s) * self._own(cluster), waiting=True)
        cluster.nodes = cluster.nodes if gap <= place.idle_s else 0
        return max(place.min_nodes, cluster.nodes)

    def occupy(self, place: Place, begin: float, end: float, nodes: int) -> None:
        """A step has so many nodes: others than a step beside it; of those of a step before it the rest goes."""
        other = self.clusters.get(place.cluster)
        if other is not None and begin < other.free_at:
            nodes, end = nodes + other.nodes, max(end, other.free_at)
        elif other is not None and other.nodes > nodes:
            rest = other.nodes - max(nodes, place.min_nodes)
            self.add(place, (other.free_at + place.idle_s - begin) * max(0, rest), waiting=True)
        self.clusters[place.cluster] = _Cluster(place, end, nodes)

    def settle(self) -> None:
        """Nodes stay a while after the last step."""
        for cluster in self.clusters.values():
            self.add(cluster.place, cluster.place.idle_s * self._own(cluster), waiting=True)

    @staticmethod
    def _own(cluster: _Cluster) -> int:
        """Nodes that would not be there without the run."""
        return max(0, cluster.nodes - cluster.place.min_nodes)


def step_seconds(work: Work, nodes: int, size: int) -> float:
    """How long a step takes by the clock on nodes that are there: its mini-batches in rounds over all workers."""
    if work.items is None:
        return work.place.step_s + work.start_s + work.seconds
    batches = mini_batches(work, size)
    slots = min(nodes * (work.workers or work.place.workers), batches)
    rounds = math.ceil(batches / slots)
    whole = size * work.item_s + work.place.mini_batch_s
    rest = (work.items - (batches - 1) * size) * work.item_s + work.place.mini_batch_s
    last = rest if batches - (rounds - 1) * slots == 1 else whole
    return work.place.step_s + work.start_s + (rounds - 1) * whole + last


def mini_batches(work: Work, size: int) -> int:
    return max(1, math.ceil((work.items or 0) / size))


def estimate(works: Sequence[Work], nodes: int | None, mini_batch_size: int | None) -> Estimate:
    """What the steps take, each as soon as those are done that it waits for. `works` are in an order in which they
    can run. A lost node costs its start and, on average, half a mini-batch of each of its workers."""
    bill, ends, steps = _Bill(), dict[str, float](), list[StepEstimate]()
    starts = batches = 0
    redo_at_most = 0.0
    for work in works:
        place = work.place
        begin = max((ends[name] for name in work.after), default=0.0)
        count = 1 if work.items is None else min(nodes or work.nodes, place.max_nodes)
        size = work.size(mini_batch_size)
        seconds = step_seconds(work, count, size)
        cold = bill.warm(place, begin) < count
        wait = place.start_s if cold else 0
        at_once = work.seconds if work.items is None else min(size, work.items) * work.item_s
        lost = place.lost_per_hour / 3_600 * seconds * count
        redo = lost * (at_once / 2 + place.start_s + work.start_s)
        bill.add(place, count * seconds + redo)
        bill.add(place, count * wait, waiting=True)
        ends[work.name] = begin + wait + seconds + redo / count
        bill.occupy(place, begin, ends[work.name], count)
        starts += cold and place.start_s > 0
        if work.items is not None:
            batches += mini_batches(work, size)
            redo_at_most = max(redo_at_most, at_once)
        steps.append(
            StepEstimate(
                work.name, place.cluster, place.size, count, round(seconds, 3), work.items, place.price
            )
        )
    bill.settle()
    return Estimate(
        nodes=nodes,
        mini_batch_size=mini_batch_size,
        seconds=round(max(ends.values(), default=0.0), 3),
        node_seconds=round(bill.node_seconds, 3),
        waiting_node_seconds=round(bill.waiting, 3),
        cost=None if bill.cost is None else round(bill.cost, 6),
        waiting_cost=None if bill.waiting_cost is None else round(bill.waiting_cost, 6),
        starts=starts,
        mini_batches=batches,
        redo_at_most_s=round(redo_at_most, 3),
        steps=tuple(steps),
    )
