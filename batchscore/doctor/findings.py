"""A line of the doctor's report: what was looked at, how it is, what was found, and the remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from batchscore.printable import unsigned


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    """Something works less well than it could, or will not for long."""
    FAIL = "fail"
    """Runs cannot work."""


@dataclass(frozen=True)
class Finding:
    what: str
    verdict: Verdict
    found: str
    remedy: str = ""

    @classmethod
    def ok(cls, what: str, found: str) -> Finding:
        return cls(what, Verdict.OK, found)

    @classmethod
    def warn(cls, what: str, found: str, remedy: str) -> Finding:
        return cls(what, Verdict.WARN, found, remedy)

    @classmethod
    def fail(cls, what: str, found: str, remedy: str) -> Finding:
        return cls(what, Verdict.FAIL, found, remedy)

    @property
    def failed(self) -> bool:
        return self.verdict is Verdict.FAIL


@dataclass(frozen=True)
class Unsettled:
    """Where to look when there are no settings."""

    workloads_folder: Path | None = None
    local_work_folder: Path | None = None


def guarded(what: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of a check; whatever it raises is one, so that the others are still heard."""
    try:
        yield from check()
    except Exception as error:
        first_line = unsigned((str(error).strip().splitlines() or ["no message"])[0])[:300]
        yield Finding.fail(
            what,
            f"cannot be looked at: {type(error).__name__}: {first_line}",
            "mend what it names, look again",
        )
