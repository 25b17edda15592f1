"""How long a call of the service waits, and when none is made."""

from __future__ import annotations

import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from azure.core import PipelineClient
from azure.core.exceptions import ServiceResponseError
from azure.core.pipeline.policies import RetryPolicy
from azure.core.rest import HttpRequest

from batchscore.compute.azureml.patience import LONGEST_PAUSE_S, QUIET_S, Gate, LeftAloneError, ShortWaits
from batchscore.errors import ComputeUnavailableError
from tests.unit.test_azureml_errors import answered


class Script(BaseHTTPRequestHandler):
    """Answers with what the test wrote down, one after the other; the last one stays."""

    answers: list[tuple[int, str]]
    asked = 0

    def do_GET(self) -> None:
        status, retry_after = self.answers[min(type(self).asked, len(self.answers) - 1)]
        type(self).asked += 1
        self.send_response(status)
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


Ask = Callable[[list[tuple[int, str]]], tuple[int, int]]


@pytest.fixture
def ask() -> Ask:
    """Ask a service that answers so; gives the last status (or the seconds of a pause, negative), and how often it was
    asked."""

    def asking(answers: list[tuple[int, str]]) -> tuple[int, int]:
        script = type("Written", (Script,), {"answers": answers, "asked": 0})
        with ThreadingHTTPServer(("127.0.0.1", 0), script) as server:
            thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                retries: RetryPolicy[Any, Any] = RetryPolicy(retry_total=3, retry_backoff_factor=0.01)
                address = f"http://127.0.0.1:{server.server_port}/"
                with PipelineClient(address, policies=[retries], transport=ShortWaits()) as client:
                    try:
                        return client.send_request(HttpRequest("GET", address)).status_code, script.asked
                    except LeftAloneError as error:
                        return -int(error.wait_s), script.asked
            finally:
                server.shutdown()
                thread.join()

    return asking


@pytest.mark.parametrize(
    ("answers", "status", "asked"),
    [
        ([(200, "")], 200, 1),
        ([(503, ""), (429, ""), (200, "")], 200, 3),
        ([(500, "")], 500, 4),
        ([(429, "0"), (200, "")], 200, 2),
        ([(429, "3600"), (200, "")], -3600, 1),
        ([(503, "60"), (200, "")], -60, 1),
        ([(400, "")], 400, 1),
        ([(409, "")], 409, 1),
    ],
)
def test_short_waits_are_sat_out_and_long_ones_end_the_call(
    ask: Ask, answers: list[tuple[int, str]], status: int, asked: int
) -> None:
    began = time.monotonic()
    assert ask(answers) == (status, asked)
    assert time.monotonic() - began < 10


def test_while_the_service_wants_to_be_left_alone_no_call_is_made() -> None:
    now, calls = [1_000.0], 0
    gate = Gate(lambda: now[0])

    def call(wait_s: float = 0) -> None:
        nonlocal calls
        with gate.calling("look at a job"):
            calls += 1
            if wait_s:
                raise LeftAloneError(wait_s)

    with pytest.raises(ComputeUnavailableError, match="a pause of 30 s"):
        call(30)
    now[0] += 29
    with pytest.raises(ComputeUnavailableError, match="a pause of 1 s"):
        call()
    assert calls == 1
    now[0] += 1
    call()
    with pytest.raises(ComputeUnavailableError):
        call(999_999)
    now[0] += LONGEST_PAUSE_S
    call()
    assert calls == 4


def test_a_service_that_did_not_answer_twice_in_a_row_is_not_called_for_a_while() -> None:
    now, calls = [1_000.0], 0
    gate = Gate(lambda: now[0])

    def call(error: Exception | None = None) -> None:
        nonlocal calls
        with gate.calling("look at a job"):
            calls += 1
            if error:
                raise error

    def unanswered() -> None:
        with pytest.raises(ComputeUnavailableError, match="did not answer"):
            call(ServiceResponseError("reset"))

    unanswered()
    call()  # one alone may be a matter of one job
    unanswered()
    unanswered()
    assert calls == 4
    with pytest.raises(ComputeUnavailableError, match=r"cannot look at a job yet: .* a moment ago"):
        call()
    assert calls == 4
    now[0] += QUIET_S
    unanswered()  # still away: closed again at once
    with pytest.raises(ComputeUnavailableError, match="a moment ago"):
        call()
    now[0] += QUIET_S
    call()
    call()
    assert calls == 7


def test_other_faults_close_no_gate() -> None:
    gate = Gate()
    for _ in range(2):
        with pytest.raises(ComputeUnavailableError, match="503"), gate.calling("look at a job"):
            raise answered(503)
    with gate.calling("look at a job"):
        pass
