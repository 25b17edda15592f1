"""A parallel step on the local engine: Azure ML's semantics, with real worker processes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from batchscore.compute.base import JobState, Overrides
from batchscore.compute.local.machine import Machine
from batchscore.definitions.model import Input, Output, Retry
from tests.local_pipelines import Workplace, alive, files, parallel, write

ECHO = """
    from pathlib import Path

    def init():
        pass

    def run(mini_batch):
        return [Path(item).name for item in mini_batch]
"""


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    files(tmp_path / "data", 5)
    return Workplace(tmp_path)


def test_every_item_is_handed_out_once_in_mini_batches_of_the_size_asked_for(place: Workplace) -> None:
    write(place.root / "data" / "deep" / "below" / "item.txt", "x")
    status = place.run(parallel(place.root, ECHO, size=4))
    assert status.state is JobState.SUCCEEDED, status.message
    assert [line["items"] for line in place.results()] == [
        ["deep/below/item.txt", "item-00.txt", "item-01.txt", "item-02.txt"],
        ["item-03.txt", "item-04.txt"],
    ]
    (step,) = status.steps
    assert (step.items_total, step.items_done, step.items_failed) == (6, 6, 0)
    first = place.results()[0]
    assert (first["status"], first["tries"], first["error"]) == ("ok", 1, None)


def test_the_run_changes_size_and_concurrency(place: Workplace) -> None:
    place.overrides = Overrides(mini_batch_size=5, max_concurrency_per_instance=1)
    place.run(parallel(place.root, ECHO, size=1))
    assert len(place.results()) == 1


def test_init_runs_once_in_each_worker_and_workers_share_the_cores(place: Workplace) -> None:
    script = """
        import os, pathlib, sys, time
        out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
        calls = 0

        def init():
            global calls
            calls += 1

        def run(mini_batch):
            for _ in range(500):  # until the other worker has its mini-batch too
                (out / str(os.getpid())).write_text(f"{calls} {os.environ['OMP_NUM_THREADS']}")
                if len(list(out.iterdir())) == 2:
                    break
                time.sleep(0.01)
            return mini_batch

        def shutdown():
            print("goodbye from", os.getpid())
    """
    if Machine.here().cores < 2:
        pytest.skip("one core gives one worker")
    status = place.run(parallel(place.root, script))
    assert status.state is JobState.SUCCEEDED, status.message
    found = {path.name: path.read_text() for path in place.out.iterdir()}
    assert set(found.values()) == {f"1 {Machine.here().threads(2)}"}
    assert all(f"goodbye from {pid}" in place.log() for pid in found)


def test_scripts_run_unmodified(place: Workplace) -> None:
    """Imports from the entry script's folder and from the code root, argparse, prints and module globals."""
    write(place.root / "code" / "shared.py", "WORD = 'shared'")
    write(place.root / "code" / "deep" / "neighbour.py", "WORD = 'neighbour'")
    write(
        place.root / "code" / "deep" / "entry.py",
        """
        import argparse, os, sys
        import neighbour, shared
        parser = argparse.ArgumentParser()
        parser.add_argument("--out")
        parser.add_argument("--word")
        arguments, rest = parser.parse_known_args()
        print("printed at import", file=sys.stderr)

        def init():
            global ready
            ready = True

        def run(mini_batch):
            print("printed", flush=True)
            os.write(1, b'{"count": 99}\\n')
            os.system("echo from a child")
            words = [neighbour.WORD, shared.WORD, arguments.word, str(rest), os.getcwd(), os.environ["EXTRA"]]
            with open(os.path.join(arguments.out, "words"), "w") as stream:
                stream.write("|".join(words))
            assert ready and "--task_overhead_timeout" not in sys.argv
            return mini_batch
        """,
    )
    place.overrides = Overrides(environment_variables={"EXTRA": "from the run"})
    step = parallel(
        place.root,
        ECHO,
        size=5,
        entry_script="deep/entry.py",
        environment_variables={"EXTRA": "from the file"},
        program_arguments="--out ${{outputs.out}} --word 'two words' --unknown 7 --task_overhead_timeout 60",
    )
    status = place.run(step)
    assert status.state is JobState.SUCCEEDED, status.message
    assert (place.out / "words").read_text() == "|".join(
        ["neighbour", "shared", "two words", "['--unknown', '7']", str(place.root / "code"), "from the run"]
    )
    assert "printed at import" in place.log()
    assert "from a child" in place.log()
    assert not list((place.root / "code").rglob("__pycache__"))


