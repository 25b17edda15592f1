"""Why a job waits: what its cluster says of nodes and quota, in one sentence."""

from __future__ import annotations

from collections.abc import Mapping

from batchscore.compute.azureml.faults import OWN, fault_of, row_of, said_by
from batchscore.printable import printable


def waiting_for(cluster: object) -> str:
    """Why nothing runs yet, from the cluster's document (GET of the compute); empty where it does not tell."""
    document = cluster if isinstance(cluster, Mapping) else {}
    outer = document.get("properties")
    outer = outer if isinstance(outer, Mapping) else {}
    inner = outer.get("properties")
    inner = inner if isinstance(inner, Mapping) else {}
    name = printable(str(document.get("name") or "the cluster"))
    errors = [
        fault
        for each in (*_list(outer, "provisioningErrors"), *_list(inner, "errors"))
        if (fault := fault_of(each))
    ]
    if errors:
        row = row_of(errors[0])
        known = "" if row is OWN else f"{row.told}: "
        said = said_by(errors[0]).rstrip(".")
        return f"waits for nodes of {name!r}: {known}{said}. {row.remedy}".strip()
    scale = inner.get("scaleSettings")
    most = scale.get("maxNodeCount") if isinstance(scale, Mapping) else None
    there, wanted = inner.get("currentNodeCount"), inner.get("targetNodeCount")
    if not isinstance(there, int):
        return f"waits for nodes of {name!r}." if document else ""
    if isinstance(most, int) and there >= most > 0:
        return f"waits for nodes of {name!r}: all {most} are busy with other jobs."
    if isinstance(wanted, int) and wanted > there:
        return f"waits for nodes of {name!r}: {there} of {wanted} are there, the others are being started."
    quota = "When this lasts, look at the cluster's quota (Azure portal: Quotas, Machine learning)."
    if there == 0:
        return f"waits for nodes of {name!r}: none is there, and none is being started yet. {quota}"
    has = "1 node is there" if there == 1 else f"{there} nodes are there"
    return f"waits for {name!r} to begin: {has}; other jobs have them, or they are fetching image and data. {quota}"


def _list(document: Mapping[str, object], key: str) -> list[object]:
    value = document.get(key)
    return value if isinstance(value, list) else []
