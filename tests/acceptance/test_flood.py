"""A flood of trigger files on one host, which is killed and started again in the middle.

BATCHSCORE_FLOOD says how many; 5,000, as in CI, take a machine of two cores ten minutes.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchscore.runs import Run, RunState
from tests.acceptance.flood import BAD_ONE_IN, most_at_once, records, upload, wait_until_recorded, watching
from tests.acceptance.hosts import user_of_a_host, wait_until

WORKLOADS = Path(__file__).parent / "workloads"
FILES = int(os.environ.get("BATCHSCORE_FLOOD", "500"))
MOST_ACTIVE = 2
PATIENCE_S = 1_200


@pytest.mark.slow
@pytest.mark.timeout(2 * PATIENCE_S)
def test_a_flood_is_recorded_once_and_whole_by_a_host_that_stays_small_and_answers(tmp_path: Path) -> None:
    """Every file becomes one run, in memory that does not grow with them; no more runs than allowed are under way at
    any instant; meanwhile the host answers, and a restart in the middle loses and doubles nothing."""
    gate = tmp_path / "gate"
    good = b'{"workload": "gated/wait", "inputs": {"files": "files", "gate": "%s"}}' % str(gate).encode()
    environment = {"WORKLOADS_FOLDER": str(WORKLOADS), "MAX_ACTIVE_RUNS": str(MOST_ACTIVE)}
    caused: dict[str, str] = {}
    with user_of_a_host(tmp_path, **environment) as user:
        user.upload("files/later-1.txt", b"x")
        with watching(user) as first:
            caused |= upload(user, good, FILES // 2)
            wait_until_recorded(user, FILES // 4, PATIENCE_S)
        user.host.kill()
    with user_of_a_host(tmp_path, **environment) as user, watching(user) as second:
        rest = threading.Thread(
            target=lambda: caused.update(upload(user, good, FILES - FILES // 2, first=FILES // 2))
        )
        rest.start()
        in_the_middle = user.wait(user.drop(b"{}", "middle.json"), patience_s=PATIENCE_S)
        assert in_the_middle.state is RunState.REJECTED
        rest.join()
        wait_until_recorded(user, FILES + 1, PATIENCE_S)
        gate.touch()
        wait_until(lambda: len(user.application.store.recent(6, RunState.SUCCEEDED)) == 6, PATIENCE_S)
        until = datetime.now(UTC)
        found = list(records(user))

    by_name: dict[str, Run] = {run.cause.name: run for run in found if run.cause.name != "middle.json"}
    assert {name: run.id for name, run in by_name.items()} == caused
    assert len(found) == FILES + 1
    states = Counter(run.state for run in by_name.values())
    assert states[RunState.REJECTED] == FILES // BAD_ONE_IN
    assert states[RunState.ACCEPTED] > FILES // 2  # they wait their turn
    assert all(run.reason for run in by_name.values() if run.state is RunState.REJECTED)
    assert 1 <= most_at_once(found, until) <= MOST_ACTIVE
    for watch in (first, second):
        assert max(watch.running) <= MOST_ACTIVE
        assert watch.unanswered == 0
        settled = watch.resident_mb[len(watch.resident_mb) // 4 :]
        assert max(settled) - min(settled) < 40, watch.resident_mb