def test_the_context_is_handed_to_scripts_that_ask_for_it(place: Workplace) -> None:
    script = """
        def run(mini_batch, mini_batch_context):
            print("batch", mini_batch_context.mini_batch_id, mini_batch_context.dataset_name)
            assert mini_batch_context.partition_key_value == {}
            return mini_batch
    """
    assert place.run(parallel(place.root, script)).state is JobState.SUCCEEDED
    assert all(f"batch {index} data" in place.log() for index in range(5))


def test_secrets_of_the_host_do_not_reach_a_script(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AzureWebJobsStorage", "hidden-1")
    monkeypatch.setenv("DATA_STORAGE__clientSecret", "hidden-2")
    monkeypatch.setenv("OTHER", "Endpoint=sb://x;SharedAccessKey=hidden-3")
    script = """
        import os
        def run(mini_batch):
            print(dict(os.environ))
            return mini_batch
    """
    assert place.run(parallel(place.root, script)).state is JobState.SUCCEEDED
    assert "AZURE_ML_OUTPUT_out" in place.log()
    assert "hidden-" not in place.log()


# What makes a mini-batch fail


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise ValueError('bad pixel')", "ValueError: bad pixel (score.py:11)"),
        ("raise SystemExit(42)", "SystemExit: the script ended itself with 42"),
        ("return []", "run() returned 0 rows for 1 items"),
        ("return None", "run() returned NoneType; it must return a list"),
        ("return 'text'", "run() returned str; it must return a list"),
        ("return (item for item in mini_batch)", "run() returned generator; it must return a list"),
        ("os._exit(3)", "the worker ended with exit code 3"),
        ("os.kill(os.getpid(), 11)", "the worker was killed by SIGSEGV"),
        ("time.sleep(60)", "run() took longer than 1 s (retry_settings.timeout)"),
        ("os.closerange(3, 256); time.sleep(60)", "the worker was killed by SIGKILL"),
        (
            "[os.write(fd, b'{\\n') for fd in range(3, 256) if is_pipe(fd)]; time.sleep(60)",
            "the worker was killed by",
        ),
    ],
)
def test_a_failed_mini_batch_is_tried_again_and_then_counted(
    place: Workplace, body: str, reason: str
) -> None:
    script = f"""
        import os, stat, time

        def is_pipe(fd):
            try:
                return stat.S_ISFIFO(os.fstat(fd).st_mode) and os.write(fd, b"") == 0
            except OSError:
                return False

        def run(mini_batch):
            {"if mini_batch[0].endswith('item-03.txt'): " + body}
            return mini_batch
    """
    status = place.run(parallel(place.root, script, retry=Retry(timeout_s=1, max_retries=1)))
    assert status.state is JobState.SUCCEEDED, status.message
    (step,) = status.steps
    assert (step.items_done, step.items_failed) == (4, 1)
    failed = place.results()[3]
    assert (failed["status"], failed["tries"]) == ("failed", 2)
    assert reason in str(failed["error"])
    assert f"mini-batch 3, try 1: {failed['error']}" in place.log()


def test_a_mini_batch_that_succeeds_when_tried_again_is_no_failure(place: Workplace) -> None:
    script = """
        import os, pathlib, sys
        out = pathlib.Path(sys.argv[2])

        def run(mini_batch):
            seen = out / os.path.basename(mini_batch[0])
            if not seen.exists():
                seen.write_text("")
                os.abort()
            return mini_batch
    """
    status = place.run(parallel(place.root, script, error_threshold=0, mini_batch_error_threshold=0))
    assert status.state is JobState.SUCCEEDED, status.message
    assert [line["tries"] for line in place.results()] == [2] * 5


def test_fewer_rows_than_items_fail_as_many_items_as_rows_are_missing(place: Workplace) -> None:
    script = """
        def run(mini_batch):
            return mini_batch[:-2]
    """
    status = place.run(parallel(place.root, script, size=5, retry=Retry(max_retries=0)))
    (step,) = status.steps
    assert (step.items_done, step.items_failed) == (3, 2)


def test_what_a_killed_worker_had_started_is_gone(place: Workplace) -> None:
    script = """
        import pathlib, subprocess, sys
        def run(mini_batch):
            child = subprocess.Popen(["setsid", "sleep", "300"])
            pathlib.Path(sys.argv[2], str(child.pid)).write_text("")
            child.wait()
    """
    place.run(parallel(place.root, script, size=5, retry=Retry(timeout_s=1, max_retries=0)))
    (started,) = place.out.iterdir()
    assert not alive(int(started.name))


# When a step fails

FAIL_ALL = """
    def run(mini_batch):
        raise ValueError("broken " + mini_batch[0][-11:])
"""


