"""What becomes of a job, by what Azure Machine Learning says of it and of its steps: pure, no I/O.

service state             ours         and then
Completed                 succeeded
Failed                    failed       or lost, when the row of its fault says that another attempt may carry on
Canceled                  canceled     or lost, when its nodes were taken away
NotStarted … Queued       queued       it waits for nodes; so it does when it is Running and none of its steps is
Running, Finalizing …     running
one that is not known     running      or lost, once it has an end
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from batchscore.compute.azureml.faults import Fault, Row, row_of, said_by
from batchscore.compute.base import JobState
from batchscore.printable import printable

STATES: Mapping[str, JobState] = {
    "notstarted": JobState.QUEUED,
    "unapproved": JobState.QUEUED,
    "scheduled": JobState.QUEUED,
    "starting": JobState.QUEUED,
    "provisioning": JobState.QUEUED,
    "preparing": JobState.QUEUED,
    "queued": JobState.QUEUED,
    "pausing": JobState.QUEUED,
    "paused": JobState.QUEUED,
    "running": JobState.RUNNING,
    "notresponding": JobState.RUNNING,
    "finalizing": JobState.RUNNING,
    "cancelrequested": JobState.RUNNING,
    "completed": JobState.SUCCEEDED,
    "finished": JobState.SUCCEEDED,
    "bypassed": JobState.SUCCEEDED,
    "failed": JobState.FAILED,
    "canceled": JobState.CANCELED,
}
"""Every state of a job or of a run that the service documents, without its capitals."""

SAID: Mapping[str, str] = {
    "notresponding": "Azure Machine Learning has not heard of the job for a while; it may come back by itself.",
    "paused": "somebody paused the job in Azure Machine Learning.",
    "pausing": "somebody paused the job in Azure Machine Learning.",
    "unapproved": "the job waits for somebody's approval in Azure Machine Learning.",
    "cancelrequested": "the job is being canceled.",
    "finalizing": "the job is done and its outputs are being stored.",
}
"""What a person reads of a state that is neither the usual one nor an end."""


@dataclass(frozen=True)
class Reported:
    """A job, or a step of one, as the service reports it."""

    state: str
    fault: Fault | None = None
    ended: bool = False
    """Whether it has an end time, which tells the end of a job whose state is not known."""
    cause: str = ""
    """What its own log says went wrong, where that was found."""


@dataclass(frozen=True)
class Outcome:
    """What a job is; `message` and `blameless` as in JobStatus."""

    state: JobState
    message: str = ""
    blameless: bool = False


def state_of(reported: Reported) -> JobState:
    """Our state for the service's."""
    known = STATES.get(_plain(reported.state))
    if known is not None:
        return known
    return JobState.LOST if reported.ended else JobState.RUNNING


def is_known(state: str) -> bool:
    """Whether the service's state is one that it documents."""
    return _plain(state) in STATES


def outcome(job: Reported, steps: Mapping[str, Reported], link: str = "", waits_for: str = "") -> Outcome:
    """What the job is, by itself and by its steps. `link` leads to it in the studio; `waits_for` says what a job waits
    for that is queued."""
    state = state_of(job)
    match state:
        case JobState.SUCCEEDED:
            return Outcome(state)
        case JobState.FAILED:
            return _failed(job, steps, link)
        case JobState.CANCELED:
            if _decisive(job, steps)[1].state is JobState.LOST:
                return _failed(job, steps, link)
            return Outcome(state, _linked("canceled in Azure Machine Learning.", link))
        case JobState.LOST:
            return Outcome(state, _linked(f"Azure Machine Learning ended the job as {_unknown(job)}.", link))
    said = SAID.get(_plain(job.state), "")
    if said:
        return Outcome(state, said)
    if not is_known(job.state):
        return Outcome(state, f"Azure Machine Learning says {_unknown(job)}: taken as running.")
    inside = {state_of(step) for step in steps.values()}
    if JobState.RUNNING in inside:
        return Outcome(JobState.RUNNING, _said_of_steps(steps))
    if JobState.QUEUED in inside or state is JobState.QUEUED:
        return Outcome(JobState.QUEUED, _said_of_steps(steps) or waits_for)
    return Outcome(state)


def vanished(job_name: str, link: str = "") -> Outcome:
    """Of a job that the workspace does not know."""
    told = f"the workspace knows no job {printable(job_name)!r}; somebody may have deleted it."
    return Outcome(JobState.LOST, _linked(told, link))


def _failed(job: Reported, steps: Mapping[str, Reported], link: str) -> Outcome:
    name, row, said = _decisive(job, steps)
    who = f"step {name!r}" if name else "the job"
    told = ": ".join(part for part in (f"{who} failed", row.told, said) if part)
    if not told.endswith((".", "!", "?", "…")):
        told += "."
    return Outcome(row.state, _linked(f"{told} {row.remedy}".rstrip(), link), row.blameless)


def _decisive(job: Reported, steps: Mapping[str, Reported]) -> tuple[str, Row, str]:
    """The step that decides, the row of its fault, and what was said of it. Of several, one that another attempt would
    not mend goes first, then one that counts against the run; a step without a fault has that of the job."""
    broken = []
    for name, step in steps.items():
        if state_of(step) is JobState.FAILED or (state_of(step) is JobState.CANCELED and step.fault):
            fault = step.fault or job.fault
            broken.append((name, row_of(fault), step.cause or (said_by(fault) if fault else "")))
    if not broken:
        return "", row_of(job.fault), job.cause or (said_by(job.fault) if job.fault else "")
    return min(broken, key=lambda each: (each[1].state is JobState.LOST, each[1].blameless))


def _said_of_steps(steps: Mapping[str, Reported]) -> str:
    for name, step in steps.items():
        said = SAID.get(_plain(step.state), "")
        if said and _plain(step.state) != "finalizing":
            return f"step {name!r}: {said}"
    return ""


def _unknown(job: Reported) -> str:
    return f"{printable(job.state, 60)!r}, which is no state that is known"


def _plain(state: str) -> str:
    return state.replace("_", "").replace(" ", "").lower()


def _linked(told: str, link: str) -> str:
    return f"{told} In the studio: {link}" if link else told
