"""Many items: what planning, recording and summing up a run costs the control plane, and a mini-batch the engine."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

from batchscore.application import Application
from batchscore.compute.base import Location
from batchscore.compute.local.engine import Engine
from batchscore.compute.local.ledger import Ledger
from batchscore.compute.local.mirror import Mirror, Push
from batchscore.definitions import load_pipeline
from batchscore.devhost.azurite import Azurite
from batchscore.runs import RunState
from batchscore.settings import Settings
from batchscore.storage import Storage

SCORING = Path(__file__).resolve().parent.parent / "scoring"
FEW, MANY = 2_000, 20_000
ITEMS_EACH = 10
PIPELINE = """
    type: pipeline
    name: nothing
    inputs:
      items: {type: uri_folder}
    outputs:
      receipts: {type: uri_folder, mode: rw_mount}
      rows: {type: uri_file}
    jobs:
      pass:
        type: parallel
        inputs: {items: "${{parent.inputs.items}}"}
        outputs: {receipts: "${{parent.outputs.receipts}}", rows: "${{parent.outputs.rows}}"}
        input_data: ${{inputs.items}}
        mini_batch_size: "10"
        max_concurrency_per_instance: 2
        task:
          type: run_function
          code: .
          entry_script: ENTRY.py
          environment: azureml:any:1
          append_row_to: ${{outputs.rows}}
          program_arguments: --receipts ${{outputs.receipts}}
"""
ENTRY = {
    "nothing": """
        def run(mini_batch):
            return mini_batch
    """,
    "receipts": f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(SCORING)!r})
        from common.receipts import MiniBatch, ReceiptBook

        book = ReceiptBook(Path(sys.argv[2]), Path("."), "")

        def run(mini_batch):
            names = [Path(path).name for path in mini_batch]
            with MiniBatch(book, names) as batch:
                for name in names:
                    batch.ok(name, name, name, (), {{"decode": 1.0, "infer": 2.0, "total": 3.0}})
            return batch.rows
    """,
}


def write_workload(folder: Path, entry: str) -> None:
    folder.mkdir(parents=True)
    text = textwrap.dedent(PIPELINE).replace("ENTRY", entry)
    (folder / f"{entry}.pipeline.yml").write_text(text, encoding="utf-8")
    (folder / f"{entry}.py").write_text(textwrap.dedent(ENTRY[entry]), encoding="utf-8")


def write_items(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"item-{number:06d}.txt").touch()


def engine(root: Path, count: int) -> tuple[float, float]:
    """A parallel step that does nothing, in mini-batches of ten: seconds in all, and CPU seconds of the engine."""
    write_workload(root / "workload", "nothing")
    write_items(root / "items", count)
    pipeline = load_pipeline(root / "workload" / "nothing.pipeline.yml")
    began, cpu = time.perf_counter(), time.process_time()
    outputs = {"rows": root / "rows.txt", "receipts": root / "receipts"}
    status = Engine(pipeline, {"items": root / "items"}, outputs, root / "work", root / "logs").run()
    assert status.steps[0].items_done == count, status
    return time.perf_counter() - began, time.process_time() - cpu


def control_plane(connection: str, root: Path, count: int) -> None:
    """One run from its request to its summary; prints what this process used for it."""
    write_workload(root / "workloads" / "many", "receipts")
    settings = Settings.from_environment(
        {
            "AzureWebJobsStorage": connection,
            "DATA_STORAGE": connection,
            "WORKLOADS_FOLDER": str(root / "workloads"),
            "LOCAL_WORK_FOLDER": str(root / "work"),
        }
    )
    application = Application(settings)
    application.timer()
    request = json.dumps({"workload": "many/receipts", "inputs": {"items": f"items-{count}"}}).encode()
    before, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    run, _ = application.intake.request("cli", f"many-{count}", request)
    while not run.state.ended:
        application.timer()
        run = application.store.get(run.id)
        time.sleep(1)
    used = time.process_time() - cpu
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert run.state is RunState.SUCCEEDED, run.reason
    assert run.summary is not None
    assert run.summary.ok == count, run.summary
    print(
        f"{count} items: {1_000 * used / count:.2f} ms of CPU time of the control plane per item, memory +{grown / 1024:.1f} MB"
    )
    application.close()


def main() -> None:
    for count in (ITEMS_EACH, MANY):
        with tempfile.TemporaryDirectory() as folder:
            seconds, cpu = engine(Path(folder), count)
        batches = count // ITEMS_EACH
        print(
            f"engine, {batches} mini-batches: {seconds:.2f} s, {1_000 * seconds / batches:.2f} ms each "
            f"({1_000 * cpu / batches:.2f} ms of the engine's own CPU time)"
        )
    with tempfile.TemporaryDirectory() as folder, Azurite(Path(folder) / "azurite") as azurite:
        text = azurite.connection_string
        storage = Storage(Settings.from_environment({"AzureWebJobsStorage": text, "DATA_STORAGE": text}))
        storage.container("data", "data", create=True)
        mirror = Mirror(storage, Ledger(Path(folder) / "ledger"), threading.Event())
        for count in (FEW, MANY):
            write_items(Path(folder) / f"items-{count}", count)
            mirror.push([Push(Path(folder) / f"items-{count}", Location("data", "data", f"items-{count}"))])
            root = Path(folder) / f"run-{count}"
            command = [sys.executable, "-m", "benchmarks.many_items", text, str(root), str(count)]
            subprocess.run(command, check=True)
        storage.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        control_plane(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
