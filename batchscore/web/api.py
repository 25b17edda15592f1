"""The run API: plain values in, (status, document) out; function_app.py turns them into HTTP."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from batchscore.application import Application
from batchscore.errors import (
    BatchscoreError,
    RequestError,
    RunConflictError,
    RunNotFoundError,
    RunUnreadableError,
    StorageUnavailableError,
)
from batchscore.printable import quoted
from batchscore.runs import Run, RunState
from batchscore.settings import MOST_HOURS

Answer = tuple[int, dict[str, Any]]

MOST_LISTED = 500
HOURS_LISTED = 24


def document(run: Run) -> dict[str, Any]:
    """A run as the API and `--json` show it: the record itself."""
    value: dict[str, Any] = msgspec.to_builtins(run)
    return value


def start_run(application: Application, body: bytes, idempotency_key: str | None) -> Answer:
    """202 with the new run, 200 with the one that this key started before, 400 or 409 with the reason."""

    def start() -> Answer:
        run, created = application.intake.request("http", idempotency_key or str(uuid.uuid4()), body)
        if created:
            application.kick()
        return (202 if created else 200), document(run)

    return _answer(start)


def list_runs(application: Application, limit: str | None, state: str | None) -> Answer:
    """200 with the newest runs."""

    def read() -> Answer:
        small = limit is not None and limit.isdecimal() and len(limit) < 10
        count = int(limit) if limit and small else 50 if not limit else 0
        if not 1 <= count <= MOST_LISTED:
            raise RequestError(
                f"limit is {str(limit)[:100]!r}; it must be a whole number from 1 to {MOST_LISTED}."
            )
        if state and state not in list(RunState):
            raise RequestError(f"state is {quoted(state)}; it must be one of {', '.join(RunState)}.")
        found = application.store.recent(count, RunState(state) if state else None)
        return 200, {"runs": [document(run) for run in found]}

    return _answer(read)


def get_run(application: Application, run_id: str) -> Answer:
    return _answer(lambda: (200, document(application.run(run_id))))


def failed_items(application: Application, run_id: str) -> Answer:
    """200 with every failed item of the run."""

    def read() -> Answer:
        run = application.run(run_id)
        items = application.failed_items(run)
        return 200, {"run": run.id, "failed": [{"item": each.item, "error": each.error} for each in items]}

    return _answer(read)


def cancel_run(application: Application, run_id: str) -> Answer:
    return _answer(lambda: (202, document(application.cancel(application.run(run_id).id))))


def retry_run(application: Application, run_id: str) -> Answer:
    return _answer(lambda: (202, document(application.retry(application.run(run_id).id))))


def list_hours(application: Application, last: str | None) -> Answer:
    """200 with the last hours that are over, the newest first."""

    def read() -> Answer:
        small = last is not None and last.isdecimal() and len(last) < 10
        count = int(last) if last and small else HOURS_LISTED if not last else 0
        if not 1 <= count <= MOST_HOURS:
            raise RequestError(
                f"last is {str(last)[:100]!r}; it must be a whole number from 1 to {MOST_HOURS}."
            )
        return 200, {"hours": [msgspec.to_builtins(each) for each in application.hour_accounts.last(count)]}

    return _answer(read)


def _answer(act: Callable[[], Answer]) -> Answer:
    try:
        return act()
    except RunNotFoundError as error:
        return 404, {"error": str(error)}
    except RunConflictError as error:
        return 409, {"error": str(error)}
    except RunUnreadableError as error:
        return 500, {"error": str(error)}
    except StorageUnavailableError as error:
        return 503, {"error": str(error)}
    except BatchscoreError as error:
        return 400, {"error": str(error)}
