"""From a trigger file's upload to its run accepted, on the dev host and Azurite."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

from batchscore import paths
from batchscore.application import Application
from batchscore.devhost.launch import DevHostProcess
from batchscore.errors import RunNotFoundError
from batchscore.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
FILES = 40


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="batchscore-bench-") as folder:
        environment = {"LOCAL_WORK_FOLDER": f"{folder}/work"}
        with DevHostProcess(ROOT, folder=Path(folder), environment=environment) as host:
            storage = dict.fromkeys(("AzureWebJobsStorage", "DATA_STORAGE"), host.connection_string)
            application = Application(Settings.from_environment({**environment, **storage}))
            triggers = application.storage.container(
                "data", application.settings.trigger_container, create=True
            )
            body = json.dumps({"workload": "digits/classify", "inputs": {"images": "nothing"}}).encode()
            seconds = []
            for number in range(FILES):
                name = f"{number}.json"
                etag = triggers.upload_blob(name, body).get_blob_properties().etag
                uploaded = time.perf_counter()
                run_id = paths.run_id("trigger_file", name, paths.normal_etag(etag))
                seconds.append(_until_there(application, run_id) - uploaded)
                time.sleep(0.2)
            application.close()
    seconds.sort()
    print(
        f"{FILES} trigger files, upload done to run accepted: median {statistics.median(seconds):.2f} s, "
        f"slowest {seconds[-1]:.2f} s (target: median 0.3 s)"
    )


def _until_there(application: Application, run_id: str) -> float:
    while True:
        try:
            application.store.get(run_id)
            return time.perf_counter()
        except RunNotFoundError:
            time.sleep(0.01)


if __name__ == "__main__":
    main()
