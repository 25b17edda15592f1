"""The demo, the way a user goes: start Azurite, an event hub and the host; drop a trigger file; let the hour strike."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import demo_sensors
from demo_steps import DONE, HOST_LOG, OUTPUT, ROOT, console, fetch, say, wait_for_run
from rich.table import Table

from batchscore import paths
from batchscore.application import Application
from batchscore.devhost.launch import DevHostProcess
from batchscore.runs import Run
from batchscore.settings import Settings

PAINTING = ROOT / "samples" / "paintings" / "starry-night.jpg"
MADE = {
    "original.mp4": "the clip as it was",
    "stylised.mp4": "the clip in the style of the picture, with its sound",
    "before-after.jpg": "a frame before and after",
    "timings.csv": "how long each segment took, and where",
    **demo_sensors.MADE,
    "host.log": "what the Functions host said",
}


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
    say("Starting", "Azurite, an event hub and the Functions host")
    settings = {
        "LOCAL_WORK_FOLDER": str(scratch / "work"),
        "POLL_INTERVAL_S": "1",
        "EVENT_HUB": "UseDevelopmentEventHub=true",
        **demo_sensors.SETTINGS,
    }
    with DevHostProcess(ROOT, environment=settings, folder=scratch) as host:
        application = Application(
            Settings.from_environment(
                {
                    **settings,
                    "AzureWebJobsStorage": host.connection_string,
                    "DATA_STORAGE": host.connection_string,
                    "EVENT_HUB": host.environment["EVENT_HUB"],
                }
            )
        )
        try:
            run = drop_and_wait(application, clip, arguments.style_image)
            if run.state in DONE:
                demo_sensors.play(application, host.environment["EVENT_HUB"])
            return run
        finally:
            application.close()
            shutil.copy(host.log_path, HOST_LOG)


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
    run_id = paths.run_id("trigger_file", "demo.json", paths.normal_etag(etag))
    run = wait_for_run(application, run_id, "segments")
    for location in (run.results or {}).values() if run.state in DONE else ():
        fetch(application, location, OUTPUT)
    return run


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


if __name__ == "__main__":
    sys.exit(main())
