"""What happened to a run, in words: where it came from, how far it is, what failed, what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from batchscore.cli.advice import Cure, cure
from batchscore.cli.costs import estimate_words, took_words
from batchscore.cli.wording import counted, duration, milliseconds, moment
from batchscore.compute.base import JobState, Location, StepProgress
from batchscore.runs import Attempt, Cause, Run, RunState

SHORT_ID = 8
MOST_FAILURES_SHOWN = 10
WAITING_TOO_LONG_S = 15

STYLES = {
    RunState.ACCEPTED: "cyan",
    RunState.SUBMITTING: "cyan",
    RunState.RUNNING: "blue",
    RunState.SUCCEEDED: "green",
    RunState.SUCCEEDED_WITH_ERRORS: "yellow",
    RunState.FAILED: "red",
    RunState.CANCELED: "yellow",
    RunState.REJECTED: "red",
    RunState.POISONED: "magenta",
}
SHORT_STATES = {RunState.SUCCEEDED_WITH_ERRORS: "with errors"}
"""What a table of 80 columns calls a state whose own name is long."""


@dataclass(frozen=True)
class Chapter:
    """One titled part of an account."""

    title: str
    lines: tuple[str, ...]


def short(run: Run) -> str:
    """The part of the id that people type."""
    return run.id[:SHORT_ID]


def headline(run: Run, now: datetime) -> str:
    """How the run is, in one sentence."""
    stopping = run.state is RunState.RUNNING and run.cancel_requested
    waits = run.state is RunState.RUNNING and run.waits and run.reason != "" and not stopping
    verb = "is being canceled" if stopping else "waits for machines" if waits else _VERBS[run.state]
    words = f"run {short(run)} {verb}"
    took = worked_s(run, now)
    if took is not None and run.state is not RunState.SUBMITTING and not stopping and not waits:
        words += f" {'after' if run.state.ended else 'for'} {duration(took)}"
    items = items_words(run)
    return words + (f": {items}" if items else "") + "."


_VERBS = {
    RunState.ACCEPTED: "is accepted and waits for its turn",
    RunState.SUBMITTING: "is being submitted",
    RunState.RUNNING: "has been running",
    RunState.SUCCEEDED: "succeeded",
    RunState.SUCCEEDED_WITH_ERRORS: "succeeded with errors",
    RunState.FAILED: "failed",
    RunState.CANCELED: "was canceled",
    RunState.REJECTED: "was rejected",
    RunState.POISONED: "is poisoned",
}


def worked_s(run: Run, now: datetime) -> float | None:
    """Seconds from the start of the newest attempt to its end, or to now; None while none has started."""
    if not run.attempts or run.state is RunState.ACCEPTED:
        return None
    newest = run.attempts[-1]
    return ((newest.ended_at or now) - newest.started_at).total_seconds()


def items_words(run: Run) -> str:
    """Items done, in all and failed: `58 of 60 items, 2 failed`; nothing while none are known."""
    total, done, failed = run.items
    if run.summary is not None and run.state.ended:
        done, failed = run.summary.ok, run.failed_items
        total = max(total, done + failed)
    if not total:
        return ""
    words = counted(done, "item") if done == total else f"{done:,} of {counted(total, 'item')}"
    return f"{words}, {failed:,} failed" if failed else words


def cause_words(cause: Cause) -> str:
    match cause.kind:
        case "trigger_file":
            return f"trigger file {cause.name}"
        case "inbox_file":
            return f"file {cause.name}"
        case "http":
            return f"HTTP request with key {cause.name}"
        case "cli":
            return "batchscore submit"
        case "hour":
            return f"hour {cause.name}, {cause.version}"
        case _:
            return f"{cause.kind} {cause.name}"


def what_words(run: Run) -> str:
    """What a run is about, in a table: its workload, and the hour that it scores."""
    if run.cause.kind == "hour":
        return f"{run.workload} {run.cause.name} {run.cause.version}"
    return run.workload or run.cause.name


def step_words(step: StepProgress) -> str:
    """A step's state with its items: `stylize: running, 12 of 60 items`."""
    words = f"{step.name}: {step.state}"
    if step.items_total:
        words += f", {step.items_done:,} of {counted(step.items_total, 'item')}"
    return words + (f", {step.items_failed:,} failed" if step.items_failed else "")


