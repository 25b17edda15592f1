"""The engine: command steps, what passes between steps, what a later attempt leaves out, and how it is stopped."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from batchscore.compute.base import JobState, JobStatus, Overrides
from batchscore.definitions.model import Input, Literal, Output, ParentInput, Pipeline, Retry, StepOutput
from tests.local_pipelines import Workplace, alive, command, files, parallel, pipeline, until, write


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    files(tmp_path / "data", 3)
    return Workplace(tmp_path)


def chain(place: Workplace) -> Pipeline:
    """Two command steps: the first writes an intermediate, the second reads it; both note that they ran."""
    first = command(
        place.root,
        'cat ${{inputs.data}}/* > ${{outputs.whole}}/whole.txt; echo first >> "$NOTES"',
        "first",
        outputs={"whole": Output("whole", "uri_folder", 1)},
        output_bindings={},
    )
    second = command(
        place.root,
        'cp ${{inputs.whole}}/whole.txt ${{outputs.out}}/; echo second >> "$NOTES"',
        "second",
        inputs={"whole": Input("whole", "uri_folder", 1)},
        bindings={"whole": StepOutput("first", "whole")},
    )
    place.overrides = Overrides(environment_variables={"NOTES": str(place.root / "notes")})
    return pipeline(place.root, first, second)


def notes(place: Workplace) -> list[str]:
    return (place.root / "notes").read_text().split()


def test_a_step_reads_what_the_one_before_it_wrote(place: Workplace) -> None:
    status = place.engine(chain(place)).run()
    assert status.state is JobState.SUCCEEDED, status.message
    assert (place.out / "whole.txt").read_text() == "012"
    assert [step.state for step in status.steps] == [JobState.SUCCEEDED] * 2


def test_a_command_runs_in_its_code_folder_with_this_python(place: Workplace) -> None:
    write(
        place.root / "code" / "here.py", "import sys, os, helper; print(sys.executable, os.environ['EXTRA'])"
    )
    write(place.root / "code" / "helper.py", "")
    status = place.run(
        command(place.root, "python here.py && python3 here.py", environment_variables={"EXTRA": "extra"})
    )
    assert status.state is JobState.SUCCEEDED, status.message
    assert place.log("work").count(f"{sys.executable} extra") == 2
    assert not list((place.root / "code").rglob("__pycache__"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("echo first words; echo last words >&2; exit 3", "ended with exit code 3"),
        ("echo last words; kill -9 $$", "was killed by SIGKILL"),
    ],
)
def test_a_failed_command_is_told_with_its_code_and_its_last_words(
    place: Workplace, line: str, words: str
) -> None:
    status = place.run(command(place.root, line))
    assert status.state is JobState.FAILED
    assert status.message.startswith(f"step 'work' {words}")
    assert "last words" in status.message
    assert status.steps[0].state is JobState.FAILED


def test_the_steps_after_a_failed_one_do_not_run(place: Workplace) -> None:
    whole = chain(place)
    failing = replace(whole.steps[0], command="exit 1")
    status = place.engine(replace(whole, steps=(failing, whole.steps[1]))).run()
    assert [step.state for step in status.steps] == [JobState.FAILED, JobState.QUEUED]
    assert not (place.root / "notes").exists()


def test_a_step_that_failed_took_time_and_one_that_was_not_reached_took_none(place: Workplace) -> None:
    whole = chain(place)
    failing = replace(whole.steps[0], command="sleep 0.2; exit 1")
    failed, left = place.engine(replace(whole, steps=(failing, whole.steps[1]))).run().steps
    assert 0.2 <= failed.seconds < 60
    assert left.seconds == 0


def test_scalars_reach_the_command_as_one_word_each(place: Workplace) -> None:
    step = command(
        place.root,
        "printf '%s\\n' ${{inputs.word}} ${{inputs.flag}} $[[--style ${{inputs.style}}]] > ${{outputs.out}}/words",
        inputs={
            "data": Input("data", "uri_folder", 1),
            "word": Input("word", "string", 1),
            "flag": Input("flag", "boolean", 1),
            "style": Input("style", "string", 1, optional=True),
        },
        bindings={
            "word": ParentInput("word"),
            "flag": Literal(True),
            "style": ParentInput("style"),
            "data": ParentInput("data"),
        },
    )
    scalars = (Input("word", "string", 1, default="a; touch b"), Input("style", "string", 1, optional=True))
    status = place.engine(pipeline(place.root, step, inputs=scalars)).run()
    assert status.state is JobState.SUCCEEDED, status.message
    assert (place.out / "words").read_text().splitlines() == ["a; touch b", "True"]


def test_an_output_that_is_a_file_gets_its_folder_and_must_be_written(place: Workplace) -> None:
    file_output = {"outputs": {"out": Output("out", "uri_file", 1)}}
    status = place.run(command(place.root, "true", **file_output))
    assert status.state is JobState.FAILED
    assert "output 'out' is a file, but the step did not write" in status.message
    status = place.run(command(place.root, "echo x > ${{outputs.out}}", **file_output))
    assert status.state is JobState.SUCCEEDED, status.message
    assert place.out.is_file()


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("uri_folder", "nowhere", "its input 'data' must be a folder, but there is none"),
        ("uri_file", "data", "its input 'data' must be a file, but it is a folder"),
        ("uri_folder", "data/item-00.txt", "its input 'data' must be a folder, but it is a file"),
    ],
)
def test_an_input_that_is_not_there_is_named(place: Workplace, kind: str, value: str, words: str) -> None:
    place.inputs["data"] = place.root / value
    status = place.run(command(place.root, "true", inputs={"data": Input("data", kind, 1)}))
    assert status.state is JobState.FAILED
    assert words in status.message
    assert value in status.message


def test_an_interpreter_that_is_not_there_is_named(place: Workplace) -> None:
    place.python = {"env": "/nowhere/python"}
    status = place.run(parallel(place.root, "def run(mini_batch): ...", environment="env"))
    assert status.state is JobState.FAILED
    assert "/nowhere/python" in status.message


def test_notices_of_the_file_and_of_the_environments_are_logged_once(place: Workplace) -> None:
    step = command(place.root, "true", environment="azureml:torch:3")
    again = replace(step, name="again")
    whole = replace(pipeline(place.root, step, again), notices=("compute is ignored",))
    engine = place.engine(whole)
    engine.run()
    assert engine.notices == (
        "compute is ignored",
        f"Steps of the environment azureml:torch:3 run on {sys.executable}.",
    )
    log = (place.logs / "engine.txt").read_text()
    assert all(log.count(notice) == 1 for notice in engine.notices)


def test_nothing_stays_in_temporary_folders(place: Workplace) -> None:
    script = """
        import tempfile
        def run(mini_batch):
            tempfile.NamedTemporaryFile(delete=False)
            return mini_batch
    """
    place.run(
        command(place.root, "mktemp; python -c 'import tempfile; print(tempfile.mkdtemp())'"),
        parallel(place.root, script),
    )
    made = [Path(line) for line in place.log("work").splitlines() if line.startswith("/")]
    assert len(made) == 2
    assert all(path.is_relative_to(place.root / "work" / "tmp") and not path.exists() for path in made)
    assert not (place.root / "work" / "tmp").exists()


def test_folders_may_have_any_name(tmp_path: Path) -> None:
    root = tmp_path / "a 'quoted' $HOME; name"
    place = Workplace(root)
    files(root / "data", 3)
    assert place.engine(chain(place)).run().state is JobState.SUCCEEDED
    script = "def run(mini_batch):\n    return [open(item).read() for item in mini_batch]"
    place.inputs["data"] = root / "data"
    assert place.run(parallel(root, script)).state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    "fault", [OSError(errno.ENOSPC, "No space left on device"), MemoryError("none left")]
)
def test_a_step_that_breaks_off_on_a_full_disk_ends_the_run(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """It cannot even be logged; an engine that waited for it would wait for good."""
    (place.root / "logs").mkdir()
    engine = place.engine(chain(place))
    monkeypatch.setattr(engine, "_run_step", Mock(side_effect=fault))
    monkeypatch.setattr(Path, "open", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    if isinstance(fault, OSError):
        status = engine.run()
        assert status.state is JobState.FAILED
        assert "No space left on device" in status.message
    else:
        with pytest.raises(MemoryError):
            engine.run()


# A later attempt


def test_a_later_attempt_leaves_out_what_is_done(place: Workplace) -> None:
    whole = chain(place)
    broken = replace(whole, steps=(whole.steps[0], replace(whole.steps[1], command="exit 1")))
    assert place.engine(broken).run().state is JobState.FAILED
    assert place.engine(whole).run().state is JobState.SUCCEEDED
    assert notes(place) == ["first", "second"]
    assert "left out" in place.log("first")


@pytest.mark.parametrize("change", ["input", "code", "output", "override", "command"])
def test_a_step_runs_again_when_something_changed(place: Workplace, change: str) -> None:
    whole = chain(place)
    assert place.engine(whole).run().state is JobState.SUCCEEDED
    if change == "input":
        write(place.root / "data" / "more.txt", "3")
    elif change == "code":
        write(place.root / "code" / "new.py", "")
    elif change == "output":
        (place.root / "work" / "steps" / "first" / "whole" / "whole.txt").unlink()
    elif change == "override":
        place.overrides.environment_variables["MORE"] = "1"
    else:
        changed = replace(whole.steps[0], command=f"{whole.steps[0].command}; true")  # type: ignore[union-attr]
        whole = replace(whole, steps=(changed, whole.steps[1]))
    assert place.engine(whole).run().state is JobState.SUCCEEDED
    assert notes(place)[:3] == ["first", "second", "first"]


CUT = "for part in $(cat ${{inputs.data}}/parts); do echo $part > ${{outputs.out}}/$part; done"


def test_a_command_that_begins_from_other_inputs_begins_with_empty_outputs(place: Workplace) -> None:
    """Else the parts of an earlier film would be among those of this one."""
    cleared: list[str] = []
    for parts in ("a b c d", "a b"):
        write(place.root / "data" / "parts", parts)
        engine = place.engine(pipeline(place.root, command(place.root, CUT)))
        engine._on_cleared = cleared.append
        assert engine.run().state is JobState.SUCCEEDED
    assert sorted(file.name for file in place.out.iterdir()) == ["a", "b"]
    assert cleared == ["out"]


def test_a_command_that_broke_off_finds_what_it_had_made(place: Workplace) -> None:
    line = "ls ${{outputs.out}} > ${{inputs.data}}/../seen; touch ${{outputs.out}}/half; test -e ${{inputs.data}}/../mended"
    step = command(place.root, line)
    assert place.run(step).state is JobState.FAILED
    (place.root / "mended").touch()
    assert place.run(step).state is JobState.SUCCEEDED
    assert (place.root / "seen").read_text() == "half\n"


@pytest.mark.parametrize(
    ("change", "left"), [("more", ["a", "b", "c"]), ("other", ["a", "b"]), ("fewer", ["a"])]
)
def test_a_parallel_step_keeps_what_it_made_of_items_unless_one_of_them_is_gone(
    place: Workplace, change: str, left: list[str]
) -> None:
    script = """
        import pathlib, sys
        out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
        def run(mini_batch):
            for item in map(pathlib.Path, mini_batch):
                if not (out / item.name).exists():
                    with open(out.parent / "made", "a") as made:
                        made.write(item.name)
                    (out / item.name).touch()
            return mini_batch
    """
    place.inputs["data"] = data = place.root / "items"
    for name in ("a", "b"):
        write(data / name, name)
    step = parallel(place.root, script, max_concurrency_per_instance=1)
    assert place.run(step).state is JobState.SUCCEEDED
    if change == "more":
        write(data / "c", "c")
    elif change == "other":
        write(data / "b", "changed")
    else:
        (data / "b").unlink()
    assert place.run(step).state is JobState.SUCCEEDED
    assert sorted(file.name for file in place.out.iterdir()) == left
    assert (place.root / "made").read_text() == {"more": "abc", "other": "ab", "fewer": "aba"}[change]


def test_a_parallel_step_with_failed_items_is_not_done(place: Workplace) -> None:
    script = """
        import os
        def run(mini_batch):
            return mini_batch if os.path.exists("mended") else []
    """
    step = parallel(place.root, script, retry=Retry(max_retries=0))
    assert place.run(step).steps[0].items_failed == 3
    write(place.root / "code" / "mended", "")
    assert place.run(step).steps[0].items_failed == 0
    assert "left out" in str(place.run(step) and place.log())


# Stopping


def stoppable(place: Workplace, kind: str) -> Pipeline:
    """A step that starts a child, notes both process ids in `out`, and never ends."""
    python = """
        import os, pathlib, signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        out = pathlib.Path(sys.argv[2])
        child = subprocess.Popen(["sleep", "300"])
        (out / str(child.pid)).write_text("")
        (out / str(os.getpid())).write_text("")
    """
    if kind == "command":
        write(place.root / "code" / "endless.py", python + "\n        time.sleep(300)")
        return pipeline(place.root, command(place.root, "python endless.py --out ${{outputs.out}}"))
    body = "\n".join(f"    {line}" for line in python.splitlines())
    return pipeline(
        place.root,
        parallel(place.root, f"def run(mini_batch):\n{body}\n            time.sleep(300)", size=3),
    )


def started(place: Workplace) -> list[int]:
    until(lambda: place.out.is_dir() and len(list(place.out.iterdir())) == 2)
    return [int(path.name) for path in place.out.iterdir()]


@pytest.mark.parametrize("kind", ["command", "parallel"])
def test_cancelling_stops_everything_within_seconds(place: Workplace, kind: str) -> None:
    engine = place.engine(stoppable(place, kind))
    ended: list[JobStatus] = []
    thread = threading.Thread(target=lambda: ended.append(engine.run()))
    thread.start()
    pids = started(place)
    since = time.monotonic()
    engine.cancelled.set()
    thread.join(20)
    assert time.monotonic() - since < 5
    assert ended[0].state is JobState.CANCELED
    assert ended[0].steps[0].state is JobState.CANCELED
    assert not any(alive(pid) for pid in pids)


@pytest.mark.parametrize("kind", ["command", "parallel"])
def test_when_the_engine_is_killed_its_processes_die_with_it(place: Workplace, kind: str) -> None:
    stoppable(place, kind)
    code = (
        "from pathlib import Path; import sys; import tests.unit.test_local_engine as t;"
        "place = t.Workplace(Path(sys.argv[1])); place.engine(t.stoppable(place, sys.argv[2])).run()"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(place.root), kind])
    pids = started(place)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: not any(alive(pid) for pid in pids), 5)


def test_a_command_that_takes_longer_than_its_limit_is_ended_and_failed(place: Workplace) -> None:
    line = "echo $$ > ${{outputs.out}}/pid; exec python -c 'import threading; threading.Event().wait()'"
    status = place.run(command(place.root, line, timeout_s=1))
    assert status.state is JobState.FAILED
    assert status.message == "step 'work' took longer than 1 s (limits.timeout)"
    assert not alive(int((place.out / "pid").read_text()))


def test_a_command_without_code_runs_in_an_empty_folder(place: Workplace) -> None:
    status = place.run(command(place.root, "ls -A > ${{outputs.out}}/there; touch left-behind", code=None))
    assert status.state is JobState.SUCCEEDED, status.message
    assert (place.out / "there").read_text() == ""
    assert not list(place.root.rglob("left-behind"))
