"""`split` and `stitch`: a video as a folder of pictures and back, behind the commands of the same names."""

from __future__ import annotations

import argparse
import sys
import time
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from style_transfer.errors import StyleTransferError
from style_transfer.frames import FORMATS, source_of, split_frames, stitch_frames

_REFRESH_S = 0.2


class ProgressLine:
    """One line on a terminal that is written over; nothing where nobody watches."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._next = self._started = time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if not self._shown or (now < self._next and done != total):
            return
        self._next = now + _REFRESH_S
        rate = done / max(now - self._started, 1e-3)
        ending = "\n" if done == total else ""
        print(f"\r{done} of {total} frames, {rate:.0f} a second ", end=ending, file=sys.stderr, flush=True)


def main() -> None:
    """Split or stitch, as the command line says."""
    parser = argparse.ArgumentParser(prog="batchscore", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    split = commands.add_parser("split", help="turn a video into a folder of pictures")
    split.add_argument("video", type=Path)
    split.add_argument("folder", type=Path, help="a new folder for the pictures, which holds nothing else")
    split.add_argument("--format", choices=FORMATS, default="jpg")
    split.add_argument("--max-height", type=int, help="shrink higher frames to this height")
    split.add_argument("--source", type=Path, help="where timestamps and sound go (default: FOLDER.source)")
    stitch = commands.add_parser("stitch", help="turn a folder of pictures into a video")
    stitch.add_argument("folder", type=Path)
    stitch.add_argument("video", type=Path, help="the MP4 file to make")
    stitch.add_argument("--source", type=Path, help="what split kept (default: FOLDER.source)")
    stitch.add_argument(
        "--rate", type=Fraction, help="frames per second, for pictures that split did not make"
    )
    args = parser.parse_args()
    try:
        if args.command == "split":
            story = split_frames(
                args.video,
                args.folder,
                source=args.source,
                kind=args.format,
                max_height=args.max_height,
                progress=ProgressLine(),
            )
            source = args.source or source_of(args.folder)
            print(f"{story}. Timestamps and sound are in {source}; stitch needs them (--source {source}).")
        else:
            print(
                stitch_frames(
                    args.folder, args.video, source=args.source, rate=args.rate, progress=ProgressLine()
                )
            )
    except StyleTransferError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