@pytest.mark.parametrize(
    ("thresholds", "words"),
    [
        ({"error_threshold": 1}, "2 of 5 items failed, more than error_threshold 1 allows"),
        ({"error_threshold": 0}, "1 of 5 items failed, more than error_threshold 0 allows"),
        (
            {"mini_batch_error_threshold": 2},
            "3 of 5 mini-batches failed, more than mini_batch_error_threshold 2",
        ),
        (
            {"program_arguments": "--allowed_failed_percent 50"},
            "3 of 5 mini-batches failed, more than allowed_failed_percent 50",
        ),
    ],
)
def test_more_failures_than_allowed_fail_the_step_and_name_the_first_causes(
    place: Workplace, thresholds: dict[str, int], words: str
) -> None:
    status = place.run(
        parallel(
            place.root,
            FAIL_ALL,
            retry=Retry(max_retries=0),
            max_concurrency_per_instance=1,
            **thresholds,
        )
    )
    assert status.state is JobState.FAILED
    assert "step 'score': " in status.message
    assert words in status.message
    assert "item-00.txt: ValueError: broken item-00.txt" in status.message


def test_the_step_stops_at_once_when_too_much_has_failed(place: Workplace) -> None:
    files(place.root / "data", 60)
    status = place.run(parallel(place.root, FAIL_ALL, error_threshold=0, retry=Retry(max_retries=0)))
    assert status.state is JobState.FAILED
    assert len(place.results()) < 10


def test_all_failures_are_ignored_by_default(place: Workplace) -> None:
    status = place.run(parallel(place.root, FAIL_ALL, retry=Retry(max_retries=0)))
    assert status.state is JobState.SUCCEEDED
    assert status.steps[0].items_failed == 5


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        (
            "def init():\n    raise RuntimeError('no model')\ndef run(mini_batch): ...",
            "RuntimeError: no model (score.py:2)",
        ),
        ("import os\ndef init():\n    os.abort()\ndef run(mini_batch): ...", "was killed by SIGABRT"),
        ("import argparse\nargparse.ArgumentParser().parse_args()\ndef run(mini_batch): ...", "SystemExit"),
        ("init = None", "has no function run(mini_batch)"),
        (
            "import time\ndef init():\n    time.sleep(60)\ndef run(mini_batch): ...",
            "init() took longer than 1 s",
        ),
    ],
)
def test_a_script_that_cannot_start_fails_the_step_with_its_reason(
    place: Workplace, script: str, words: str
) -> None:
    arguments = "--out ${{outputs.out}} --first_task_creation_timeout=1"
    status = place.run(parallel(place.root, script, program_arguments=arguments))
    assert status.state is JobState.FAILED
    assert "init() failed in every worker" in status.message
    assert words in status.message
    assert status.message.count(words) == 1, "what every worker says is said once"


def test_a_missing_entry_script_is_named(place: Workplace) -> None:
    status = place.run(parallel(place.root, ECHO, entry_script="scores.py"))
    assert status.state is JobState.FAILED
    assert "scores.py" in status.message


def test_one_worker_whose_init_fails_leaves_the_work_to_the_others(place: Workplace) -> None:
    script = """
        import os
        def init():
            assert os.environ["BATCHSCORE_WORKER_INDEX"] != "0"
        def run(mini_batch):
            return mini_batch
    """
    if Machine.here().cores < 2:
        pytest.skip("one core gives one worker")
    status = place.run(parallel(place.root, script))
    assert status.state is JobState.SUCCEEDED, status.message


def test_a_worker_that_is_killed_before_it_has_anything_to_do_is_replaced(place: Workplace) -> None:
    script = """
        import os, pathlib, signal, sys
        out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
        def init():
            mark = out / f"killed-{os.environ['BATCHSCORE_WORKER_INDEX']}"
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        def run(mini_batch):
            return mini_batch
    """
    status = place.run(parallel(place.root, script))
    assert status.state is JobState.SUCCEEDED, status.message
    assert status.steps[0].items_failed == 0


def test_workers_that_are_killed_each_time_they_start_fail_the_step(place: Workplace) -> None:
    script = """
        import os, signal
        def init():
            os.kill(os.getpid(), signal.SIGKILL)
        def run(mini_batch): ...
    """
    status = place.run(parallel(place.root, script))
    assert status.state is JobState.FAILED
    assert "was killed by SIGKILL" in status.message


def test_an_input_without_files_is_a_clear_failure(place: Workplace) -> None:
    place.inputs["data"] = place.root / "empty"
    (place.root / "empty").mkdir()
    status = place.run(parallel(place.root, ECHO))
    assert status.state is JobState.FAILED
    assert "its input 'data' holds no files" in status.message


# Rows


