"""Every error of the product.

BatchscoreError
├── SettingsError              a setting is missing or wrong
├── RequestError               a trigger file or an HTTP body asks for what cannot be done
├── DefinitionError            a pipeline or component file has mistakes (all of them, with lines)
├── RunNotFoundError
├── RunConflictError           the run is in a state in which this cannot be done
├── RunUnreadableError         the record of a run is torn, or another version wrote it
├── HourUnreadableError        the record of a scoring hour is torn, or another version wrote it
├── NotDeployedError           Azure ML does not have the workload, or not as it is here
├── StorageUnavailableError    storage did not answer; try again
└── ComputeError
    ├── ComputeUnavailableError   the compute did not answer; try again
    └── JobRefusedError           the compute will never take this job
"""

from __future__ import annotations

from dataclasses import dataclass


class BatchscoreError(Exception):
    """Something went wrong; the message names the thing, the value and the remedy."""


class SettingsError(BatchscoreError):
    """A setting is missing or has a value that cannot be used."""


class RequestError(BatchscoreError):
    """The request cannot be carried out as it is written."""


@dataclass(frozen=True)
class Problem:
    """One mistake in a definition file."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class DefinitionError(BatchscoreError):
    """A pipeline or component file has mistakes; each is listed with its file and line."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class RunNotFoundError(BatchscoreError):
    """There is no run with this id."""


class RunConflictError(BatchscoreError):
    """The run is in a state in which this cannot be done."""


class RunUnreadableError(BatchscoreError):
    """The record of the run is torn, or another version wrote it in a form that this one does not know."""


class HourUnreadableError(BatchscoreError):
    """The record of the hour is torn, or another version wrote it in a form that this one does not know."""


class NotDeployedError(BatchscoreError):
    """Azure ML does not have the workload, or not as it is here; `batchscore deploy` brings it there."""


class StorageUnavailableError(BatchscoreError):
    """Storage did not answer as it should; the same call may succeed later."""


class ComputeError(BatchscoreError):
    """The compute could not do what was asked."""


class ComputeUnavailableError(ComputeError):
    """The compute did not answer; the same call may succeed later."""


class JobRefusedError(ComputeError):
    """The compute refuses this job, now and later."""
