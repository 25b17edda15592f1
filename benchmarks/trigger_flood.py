"""A flood of trigger files on the dev host and Azurite: how fast they are recorded, and how the host is meanwhile."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from tests.acceptance.flood import upload, wait_until_recorded, watching
from tests.acceptance.hosts import user_of_a_host

WORKLOADS = Path(__file__).resolve().parent.parent / "tests" / "acceptance" / "workloads"
FILES = int(os.environ.get("FLOOD_FILES", "5000"))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="batchscore-bench-") as name:
        folder = Path(name)
        environment = {"WORKLOADS_FOLDER": str(WORKLOADS), "MAX_ACTIVE_RUNS": "2"}
        with user_of_a_host(folder, **environment) as user:
            user.upload("files/a.txt", b"a")
            user.upload("files/later-1.txt", b"b")
            good = b'{"workload": "gated/wait", "inputs": {"files": "files", "gate": "%s"}}' % (
                str(folder / "gate").encode()
            )
            with watching(user) as watch:
                began = time.perf_counter()
                upload(user, good, FILES)
                uploaded = time.perf_counter() - began
                wait_until_recorded(user, FILES, 3_600)
                took = time.perf_counter() - began
            (folder / "gate").touch()
    settled = watch.resident_mb[len(watch.resident_mb) // 5 :]
    print(
        f"{FILES} trigger files: uploaded in {uploaded:.0f} s, recorded in {took:.0f} s ({FILES / took:.0f}/s, "
        f"{1_000 * watch.cpu_s / FILES:.0f} ms of the host's CPU time each); host's memory "
        f"{min(settled):.0f} to {max(settled):.0f} MB; GET /api/runs?state=running median "
        f"{statistics.median(watch.answered_s):.2f} s, slowest {max(watch.answered_s):.2f} s; at most "
        f"{max(watch.running)} running"
    )


if __name__ == "__main__":
    main()
