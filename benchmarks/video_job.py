"""The whole video job against the reference's way (full-size net, frame by frame, torch eager, Pillow), same clip.

Torch for the reference's side lives in .venv-torch (made here with Python 3.11 when it is missing). The reference
is timed on every tenth frame and scaled to the clip; the job is timed whole: split, stylise, join.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av

ROOT = Path(__file__).resolve().parent.parent
TORCH = ROOT / ".venv-torch"
ROUNDS = 3
EVERY = 10


def main() -> None:
    python = torch_python()
    if python is None:
        print("skipped: no Python 3.11 on PATH for the reference's torch; the others do not need it")
        return
    with tempfile.TemporaryDirectory(prefix="batchscore-bench-") as name:
        folder = Path(name)
        clip = folder / "clip.mp4"
        subprocess.run([sys.executable, ROOT / "scoring/style_transfer/sample_clip.py", clip], check=True)
        frames = extract(clip, folder / "frames")
        ours, theirs = [], []
        for number in range(ROUNDS):
            ours.append(job_seconds(clip, folder / f"out-{number}"))
            answer = subprocess.run(
                [python, ROOT / "benchmarks/reference_way.py", folder / "frames"],
                check=True,
                capture_output=True,
                text=True,
            )
            theirs.append(float(answer.stdout) * frames)
            print(f"round {number + 1}: job {ours[-1]:.1f} s, reference's way {theirs[-1]:.1f} s", flush=True)
    ratio = statistics.median(their / our for our, their in zip(ours, theirs, strict=True))
    print(
        f"{frames} frames of 640x360: the job is {ratio:.1f} x the reference's way (target 8 x), median of {ROUNDS}"
    )


def torch_python() -> Path | None:
    """The Python of an environment with torch and Pillow, or None where none can be made."""
    python = TORCH / "bin" / "python"
    if not python.exists():
        base = shutil.which("python3.11")
        if base is None:
            return None
        print("Installing torch into .venv-torch …", flush=True)
        subprocess.run([base, "-m", "venv", TORCH], check=True)
        packages = ROOT / "scoring/environments/torch.txt"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", packages], check=True)
    return python


def extract(clip: Path, folder: Path) -> int:
    """Save every tenth frame as JPEG; gives how many frames the clip has."""
    folder.mkdir()
    count = 0
    with av.open(str(clip)) as container:
        for count, frame in enumerate(container.decode(video=0), 1):
            if count % EVERY == 1:
                frame.to_image().save(folder / f"{count:05d}.jpg", quality=95)
    return count


def job_seconds(clip: Path, folder: Path) -> float:
    painting = ROOT / "samples/paintings/starry-night.jpg"
    command = [sys.executable, "-m", "batchscore.cli", "run", "style_transfer/video"]
    command += [
        "--input",
        f"video={clip}",
        "--input",
        f"style_image={painting}",
        "--output-folder",
        str(folder),
    ]
    began = time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
