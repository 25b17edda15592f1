"""How long a failed function is waited with, and when it is given up."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest

from batchscore.devhost.retries import NO_RETRY, RetryPolicy, read_policy


@pytest.mark.parametrize(
    ("policy", "pauses"),
    [
        (NO_RETRY, [None]),
        (RetryPolicy(2, 3.0, 3.0), [3.0, 3.0, None]),
        (RetryPolicy(-1, 2.0, 60.0), [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]),
    ],
)
def test_the_pause_after_each_failure(policy: RetryPolicy, pauses: list[float | None]) -> None:
    assert [policy.pause_s(failures) for failures in range(1, len(pauses) + 1)] == pauses


def test_forever_is_very_long() -> None:
    assert RetryPolicy(-1, 2.0, 60.0).pause_s(1_000_000) == 60.0


def test_what_the_worker_says() -> None:
    fixed = SimpleNamespace(
        retry_strategy="fixed_delay", max_retry_count=4, delay_interval=timedelta(seconds=5)
    )
    growing = SimpleNamespace(
        retry_strategy="exponential_backoff",
        max_retry_count=-1,
        minimum_interval=timedelta(seconds=2),
        maximum_interval=timedelta(minutes=1),
    )
    assert read_policy(None) == NO_RETRY
    assert read_policy(fixed) == RetryPolicy(4, 5.0, 5.0)
    assert read_policy(growing) == RetryPolicy(-1, 2.0, 60.0)
