"""Entry script of the stylize step for pictures: a mini-batch of pictures in, one stylised picture each out."""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from common.output_files import write_whole
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
        self.folder: Path = args.stylized
        self.max_height: int | None = args.max_height
        self.stylizer, self.book = open_style(args, WRITTEN_AS)

    def stylize(self, paths: list[Path], batch: MiniBatch) -> None:
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

        overlapped(self._batches(paths, batch), infer, write)

    def _batches(self, paths: list[Path], batch: MiniBatch) -> Iterator[list[_Item]]:
        """Pictures of one size together; what cannot be read is noted as failed and left out."""
        waiting: dict[tuple[int, ...], list[_Item]] = {}
        for path in paths:
            item = self._read(path, batch)
            if item is None:
                continue
            height, width, _ = item.picture.rgb.shape
            group = waiting.setdefault((height, width), [])
            group.append(item)
            if len(group) >= self.stylizer.batch_size(width, height):
                yield waiting.pop((height, width))
        yield from waiting.values()

    def _read(self, path: Path, batch: MiniBatch) -> _Item | None:
        began = time.perf_counter()
        version = ""
        try:
            content = path.read_bytes()
            version = hashlib.sha256(content).hexdigest()
            if batch.skip(path.name, version):
                return None
            picture = decode_for_model(path.name, content, self.max_height)
        except (PictureError, OSError) as error:
            batch.failed(path.name, version, str(error))
            return None
        return _Item(path.name, version, picture, {"decode": 1000 * (time.perf_counter() - began)})

    def _write(self, item: _Item, styled: Picture, batch: MiniBatch) -> None:
        name = output_name(item.name)
        began = time.perf_counter()
        content = encode_picture(name, item.picture, styled.rgb)
        encoded = time.perf_counter()
        write_whole(self.folder / name, content)
        written = time.perf_counter()
        item.milliseconds["encode"] = 1000 * (encoded - began)
        item.milliseconds["write"] = 1000 * (written - encoded)
        item.milliseconds["total"] = sum(item.milliseconds.values())
        output = FileVersion(name, len(content), hashlib.sha256(content).hexdigest())
        height, width, _ = styled.rgb.shape
        batch.ok(item.name, item.version, f"{item.name},{width},{height}", [output], item.milliseconds)


_workers: list[_Worker] = []


def init() -> None:
    """Open the style's model once per worker process."""
    args, _ = style_arguments(__doc__).parse_known_args()
    _workers[:] = [_Worker(args)]


def run(mini_batch: list[str]) -> list[str]:
    """Stylise these pictures; one row per picture that succeeded: name, width, height."""
    (worker,) = _workers
    paths = [Path(path) for path in mini_batch]
    with MiniBatch(worker.book, [path.name for path in paths]) as batch:
        worker.stylize(paths, batch)
    return batch.rows
