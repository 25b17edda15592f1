"""Receipts: one line about each finished item, and what a valid one saves from being done again."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from common.output_files import sha256_of, worker_name, write_whole

OK = "ok"
SKIPPED = "skipped"
FAILED = "failed"


@dataclass(frozen=True)
class FileVersion:
    """What a file's content is known by; `name` is the file's name inside its folder."""

    name: str
    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path, name: str | None = None) -> FileVersion:
        """The version of the file at `path`, which is read once."""
        return cls(name or path.name, path.stat().st_size, sha256_of(path))

    def is_at(self, folder: Path) -> bool:
        """Whether the file in `folder` exists and has exactly this content."""
        path = folder / self.name
        try:
            return path.stat().st_size == self.size_bytes and sha256_of(path) == self.sha256
        except OSError:
            return False


@dataclass(frozen=True)
class Receipt:
    """What happened to one item; `milliseconds` holds a number per phase, `total` among them."""

    item: str
    status: str
    input: str
    """The version of what the item was made from, such as the SHA-256 of its file."""
    parameters: str
    row: str | None = None
    outputs: tuple[FileVersion, ...] = ()
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    worker: str = field(default_factory=worker_name)
    ended_at: str = field(default_factory=lambda: utc_now())
    error: str | None = None
    note: str | None = None
    """What a person ought to know about an item that succeeded."""

    @property
    def succeeded(self) -> bool:
        return self.status in (OK, SKIPPED)

    def line(self) -> str:
        """The receipt as one line of JSON, without the line's end."""
        values = asdict(self)
        values["milliseconds"] = {phase: round(value, 3) for phase, value in self.milliseconds.items()}
        if self.note is None:
            del values["note"]
        return json.dumps(values, ensure_ascii=False)

    @classmethod
    def from_line(cls, line: str) -> Receipt:
        """Read a line; ValueError when it is no whole receipt (a killed writer's last line, say)."""
        try:
            values: dict[str, Any] = json.loads(line)
            outputs = tuple(FileVersion(**output) for output in values.pop("outputs"))
            return cls(**values, outputs=outputs)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a receipt: {line[:200]!r}") from error


