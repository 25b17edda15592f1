"""Submitting to Azure ML, on the stand-ins: requests of a submit, trigger delivery to job, and a flood of trigger files."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from batchscore import paths
from batchscore.devhost.azureml import AzureMLWorkspace
from batchscore.devhost.azurite import Azurite
from batchscore.settings import DEVELOPMENT_WORKSPACE, Settings
from tests.acceptance.flood import most_at_once, records, upload, wait_until_recorded, watching
from tests.acceptance.hosts import User, user_of_a_host, wait_until
from tests.azureml_world import World, azureml_world, deploy, write_sample

DELIVERIES = int(os.environ.get("DELIVERIES", "60"))
FILES = int(os.environ.get("FLOOD_FILES", "1000"))
MOST_ACTIVE = 50
BODY = b'{"workload": "sample/score", "inputs": {"data": "in"}}'


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="batchscore-bench-") as name:
        folder = Path(name)
        with Azurite(folder / "azurite") as azurite:
            storage = azurite.connection_string
            with AzureMLWorkspace(folder=folder / "azureml", storage=storage) as workspace:
                workspace.switch(pretend=1)
                with azureml_world(storage, workspace, folder, MAX_ACTIVE_RUNS="1000") as world:
                    by_hand(world)
        with_a_host(folder)


def by_hand(world: World) -> None:
    """One process, moved by hand: what the two doors of the app do, without the host between them."""
    world.upload_inputs("in")
    for which in ("first", "second", "third"):
        before = len(world.workspace.requests())
        world.deliver(BODY)
        world.kicked()
        sent = [
            f"{each['method']} {str(each['path']).rpartition('/workspaces/')[2]}"
            for each in world.workspace.requests()[before:]
        ]
        until_put = sent[: 1 + max(number for number, each in enumerate(sent) if each.startswith("PUT"))]
        print(f"requests of the {which} submit in a process: {len(until_put)}")
    took = []
    for _ in range(DELIVERIES):
        began = time.time()
        run_id = world.deliver(BODY)
        world.kicked()
        took.append(put_at(world.workspace, run_id) - began)
    print(f"delivery to PUT, SDK warm: {spread(took)} (target: p95 0.5 s)")


def put_at(workspace: AzureMLWorkspace, run_id: str) -> float:
    """When the job of a run's first attempt came."""
    name = paths.job_name(run_id, 1)
    return next(
        float(each["at"])
        for each in reversed(workspace.requests())
        if each["method"] == "PUT" and str(each["path"]).endswith(f"/jobs/{name}")
    )


def spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p95 = ordered[int(0.95 * (len(ordered) - 1))]
    return f"median {statistics.median(ordered):.2f} s, p95 {p95:.2f} s, slowest {ordered[-1]:.2f} s of {len(ordered)}"


def with_a_host(folder: Path) -> None:
    """The dev host, which starts the stand-ins: single files first, then all at once."""
    environment = {
        "COMPUTE": "azureml",
        "AZUREML_WORKSPACE_NAME": DEVELOPMENT_WORKSPACE,
        "WORKLOADS_FOLDER": str(write_sample(folder / "workloads")),
        "MAX_ACTIVE_RUNS": str(MOST_ACTIVE),
    }
    with user_of_a_host(folder, **environment) as user:
        ca_file = Path(user.host.environment["AZUREML_CA_FILE"])
        port = int(user.host.environment["AZUREML_ENDPOINT"].rpartition(":")[2])
        workspace = AzureMLWorkspace(folder=ca_file.parent, storage="", port=port)
        workspace.switch(pretend=1)
        deploy(Settings.from_environment(user.host.environment))
        user.upload("in/a.txt", b"a")
        singles(user, workspace)
        flood(user, workspace)


def singles(user: User, workspace: AzureMLWorkspace) -> None:
    from_upload, from_record = [], []
    for number in range(DELIVERIES // 2):
        began = time.time()
        run = user.wait(user.drop(BODY, f"single-{number}.json"))
        at = put_at(workspace, run.id)
        from_upload.append(at - began)
        from_record.append(at - run.created_at.timestamp())
    print(
        f"upload to PUT through the dev host: {spread(from_upload[1:])}; the first, which loads the SDK, "
        f"{from_upload[0]:.1f} s; record to PUT: {spread(from_record[1:])}"
    )


def flood(user: User, workspace: AzureMLWorkspace) -> None:
    before = sum(1 for _ in records(user))
    with watching(user) as watch:
        began = time.perf_counter()
        caused = upload(user, BODY, FILES)
        wait_until_recorded(user, before + FILES, 3_600)
        recorded = time.perf_counter() - began
        wait_until(
            lambda: not user.http("GET", "runs?state=running&limit=1")[1]["runs"] and idle(user), 3_600
        )
        over = time.perf_counter() - began
    until = datetime.now(UTC)
    found = [run for run in records(user) if run.id in set(caused.values())]
    puts = Counter(
        str(each["path"]).rpartition("/jobs/")[2]
        for each in workspace.requests()
        if each["method"] == "PUT" and "/jobs/" in str(each["path"]) and each["status"] == 201
    )
    states = Counter(run.state.value for run in found)
    settled = watch.resident_mb[len(watch.resident_mb) // 5 :]
    print(
        f"{FILES} trigger files at once: recorded in {recorded:.0f} s, all over in {over:.0f} s; {len(found)} records, "
        f"{dict(states)}; {len(puts)} jobs, {sum(puts.values()) - len(puts)} of them twice; at most "
        f"{most_at_once(found, until)} at once (MAX_ACTIVE_RUNS {MOST_ACTIVE}); host's memory {min(settled):.0f} to "
        f"{max(settled):.0f} MB; GET /api/runs median {statistics.median(watch.answered_s):.2f} s"
    )


def idle(user: User) -> bool:
    return next(iter(user.application.store.active()), None) is None


if __name__ == "__main__":
    main()
