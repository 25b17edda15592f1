"""Entry script of the stylize step: a mini-batch of segments in, one stylised MP4 file per segment out."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.output_files import sha256_of, whole_file
from common.receipts import FileVersion, MiniBatch
from style_transfer.arguments import open_style, style_arguments
from style_transfer.damage import DamageReport
from style_transfer.encode import ENCODER
from style_transfer.engine import stylize_segment
from style_transfer.errors import ResultError, StyleTransferError, VideoError
from style_transfer.segments import Segment


class _Worker:
    """What one worker process keeps between mini-batches."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.video: Path = args.video
        self.stylized: Path = args.stylized
        self.max_height: int | None = args.max_height
        self.stylizer, self.book = open_style(args, ENCODER)

    def stylize(self, segment: Segment, damage: DamageReport) -> tuple[str, FileVersion, dict[str, float]]:
        """Work on one segment and put its file in place; gives its row, the file and the milliseconds."""
        if self.video.stat().st_size != segment.clip.video.size_bytes:
            raise VideoError(f"{segment.clip.video.name} is not the video that was split")
        target = self.stylized / segment.output
        with tempfile.TemporaryFile() as scratch:  # has no name, so that a killed worker leaves nothing
            timings = stylize_segment(
                self.stylizer, self.video, segment, scratch, max_height=self.max_height, damage=damage
            )
            began = time.perf_counter()
            scratch.seek(0)
            with whole_file(target) as temporary, temporary.open("wb") as out:
                while chunk := scratch.read(1 << 20):
                    out.write(chunk)
            output = FileVersion.of(target)
            timings.add("write", began)
        timings.milliseconds["total"] += timings.milliseconds["write"]
        return f"{segment.item},{timings.frames}", output, timings.milliseconds


_workers: list[_Worker] = []


def init() -> None:
    """Open the style's model once per worker process."""
    parser = style_arguments(__doc__)
    parser.add_argument("--video", type=Path, required=True)
    args, _ = parser.parse_known_args()
    _workers[:] = [_Worker(args)]


def run(mini_batch: list[str]) -> list[str]:
    """Stylise the segments described in these files; one row per segment that succeeded."""
    (worker,) = _workers
    paths = [Path(path) for path in mini_batch]
    with MiniBatch(worker.book, [path.name for path in paths]) as batch:
        for path in paths:
            version = sha256_of(path)
            if batch.skip(path.name, version):
                continue
            try:
                segment = Segment.from_file(path)
                damage = DamageReport(segment)
                row, output, milliseconds = worker.stylize(segment, damage)
            except (VideoError, ResultError) as error:
                batch.failed(path.name, version, str(error))
            except StyleTransferError:
                raise
            except Exception as error:
                batch.failed(path.name, version, f"{type(error).__name__}: {error}")
            else:
                batch.ok(path.name, version, row, [output], milliseconds)
                for found in damage.found:
                    batch.failed(found.item, version, found.error)
    return batch.rows
