"""The demo, the way a user goes: start Azurite and the host, upload, drop a trigger file, wait, fetch."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from batchscore import paths
from batchscore.application import Application
from batchscore.compute.base import Location
from batchscore.devhost.launch import DevHostProcess
from batchscore.runs import Run, RunState
from batchscore.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
PAINTING = ROOT / "samples" / "paintings" / "starry-night.jpg"
OUTPUT = ROOT / "demo-output"
PATIENCE_S = 900
DONE = (RunState.SUCCEEDED, RunState.SUCCEEDED_WITH_ERRORS)
MADE = {
    "original.mp4": "the clip as it was",
    "stylised.mp4": "the clip in the style of the picture, with its sound",
    "before-after.jpg": "a frame before and after",
    "timings.csv": "how long each segment took, and where",
    "host.log": "what the Functions host said",
}

console = Console()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--style-image", type=Path, default=PAINTING, help="the picture to take the style from"
    )
    parser.add_argument("--video", type=Path, help="your own clip instead of the demo's")
    arguments = parser.parse_args()
    for given in (arguments.style_image, arguments.video):
        if given is not None and not given.is_file():
            console.print(f"[red]There is no file {str(given)!r}.[/red]")
            return 2
    OUTPUT.mkdir(exist_ok=True)
    for name in MADE:  # what an earlier demo made is not taken for this one's
        made = OUTPUT / name
        if arguments.video is None or not made.exists() or not made.samefile(arguments.video):
            made.unlink(missing_ok=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="batchscore-demo-") as scratch:
        run = play(arguments, Path(scratch))
    if run.state not in DONE:
        console.print(f"[red]The run ended as {run.state}: {run.reason}[/red]")
        return 1
    report(run, time.monotonic() - began)
    if run.reason:
        console.print(f"[yellow]{run.reason}[/yellow]")
    return 0


def play(arguments: argparse.Namespace, scratch: Path) -> Run:
    """The whole demo; gives the run as it ended."""
    clip = arguments.video
    if clip is None:
        say("Making", "a clip of 8 s, 640×360, with a tone: a crop that moves over two photographs")
        clip = OUTPUT / "original.mp4"
        maker = ROOT / "scoring" / "style_transfer" / "sample_clip.py"
        subprocess.run([sys.executable, str(maker), str(clip)], check=True, stdout=subprocess.DEVNULL)
    say("Starting", "Azurite and the Functions host")
    settings = {"LOCAL_WORK_FOLDER": str(scratch / "work"), "POLL_INTERVAL_S": "1"}
    with DevHostProcess(ROOT, environment=settings, folder=scratch) as host:
        application = Application(
            Settings.from_environment(
                {
                    **settings,
                    "AzureWebJobsStorage": host.connection_string,
                    "DATA_STORAGE": host.connection_string,
                }
            )
        )
        try:
            return drop_and_wait(application, clip, arguments.style_image)
        finally:
            application.close()
            shutil.copy(host.log_path, OUTPUT / "host.log")


def drop_and_wait(application: Application, clip: Path, style_image: Path) -> Run:
    settings = application.settings
    data = application.storage.container("data", settings.data_container, create=True)
    video, picture = f"videos/stylised{clip.suffix}", f"style-images/{style_image.name}"
    say("Uploading", f"the clip as {video} and {picture}")
    for name, path in ((video, clip), (picture, style_image)):
        with path.open("rb") as content:
            data.upload_blob(name, content, overwrite=True)
    trigger = {"workload": "style_transfer/video", "inputs": {"video": video, "style_image": picture}}
    say("Dropping", f"triggers/demo.json:\n{json.dumps(trigger, indent=2)}")
    triggers = application.storage.container("data", settings.trigger_container, create=True)
    triggers.upload_blob("demo.json", json.dumps(trigger).encode(), overwrite=True)
    etag = triggers.get_blob_client("demo.json").get_blob_properties().etag
    run = wait(application, paths.run_id("trigger_file", "demo.json", paths.normal_etag(etag)))
    for location in (run.results or {}).values() if run.state in DONE else ():
        fetch(application, location)
    return run


def wait(application: Application, run_id: str) -> Run:
    columns = (TextColumn("   {task.description:<28}"), BarColumn(), TextColumn("{task.fields[count]}"))
    deadline = time.monotonic() + PATIENCE_S
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        bar = progress.add_task("waiting for the host", total=None, count="")
        while time.monotonic() < deadline:
            time.sleep(0.3)
            found = application.store.find(run_id)
            if not found:
                continue
            run = found[0]
            total, done, failed = run.items
            step = next((step.name for step in run.steps if step.state == "running"), "")
            progress.update(
                bar,
                description=f"run {run.id[:8]} {run.state} {step}",
                total=total or None,
                completed=done + failed,
                count=f"{done} of {total} segments" if total else "",
            )
            if run.state.ended:
                return run
    raise SystemExit(f"The run {run_id} did not end within {PATIENCE_S} s; see {OUTPUT / 'host.log'}.")


def fetch(application: Application, location: Location) -> None:
    container = application.storage.container(location.account, location.container)
    for name in container.list_blob_names(name_starts_with=f"{location.path}/"):
        target = OUTPUT / name.removeprefix(f"{location.path}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            container.download_blob(name).readinto(file)


def report(run: Run, seconds: float) -> None:
    assert run.summary is not None
    table = Table(title="Where the time went, per segment", title_justify="left")
    table.add_column("phase")
    table.add_column("median ms", justify="right")
    table.add_column("total ms", justify="right")
    medians = run.summary.median_milliseconds
    for phase, median in sorted(medians.items(), key=lambda item: item[0] == "total"):  # the total last
        table.add_row(phase, f"{median:,.0f}", f"{run.summary.total_milliseconds[phase]:,.0f}")
    console.print(table)
    console.print(
        f"[bold]Done in {seconds:.0f} s:[/bold] {run.summary.ok} segments, {run.summary.failed} failed."
    )
    made = Table(box=None, show_header=False, pad_edge=False)
    for name, what in MADE.items():
        if (OUTPUT / name).exists():
            made.add_row("  ", f"demo-output/{name}", f"[dim]{what}[/dim]")
    console.print(made)
    console.print("Your own: [bold]make demo STYLE=picture.jpg VIDEO=clip.mp4[/bold]")


def say(what: str, details: str) -> None:
    console.print(f"[bold]{what}[/bold] {details}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