def test_rows_are_appended_to_one_file_and_a_second_run_starts_it_anew(place: Workplace) -> None:
    step = parallel(place.root, ECHO, size=2, append_row_to="out")
    for _ in range(2):
        assert place.run(step).state is JobState.SUCCEEDED
        rows = (place.out / "parallel_run_step.txt").read_text().splitlines()
        assert sorted(rows) == [f"item-{index:02d}.txt" for index in range(5)]
        (place.root / "work" / "score.done").unlink()


def test_rows_go_to_the_file_itself_when_the_output_is_one(place: Workplace) -> None:
    step = parallel(place.root, ECHO, append_row_to="out", outputs={"out": Output("out", "uri_file", 1)})
    assert place.run(step).state is JobState.SUCCEEDED
    assert len(place.out.read_text().splitlines()) == 5


def test_arrays_and_data_frames_are_rows_too(place: Workplace) -> None:
    """A data frame's values are separated by spaces, without a header, as on Azure ML."""
    write(
        place.root / "code" / "frame.py",
        """
        class Frame:  # what of pandas.DataFrame the worker uses
            columns = ["name", "score"]
            def __len__(self):
                return 1
            def to_csv(self, sep, header, index):
                assert not header and not index
                return sep.join(["name", "0.5"]) + "\\n"
        """,
    )
    script = """
        import numpy
        from frame import Frame
        def run(mini_batch):
            return Frame() if mini_batch[0].endswith("0.txt") else numpy.array([7])
    """
    status = place.run(parallel(place.root, script, append_row_to="out"))
    assert status.state is JobState.SUCCEEDED, place.log()
    assert sorted((place.out / "parallel_run_step.txt").read_text().splitlines()) == ["7"] * 4 + ["name 0.5"]


def test_a_result_of_many_megabytes_and_a_mini_batch_of_thousands_pass(place: Workplace) -> None:
    files(place.root / "data", 3000)
    script = """
        def run(mini_batch):
            return ["x" * 2000 for _ in mini_batch]
    """
    status = place.run(parallel(place.root, script, size=3000, append_row_to="out"))
    assert status.state is JobState.SUCCEEDED, status.message
    assert (place.out / "parallel_run_step.txt").stat().st_size == 3000 * 2001


def test_another_interpreter_stands_for_an_environment(place: Workplace) -> None:
    wrapper = write(place.root / "other python", f'#!/bin/sh\nMARK=other exec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    place.python = {"env.yml": str(wrapper)}
    script = """
        import os
        def run(mini_batch):
            assert os.environ["MARK"] == "other"
            return mini_batch
    """
    step = parallel(place.root, script, error_threshold=0, environment="file:../environments/env.yml")
    status = place.run(step)
    assert status.state is JobState.SUCCEEDED, status.message
    log = (place.logs / "engine.txt").read_text()
    assert log.count(f"Steps of the environment file:../environments/env.yml run on {wrapper}.") == 1


def test_logging_at_the_steps_level_reaches_the_log(place: Workplace) -> None:
    script = """
        import logging
        def run(mini_batch):
            logging.info("informed")
            logging.debug("debugged")
            return mini_batch
    """
    place.run(parallel(place.root, script, logging_level="INFO"))
    assert "informed" in place.log()
    assert "debugged" not in place.log()


def test_progress_is_told_item_by_item(place: Workplace) -> None:
    place.run(parallel(place.root, ECHO))
    done = [status.steps[0].items_done for status in place.progress]
    assert done == sorted(done)
    assert set(range(6)) <= set(done)


def test_results_name_their_worker_and_their_time(place: Workplace) -> None:
    place.run(parallel(place.root, ECHO))
    for line in place.results():
        index, pid = str(line["worker"]).split(":")
        assert index in ("0", "1")
        assert int(pid) != os.getpid()
        assert isinstance(line["seconds"], float)
    assert json.dumps(place.results())


def test_a_single_file_is_one_item(place: Workplace) -> None:
    place.inputs["data"] = place.root / "data" / "item-01.txt"
    status = place.run(parallel(place.root, ECHO, inputs={"data": Input("data", "uri_file", 1)}))
    assert status.state is JobState.SUCCEEDED, status.message
    assert [line["items"] for line in place.results()] == [["item-01.txt"]]


def test_text_that_no_file_can_hold_is_replaced(place: Workplace) -> None:
    script = """
        def run(mini_batch):
            if mini_batch[0].endswith("item-00.txt"):
                raise ValueError("torn " + chr(0xD800))
            return ["row " + chr(0xD800)]
    """
    status = place.run(parallel(place.root, script, append_row_to="out", retry=Retry(0, 60)))
    assert status.state is JobState.SUCCEEDED, status.message
    assert "torn ?" in str(place.results()[0]["error"])
    assert (place.out / "parallel_run_step.txt").read_text() == 4 * "row ?\n"
