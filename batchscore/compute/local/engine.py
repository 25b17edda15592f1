"""The engine: a pipeline's steps, one after another, on plain folders of this machine."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from batchscore.compute.base import JobState, JobStatus, Overrides, StepProgress
from batchscore.compute.local.command import run_command
from batchscore.compute.local.machine import Machine
from batchscore.compute.local.parallel import ParallelRun
from batchscore.compute.local.processes import Processes, base_environment
from batchscore.compute.local.resolution import ResolvedStep, resolve
from batchscore.compute.local.site import Outcome, Site, append_line
from batchscore.definitions.model import CommandStep, Pipeline, Scalar, Step
from batchscore.errors import BatchscoreError

LOG_NAME = "engine.txt"


class Engine:
    """Runs a pipeline on folders.

    `inputs` are scalars and paths by pipeline input, `outputs` paths by pipeline output (one that is absent is
    kept below `work`). `work` is the run's: a later attempt with the same folder leaves out the steps that
    finished and did not change. `logs` is the attempt's. `python` maps names of environments to interpreters;
    others run on this one. `on_progress` is called often and must return at once; setting `cancelled` stops
    everything within seconds.
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
    ) -> None:
        self._pipeline = pipeline
        self._inputs = inputs
        self._work = work.absolute()
        self._outputs = {
            name: Path(outputs.get(name, self._work / "outputs" / name)).absolute()
            for name in pipeline.outputs
        }
        self._logs = logs.absolute()
        self._overrides = overrides or Overrides()
        self._python = python or {}
        self._on_progress = on_progress
        self.cancelled = cancelled or threading.Event()
        self._steps = {step.name: StepProgress(step.name, JobState.QUEUED) for step in pipeline.steps}

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
        return tuple(dict.fromkeys(found))

    def run(self) -> JobStatus:
        """Run the steps; the status with which the job ends. A step that fails ends the job."""
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

    def _run_steps(self, processes: Processes, temporary: Path) -> Outcome:
        for step in self._pipeline.steps:
            if self.cancelled.is_set():
                return Outcome(JobState.CANCELED, f"cancelled before step {step.name!r}")
            self._progress(replace(self._steps[step.name], state=JobState.RUNNING))
            logs = self._logs / step.name
            logs.mkdir(parents=True, exist_ok=True)
            site = Site(
                logs=logs,
                temporary=temporary,
                environment=base_environment(temporary),
                processes=processes,
                cancelled=self.cancelled,
                machine=Machine.here(),
                on_items=self._on_items(step.name),
            )
            try:
                outcome = self._run_step(step, site)
            except (BatchscoreError, OSError) as error:
                outcome = Outcome(JobState.FAILED, f"step {step.name!r}: {error}")
                site.log(outcome.message)
            self._progress(replace(self._steps[step.name], state=outcome.state))
            if outcome.state is not JobState.SUCCEEDED:
                return outcome
        return Outcome(JobState.SUCCEEDED)

    def _run_step(self, step: Step, site: Site) -> Outcome:
        resolved = resolve(step, self._pipeline, self._inputs, self._outputs, self._work)
        python = interpreter(step.environment, self._python)
        marker = resolved.marker(self._work, self._overrides, python)
        if marker.valid:
            self._log(f"step {step.name!r} finished in an earlier attempt and nothing has changed: left out")
            site.log("left out: it finished in an earlier attempt and nothing has changed since")
            return Outcome(JobState.SUCCEEDED)
        marker.remove()
        self._log(f"step {step.name!r} starts")
        resolved.make_outputs()
        site = replace(site, environment=self._environment(step, resolved, site))
        if isinstance(step, CommandStep):
            outcome = run_command(step.name, resolved.command(step), resolved.code, python, site)
        else:
            plan = resolved.parallel_plan(step, self._overrides, python, site)
            outcome = ParallelRun(plan, site).run()
        if outcome.state is JobState.SUCCEEDED and not outcome.items_failed:
            resolved.check_outputs()
            marker.write()
        return outcome

    def _environment(self, step: Step, resolved: ResolvedStep, site: Site) -> dict[str, str]:
        return {
            **site.environment,
            **{f"AZURE_ML_INPUT_{name}": str(path) for name, path in resolved.data.items()},
            **{f"AZURE_ML_OUTPUT_{name}": str(path) for name, path in resolved.outputs.items()},
            **step.environment_variables,
            **self._overrides.environment_variables,
        }

    def _on_items(self, name: str) -> Callable[[int, int, int], None]:
        def report(done: int, failed: int, total: int) -> None:
            counted = replace(self._steps[name], items_done=done, items_failed=failed, items_total=total)
            self._progress(counted)

        return report

    def _progress(self, step: StepProgress) -> None:
        self._steps[step.name] = step
        self._on_progress(JobStatus(JobState.RUNNING, "", tuple(self._steps.values())))

    def _log(self, line: str) -> None:
        append_line(self._logs / LOG_NAME, line)


def interpreter(environment: str | None, python: Mapping[str, str]) -> str:
    """The Python that stands for an environment: by its name as written, its file's name, or its asset's name."""
    name = environment or ""
    asset = name.removeprefix("azureml:").split(":")[0].split("@")[0]
    for key in (name, Path(name.removeprefix("file:")).name, asset):
        if key in python:
            return python[key]
    return sys.executable
