"""Peak memory of the steps of style_transfer/video over the length of the video: tiny frames, up to two hours."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MINUTES = (12, 120)
SEGMENT_S = 60
STEP = "--step"


def main() -> None:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        print("skipped: no ffmpeg on PATH to make two hours of video with")
        return
    with tempfile.TemporaryDirectory(prefix="batchscore-bench-") as name:
        for minutes in MINUTES:
            folder = Path(name) / str(minutes)
            folder.mkdir()
            make_film(ffmpeg, folder / "film.mp4", minutes)
            steps = {step: measured(step, folder) for step in ("split", "stylize", "stitch")}
            told = ", ".join(
                f"{step} {peak:.0f} MB in {spent:.0f} s" for step, (peak, spent) in steps.items()
            )
            print(f"{minutes} minutes, {minutes * 60 * 25} frames: {told}", flush=True)


def make_film(ffmpeg: str, path: Path, minutes: int) -> None:
    pictures = ["-f", "lavfi", "-i", "testsrc=size=32x32:rate=25", "-f", "lavfi", "-i", "sine"]
    codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    command = [ffmpeg, "-loglevel", "error", *pictures, "-t", str(minutes * 60), *codecs, str(path)]
    subprocess.run(command, check=True)


def measured(step: str, folder: Path) -> tuple[float, float]:
    """Peak memory in MB and seconds of one step in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.long_video", STEP, step, str(folder)]
    began = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return float(done.stdout.split()[-1]), time.perf_counter() - began


def run(step: str, folder: Path) -> None:
    """The entry script's own functions, with a style that gives every frame back as it is (strength 0)."""
    sys.path.insert(0, str(ROOT / "scoring"))
    from style_transfer import split, stitch, stylize

    paths = {name: folder / name for name in ("segments", "audio", "stylized", "receipts", "result")}
    picture = ["--style-image", str(ROOT / "samples/paintings/starry-night.jpg")]
    given = ["", "--video", str(folder / "film.mp4")]
    sys.argv = [*given, *(part for name, path in paths.items() for part in (f"--{name}", str(path)))]
    if step == "split":
        sys.argv += [*picture, "--segment-seconds", str(SEGMENT_S)]
        split.main()
    elif step == "stylize":
        sys.argv += [*picture, "--strength", "0", "--device", "cpu"]
        stylize.init()
        for item in sorted(map(str, paths["segments"].iterdir())):
            stylize.run([item])
    else:
        stitch.main()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    if sys.argv[1:2] == [STEP]:
        run(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
