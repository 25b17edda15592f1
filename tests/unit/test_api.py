"""The run API: each fault has its status."""

from __future__ import annotations

from typing import Any, cast

import pytest

from batchscore.application import Application
from batchscore.errors import (
    BatchscoreError,
    RequestError,
    RunConflictError,
    RunNotFoundError,
    RunUnreadableError,
    StorageUnavailableError,
)
from batchscore.web import api


class Faulty:
    def __init__(self, error: BatchscoreError) -> None:
        self.error = error

    def run(self, run_id: str) -> Any:
        raise self.error

    cancel = retry = run


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RequestError("bad"), 400),
        (RunNotFoundError("none"), 404),
        (RunConflictError("over"), 409),
        (RunUnreadableError("torn"), 500),
        (StorageUnavailableError("down"), 503),
    ],
)
def test_each_fault_has_its_status_and_says_why(error: BatchscoreError, status: int) -> None:
    application = cast("Application", Faulty(error))
    for call in (api.get_run, api.cancel_run, api.retry_run):
        assert call(application, "ab") == (status, {"error": str(error)})


@pytest.mark.parametrize("limit", ["0", "501", "-1", "1.5", "many", "9" * 5_000])
def test_a_limit_that_is_no_small_number_is_refused(limit: str) -> None:
    status, document = api.list_runs(cast("Application", None), limit, None)
    assert status == 400
    assert "whole number from 1 to 500" in document["error"]
