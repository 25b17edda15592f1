"""What the watchdog kills, and that it ends itself."""

from __future__ import annotations

import pytest

from batchscore.compute.local import watchdog


def test_a_process_that_will_not_go_does_not_keep_the_one_who_kills_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that waits for a dead disk is there until the disk answers."""
    monkeypatch.setattr(watchdog, "GIVE_UP_AFTER_S", 0.05)
    asked: list[str] = []

    def kill(prefix: str, _: str) -> int:
        asked.append(prefix)
        assert len(asked) < 1_000, "it goes on for ever"
        return 1

    monkeypatch.setattr(watchdog, "kill_marked", kill)
    watchdog.kill_all("job", watchdog.JOB)
    assert asked
