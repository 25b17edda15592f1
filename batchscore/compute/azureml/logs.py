"""The logs of a job's steps, copied to where those of other computes are: Azure ML shows its own in the studio alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from batchscore.compute.base import Location
from batchscore.printable import printable
from batchscore.storage import Storage, translated

MOST_LOGS = 60
MOST_BYTES = 4 << 20
"""Of one log; of a longer one its two ends are kept."""
COPIED_AT_ONCE = 8
"""One after the other, those of a job would take the reconciler longer than its lease lasts."""
_FIRST = ("user_logs/", "logs/user/error", "logs/user/", "logs/azureml/", "logs/")
"""Which logs are copied when a step (hundreds of workers on many nodes) has more than may be."""
_RAISED = re.compile(
    r"(?:[A-Za-z_][\w.]*)?(?:Error|Exception|Exit|Interrupt|Warning)\b(?::|$)|.*\bitems? failed\b"
)
_USELESS = re.compile(r"SystemExit\b")
"""What the driver of parallel jobs ends with, whatever happened."""


class Source(Protocol):
    """Where logs come from."""

    def logs(self, run: str) -> dict[str, str]: ...

    def part(self, address: str, start: int, most_bytes: int) -> tuple[bytes, int]: ...


def file_name(log: str) -> str:
    """What a log is called here, one file in the folder of its step."""
    for prefix in ("user_logs/", "logs/"):
        log = log.removeprefix(prefix)
    return log.replace("/", ".")


def chosen(logs: Mapping[str, str]) -> list[str]:
    """The names of the logs that are copied, those of the user's own program first."""

    def rank(name: str) -> tuple[int, str]:
        found = (number for number, prefix in enumerate(_FIRST) if name.startswith(prefix))
        return next(found, len(_FIRST)), name

    return sorted(logs, key=rank)[:MOST_LOGS]


def cause(text: str) -> str:
    """What a log says went wrong: the last line of its last traceback, or its last count of failed items."""
    for line in reversed(text.splitlines()):
        line = line.strip()
        if _RAISED.match(line) and not _USELESS.match(line):
            return printable(line, 500)
    return ""


def copy_logs(source: Source, storage: Storage, run: str, place: Location) -> str:
    """Copy the logs of a step's run below a place; what the first of them that says so gives as the cause of a failure."""
    addresses = source.logs(run)
    container = storage.container(place.account, place.container, create=True)

    def copied(name: str) -> str:
        content = _ends(source, addresses[name])
        with translated(str(place)):
            container.upload_blob(f"{place.path}/{file_name(name)}", content, overwrite=True)
        return cause(content.decode(errors="replace"))

    with ThreadPoolExecutor(COPIED_AT_ONCE) as pool:
        return next(filter(None, list(pool.map(copied, chosen(addresses)))), "")


def _ends(source: Source, address: str) -> bytes:
    content, size_bytes = source.part(address, 0, MOST_BYTES)
    if size_bytes <= len(content):
        return content
    half = MOST_BYTES // 2
    end, _ = source.part(address, size_bytes - half, half)
    left_out = f"\n[… {size_bytes - 2 * half:,} bytes are left out here …]\n".encode()
    return content[:half] + left_out + end