def account(run: Run, now: datetime) -> list[Chapter]:
    """The whole story of a run, in the order in which a person asks for it."""
    chapters = [
        Chapter("Run", (run.id,)),
        Chapter("Workload", (run.workload,) if run.workload else ()),
        Chapter("Reason", tuple(run.reason.splitlines())),
        Chapter("Cause", (f"{cause_words(run.cause)}, {moment(run.created_at)}",)),
        Chapter("Inputs", _inputs(run)),
        Chapter("Options", _options(run)),
        Chapter("Estimate", (estimate_words(run.estimate),) if run.estimate else ()),
        Chapter("Took", (took_words(run.took, run.estimate),) if run.took else ()),
        Chapter("Attempts", tuple(_attempt_words(attempt, now, run.reason) for attempt in run.attempts)),
        Chapter("Steps", tuple(_step_at_end(step, run) for step in run.steps)),
        Chapter("Failed", _failures(run)),
        Chapter("Timings", _timings(run)),
        Chapter("Models", tuple(run.published.values())),
        Chapter("Results", _results(run)),
        Chapter("Removed", _removed(run)),
        Chapter("Logs", (f"{run.job.logs} ({run.job.logs.account} account)",) if run.job else ()),
        Chapter("Studio", (run.job.link,) if run.job and run.job.link else ()),
        Chapter("Next", next_steps(run)),
    ]
    return [chapter for chapter in chapters if chapter.lines]


def next_steps(run: Run) -> tuple[str, ...]:
    """What a person would do now, as commands with what they are for."""
    name = short(run)
    match run.state:
        case RunState.ACCEPTED | RunState.SUBMITTING | RunState.RUNNING:
            return (f"batchscore watch {name}   follow it", f"batchscore cancel {name}  stop it")
        case RunState.SUCCEEDED:
            return (f"batchscore fetch {name}  get the results",)
        case RunState.SUCCEEDED_WITH_ERRORS:
            return (
                f"batchscore fetch {name}  get the results that are there",
                f"batchscore retry {name}  try the failed items again, once their cause is mended",
            )
        case RunState.CANCELED:
            return (*_partial(run), f"batchscore retry {name}  another attempt; what is finished is kept")
        case RunState.FAILED:
            failed = (
                (f"batchscore show {name} --failed  every failed item and why",) if run.failed_items else ()
            )
            return (
                f"batchscore logs {name}   read what the steps wrote",
                *failed,
                *_partial(run),
                *_cure(run),
            )
        case RunState.POISONED:
            return (f"batchscore replay {name}  read the trigger file again",)
        case _:
            corrected = {
                "trigger_file": f"correct it and drop {run.cause.name} again: a new run",
                "hour": f"mend what the reason names, then 'batchscore hours rescore {run.cause.name}': a new version",
                "inbox_file": "drop it again in the right place: a new run ('batchscore models' lists the names)",
            }.get(run.cause.kind, "correct the request and submit it again")
            return (corrected,)


def _partial(run: Run) -> tuple[str, ...]:
    done = run.summary.ok if run.summary else run.items[1]
    return (
        (f"batchscore fetch {short(run)}  get what is whole so far; with --all also of single steps",)
        if done
        else ()
    )


def _cure(run: Run) -> tuple[str, ...]:
    """The command that can help; another attempt only where the same may end otherwise."""
    again = f"batchscore retry {short(run)}"
    match cure(run.reason):
        case Cure.RETRY:
            return (f"{again}  another attempt; what is finished is kept",)
        case Cure.UPLOAD:
            return (f"{again}  another attempt, once the input is in place",)
        case Cure.INPUT:
            resubmit = {
                "trigger_file": f"put it right and drop {run.cause.name} again: a new run",
                "inbox_file": f"put it right and drop {run.cause.name} again: a new run",
                "cli": "put it right and submit it again: a new run",
                "hour": f"put it right, then 'batchscore hours rescore {run.cause.name}': a new version",
            }.get(run.cause.kind, "put it right and start a new run")
            return (
                f"the same input fails again: {resubmit}",
                f"{again}  only when you mended a file in place; what is finished is kept",
            )
        case Cure.UNKNOWN:
            return (f"{again}  another attempt, once the cause is mended; what is finished is kept",)


def waiting_words(run: Run, now: datetime, others: int, host_running: bool) -> str | None:
    """Why a run is still only accepted, once that has lasted too long; None before, and when it has moved on."""
    if run.state is not RunState.ACCEPTED:
        return None
    if (now - run.queued_at).total_seconds() < WAITING_TOO_LONG_S:
        return None
    if others:
        runs = "another run is" if others == 1 else f"{others} other runs are"
        return f"{runs} active; this one waits for its turn (setting MAX_ACTIVE_RUNS)."
    if host_running:
        return "the host is running but has not taken the run up yet; its log says why."
    return (
        "nothing has taken the run up: is a host running on this storage? Start one with 'make start' (or "
        "'batchscore start'); the run is kept and starts then."
    )


