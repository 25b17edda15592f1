"""Entry script of the stitch step: joins the stylised segments and the sound to the finished video."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from PIL import Image

from common.output_files import whole_file, write_whole
from common.receipts import Receipt
from style_transfer.errors import StyleTransferError
from style_transfer.join import finished_segments, join
from style_transfer.pictures import JPEG_QUALITY
from style_transfer.segments import Segment, read_segments
from style_transfer.sound import FILE
from style_transfer.video import first_picture, segment_picture

PHASES = ("decode", "infer", "encode", "write", "total")


def main() -> None:
    """Check that every segment is there and whole, join them, write the timings and a picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--segments", type=Path, required=True)
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--stylized", type=Path, required=True)
    parser.add_argument("--receipts", type=Path, required=True)
    parser.add_argument("--result", type=Path, required=True, help="folder for the finished video")
    args, _ = parser.parse_known_args()
    try:
        segments = read_segments(args.segments)
        receipts = finished_segments(segments, args.segments, args.stylized, args.receipts)
        sound = args.audio / FILE
        stem = Path(segments[0].clip.video.name).stem
        target = args.result / f"{stem}.mp4"
        frames = join(segments, args.stylized, sound if sound.is_file() else None, target)
        write_whole(args.result / "timings.csv", timings(segments, receipts).encode())
        before_after(args.video, segments, args.stylized, args.result / "before-after.jpg")
        print(f"{target.name}: {frames} frames of {len(segments)} segments, {target.stat().st_size} bytes")
    except StyleTransferError as error:
        sys.exit(f"error: {error}")


def timings(segments: Sequence[Segment], receipts: Mapping[str, Receipt]) -> str:
    """A CSV table with a row per segment; phases overlap, so that they add up to more than the total."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        ["segment", "start_s", "frames", *(f"{phase}_ms" for phase in PHASES), "worker", "ended_at"]
    )
    for segment in segments:
        receipt = receipts[segment.item]
        spent = [f"{receipt.milliseconds.get(phase, 0):.1f}" for phase in PHASES]
        table.writerow(
            [
                segment.index,
                f"{segment.start_s:.3f}",
                segment.frames,
                *spent,
                receipt.worker,
                receipt.ended_at,
            ]
        )
    return text.getvalue()


def before_after(video: Path, segments: Sequence[Segment], stylized: Path, target: Path) -> None:
    """A frame from the middle of the video beside its stylised self."""
    segment = segments[len(segments) // 2]
    after = Image.fromarray(first_picture(stylized / segment.output))
    before = Image.fromarray(segment_picture(video, segment)).resize(after.size)
    pair = Image.new("RGB", (2 * after.width, after.height))
    pair.paste(before, (0, 0))
    pair.paste(after, (after.width, 0))
    with whole_file(target) as temporary:
        pair.save(temporary, "JPEG", quality=JPEG_QUALITY)


if __name__ == "__main__":
    main()
