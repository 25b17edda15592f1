"""Stylising end to end against the bare session, memory over length, and frames out and in against plain loops."""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scoring"))

import av

from style_transfer.decoding import segment_frames
from style_transfer.encode import CODEC, ENCODER
from style_transfer.engine import Stylizer, stylize_segment
from style_transfer.frame_reader import FrameReader
from style_transfer.frames import split_frames, stitch_frames
from style_transfer.sample_clip import make_clip
from style_transfer.segments import read_segments
from style_transfer.split import split
from style_transfer.style import choose_style

PAINTING = ROOT / "samples/paintings/starry-night.jpg"
ROUNDS = 7
SECONDS = 2
MEMORY_CHILD = "--peak-memory"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="batchscore-bench-") as name:
        folder = Path(name)
        clip = folder / "clip.mp4"
        make_clip(clip, seconds=SECONDS)
        end_to_end(clip, folder)
        memory(clip, folder)
        frames_out_and_in(folder)
    print(f"load of the machine while measuring: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def end_to_end(clip: Path, folder: Path) -> None:
    """Decode, infer and encode a segment, against the session alone on the same decoded frames."""
    split(clip, folder / "segments", 3600)
    (segment,) = read_segments(folder / "segments")
    stylizer = Stylizer(choose_style(None, PAINTING), device="auto")
    reader = FrameReader(segment.clip.picture)
    frames = [reader.read(shown.frame)[None] for shown in segment_frames(clip, segment)]

    def bare() -> None:
        for frame in frames:
            stylizer.stylize(frame)

    def whole() -> None:
        with tempfile.TemporaryFile() as target:
            stylize_segment(stylizer, clip, segment, target)

    wall, cpu = interleaved(bare, whole)
    print(
        f"end to end on {stylizer.device}: {100 * cpu:.0f} % of the bare session's rate by CPU seconds, "
        f"{100 * wall:.0f} % by wall time (target 90 %), median of {ROUNDS}"
    )


def memory(clip: Path, folder: Path) -> None:
    """Peak memory of a process that stylises one segment, and one that is four times as long."""
    long = folder / "long.mp4"
    make_clip(long, seconds=4 * SECONDS)
    peaks = [peak_memory_mb(path, folder / f"segments-{path.stem}") for path in (clip, long)]
    print(
        f"peak memory: {peaks[0]:.0f} MB for {SECONDS} s in one segment, {peaks[1]:.0f} MB for {4 * SECONDS} s"
    )


def peak_memory_mb(clip: Path, segments: Path) -> float:
    command = [sys.executable, "-m", "benchmarks.style_transfer", MEMORY_CHILD, str(clip), str(segments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return float(done.stdout.split()[-1])


def measure_memory(clip: Path, segments: Path) -> None:
    split(clip, segments, 3600)
    (segment,) = read_segments(segments)
    with tempfile.TemporaryFile() as target:
        stylize_segment(Stylizer(choose_style(None, PAINTING), device="cpu"), clip, segment, target)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def frames_out_and_in(folder: Path) -> None:
    """`split` against one PyAV thread with Pillow, `stitch` against ffmpeg where there is one; 720p, wall time."""
    clip = folder / "hd.mp4"
    make_clip(clip, seconds=16, width=1280, height=720)
    turn = iter(range(10**6))

    def ours() -> None:
        split_frames(clip, folder / f"frames-{next(turn)}")

    def plain() -> None:
        target = folder / f"plain-{next(turn)}"
        target.mkdir()
        with av.open(str(clip)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                frame.to_image().save(target / f"{number:07d}.jpg", quality=95)

    wall, _ = interleaved(plain, ours, rounds=3)
    print(f"split: {wall:.2f} x one PyAV thread with Pillow (target 1.5 x)")
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        print("stitch: no ffmpeg on PATH to compare with")
        return
    pictures = folder / "pictures"
    split_frames(clip, pictures)
    command = [ffmpeg, "-loglevel", "error", "-y", "-framerate", "25", "-i", f"{pictures}/frame-%07d.jpg"]
    command += ["-c:v", CODEC, "-bf", "0", "-g", "50"]
    command += [part for name, value in ENCODER.items() for part in (f"-{name}", value)]
    command += ["-pix_fmt", "yuv420p", str(folder / "ffmpeg.mp4")]

    def reference() -> None:
        subprocess.run(command, check=True)

    def stitch() -> None:
        stitch_frames(pictures, folder / "back.mp4")

    wall, _ = interleaved(reference, stitch, rounds=3)
    print(f"stitch: {wall:.2f} x ffmpeg's rate at the same encoder settings (target 0.9 x)")


def interleaved(
    reference: Callable[[], None], ours: Callable[[], None], rounds: int = ROUNDS
) -> tuple[float, float]:
    """How many times the reference's rate ours has, by wall time and by CPU seconds: medians over rounds."""
    ratios = []
    for _ in range(rounds):
        (theirs_wall, theirs_cpu), (our_wall, our_cpu) = timed(reference), timed(ours)
        ratios.append((theirs_wall / our_wall, theirs_cpu / our_cpu))
    return statistics.median(wall for wall, _ in ratios), statistics.median(cpu for _, cpu in ratios)


def timed(work: Callable[[], None]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), cpu_seconds()
    work()
    return time.perf_counter() - wall, cpu_seconds() - cpu


def cpu_seconds() -> float:
    """Of this process and of children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    if sys.argv[1:2] == [MEMORY_CHILD]:
        measure_memory(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
