"""Signals: what alerts read in the log. A line each, a fixed word and a JSON object; here are all their names.

Azure Monitor keeps of a log line its text alone, so this text is what `infra/alerts/*.kql` parse. A signal may be lost
with the process that was about to write it, and come twice: records say what is true, signals wake somebody.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime
from enum import StrEnum

from batchscore.printable import printable

PREFIX = "batchscore.signal "
LONGEST_TEXT = 300

log = logging.getLogger("batchscore.signals")


class Signal(StrEnum):
    VITALS = "vitals"
    """Once for each look of the timer: `swept`, `unrecorded_s`, `reconciled`, `running`, `unstarted_s`. Ages are in
    seconds: of the oldest file that starts a run and has none, and of the oldest run whose turn has come and that
    could not be started. 0 is none, null is not known."""
    RUN_FAILED = "run_failed"
    """A run failed, or was canceled by nobody: `run`, `workload`, `state`, `reason`."""
    POISON_MESSAGE = "poison_message"
    """The host gave up on a file: `run` and `file`, both empty when the message names none."""
    HOURS_LOOKED = "hours_looked"
    """Once for each look at the hours: `started`, `empty`, `waiting`, `faults`, and `oldest_unpublished`, the end of
    the oldest hour in reach that has readings and no published predictions, or null."""
    HOUR_PUBLISHED = "hour_published"
    """`hour`, `version`, `run`, `failed_items`."""


Fact = str | int | float | bool | datetime | None


def say(signal: Signal, **facts: Fact) -> None:
    """Write the line of a signal."""
    told = {"signal": signal.value} | {name: _plain(fact) for name, fact in facts.items()}
    log.info("%s%s", PREFIX, json.dumps(told))


def age_s(since: datetime | None, now: datetime) -> float:
    """Seconds since then, 0 when there is no such time."""
    return max(0.0, round((now - since).total_seconds(), 1)) if since else 0.0


def _plain(fact: Fact) -> str | int | float | bool | None:
    if isinstance(fact, datetime):
        return fact.isoformat()
    return printable(fact, LONGEST_TEXT) if isinstance(fact, str) else fact
