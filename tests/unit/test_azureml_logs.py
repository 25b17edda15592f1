"""Logs of Azure ML's steps: which are copied, what they are called, what they say went wrong."""

from __future__ import annotations

import threading

import pytest

from batchscore.compute.azureml.logs import MOST_BYTES, MOST_LOGS, cause, chosen, copy_logs, file_name
from batchscore.compute.base import Location
from batchscore.storage import Storage
from tests.azurite import blob_names, blob_text

PLACE = Location("system", "logs", "0123456789abcdef0123/attempt-1/score")


class Served:
    """Logs by name, as a workspace serves them."""

    def __init__(self, **logs: bytes) -> None:
        self._logs = logs
        self.sent_bytes = 0

    def logs(self, run: str) -> dict[str, str]:
        return {name.replace("__", "/"): name for name in self._logs}

    def part(self, address: str, start: int, most_bytes: int) -> tuple[bytes, int]:
        whole = self._logs[address]
        content = whole[start : start + most_bytes]
        self.sent_bytes += len(content)
        return content, len(whole)


def test_logs_lie_in_one_folder_and_say_why_a_step_failed(storage: Storage) -> None:
    served = Served(
        user_logs__std_log=b"driver\nSystemExit: 42\n",
        logs__user__error__node__process000=b'Traceback\n  File "score.py"\nValueError: cannot read b.txt\n\n',
    )
    assert copy_logs(served, storage, "run", PLACE) == "ValueError: cannot read b.txt"
    names = blob_names(storage, "system", "logs", PLACE.path)
    assert [name.removeprefix(f"{PLACE.path}/") for name in names] == [
        "std_log",
        "user.error.node.process000",
    ]
    assert blob_text(storage, "system", "logs", f"{PLACE.path}/std_log").startswith("driver")


def test_the_logs_of_a_step_are_copied_side_by_side(storage: Storage) -> None:
    together = threading.Barrier(4)

    class Slow(Served):
        def part(self, address: str, start: int, most_bytes: int) -> tuple[bytes, int]:
            together.wait(timeout=30)  # broken unless four are on their way at once
            return super().part(address, start, most_bytes)

    served = Slow(**{f"user_logs__{name}": b"ValueError: %s\n" % name.encode() for name in "badc"})
    place = Location("system", "logs", "0123456789abcdef0123/attempt-3/score")
    assert copy_logs(served, storage, "run", place) == "ValueError: a"
    assert len(blob_names(storage, "system", "logs", place.path)) == 4


def test_of_a_long_log_both_ends_are_kept_and_it_says_so(storage: Storage) -> None:
    place = Location("system", "logs", "0123456789abcdef0123/attempt-2/score")
    served = Served(user_logs__std_log=b"begin" + bytes(3 * MOST_BYTES) + b"\nKeyError: 'end'")
    assert copy_logs(served, storage, "run", place) == "KeyError: 'end'"
    kept = blob_text(storage, "system", "logs", f"{place.path}/std_log")
    assert kept.startswith("begin")
    assert "8,388,629 bytes are left out here" in kept
    assert len(kept) < MOST_BYTES + 100
    assert served.sent_bytes < 2 * MOST_BYTES


def test_the_logs_of_the_users_own_program_come_first_and_not_all_of_them() -> None:
    names = [f"logs/sys/node/{number}.txt" for number in range(100)]
    many = dict.fromkeys(
        [*names, "logs/user/stdout/a.txt", "logs/user/error/a.txt", "user_logs/std_log.txt"], ""
    )
    found = chosen(many)
    assert found[:3] == ["user_logs/std_log.txt", "logs/user/error/a.txt", "logs/user/stdout/a.txt"]
    assert len(found) == MOST_LOGS


@pytest.mark.parametrize(
    ("log", "name"),
    [
        ("user_logs/std_log.txt", "std_log.txt"),
        ("logs/user/stdout/10.0.0.4/process000.stdout.txt", "user.stdout.10.0.0.4.process000.stdout.txt"),
        ("system_logs/a.log", "system_logs.a.log"),
    ],
)
def test_a_log_is_one_file_in_the_folder_of_its_step(log: str, name: str) -> None:
    assert file_name(log) == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("working\nTraceback:\n  x\nValueError: no\n\n", "ValueError: no"),
        (
            "onnxruntime.capi.Fail: x\nazure.core.exceptions.HttpResponseError: 403\n",
            "azure.core.exceptions.HttpResponseError: 403",
        ),
        ("KeyboardInterrupt\n", "KeyboardInterrupt"),
        ("RuntimeError: first\nSystemExit: 42\n", "RuntimeError: first"),
        (
            "3 of 3 items failed, more than error_threshold 2\n",
            "3 of 3 items failed, more than error_threshold 2",
        ),
        ("An Error occurred in the middle\nall is well\n", ""),
        ("", ""),
    ],
)
def test_the_cause_is_the_last_line_of_the_last_traceback(text: str, said: str) -> None:
    assert cause(text) == said
