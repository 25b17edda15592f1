"""What can go wrong with a job on Azure Machine Learning, and what is to be done: one table, no I/O.

A fault is known by the names in it: the codes of the service from the outermost to the innermost, and the kind that the
cluster writes before its sentence. The first row of FAULTS that knows one of them decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from batchscore.compute.base import JobState
from batchscore.printable import printable, unsigned

LONGEST_SENTENCE = 600


@dataclass(frozen=True)
class Fault:
    """What the service says went wrong: its codes from the outermost to the innermost, and its sentence."""

    codes: tuple[str, ...] = ()
    message: str = ""


@dataclass(frozen=True)
class Row:
    """One kind of fault. `names` knows it; `told` is what a person reads, `remedy` what they can do."""

    names: re.Pattern[str]
    state: JobState
    blameless: bool
    told: str
    remedy: str = ""


def _names(*names: str) -> re.Pattern[str]:
    return re.compile("|".join(names), re.IGNORECASE)


FAULTS: tuple[Row, ...] = (
    Row(
        _names(r"\w*pre-?empt\w*", r"\w*evict(?:ed|ion)\w*", r"nodes? of this job got pre-empted"),
        JobState.LOST,
        True,
        "Azure took its nodes back (low priority)",
    ),
    Row(
        _names(r"\w*node(?:was)?(?:lost|unusable|unhealthy|notready|failure)\w*", r"\w*heartbeat\w*"),
        JobState.LOST,
        True,
        "its nodes were lost",
    ),
    Row(
        _names(r"allocationfailed", r"allocationtimedout", r"\w*capacity\w*", r"skunotavailable"),
        JobState.LOST,
        True,
        "Azure had no machine of this size to give",
        "Wait, or use another size or region.",
    ),
    Row(
        _names(r"\w*quota\w*"),
        JobState.FAILED,
        False,
        "the quota of the subscription has no room for its nodes",
        "Ask for more quota (Azure portal: Quotas, Machine learning), or use fewer nodes or a smaller size.",
    ),
    Row(
        _names(r"\w*diskfull\w*", r"no space left on device"),
        JobState.LOST,
        False,
        "a node's disk is full",
        "Mount large inputs instead of downloading them, or use a size with a larger disk.",
    ),
    Row(
        _names(r"\w*outofmemory\w*", r"oomkilled", r"status code 137"),
        JobState.FAILED,
        False,
        "a node had too little memory",
        "Lower max_concurrency_per_instance or mini_batch_size, or use a larger size.",
    ),
    Row(
        _names(
            r"\w*imagebuild\w*",
            r"\w*dockerimage\w*",
            r"acr\w+",
            r"aggregatedunauthorizedaccesserror",
            r"jobcontainerconfigfailed",
            r"failed to pull docker image",
        ),
        JobState.FAILED,
        False,
        "its image could not be built or fetched",
        "Look at the environment's build log in the studio; 'batchscore deploy' registers the environment again.",
    ),
    Row(
        _names(r"\w*unauthorized\w*", r"\w*forbidden\w*", r"\w*permission\w*", r"authorization\w*"),
        JobState.FAILED,
        False,
        "it was not allowed to reach its data",
        "Give the cluster's identity the role 'Storage Blob Data Contributor' on the data account and on the container 'logs' "
        "of the system account, and 'Storage Blob Data Reader' on 'models'.",
    ),
    Row(
        _names(r"\w*mount\w*error", r"azurestorageerror", r"\w*datastore\w*(?:error|unavailable)"),
        JobState.LOST,
        False,
        "storage could not be reached from its nodes",
    ),
    Row(
        _names(r"(?:job|run|execution)(?:execution)?timed?out\w*", r"\w*max\w*(?:duration|runtime)\w*"),
        JobState.FAILED,
        False,
        "it took longer than it may",
        "Raise limits.timeout of the step, or give it less to do.",
    ),
    Row(
        _names(r"requestthrottled", r"transienterror", r"\w*timedout", r"serverbusy", r"serviceunavailable"),
        JobState.LOST,
        True,
        "Azure Machine Learning was too busy",
    ),
    Row(
        _names(r"serviceerror", r"systemerror", r"internalservererror", r"internalerror"),
        JobState.LOST,
        False,
        "Azure Machine Learning itself failed",
    ),
)
"""Rows in order of priority: the service calls a preempted node a user error and a broken container a service error, so
what is particular stands before what is general. LOST: another attempt carries on; blameless: it does not count."""

OWN = Row(_names(""), JobState.FAILED, False, "")
"""What no row knows: the program of the step failed."""
_KIND = re.compile(r"\bjob failed\.\s*(\w+)\s*:", re.IGNORECASE)
_PHRASES = re.compile(
    r"nodes? of this job got pre-empted|no space left on device|failed to pull docker image|status code `?137`?",
    re.IGNORECASE,
)


def fault_of(document: object) -> Fault | None:
    """The fault in an error of the run history (`{"error": {"code", "message", "innerError"}}`), of ARM, or in the
    text of one; None where there is nothing in it."""
    if isinstance(document, str):
        try:
            parsed = json.loads(document)
        except (ValueError, RecursionError):
            return Fault((), document.strip()) if document.strip() else None
        return fault_of(parsed) if isinstance(parsed, dict) else Fault((), document.strip())
    if not isinstance(document, Mapping):
        return None
    error = {str(key).lower(): value for key, value in document.items()}
    if error.get("error"):
        return fault_of(error["error"])
    codes = tuple(dict.fromkeys(_codes(document)))
    message = error.get("message")
    text = message.strip() if isinstance(message, str) else ""
    return Fault(codes, text) if codes or text else None


def _codes(document: object, depth: int = 8) -> Iterator[str]:
    if not isinstance(document, Mapping) or not depth:
        return
    error = {str(key).lower().replace("_", ""): value for key, value in document.items()}
    for key in ("code", "referencecode"):
        if isinstance(error.get(key), str) and error[key]:
            yield error[key]
    yield from _codes(error.get("innererror"), depth - 1)
    details = error.get("details")
    for each in details if isinstance(details, list) else ():
        yield from _codes(each, depth - 1)


def row_of(fault: Fault | None) -> Row:
    """The row that knows the fault. What the user's own program says decides nothing, whatever words are in it."""
    if fault is None:
        return OWN
    kinds = _KIND.findall(fault.message)
    phrases = [phrase.replace("`", "") for phrase in _PHRASES.findall(fault.message)]
    names = [*fault.codes, *kinds, *phrases]
    return next((row for row in FAULTS if any(row.names.fullmatch(name) for name in names)), OWN)


def said_by(fault: Fault) -> str:
    """The service's words on one line that can be shown, without what every such message begins with."""
    text = re.sub(r"^AzureMLCompute job failed\.\s*", "", " ".join(fault.message.split()))
    return printable(unsigned(text or ", ".join(fault.codes)), LONGEST_SENTENCE)
