"""What to do about a run that failed: whether the same again can help, by what the engine says went wrong."""

from __future__ import annotations

import re
from enum import Enum

_LOST = re.compile(r"attempts were lost and got no further|no attempt got any further")
_KILLED = re.compile(
    r"was killed|killed by|took longer than|gave no sign of life|died without|no space left|cannot allocate|out of memory",
    re.IGNORECASE,
)
_MISSING = re.compile(r"there is no blob|there is nothing below|changed or went away while it was read")
_INPUT = re.compile(
    r"\berror: |init\(\) failed in every worker|more than (error_threshold|mini_batch_error_threshold|allowed_failed)"
    r"|holds no files|is not the video that was split"
)


class Cure(Enum):
    """What mends a failure."""

    RETRY = "retry"
    """It came from outside (a kill, a time-out, a full disk): the same again may succeed."""
    UPLOAD = "upload"
    """An input was not there, or changed while it was read: retry once it is in place."""
    INPUT = "input"
    """What was given is wrong: the same input fails again."""
    UNKNOWN = "unknown"


def cure(reason: str) -> Cure:
    """What the reason of a failed run asks for."""
    for pattern, found in (
        (_LOST, Cure.RETRY),
        (_MISSING, Cure.UPLOAD),
        (_KILLED, Cure.RETRY),
        (_INPUT, Cure.INPUT),
    ):
        if pattern.search(reason):
            return found
    return Cure.UNKNOWN
