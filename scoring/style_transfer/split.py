"""Entry script of the split step: one small file per segment, and the video's sound."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.output_files import write_whole
from style_transfer.errors import StyleTransferError
from style_transfer.notes import FILE as NOTES
from style_transfer.notes import notes
from style_transfer.segments import Clip, cut
from style_transfer.sound import extract_sound
from style_transfer.style import choose_style
from style_transfer.video import describe, opened, video_packets


def main() -> None:
    """Check the style, cut the video into segments, extract its sound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--style", type=Path)
    parser.add_argument("--style-image", type=Path)
    parser.add_argument("--segment-seconds", type=float, default=2.0)
    parser.add_argument("--segments", type=Path, required=True, help="folder for the segments' files")
    parser.add_argument("--audio", type=Path, required=True, help="folder for the sound")
    args, _ = parser.parse_known_args()
    try:
        choose_style(args.style, args.style_image)
        clip = describe(args.video)
        count, frames = split(args.video, args.segments, args.segment_seconds, clip)
        print(f"{args.video.name}: {frames} frames in {count} segments")
        args.audio.mkdir(parents=True, exist_ok=True)
        print(f"{args.video.name}: {extract_sound(args.video, args.audio)}")
        remarks = notes(args.video, clip)
        write_whole(args.audio / NOTES, "".join(f"{remark}\n" for remark in remarks).encode())
        for remark in remarks:
            print(f"{args.video.name}: {remark}")
    except StyleTransferError as error:
        sys.exit(f"error: {error}")


def split(video: Path, folder: Path, segment_s: float, clip: Clip | None = None) -> tuple[int, int]:
    """Write a file per segment into `folder`, and remove what an earlier split left there.

    Gives the numbers of segments and frames. The same video and length give the same files, byte by byte,
    so that finished segments stay valid when a run is repeated.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clip = clip or describe(video)
    written = set()
    frames = 0
    with opened(video) as (container, stream):
        packets = video_packets(container, stream, video.name)
        for segment in cut(clip, packets, segment_s):
            write_whole(folder / segment.item, segment.to_json().encode())
            written.add(segment.item)
            frames += segment.frames
    for path in folder.glob("*.json"):
        if path.name not in written:
            path.unlink()
    return len(written), frames


if __name__ == "__main__":
    main()
