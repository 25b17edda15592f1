"""The decisions of the local engine that need no process: batches, thresholds, arguments, interpreters, secrets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from batchscore.compute.local.arguments import INIT_TIMEOUT_S, DriverArguments
from batchscore.compute.local.engine import interpreter
from batchscore.compute.local.machine import Machine, visible_gpus
from batchscore.compute.local.markers import fingerprint
from batchscore.compute.local.minibatches import items_in, split
from batchscore.compute.local.processes import without_secrets
from batchscore.compute.local.thresholds import Result, Tally, Thresholds, Verdict, again, judge
from batchscore.definitions.expressions import filled_words
from tests.local_pipelines import write


@pytest.mark.parametrize(
    ("batches", "wanted", "machine", "workers"),
    [
        (10, None, Machine(4), 4),
        (10, 2, Machine(4), 2),
        (10, 8, Machine(4), 4),
        (3, None, Machine(4), 3),
        (1, 8, Machine(4), 1),
        (10, None, Machine(1), 1),
        (10, None, Machine(16, gpus=1), 1),
        (10, None, Machine(16, gpus=2), 2),
        (10, 3, Machine(16, gpus=1), 3),
    ],
)
def test_workers_are_as_many_as_asked_for_or_one_for_each_gpu_or_core(
    batches: int, wanted: int | None, machine: Machine, workers: int
) -> None:
    assert machine.workers(batches, wanted) == workers


@pytest.mark.parametrize(
    ("workers", "cores", "threads"), [(1, 8, 8), (2, 8, 4), (3, 8, 2), (8, 8, 1), (2, 1, 1)]
)
def test_workers_share_the_cores(workers: int, cores: int, threads: int) -> None:
    assert Machine(cores).threads(workers) == threads


@pytest.mark.parametrize(
    ("variable", "gpus"), [(None, 2), ("", 0), ("-1", 0), ("0", 1), ("0,1", 2), ("GPU-8f", 1), ("0,1,2", 2)]
)
def test_gpus_that_are_hidden_do_not_count(variable: str | None, gpus: int) -> None:
    environment = {} if variable is None else {"CUDA_VISIBLE_DEVICES": variable}
    assert visible_gpus(environment, ["nvidia0", "nvidia1", "nvidiactl"]) == gpus
    assert Machine.here().cores >= 1


def test_items_are_all_files_below_a_folder_by_name_or_the_one_file(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", ".hidden", "B.txt"):
        write(tmp_path / name, "")
    assert items_in(tmp_path) == [".hidden", "B.txt", "a/z.txt", "b.txt"]
    assert items_in(tmp_path / "b.txt") == ["b.txt"]
    assert [batch.items for batch in split(items_in(tmp_path), 3)] == [
        (".hidden", "B.txt", "a/z.txt"),
        ("b.txt",),
    ]
    assert split([], 3) == []


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        (Result(rows=4), Verdict(4, 0, "")),
        (Result(rows=7), Verdict(4, 0, "")),
        (Result(rows=1), Verdict(1, 3, "run() returned 1 rows for 4 items")),
        (Result(rows=0), Verdict(0, 4, "run() returned 0 rows for 4 items")),
        (Result(error="ValueError: x"), Verdict(0, 4, "ValueError: x")),
    ],
)
def test_failed_items_are_those_without_a_row(result: Result, verdict: Verdict) -> None:
    assert judge(4, result) == verdict


@pytest.mark.parametrize(
    ("tries", "max_retries", "more"), [(1, 0, False), (1, 1, True), (2, 1, False), (2, 2, True)]
)
def test_a_mini_batch_is_tried_once_and_then_max_retries_times(
    tries: int, max_retries: int, more: bool
) -> None:
    assert again(tries, max_retries) is more


@pytest.mark.parametrize(
    ("thresholds", "exceeded"),
    [
        (Thresholds(), False),
        (Thresholds(items=3), False),
        (Thresholds(items=2), True),
        (Thresholds(items=0), True),
        (Thresholds(mini_batches=1), False),
        (Thresholds(mini_batches=0), True),
        (Thresholds(mini_batches_percent=50), False),
        (Thresholds(mini_batches_percent=49), True),
        (Thresholds(items=9, mini_batches=9, mini_batches_percent=10), True),
    ],
)
def test_a_threshold_is_the_number_of_failures_that_are_ignored(
    thresholds: Thresholds, exceeded: bool
) -> None:
    tally = Tally(items_total=8, mini_batches_total=2).settled(judge(4, Result(rows=1)), ["a", "b", "c", "d"])
    assert (tally.items_done, tally.items_failed, tally.mini_batches_failed) == (1, 3, 1)
    reason = tally.excess(thresholds)
    assert bool(reason) is exceeded
    if reason:
        assert "first causes: a, b, c and 1 more: run() returned 1 rows for 4 items" in reason


def test_a_tally_keeps_few_causes_however_many_fail() -> None:
    tally = Tally(100, 100)
    for index in range(100):
        assert not tally.finished
        tally = tally.settled(judge(1, Result(error="x" * 10)), [str(index)])
    assert tally.finished
    assert len(tally.causes) == 3


def arguments(*words: str) -> DriverArguments:
    """Of words that stand in the file as they are."""
    return DriverArguments.of([(word, False) for word in words])


def test_the_drivers_arguments_are_taken_out_and_all_others_pass() -> None:
    driver = arguments(
        *[
            "--model",
            "m",
            "--error_threshold",
            "5",
            "--allowed_failed_percent=12.5",
            "-v",
            "--copy_logs_to_parent",
            *("--first_task_creation_timeout", "30", "--unknown", "--progress_update_timeout", "9", "last"),
        ]
    )
    assert driver.script == ("--model", "m", "-v", "--unknown", "last")
    assert driver.error_threshold(-1) == 5
    assert driver.allowed_failed_percent == 12.5
    assert driver.init_timeout_s == 30
    assert driver.without_effect == ("--copy_logs_to_parent", "--progress_update_timeout")
    plain = arguments("x")
    assert (plain.error_threshold(7), plain.allowed_failed_percent, plain.init_timeout_s) == (
        7,
        None,
        INIT_TIMEOUT_S,
    )
    with pytest.raises(ValueError, match="--error_threshold is 'many'; it must be a number"):
        arguments("--error_threshold", "many").error_threshold(0)
    for number in ("nan", "inf"):
        with pytest.raises(ValueError, match="it must be a number"):
            arguments("--error_threshold", number).error_threshold(0)


@pytest.mark.parametrize(
    "value", ["--append_row_file_name=../../x", "--error_threshold", "--allowed_failed_percent=100"]
)
def test_a_value_of_a_run_is_never_an_option_of_the_driver(value: str) -> None:
    words = filled_words(
        "--mode ${{inputs.mode}} --error_threshold ${{inputs.most}}", {"mode": value, "most": "3"}, {}
    )
    driver = DriverArguments.of(words)
    assert driver.script == ("--mode", value)
    assert driver.values == {"error_threshold": "3"}


@pytest.mark.parametrize("name", ["../rows.txt", "/etc/rows", "a/b", "..", "a\\b", "x" * 300])
def test_the_file_of_rows_stays_in_its_folder(name: str) -> None:
    with pytest.raises(ValueError, match="must be the name of a file"):
        _ = arguments("--append_row_file_name", name).rows_name
    assert arguments("--append_row_file_name", "Rows.CSV").rows_name == "rows.csv"


@pytest.mark.parametrize(
    ("environment", "python"),
    [
        ("azureml:torch:3", "t"),
        ("azureml:torch@latest", "t"),
        ("file:../environments/env.yml", "e"),
        ("../environments/env.yml", "e"),
        ("mcr.microsoft.com/x:1", "i"),
        ("azureml:other:1", sys.executable),
        (None, sys.executable),
    ],
)
def test_an_environment_is_known_by_its_name_its_file_or_its_asset(
    environment: str | None, python: str
) -> None:
    known = {"torch": "t", "env.yml": "e", "mcr.microsoft.com/x:1": "i"}
    assert interpreter(environment, known) == python


def test_a_fingerprint_changes_with_every_file_but_not_with_what_python_leaves(tmp_path: Path) -> None:
    write(tmp_path / "a.py", "1")
    first = fingerprint(tmp_path)
    write(tmp_path / "__pycache__" / "a.pyc", "x")
    write(tmp_path / ".git" / "index", "x")
    assert fingerprint(tmp_path) == first
    write(tmp_path / "a.py", "2")
    second = fingerprint(tmp_path)
    write(tmp_path / "b.py", "")
    assert len({first, second, fingerprint(tmp_path)}) == 3
    assert fingerprint(tmp_path / "missing") == fingerprint(tmp_path / "missing as well")


def test_steps_see_no_secrets() -> None:
    environment = {
        "PATH": "/bin",
        "AzureWebJobsStorage": "x",
        "AzureWebJobsStorage__clientId": "x",
        "DATA_STORAGE": "x",
        "HUB": "Endpoint=sb://x;SharedAccessKey=x",
        "SAS": "https://x?SharedAccessSignature=x",
        "OTHER": "AccountName=x;AccountKey=x",
        "AZURE_CLIENT_SECRET": "x",
        "AZURE_CLIENT_CERTIFICATE_PASSWORD": "x",
        "AZURE_PASSWORD": "x",
        "IDENTITY_HEADER": "x",
    }
    assert without_secrets(environment) == {"PATH": "/bin"}
