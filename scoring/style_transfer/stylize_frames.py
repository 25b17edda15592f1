"""Entry script of the stylize step for pictures: a mini-batch of pictures in, one stylised picture each out."""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from common.output_files import write_whole
from common.picture_file import UnreadablePictureError, read_content
from common.receipts import FileVersion, MiniBatch
from style_transfer.arguments import open_style, style_arguments
from style_transfer.errors import PictureError
from style_transfer.overlap import overlapped
from style_transfer.pictures import (
    WRITTEN_AS,
    Picture,
    decode_for_model,
    encode_picture,
    output_name,
)
from style_transfer.timings import csv_line


@dataclass
class _Item:
    """A picture on its way through the stages."""

    name: str
    version: str
    picture: Picture
    milliseconds: dict[str, float] = field(default_factory=dict)


class _Worker:
    """What one worker process keeps between mini-batches."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.frames: Path | None = args.frames
        self.folder: Path = args.stylized
        self.max_height: int | None = args.max_height
        self.stylizer, self.book = open_style(args, WRITTEN_AS)

    def name(self, path: Path) -> str:
        """The picture's name inside the folder of pictures, with forward slashes; its output has the same."""
        if self.frames is not None and path.is_relative_to(self.frames):
            return path.relative_to(self.frames).as_posix()
        return path.name

    def stylize(self, files: Mapping[str, Path], batch: MiniBatch) -> None:
        """Read, stylise and write the pictures that are not valid already; each stage in its own thread."""

        def infer(items: list[_Item]) -> list[tuple[_Item, Picture]]:
            began = time.perf_counter()
            styled = self.stylizer.stylize(np.stack([item.picture.rgb for item in items]))
            spent = 1000 * (time.perf_counter() - began) / len(items)
            for item in items:
                item.milliseconds["infer"] = spent
            return [(item, Picture(rgb)) for item, rgb in zip(items, styled, strict=True)]

        def write(done: list[tuple[_Item, Picture]]) -> None:
            for item, styled in done:
                self._write(item, styled, batch)

        overlapped(self._batches(files, batch), infer, write)

    def _batches(self, files: Mapping[str, Path], batch: MiniBatch) -> Iterator[list[_Item]]:
        """Pictures of one size together; what cannot be read is noted as failed and left out."""
        waiting: dict[tuple[int, ...], list[_Item]] = {}
        for name, path in files.items():
            item = self._read(name, path, batch)
            if item is None:
                continue
            height, width, _ = item.picture.rgb.shape
            group = waiting.setdefault((height, width), [])
            group.append(item)
            if len(group) >= self.stylizer.batch_size(width, height):
                yield waiting.pop((height, width))
        yield from waiting.values()

    def _read(self, name: str, path: Path, batch: MiniBatch) -> _Item | None:
        began = time.perf_counter()
        version = ""
        try:
            _check_target(name, path)
            content = read_content(path)
            version = hashlib.sha256(content).hexdigest()
            if batch.skip(name, version):
                return None
            picture = decode_for_model(name, content, self.max_height)
        except UnreadablePictureError as error:
            batch.failed(name, version, f"{name} {error}")
            return None
        except PictureError as error:
            batch.failed(name, version, str(error))
            return None
        return _Item(name, version, picture, {"decode": 1000 * (time.perf_counter() - began)})

    def _write(self, item: _Item, styled: Picture, batch: MiniBatch) -> None:
        name = output_name(item.name)
        began = time.perf_counter()
        try:
            content = encode_picture(name, item.picture, styled.rgb)
        except (ValueError, OSError) as error:  # a side longer than the format allows, say
            batch.failed(item.name, item.version, f"{item.name} cannot be written as {name}: {error}")
            return
        encoded = time.perf_counter()
        write_whole(self.folder / name, content)
        written = time.perf_counter()
        item.milliseconds["encode"] = 1000 * (encoded - began)
        item.milliseconds["write"] = 1000 * (written - encoded)
        item.milliseconds["total"] = sum(item.milliseconds.values())
        output = FileVersion(name, len(content), hashlib.sha256(content).hexdigest())
        height, width, _ = styled.rgb.shape
        row = csv_line(item.name, width, height)
        batch.ok(item.name, item.version, row, [output], item.milliseconds, item.picture.note)


def _check_target(name: str, path: Path) -> None:
    """PictureError when the output would have the name of another picture's."""
    target = output_name(name)
    if target != name and path.with_name(Path(target).name).exists():
        raise PictureError(f"{name} would be written as {target}, which is another picture: rename one")


_workers: list[_Worker] = []


def init() -> None:
    """Open the style's model once per worker process."""
    parser = style_arguments(__doc__)
    parser.add_argument(
        "--frames", type=Path, help="the folder of pictures, which their names are relative to"
    )
    args, _ = parser.parse_known_args()
    _workers[:] = [_Worker(args)]


def run(mini_batch: list[str]) -> list[str]:
    """Stylise these pictures; one row per picture that succeeded: name, width, height."""
    (worker,) = _workers
    files = {worker.name(Path(path)): Path(path) for path in mini_batch}
    with MiniBatch(worker.book, list(files)) as batch:
        worker.stylize(files, batch)
    return batch.rows
