"""The contract of a compute: what a run is turned into, and the four calls that every back end answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

Scalar = str | int | float | bool


@dataclass(frozen=True)
class Location:
    """A place in storage: `account` is "data" or "system", `path` a blob's name or a prefix without a final slash."""

    account: str
    container: str
    path: str

    def __str__(self) -> str:
        return f"{self.container}/{self.path}"


@dataclass(frozen=True)
class Overrides:
    """What a run changes in its pipeline, in every parallel step where nothing else is said; None leaves the file's own value."""

    nodes: int | None = None
    mini_batch_size: int | None = None
    max_concurrency_per_instance: int | None = None
    error_threshold: int | None = None
    mini_batch_error_threshold: int | None = None
    timeout_s: int | None = None
    max_retries: int | None = None
    logging_level: str | None = None
    environment_variables: dict[str, str] = field(default_factory=dict)
    modes: dict[str, str] = field(default_factory=dict)
    """How the pipeline's inputs and outputs of these names reach the machine: Azure ML's `download`, `upload`, …"""
    compute: str | dict[str, str] | None = None
    """The compute target of every step, or of the steps of these names; without `azureml:`."""

    def compute_of(self, step: str) -> str | None:
        """The compute target that is asked for the step of this name; None leaves the file's own."""
        return self.compute.get(step) if isinstance(self.compute, dict) else self.compute


@dataclass(frozen=True)
class Job:
    """The whole body of one attempt, frozen into the run record before it is submitted.

    `name` is made of the run's id and the attempt's number, so that submitting twice finds the job that is
    there. `inputs` holds scalars and locations by pipeline input; unset optional inputs are absent. Output
    locations are made of the run alone, so that a later attempt finds what an earlier one finished.
    """

    name: str
    run_id: str
    attempt: int
    workload: str
    pipeline: str
    """The pipeline file, relative to the folder of workloads, with forward slashes."""
    inputs: dict[str, Location | Scalar]
    outputs: dict[str, Location]
    logs: Location
    """The prefix (system account) under which logs of all steps are kept."""
    overrides: Overrides = Overrides()
    models: dict[str, str] = field(default_factory=dict)
    """Outputs that become models when the run has succeeded: the model's name by output."""
    document: str = ""
    """For Azure Machine Learning: the whole pipeline job as its YAML file would say it; empty for other computes."""
    link: str = ""
    """The page on which a person sees the job while it runs; empty where there is none."""


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    LOST = "lost"
    """The compute no longer knows the job, or what ran it is dead: another attempt may carry on."""

    @property
    def ended(self) -> bool:
        return self not in (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True)
class StepProgress:
    """How far a step is; for a command step the counts stay 0."""

    name: str
    state: JobState
    items_total: int = 0
    items_done: int = 0
    items_failed: int = 0
    nodes: int = 1
    """How many nodes it has, or had."""
    seconds: float = 0
    """How long it took, by the clock, once it has ended; 0 until then, because time that passes is no progress."""


@dataclass(frozen=True)
class JobStatus:
    """What a compute says of a job; `message` explains every state that is not a success, in one sentence."""

    state: JobState
    message: str = ""
    steps: tuple[StepProgress, ...] = ()
    blameless: bool = False
    """Of a job that is LOST: its surroundings failed (storage, the disk, the machine), not what it runs."""


class Compute(Protocol):
    """Where jobs run. Every call may raise ComputeUnavailableError; none blocks for longer than a request."""

    def submit(self, job: Job) -> None:
        """Start the job. Submitting a name that is there already changes nothing. JobRefusedError is final."""

    def status(self, job_name: str) -> JobStatus:
        """How the job is; a name that the compute does not know is LOST."""

    def cancel(self, job_name: str) -> None:
        """Ask the job to stop; it is CANCELED once it has. Nothing happens to a job that has ended or is unknown."""

    def close(self) -> None:
        """Let go of connections. Jobs go on."""
