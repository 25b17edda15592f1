"""Entry script of the stitch step: joins the stylised segments and the sound to the finished video."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from PIL import Image

from common.output_files import whole_file, write_whole
from common.receipts import read_folder
from style_transfer.decoding import segment_frames
from style_transfer.errors import StyleTransferError
from style_transfer.frame_reader import FrameReader
from style_transfer.join import finished_segments, join
from style_transfer.labels import labels_of
from style_transfer.notes import FILE as NOTES
from style_transfer.pictures import WRITTEN_AS
from style_transfer.segments import Segment, read_segments
from style_transfer.sound import FILE
from style_transfer.timings import newest_and_worked, timings_table
from style_transfer.video import describe, first_frame, opened


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
        labels = labels_of(args.video)
        frames = join(segments, args.stylized, sound if sound.is_file() else None, target, labels)
        rows = (([s.index, f"{s.start_s:.3f}", s.frames], receipts[s.item]) for s in segments)
        table = timings_table(("segment", "start_s", "frames"), rows)
        write_whole(args.result / "timings.csv", table.encode())
        told = remarks(args.audio / NOTES, damaged(segments, args.receipts))
        if told:
            write_whole(args.result / NOTES, "".join(f"{remark}\n" for remark in told).encode())
        before_after(args.video, segments, args.stylized, args.result / "before-after.jpg")
        for remark in told:
            print(f"{target.name}: {remark}")
        print(f"{target.name}: {frames} frames of {len(segments)} segments, {target.stat().st_size} bytes")
    except StyleTransferError as error:
        sys.exit(f"error: {error}")


def damaged(segments: Sequence[Segment], receipts: Path) -> list[str]:
    """What the receipts tell of damaged frames, a sentence each, in the order of their items."""
    newest, _ = newest_and_worked(read_folder(receipts))
    whole = {segment.item for segment in segments}
    found = (
        receipt for item, receipt in sorted(newest.items()) if item not in whole and not receipt.succeeded
    )
    return [receipt.error or receipt.item for receipt in found]


def remarks(noted: Path, damage: Sequence[str]) -> list[str]:
    """What the split step noted about the video, and its damage."""
    return [*(noted.read_text(encoding="utf-8").splitlines() if noted.is_file() else ()), *damage]


def before_after(video: Path, segments: Sequence[Segment], stylized: Path, target: Path) -> None:
    """A frame from the middle of the video beside its stylised self."""
    segment = segments[len(segments) // 2]
    painted = stylized / segment.output
    reader = FrameReader(describe(painted).picture)
    with opened(painted) as (container, stream):
        after = Image.fromarray(reader.read(first_frame(container, stream, painted.name)))
    with closing(segment_frames(video, segment)) as frames:
        before = Image.fromarray(FrameReader(segment.clip.picture).read(next(frames).frame)).resize(
            after.size
        )
    pair = Image.new("RGB", (2 * after.width, after.height))
    pair.paste(before, (0, 0))
    pair.paste(after, (after.width, 0))
    with whole_file(target) as temporary:
        pair.save(temporary, "JPEG", **WRITTEN_AS["JPEG"])


if __name__ == "__main__":
    main()
