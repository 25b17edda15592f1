"""Tables of what each item took, made from receipts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from common.receipts import OK, Receipt

PHASES = ("decode", "infer", "encode", "write", "total")


def newest_and_worked(receipts: Iterable[Receipt]) -> tuple[dict[str, Receipt], dict[str, Receipt]]:
    """The last receipt of each item, which tells how it stands, and the last one that tells of real work."""
    newest: dict[str, Receipt] = {}
    worked: dict[str, Receipt] = {}
    for receipt in receipts:
        newest[receipt.item] = receipt
        if receipt.status == OK:
            worked[receipt.item] = receipt
    return newest, worked


def timings_table(columns: Sequence[str], rows: Iterable[tuple[Sequence[object], Receipt]]) -> str:
    """CSV with `columns`, the milliseconds of each phase, the worker and the end of each item.

    Phases overlap, so that they add up to more than the total.
    """
    lines = [timings_header(columns), *(timings_line(values, receipt) for values, receipt in rows)]
    return "".join(f"{line}\n" for line in lines)


def timings_header(columns: Sequence[str]) -> str:
    """The first line of such a table, without its end."""
    return csv_line(*columns, *(f"{phase}_ms" for phase in PHASES), "worker", "ended_at")


def timings_line(values: Sequence[object], receipt: Receipt) -> str:
    """The line about one item, without its end."""
    return csv_line(*values, *_phases(receipt.milliseconds), receipt.worker, receipt.ended_at)


def csv_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """CSV text with a header."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
    return text.getvalue()


def csv_line(*values: object) -> str:
    """One line of such a table, without its end."""
    return csv_table([str(value) for value in values], ()).removesuffix("\n")


def _phases(milliseconds: Mapping[str, float]) -> list[str]:
    return [f"{milliseconds.get(phase, 0):.1f}" for phase in PHASES]