def _inputs(run: Run) -> tuple[str, ...]:
    if run.job is not None:
        return tuple(
            f"{name} = {value}{'' if value.account == 'data' else ' (system account)'}"
            if isinstance(value, Location)
            else f"{name} = {value}"
            for name, value in run.job.inputs.items()
        )
    return tuple(f"{name} = {value}" for name, value in run.request.inputs.items()) if run.request else ()


def _options(run: Run) -> tuple[str, ...]:
    if run.request is None:
        return ()
    given = vars(run.request.overrides) | {
        name: f"{each.least} to {each.most}" for name, each in run.request.bounds.items()
    }
    told = [f"{name} = {_plain(value)}" for name, value in given.items() if value is not None and value != {}]
    return (
        *told,
        *_chosen(run),
        *(() if run.request.max_cost is None else (f"max_cost = {run.request.max_cost:g}",)),
    )


def _plain(value: object) -> str:
    """An option as a person writes it: `video: download, result: upload`."""
    if not isinstance(value, Mapping):
        return str(value)
    return ", ".join(f"{name}: {each}" for name, each in value.items())


def _chosen(run: Run) -> tuple[str, ...]:
    """What the planner gave the run of its own accord."""
    if run.estimate is None or run.request is None:
        return ()
    asked, given = run.request.overrides, run.estimate
    nodes = counted(given.nodes, "node") if given.nodes and asked.nodes is None else ""
    size = (
        f"mini-batches of {given.mini_batch_size}"
        if given.mini_batch_size and asked.mini_batch_size is None
        else ""
    )
    told = " and ".join(each for each in (nodes, size) if each)
    return (f"the planner chose {told}",) if told else ()


def _step_at_end(step: StepProgress, run: Run) -> str:
    waits = step.state is JobState.QUEUED and run.state.ended
    return f"{step.name}: not reached" if waits else step_words(step)


def _attempt_words(attempt: Attempt, now: datetime, reason: str) -> str:
    """When and how it ended; its message, unless it is the run's reason, which stands above."""
    took = duration(((attempt.ended_at or now) - attempt.started_at).total_seconds())
    ending = f"{attempt.outcome} after {took}" if attempt.ended_at else f"for {took} now"
    said = f": {attempt.message}" if attempt.message and attempt.message != reason else ""
    return f"{attempt.number}. {attempt.started_at:%H:%M:%S}, {ending}{said}"


def _failures(run: Run) -> tuple[str, ...]:
    if run.summary is None:
        return ()
    shown = run.summary.failures[:MOST_FAILURES_SHOWN]
    lines = [f"{failure.item}: {failure.error or 'no reason given'}" for failure in shown]
    rest = len(run.summary.failures) - len(shown)
    if run.summary.failed > len(run.summary.failures):
        rest = run.summary.failed - len(shown)
    return (*lines, f"and {rest:,} more ('batchscore show {short(run)} --failed')") if rest else tuple(lines)


def _timings(run: Run) -> tuple[str, ...]:
    """Milliseconds per item by phase (median), and how the work was spread."""
    summary = run.summary
    if summary is None or not summary.median_milliseconds:
        return ()
    phases = [
        f"{name} {milliseconds(value)}"
        for name, value in summary.median_milliseconds.items()
        if name != "total"
    ]
    total = summary.median_milliseconds.get("total")
    whole = f"{milliseconds(total)} per item (median)" if total is not None else "per item (median)"
    lines = [whole + (f": {', '.join(phases)}" if phases else "")]
    spread = counted(summary.workers, "worker")
    if summary.skipped:
        spread += f"; {counted(summary.skipped, 'item')} found finished by an earlier try"
    return (*lines, spread)


def _removed(run: Run) -> tuple[str, ...]:
    if run.cleaned_at is None:
        return ()
    return (f"what its steps handed to each other, {moment(run.cleaned_at)} (setting KEEP_INTERMEDIATES)",)


def _results(run: Run) -> tuple[str, ...]:
    places = _places(run.results or {}) if run.attempts else ()
    unfinished = run.state in (RunState.FAILED, RunState.CANCELED)
    return tuple(f"{place}, not finished" for place in places) if unfinished else places


def _places(results: dict[str, Location]) -> tuple[str, ...]:
    return tuple(f"{name}: {location} ({location.account} account)" for name, location in results.items())
