"""Pipelines built by hand, and entry scripts written for one test, for the tests of the local engine."""

from __future__ import annotations

import json
import os
import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from batchscore.compute.base import JobStatus, Overrides
from batchscore.compute.local.engine import Engine
from batchscore.definitions.model import (
    CommandStep,
    Input,
    Output,
    ParallelStep,
    ParentInput,
    Pipeline,
    Scalar,
    Step,
)


def write(path: Path, text: str) -> Path:
    """Write a script, with the indentation of the test taken off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def files(folder: Path, count: int) -> Path:
    """A folder of so many small files: item-00.txt, …"""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        (folder / f"item-{index:02d}.txt").write_text(str(index))
    return folder


def parallel(folder: Path, script: str, *, size: int = 1, **changes: object) -> ParallelStep:
    """A parallel step `score` whose entry script is `script`: input `data`, output `out`, argument `--out`."""
    write(folder / "code" / "score.py", script)
    step = ParallelStep(
        name="score",
        file=folder / "score.yml",
        line=1,
        entry_script="score.py",
        input_data="data",
        program_arguments="--out ${{outputs.out}}",
        inputs={"data": Input("data", "uri_folder", 1)},
        outputs={"out": Output("out", "uri_folder", 1)},
        bindings={"data": ParentInput("data")},
        output_bindings={"out": "out"},
        code=folder / "code",
        mini_batch_size=size,
        max_concurrency_per_instance=2,
    )
    return replace(step, **changes)  # type: ignore[arg-type]


def command(folder: Path, line: str, name: str = "work", **changes: object) -> CommandStep:
    """A command step with input `data` and output `out`."""
    (folder / "code").mkdir(parents=True, exist_ok=True)
    step = CommandStep(
        name=name,
        file=folder / f"{name}.yml",
        line=1,
        command=line,
        inputs={"data": Input("data", "uri_folder", 1)},
        outputs={"out": Output("out", "uri_folder", 1)},
        bindings={"data": ParentInput("data")},
        output_bindings={"out": "out"},
        code=folder / "code",
    )
    return replace(step, **changes)  # type: ignore[arg-type]


def pipeline(
    folder: Path, *steps: Step, inputs: tuple[Input, ...] = (), outputs: tuple[str, ...] = ()
) -> Pipeline:
    """A pipeline of these steps with input `data`, output `out` and whatever else is named."""
    declared = (Input("data", "uri_folder", 1), *inputs)
    return Pipeline(
        name="test",
        file=folder / "test.pipeline.yml",
        inputs={each.name: each for each in declared},
        outputs={name: Output(name, "uri_folder", 1) for name in ("out", *outputs)},
        steps=steps,
    )


@dataclass
class Workplace:
    """Folders of one run, and an engine on them as often as wanted."""

    root: Path
    inputs: dict[str, Path | Scalar] = field(default_factory=dict)
    overrides: Overrides = field(default_factory=Overrides)
    python: Mapping[str, str] = field(default_factory=dict)
    progress: list[JobStatus] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def engine(self, pipeline: Pipeline) -> Engine:
        return Engine(
            pipeline,
            {"data": self.root / "data", **self.inputs},
            {"out": self.out},
            self.root / "work",
            self.logs,
            self.overrides,
            self.python,
            self.progress.append,
        )

    def run(self, *steps: Step) -> JobStatus:
        return self.engine(pipeline(self.root, *steps)).run()

    def results(self, step: str = "score") -> list[dict[str, object]]:
        """The lines of mini_batches.jsonl, in order of the mini-batches."""
        lines = (self.logs / step / "mini_batches.jsonl").read_text().splitlines()
        return sorted((json.loads(line) for line in lines), key=lambda line: int(str(line["id"])))

    def log(self, step: str = "score") -> str:
        """Everything that a step's logs say."""
        return "\n".join(path.read_text() for path in sorted((self.logs / step).iterdir()))


def until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Wait for a condition, looking often; fail when it does not come."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs (one that has ended and waits to be reaped does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False
    except NotADirectoryError:  # pragma: no cover
        os.kill(pid, 0)
        return True
