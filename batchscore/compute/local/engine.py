"""The engine: a pipeline's steps, each as soon as its inputs are ready, on plain folders of this machine."""

from __future__ import annotations

import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from batchscore.compute.base import JobState, JobStatus, Overrides, StepProgress
from batchscore.compute.local.branches import Branches
from batchscore.compute.local.code import code_of
from batchscore.compute.local.command import run_command
from batchscore.compute.local.machine import Machine
from batchscore.compute.local.markers import Marker
from batchscore.compute.local.parallel import ParallelRun
from batchscore.compute.local.processes import Processes, base_environment
from batchscore.compute.local.resolution import ResolvedStep, resolve
from batchscore.compute.local.site import Outcome, Site, append_line
from batchscore.definitions.mltable import load_table
from batchscore.definitions.model import CommandStep, Pipeline, Scalar, Step, is_remote
from batchscore.definitions.modes import with_modes
from batchscore.errors import BatchscoreError

LOG_NAME = "engine.txt"
LOOK_S = 0.1
"""How often the engine looks whether it shall stop."""


class MissingPythonError(BatchscoreError):
    """The Python that an environment was mapped to is not there."""


class Engine:
    """Runs a pipeline on folders.

    `inputs` are scalars and paths by pipeline input, `outputs` paths by pipeline output (one that is absent is
    kept below `work`). `work` is the run's: a later attempt with the same folder leaves out the steps that
    finished and did not change. `logs` is the attempt's. `python` maps names of environments to interpreters;
    others run on this one. `on_progress` is called often, by one thread at a time, and must return at once; setting
    `cancelled` stops everything within seconds. `machine` is what the steps share.
    `on_cleared` is told of a pipeline output that was emptied, because a step that writes there begins from other
    inputs than in an earlier attempt.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        inputs: Mapping[str, Path | Scalar],
        outputs: Mapping[str, Path],
        work: Path,
        logs: Path,
        overrides: Overrides | None = None,
        python: Mapping[str, str] | None = None,
        on_progress: Callable[[JobStatus], None] = lambda _: None,
        cancelled: threading.Event | None = None,
        machine: Machine | None = None,
        on_cleared: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._overrides = overrides or Overrides()
        self._pipeline = with_modes(pipeline, self._overrides.modes)
        self._inputs = inputs
        self._work = work.absolute()
        self._outputs = {
            name: Path(outputs.get(name, self._work / "outputs" / name)).absolute()
            for name in pipeline.outputs
        }
        self._logs = logs.absolute()
        self._python = python or {}
        self._on_progress = on_progress
        self.cancelled = cancelled or threading.Event()
        self._machine = machine or Machine.here()
        self._on_cleared = on_cleared
        self._steps = {step.name: StepProgress(step.name, JobState.QUEUED) for step in pipeline.steps}
        self._started: dict[str, float] = {}
        self._numbers = {step.name: number for number, step in enumerate(pipeline.steps)}
        self._telling = threading.Lock()

    @property
    def notices(self) -> tuple[str, ...]:
        """What a local run does not do that the pipeline's file asks for, a sentence each."""
        found = list(self._pipeline.notices)
        for environment in dict.fromkeys(
            step.environment for step in self._pipeline.steps if step.environment
        ):
            found.append(
                f"Steps of the environment {environment} run on {interpreter(environment, self._python)}."
            )
        if self._overrides.nodes not in (None, 1):
            found.append(f"{self._overrides.nodes} nodes were asked for; this machine is one.")
        if self._overrides.compute:
            found.append("A compute was asked for; everything runs on this machine.")
        return tuple(dict.fromkeys(found))

    def run(self) -> JobStatus:
        """Run the steps; the status with which the job ends. DefinitionError when a table cannot be read."""
        self._check_tables()
        for folder in (self._work, self._logs):
            folder.mkdir(parents=True, exist_ok=True)
        for notice in self.notices:
            self._log(notice)
        temporary = self._work / "tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            with Processes() as processes:
                outcome = self._run_steps(processes, temporary)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        status = JobStatus(outcome.state, outcome.message, tuple(self._steps.values()))
        self._log(f"{status.state}: {status.message}" if status.message else str(status.state))
        self._on_progress(status)
        return status

    def _check_tables(self) -> None:
        """Read the MLTable files that the run is given, so that a mistake in one is found before anything starts."""
        for name, declared in self._pipeline.inputs.items():
            given = self._inputs.get(name, declared.path)
            if declared.type == "mltable" and given is not None and not is_remote(str(given)):
                load_table(Path(str(given)))

    def _run_steps(self, processes: Processes, temporary: Path) -> Outcome:
        """Each step on a thread of its own as soon as its inputs are ready. The first failure stops the others,
        unless the pipeline says continue_on_step_failure: then only what needs its outputs stays undone."""
        branches = Branches(self._pipeline, self._machine)
        ended: queue.SimpleQueue[tuple[str, Outcome | BaseException]] = queue.SimpleQueue()
        stop = threading.Event()
        failures: list[Outcome] = []
        while True:
            if not stop.is_set():
                for name, machine in branches.start().items():
                    site = self._site(name, machine, processes, temporary, stop)
                    threading.Thread(
                        target=self._run_thread, args=(self._pipeline.step(name), site, ended), name=name
                    ).start()
            if not branches.running:
                break
            name, outcome = self._next(ended, stop)
            if isinstance(outcome, BaseException):
                stop.set()
                while len(branches.running) > 1:  # the processes of the others are stopped before it is told
                    branches.end(name, JobState.FAILED)
                    name, _ = self._next(ended, stop)
                raise outcome
            branches.end(name, outcome.state)
            seconds = time.monotonic() - self._started[name]
            self._progress(name, state=outcome.state, seconds=round(seconds, 3))
            if outcome.state is JobState.FAILED:
                failures.append(outcome)
                if not self._pipeline.continue_on_step_failure:
                    stop.set()
        return self._outcome(branches, failures)

    def _next(
        self, ended: queue.SimpleQueue[tuple[str, Outcome | BaseException]], stop: threading.Event
    ) -> tuple[str, Outcome | BaseException]:
        """The next step that has ended; meanwhile the wish to stop is passed on to all of them."""
        while True:
            if self.cancelled.is_set():
                stop.set()
            with suppress(queue.Empty):
                return ended.get(timeout=LOOK_S)

    def _outcome(self, branches: Branches, failures: list[Outcome]) -> Outcome:
        if failures:
            return Outcome(JobState.FAILED, "; ".join(each.message for each in failures))
        left = [step.name for step in self._pipeline.steps if step.name not in branches.states]
        if any(state is JobState.CANCELED for state in branches.states.values()) or left:
            names = [name for name, state in branches.states.items() if state is JobState.CANCELED]
            return Outcome(JobState.CANCELED, _cancelled(names, left))
        return Outcome(JobState.SUCCEEDED)

    def _site(
        self, name: str, machine: Machine, processes: Processes, temporary: Path, stop: threading.Event
    ) -> Site:
        logs, own = self._logs / name, temporary / str(self._numbers[name])
        for folder in (logs, own):
            folder.mkdir(parents=True, exist_ok=True)
        return Site(
            logs=logs,
            temporary=own,
            environment=base_environment(own),
            processes=processes,
            cancelled=stop,
            machine=machine,
            on_items=self._on_items(name),
        )

    def _run_thread(
        self, step: Step, site: Site, ended: queue.SimpleQueue[tuple[str, Outcome | BaseException]]
    ) -> None:
        """Whatever happens, it is said that the step has ended: the engine waits for that."""
        outcome: Outcome | BaseException
        self._started[step.name] = time.monotonic()
        try:
            self._progress(step.name, state=JobState.RUNNING)
            outcome = self._run_step(step, site)
        except (BatchscoreError, OSError) as error:
            outcome = Outcome(JobState.FAILED, f"step {step.name!r}: {error}")
            site.log(outcome.message)
        except BaseException as error:
            outcome = error
        ended.put((step.name, outcome))

    def _run_step(self, step: Step, site: Site) -> Outcome:
        resolved = resolve(step, self._pipeline, self._inputs, self._outputs, self._work)
        python = interpreter(step.environment, self._python)
        if shutil.which(python) is None:
            raise MissingPythonError(
                f"its environment {step.environment} runs on {python} (setting LOCAL_PYTHON), which is not there. "
                "Make that environment, or name another Python."
                + (" 'make torch' makes it." if ".venv-torch" in python else "")
            )
        marker = resolved.marker(self._work, self._overrides, python)
        if marker.valid:
            self._log(f"step {step.name!r} finished in an earlier attempt and nothing has changed: left out")
            site.log("left out: it finished in an earlier attempt and nothing has changed since")
            return Outcome(JobState.SUCCEEDED)
        marker.remove()
        part = "" if site.machine.whole else f" on {site.machine.cores} of {self._machine.cores} cores"
        self._log(f"step {step.name!r} starts{part}")
        resolved.make_outputs()
        site = replace(site, environment=self._environment(step, resolved, site))
        if isinstance(step, CommandStep):
            self._begin(step, resolved, marker, None)
            folder = code_of(step, site.temporary / "code")
            outcome = run_command(step.name, resolved.command(step), folder, python, site, step.timeout_s)
        else:
            plan = resolved.parallel_plan(step, self._overrides, python, site)
            self._begin(step, resolved, marker, [str(item) for batch in plan.batches for item in batch.items])
            outcome = ParallelRun(plan, site).run()
        if outcome.state is JobState.SUCCEEDED and not outcome.items_failed:
            resolved.check_outputs()
            marker.write()
        return outcome

    def _begin(self, step: Step, resolved: ResolvedStep, marker: Marker, items: Sequence[str] | None) -> None:
        """Note what the step begins from; what an earlier attempt made from other inputs goes first."""
        if marker.stale(items):
            self._log(f"step {step.name!r}: its inputs are others than before, so its outputs are made anew")
            for name in resolved.clear_outputs():
                if name in step.output_bindings:
                    self._on_cleared(step.output_bindings[name])
        marker.begin(items)

    def _environment(self, step: Step, resolved: ResolvedStep, site: Site) -> dict[str, str]:
        return {
            **site.environment,
            **(site.machine.limits if isinstance(step, CommandStep) else {}),
            **{f"AZURE_ML_INPUT_{name}": str(path) for name, path in resolved.data.items()},
            **{f"AZURE_ML_OUTPUT_{name}": str(path) for name, path in resolved.outputs.items()},
            **step.environment_variables,
            **self._overrides.environment_variables,
        }

    def _on_items(self, name: str) -> Callable[[int, int, int], None]:
        def report(done: int, failed: int, total: int) -> None:
            self._progress(name, items_done=done, items_failed=failed, items_total=total)

        return report

    def _progress(self, name: str, **changes: JobState | float) -> None:
        with self._telling:
            self._steps[name] = replace(self._steps[name], **changes)  # type: ignore[arg-type]
            self._on_progress(JobStatus(JobState.RUNNING, "", tuple(self._steps.values())))

    def _log(self, line: str) -> None:
        append_line(self._logs / LOG_NAME, line)


def _cancelled(stopped: Sequence[str], left: Sequence[str]) -> str:
    if stopped:
        return f"{_named(stopped)} {'was' if len(stopped) == 1 else 'were'} cancelled"
    return f"cancelled before {_named(left)}"


def _named(steps: Sequence[str]) -> str:
    return f"step{'s' if len(steps) > 1 else ''} {', '.join(repr(name) for name in steps)}"


def interpreter(environment: str | None, python: Mapping[str, str]) -> str:
    """The Python that stands for an environment: by its name as written, its file's name, or its asset's name."""
    name = environment or ""
    asset = name.removeprefix("azureml:").split(":")[0].split("@")[0]
    for key in (name, Path(name.removeprefix("file:")).name, asset):
        if key in python:
            return python[key]
    return sys.executable