def parameters_hash(parameters: Mapping[str, object]) -> str:
    """A short hash of everything besides the item that decides an output: models, options, formats."""
    text = json.dumps(parameters, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def batch_key(items: Iterable[str]) -> str:
    """The name of a mini-batch, made from its items' names in any order."""
    return hashlib.sha256("\n".join(sorted(items)).encode()).hexdigest()[:12]


class ReceiptBook:
    """The receipts folder of one step, seen by one worker.

    `find` looks into the receipts of the same mini-batch first, then into those that were there when the
    book was opened (an earlier attempt may have cut the mini-batches differently). Per known item, the book
    keeps one hash and one file number in memory, and only once something was looked up that way.
    """

    def __init__(self, folder: Path, outputs: Path, parameters: str) -> None:
        self._folder = folder
        self._outputs = outputs
        self.parameters = parameters
        folder.mkdir(parents=True, exist_ok=True)
        self._earlier = _receipt_files(folder)
        self._index: dict[int, int] | None = None

    def find(self, items: Sequence[str]) -> dict[str, Receipt]:
        """The newest receipt of each item that succeeded before, whether or not it is still valid."""
        wanted = set(items)
        found: dict[str, Receipt] = {}
        for path in _receipt_files(self._folder, batch_key(items)):
            found.update(_succeeded(path, wanted))
        missing = wanted - found.keys()
        if missing and self._earlier:
            index = self._earlier_index()
            for number in sorted({index[key] for key in map(hash, missing) if key in index}):
                found.update(_succeeded(self._earlier[number], missing))
        return found

    def valid(self, receipt: Receipt | None, input_version: str) -> bool:
        """Whether the receipt's outputs are there, whole, and made from this input with these parameters."""
        return (
            receipt is not None
            and receipt.succeeded
            and receipt.input == input_version
            and receipt.parameters == self.parameters
            and all(output.is_at(self._outputs) for output in receipt.outputs)
        )

    def failed_parts(self, items: Sequence[str]) -> list[Receipt]:
        """The newest receipts about parts of these items (a damaged frame of a segment), where they say failed."""
        newest: dict[str, Receipt] = {}
        for path in _receipt_files(self._folder, batch_key(items)):
            newest.update({receipt.item: receipt for receipt in read_file(path)})
        wanted = set(items)
        return [each for each in newest.values() if each.item not in wanted and each.status == FAILED]

    def write(self, items: Sequence[str], receipts: Sequence[Receipt]) -> Path:
        """Write the receipts of one mini-batch as one file; call it after the outputs are in place.

        The file's name counts the items of the mini-batch. Receipts about parts of them (a damaged frame of a
        segment) are in the file and not in its name, which tells how far a step is.
        """
        wanted = set(items)
        counted = [receipt.succeeded for receipt in receipts if receipt.item in wanted]
        ok = sum(counted)
        stamp = time.time_ns() // 1_000_000
        name = f"{batch_key(items)}.{ok}ok.{len(counted) - ok}failed"
        while (path := self._folder / f"{name}.{stamp}.jsonl").exists():  # written in this very millisecond
            stamp += 1
        write_whole(path, "".join(receipt.line() + "\n" for receipt in receipts).encode())
        return path

    def _earlier_index(self) -> dict[int, int]:
        if self._index is None:
            self._index = {}
            for number, path in enumerate(self._earlier):
                for receipt in read_file(path):
                    if receipt.succeeded:
                        self._index[hash(receipt.item)] = number
        return self._index


class MiniBatch:
    """The items of one call of `run`, and their receipts, which are written when the block ends.

    They are written when the block raises, too: what was finished is not done again.

        with MiniBatch(book, names) as batch:
            for name in names:
                if not batch.skip(name, input_version):
                    ...
                    batch.ok(name, input_version, row, outputs, milliseconds)
        return batch.rows
    """

    def __init__(self, book: ReceiptBook, items: Sequence[str]) -> None:
        self._book = book
        self._items = items
        self._receipts: dict[str, Receipt] = {}
        self._known = book.find(items)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._receipts:
            self._mend_parts()
            self._book.write(self._items, list(self._receipts.values()))

    def _mend_parts(self) -> None:
        """What an earlier try found damaged is mended when all the items have been made anew and it is not found
        again: a later receipt has to say so, or the run would be one with errors for ever."""
        made = [self._receipts.get(item) for item in self._items]
        if not all(receipt is not None and receipt.status == OK for receipt in made):
            return
        for part in self._book.failed_parts(self._items):
            if part.item not in self._receipts:
                self._receipts[part.item] = Receipt(
                    item=part.item, status=OK, input=part.input, parameters=part.parameters
                )

    @property
    def rows(self) -> list[str]:
        """One row per item that succeeded, now or before, in the order of the mini-batch."""
        done = (self._receipts.get(item) for item in self._items)
        return [receipt.row or receipt.item for receipt in done if receipt is not None and receipt.succeeded]

    def skip(self, item: str, input_version: str) -> bool:
        """Whether the item's earlier output is still valid; its receipt and row are then taken over."""
        started = time.perf_counter()
        known = self._known.get(item)
        if known is None or not self._book.valid(known, input_version):
            return False
        self._receipts[item] = Receipt(
            item=item,
            status=SKIPPED,
            input=known.input,
            parameters=known.parameters,
            row=known.row,
            outputs=known.outputs,
            milliseconds={"total": 1000 * (time.perf_counter() - started)},
            note=known.note,
        )
        return True

    def ok(
        self,
        item: str,
        input_version: str,
        row: str,
        outputs: Sequence[FileVersion],
        milliseconds: Mapping[str, float],
        note: str | None = None,
    ) -> None:
        """The item's outputs are in place."""
        self._receipts[item] = Receipt(
            item=item,
            status=OK,
            input=input_version,
            parameters=self._book.parameters,
            row=row,
            outputs=tuple(outputs),
            milliseconds=milliseconds,
            note=note,
        )

    def failed(self, item: str, input_version: str, error: str) -> None:
        """The item could not be done; `error` is the sentence a person reads."""
        print(f"{item} failed: {error}", file=sys.stderr, flush=True)
        self._receipts[item] = Receipt(
            item=item, status=FAILED, input=input_version, parameters=self._book.parameters, error=error
        )


def read_file(path: Path) -> Iterator[Receipt]:
    """The receipts in one file; what is no whole receipt is passed over."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                yield Receipt.from_line(line)
            except ValueError:
                continue


def read_folder(folder: Path) -> Iterator[Receipt]:
    """Every receipt of a step, oldest file first: the last one about an item is the one that counts."""
    for path in _receipt_files(folder):
        yield from read_file(path)


def _receipt_files(folder: Path, key: str = "") -> list[Path]:
    """The receipts files, oldest first; their names end with the moment they were written."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if entry.name.startswith(key) and entry.name.endswith(".jsonl") and entry.name.count(".") == 4
        ]
    return [folder / name for name in sorted(names, key=_written_at)]


def _written_at(name: str) -> tuple[int, str]:
    stamp = name.split(".")[3]
    return (int(stamp) if stamp.isdecimal() else 0, name)


def _succeeded(path: Path, wanted: set[str]) -> dict[str, Receipt]:
    return {
        receipt.item: receipt for receipt in read_file(path) if receipt.item in wanted and receipt.succeeded
    }


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
