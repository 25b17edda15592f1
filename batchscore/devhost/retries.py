"""Retry policies: how long after a failure a function is run again, and when it is given up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FOREVER = -1


@dataclass(frozen=True)
class RetryPolicy:
    """`fixed_delay` is an exponential back-off whose first interval is its longest."""

    most: int
    """Runs after the first; `FOREVER` sets no bound."""
    first_s: float
    longest_s: float

    def pause_s(self, failures: int) -> float | None:
        """How long to wait after so many failures in a row; None to give up."""
        if self.most != FOREVER and failures > self.most:
            return None
        doublings = min(failures - 1, 32)
        return float(min(self.first_s * 2**doublings, self.longest_s))


NO_RETRY = RetryPolicy(0, 0, 0)


def read_policy(options: Any) -> RetryPolicy:
    """What the worker says of a function's policy, or nothing where it has none."""
    if options is None:
        return NO_RETRY
    if options.retry_strategy == "fixed_delay":
        delay = options.delay_interval.total_seconds()
        return RetryPolicy(options.max_retry_count, delay, delay)
    first = max(options.minimum_interval.total_seconds(), 0.1)
    longest = max(options.maximum_interval.total_seconds(), first)
    return RetryPolicy(options.max_retry_count, first, longest)
