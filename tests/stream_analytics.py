"""What the Stream Analytics job would write, by its query and its settings in `infra/modules/`.

Not the service: a small evaluation of what is documented of it, for tests of what reads its files. Window, folder and
tolerances are read from the files that are deployed; the rest of the query is told here a second time.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from batchscore.ingest import Event, partition_of

_MODULES = Path(__file__).parent.parent / "infra" / "modules"
_AHEAD = timedelta(minutes=5)
"""An event further ahead of its arrival is dropped, whatever the settings."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Job:
    """What of the job's definition decides what it writes."""

    window: timedelta
    folder_shift: timedelta
    late: timedelta
    out_of_order: timedelta
    path: str

    @classmethod
    def deployed(cls) -> Job:
        query = (_MODULES / "stream-analytics.asaql").read_text("utf-8")
        bicep = (_MODULES / "stream-analytics.bicep").read_text("utf-8")
        assert "outputErrorPolicy: 'Drop'" in bicep
        assert "eventsOutOfOrderPolicy: 'Drop'" in bicep
        assert "format: 'LineSeparated'" in bicep
        return cls(
            timedelta(minutes=int(_found(r"TumblingWindow\(minute, (\d+)\)", query))),
            timedelta(milliseconds=int(_found(r"DATEADD\(millisecond, (-?\d+), ts\)", query))),
            timedelta(seconds=int(_found(r"eventsLateArrivalMaxDelayInSeconds: (\d+)", bicep))),
            timedelta(seconds=int(_found(r"eventsOutOfOrderMaxDelayInSeconds: (\d+)", bicep))),
            _found(r"pathPattern: '(.+)'", bicep),
        )


def blobs_of(events: Sequence[Event], job: Job) -> dict[str, bytes]:
    """The blobs that the job leaves for events, in the order in which they arrived."""
    windows: dict[tuple[str, str, datetime], list[float]] = defaultdict(list)
    for ts, row in _in_time(events, job):
        device, tag, value = (row.get(name) for name in ("device", "tag", "value"))
        if not (_is_name(device) and _is_name(tag) and _type(value) in ("float", "bigint")):
            continue
        end = _EPOCH - ((_EPOCH - ts) // job.window) * job.window  # (start, end]
        windows[str(device), str(tag), end].append(float(str(value)))
    rows: dict[str, list[str]] = defaultdict(list)
    for (device, tag, end), values in windows.items():
        inside = (end + job.folder_shift).isoformat()
        folder = "/".join((inside[:4], inside[5:7], inside[8:10], inside[11:13]))
        row = {
            "ts": f"{end:%Y-%m-%dT%H:%M:%S}.0000000Z",
            "device": device,
            "tag": tag,
            "value": sum(values) / len(values),
            "events": len(values),
            "id": "minute",
            "folder": folder,
        }
        rows[folder].append(json.dumps(row, separators=(",", ":")))
    return {
        f"{job.path.replace('{folder}', folder)}/0_{uuid.uuid5(uuid.NAMESPACE_URL, folder).hex}_1.json": (
            "\r\n".join(lines).encode()
        )
        for folder, lines in rows.items()
    }


def _in_time(events: Sequence[Event], job: Job) -> Iterator[tuple[datetime, dict[str, Any]]]:
    """What has a time and came in time: neither too late, nor too early, nor long after a newer one."""
    newest: dict[str, datetime] = {}
    for event in events:
        arrival, partition = event.enqueued_time, partition_of(event)
        assert arrival is not None
        for row in _rows(event.get_body()):
            ts = _time(row.get("ts"))
            if ts is None or arrival - ts > job.late or ts - arrival > _AHEAD:
                continue
            newest[partition] = max(ts, newest.get(partition, ts))
            if newest[partition] - ts <= job.out_of_order:
                yield ts, row


def _rows(body: bytes) -> list[dict[str, Any]]:
    """The objects of an event, an array or not. What is no JSON, or holds anything else, is dropped as a whole."""
    try:
        found = json.loads(body.decode(), parse_constant=_refuse)
    except ValueError:
        return []
    rows = found if isinstance(found, list) else [found]
    return rows if all(isinstance(row, dict) for row in rows) else []


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _time(value: Any) -> datetime | None:
    try:
        ts = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return ts.replace(tzinfo=UTC) if ts.tzinfo is None else ts.astimezone(UTC)


def _type(value: Any) -> str:
    """What GetType says."""
    if isinstance(value, bool):
        return "bit"
    return {int: "bigint", float: "float", str: "nvarchar(max)"}.get(type(value), "other")


def _is_name(value: Any) -> bool:
    return _type(value) in ("nvarchar(max)", "bigint") and 1 <= len(str(value)) <= 256


def _found(pattern: str, text: str) -> str:
    (found,) = re.findall(pattern, text)
    return str(found)
