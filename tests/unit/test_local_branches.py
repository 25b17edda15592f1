"""Branches of a pipeline: what runs side by side, on how many cores, and what a failure or a cancellation stops."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from batchscore.cli.logs import Log
from batchscore.compute.base import JobState, JobStatus
from batchscore.compute.local.branches import Branches, share
from batchscore.compute.local.engine import Engine
from batchscore.compute.local.machine import Machine
from batchscore.definitions.model import CommandStep, Output, Pipeline, Step, StepOutput
from tests.local_pipelines import Workplace, command, files, parallel, pipeline, until

RUNNING, SUCCEEDED, FAILED, CANCELED = (
    JobState.RUNNING,
    JobState.SUCCEEDED,
    JobState.FAILED,
    JobState.CANCELED,
)


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    files(tmp_path / "data", 4)
    return Workplace(tmp_path)


def step(place: Workplace, name: str, line: str = "true", after: Iterable[str] = ()) -> CommandStep:
    """A command step that reads the outputs of those it comes after."""
    made = command(place.root, line, name, output_bindings={})
    inputs = {each: replace(made.inputs["data"], name=each) for each in after}
    return replace(
        made,
        inputs=made.inputs | inputs,
        bindings=made.bindings | {each: StepOutput(each, "out") for each in after},
    )


def engine(place: Workplace, whole: Pipeline, cores: int) -> Engine:
    return Engine(
        whole,
        {"data": place.root / "data"},
        {"out": place.out},
        place.root / "work",
        place.logs,
        on_progress=place.progress.append,
        machine=Machine(cores),
    )


def run(place: Workplace, *steps: Step, cores: int = 4, go_on: bool = False) -> JobStatus:
    return engine(place, replace(pipeline(place.root, *steps), continue_on_step_failure=go_on), cores).run()


def states(status: JobStatus) -> dict[str, JobState]:
    return {each.name: each.state for each in status.steps}


def most_at_once(place: Workplace) -> int:
    return max(sum(each.state is RUNNING for each in status.steps) for status in place.progress)


@pytest.mark.parametrize(
    ("free", "ready", "shares"),
    [
        (8, ["a"], {"a": 8}),
        (8, ["a", "b"], {"a": 4, "b": 4}),
        (8, ["a", "b", "c"], {"a": 3, "b": 3, "c": 2}),
        (2, ["a", "b", "c"], {"a": 1, "b": 1}),
        (0, ["a"], {}),
        (4, [], {}),
    ],
)
def test_free_cores_are_shared_evenly_and_who_gets_none_waits(
    free: int, ready: list[str], shares: dict[str, int]
) -> None:
    assert share(free, ready) == shares


def test_steps_side_by_side_never_have_more_cores_than_there_are(place: Workplace) -> None:
    """A diamond with three arms on four cores, step by step."""
    arms = [step(place, name, after=["top"]) for name in ("a", "b", "c")]
    whole = pipeline(place.root, step(place, "top"), *arms, step(place, "end", after=["a", "b", "c"]))
    branches = Branches(whole, Machine(4))
    assert {name: part.cores for name, part in branches.start().items()} == {"top": 4}
    assert branches.start() == {}
    branches.end("top", SUCCEEDED)
    assert {name: part.cores for name, part in branches.start().items()} == {"a": 2, "b": 1, "c": 1}
    branches.end("b", SUCCEEDED)
    branches.end("a", SUCCEEDED)
    assert branches.start() == {}, "the end needs all three"
    branches.end("c", SUCCEEDED)
    assert branches.start() == {"end": Machine(4)}


def test_where_there_are_gpus_one_parallel_step_at_a_time_has_them(place: Workplace) -> None:
    first, second = (parallel(place.root, "", name=name, output_bindings={}) for name in ("first", "second"))
    branches = Branches(pipeline(place.root, first, second, step(place, "beside")), Machine(4, gpus=1))
    assert branches.start() == {
        "first": Machine(2, gpus=1, whole=False),
        "beside": Machine(2, gpus=1, whole=False),
    }
    branches.end("first", SUCCEEDED)
    assert list(branches.start()) == ["second"]


def test_independent_steps_run_at_the_same_time(place: Workplace) -> None:
    """Each waits for a sign of the other, which never comes when they run one after another."""
    meet = (
        'touch "$MINE"; for _ in $(seq 1800); do test -e "$THEIRS" && exit 0; '
        "python -c 'import time; time.sleep(0.05)'; done; exit 1"
    )
    one, two = str(place.root / "one"), str(place.root / "two")
    status = run(
        place,
        replace(step(place, "a", meet), environment_variables={"MINE": one, "THEIRS": two}),
        replace(step(place, "b", meet), environment_variables={"MINE": two, "THEIRS": one}),
    )
    assert states(status) == {"a": SUCCEEDED, "b": SUCCEEDED}, status.message


def test_more_steps_than_cores_take_turns(place: Workplace) -> None:
    status = run(place, *(step(place, name) for name in "abcde"), cores=2)
    assert set(states(status).values()) == {SUCCEEDED}
    assert most_at_once(place) <= 2


def test_a_command_is_told_its_part_of_the_machine_and_nothing_when_it_is_alone(place: Workplace) -> None:
    tell = 'echo "${OMP_NUM_THREADS-all} ${PYTHON_CPU_COUNT-all}" > ${{outputs.out}}/cores'
    alone = step(place, "alone", tell)
    beside = [step(place, name, tell, after=["alone"]) for name in ("left", "right")]
    status = run(place, alone, *beside, cores=5)
    assert status.state is SUCCEEDED, status.message
    said = {
        name: (place.root / "work" / "steps" / name / "out" / "cores").read_text().split()
        for name in ("alone", "left", "right")
    }
    assert said == {"alone": ["all", "all"], "left": ["3", "3"], "right": ["2", "2"]}
    assert "step 'left' starts on 3 of 5 cores" in (place.logs / "engine.txt").read_text()


def test_parallel_steps_side_by_side_have_workers_times_threads_within_the_cores(place: Workplace) -> None:
    script = """
        import os, sys
        def init(): pass
        def run(batch):
            with open(os.path.join(sys.argv[2], os.environ["BATCHSCORE_WORKER_INDEX"]), "w") as file:
                file.write(os.environ["OMP_NUM_THREADS"])
            return batch
        """
    made = [
        parallel(
            place.root,
            script,
            name=name,
            output_bindings={},
            max_concurrency_per_instance=wanted,
            outputs={"out": Output("out", "uri_folder", 1)},
        )
        for name, wanted in (("left", None), ("right", 1))
    ]
    status = run(place, *made, cores=4)
    assert status.state is SUCCEEDED, status.message
    log = {name: place.log(name) for name in ("left", "right")}
    assert "4 mini-batches for 2 workers" in log["left"]
    assert "4 mini-batches for 1 workers" in log["right"]
    threads = {
        name: {file.read_text() for file in (place.root / "work" / "steps" / name / "out").iterdir()}
        for name in ("left", "right")
    }
    assert threads == {"left": {"1"}, "right": {"2"}}


def test_a_failure_stops_the_other_branches_and_starts_nothing_more(place: Workplace) -> None:
    """On Azure ML `continue_on_step_failure` is false unless a job says otherwise."""
    sign = place.root / "at-work"
    status = run(
        place,
        step(place, "long", f"touch {sign}; exec python -c 'import threading; threading.Event().wait()'"),
        step(place, "bad", f"until test -e {sign}; do :; done; echo because; exit 3"),
        step(place, "later", after=["long"]),
    )
    assert status.state is FAILED
    assert status.message == "step 'bad' ended with exit code 3: because"
    assert states(status) == {"long": CANCELED, "bad": FAILED, "later": JobState.QUEUED}


def test_with_continue_on_step_failure_only_what_needs_the_failed_step_stays_undone(place: Workplace) -> None:
    status = run(
        place,
        step(place, "bad", "exit 3"),
        step(place, "needs", after=["bad"]),
        step(place, "good"),
        step(place, "next", after=["good"]),
        go_on=True,
        cores=1,
    )
    assert states(status) == {"bad": FAILED, "needs": JobState.QUEUED, "good": SUCCEEDED, "next": SUCCEEDED}
    assert status.state is FAILED
    assert status.message.startswith("step 'bad' ended with exit code 3")


def test_cancelling_stops_every_branch(place: Workplace) -> None:
    line = "touch {}; exec python -c 'import threading; threading.Event().wait()'"
    signs = {name: place.root / f"sign-{name}" for name in ("a", "b")}
    steps = [step(place, name, line.format(sign)) for name, sign in signs.items()]
    at_work = engine(place, pipeline(place.root, *steps), 2)
    found: list[JobStatus] = []
    thread = threading.Thread(target=lambda: found.append(at_work.run()))
    thread.start()
    until(lambda: all(sign.exists() for sign in signs.values()), 90)
    at_work.cancelled.set()
    thread.join(90)
    (status,) = found
    assert (status.state, status.message) == (CANCELED, "steps 'a', 'b' were cancelled")
    assert set(states(status).values()) == {CANCELED}


def test_branches_do_not_share_their_temporary_folder_or_interpreter(place: Workplace) -> None:
    tell = 'echo "$TMPDIR" > ${{outputs.out}}/where; command -v python >> ${{outputs.out}}/where'
    status = run(place, step(place, "a", tell), step(place, "b", tell))
    assert status.state is SUCCEEDED, status.message
    said = [(place.root / "work" / "steps" / name / "out" / "where").read_text() for name in ("a", "b")]
    assert said[0] != said[1]
    assert not any(Path(line).exists() for text in said for line in text.split()), "it is removed at the end"


def test_an_error_of_the_engine_itself_stops_the_branches_and_is_raised(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> object:
        raise RuntimeError("a defect")

    monkeypatch.setattr("batchscore.compute.local.engine.ParallelRun", broken)
    line = "exec python -c 'import threading; threading.Event().wait()'"
    with pytest.raises(RuntimeError, match="a defect"):
        run(place, parallel(place.root, "", output_bindings={}), step(place, "long", line))


@pytest.mark.parametrize(
    ("name", "step", "belongs", "foreign"),
    [
        ("attempt-1/score/std_log.txt", "score", "score", "sco"),
        ("attempt-1/outer/inner/worker-00.txt", "outer/inner", "outer", "inner"),
        ("attempt-1/engine.txt", "", "", "engine.txt"),
    ],
)
def test_logs_know_their_step_also_inside_a_pipeline_component(
    name: str, step: str, belongs: str, foreign: str
) -> None:
    log = Log(name, 1)
    assert log.step == step
    assert log.belongs_to(belongs)
    assert not log.belongs_to(foreign)
