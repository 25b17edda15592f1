"""When a parallel step has failed: what counts as a failed item, and how many failures are allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

MAX_CAUSES = 3
IGNORE = -1


@dataclass(frozen=True)
class Thresholds:
    """How many failures a step ignores; -1 ignores all. The percentage is of mini-batches, None when not asked for."""

    items: int = IGNORE
    mini_batches: int = IGNORE
    mini_batches_percent: float | None = None


@dataclass(frozen=True)
class Result:
    """How one try of a mini-batch ended: the rows it returned, or why it returned none."""

    rows: int = 0
    error: str = ""


@dataclass(frozen=True)
class Verdict:
    """What a try means: `error` is empty when the mini-batch succeeded."""

    items_done: int
    items_failed: int
    error: str


def judge(size: int, result: Result) -> Verdict:
    """A mini-batch of `size` items succeeds when it returns a row or more for each; without rows all have failed."""
    if result.error:
        return Verdict(0, size, result.error)
    if result.rows < size:
        missing = size - result.rows
        return Verdict(result.rows, missing, f"run() returned {result.rows} rows for {size} items")
    return Verdict(size, 0, "")


def again(tries: int, max_retries: int) -> bool:
    """Whether a mini-batch that has failed so often is tried once more."""
    return tries <= max_retries


@dataclass(frozen=True)
class Tally:
    """How far a parallel step is: items and mini-batches that are settled."""

    items_total: int
    mini_batches_total: int
    items_done: int = 0
    items_failed: int = 0
    mini_batches_done: int = 0
    mini_batches_failed: int = 0
    causes: tuple[str, ...] = ()

    def settled(self, verdict: Verdict, names: Sequence[str]) -> Tally:
        """The tally after one more mini-batch; it keeps the first few causes."""
        causes = self.causes
        if verdict.error and len(causes) < MAX_CAUSES:
            causes = (*causes, f"{_some(names)}: {verdict.error}")
        return replace(
            self,
            items_done=self.items_done + verdict.items_done,
            items_failed=self.items_failed + verdict.items_failed,
            mini_batches_done=self.mini_batches_done + (not verdict.error),
            mini_batches_failed=self.mini_batches_failed + bool(verdict.error),
            causes=causes,
        )

    def resized(self, more: int) -> Tally:
        """The tally after a mini-batch turned out to have so many more items than were thought."""
        return replace(self, items_total=self.items_total + more)

    @property
    def finished(self) -> bool:
        return self.mini_batches_done + self.mini_batches_failed == self.mini_batches_total

    def excess(self, thresholds: Thresholds) -> str | None:
        """Why the step has failed by now, or None while it may go on."""
        failed, total = self.mini_batches_failed, self.mini_batches_total
        if IGNORE < thresholds.items < self.items_failed:
            excess = (
                f"{self.items_failed} of {self.items_total} items failed, "
                f"more than error_threshold {thresholds.items} allows"
            )
        elif IGNORE < thresholds.mini_batches < failed:
            excess = (
                f"{failed} of {total} mini-batches failed, "
                f"more than mini_batch_error_threshold {thresholds.mini_batches} allows"
            )
        elif (
            thresholds.mini_batches_percent is not None
            and failed * 100 > total * thresholds.mini_batches_percent
        ):
            excess = (
                f"{failed} of {total} mini-batches failed, "
                f"more than allowed_failed_percent {thresholds.mini_batches_percent:g} allows"
            )
        else:
            return None
        return f"{excess}; first causes: {' | '.join(self.causes)}"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
