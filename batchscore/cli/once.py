"""`start --once`: a host that handles what waits, and ends when every run is over; for scripts, cron and CI."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from batchscore.cli import terminal
from batchscore.cli.outcome import Exit, code_of_run
from batchscore.cli.wording import counted
from batchscore.errors import SettingsError, StorageUnavailableError

if TYPE_CHECKING:
    from batchscore.application import Application
    from batchscore.runs import Run, RunState

POLL_S = 1.0
READY_TIMEOUT_S = 90.0
QUIET_LOOKS = 2
"""How often in a row nothing may be found to do before all is held to be done."""
MOST_NAMED = 20
FIRST_LOOK = 50


def run_once(arguments: Sequence[str], app: Path) -> Exit:
    """Run a host of `app` until no trigger file is without a run, no hour is due and no run is under way. 0 when every run that ended
    meanwhile succeeded, 5 when some left failed items, 1 when one ended otherwise."""
    began = datetime.now(UTC)
    command = [sys.executable, "-m", "batchscore.devhost", *arguments, "--no-reload", "--stop-with-stdin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as host:  # it ends with us, however we end
        try:
            with _control(host, app) as control:
                done = _wait_until_done(host, control)
                ended = _ended_since(control, began)
        finally:
            code = _stopped(host)
    if not done or code != 0:
        terminal.complain("the host ended before every run was over; the next start carries on.")
        return Exit.FAILED
    return _told(ended)


@contextmanager
def _control(host: subprocess.Popen[bytes], app: Path) -> Iterator[Application]:
    """The control plane on the host's storage, once the host is there."""
    from batchscore.application import Application
    from batchscore.cli.environment import absolute_folders
    from batchscore.devhost.address import running_host
    from batchscore.settings import Settings

    deadline = time.monotonic() + READY_TIMEOUT_S
    while (running := running_host(app)) is None or running.pid != host.pid:
        if host.poll() is not None or time.monotonic() > deadline:
            raise SettingsError("the host did not start; what it said is above.")
        time.sleep(0.1)
    control = Application(
        Settings.from_environment({**os.environ, **absolute_folders(app, running.environment)})
    )
    try:
        yield control
    finally:
        control.close()


def _wait_until_done(host: subprocess.Popen[bytes], control: Application) -> bool:
    """Wait until there is nothing to do; False when the host ends before."""
    quiet = 0
    while quiet < QUIET_LOOKS:
        if host.poll() is not None:
            return False
        try:
            found = control.intake.sweep().found
            if found:
                control.kick()
            under_way = found or next(control.store.active(), None) is not None
            quiet = 0 if under_way or _hours_begun(control) else quiet + 1
        except StorageUnavailableError as error:  # the host waits for it too
            terminal.complain(str(error))
            quiet = 0
        time.sleep(POLL_S)
    return True


def _hours_begun(control: Application) -> bool:
    """Whether hours were due, or could not all be looked at: the timer may be an hour away."""
    if not control.settings.scores_hours:
        return False
    look = control.score_hours()
    return bool(look.started or look.faults)


def _ended_since(control: Application, began: datetime) -> list[Run]:
    """The runs that ended since then. Lists are read until they hold none any more: newest runs come first."""
    from batchscore.runs import RunState

    found: list[Run] = []
    for state in RunState:
        limit = FIRST_LOOK
        while state.ended:
            listed = control.store.recent(limit, state)
            ended = [run for run in listed if run.ended_at is not None and run.ended_at >= began]
            if len(listed) < limit or not {run.id for run in ended} & {
                run.id for run in listed[limit // 2 :]
            }:
                found += ended
                break
            limit *= 4
    return found


def _stopped(host: subprocess.Popen[bytes]) -> int:
    if host.poll() is None:
        host.send_signal(signal.SIGINT)
    while True:
        try:
            return host.wait()
        except KeyboardInterrupt:  # it went to the host too, which ends in its own way
            continue


def how_many(states: Iterable[RunState]) -> str:
    """The sentence that sums up how runs ended."""
    from batchscore.runs import RunState

    count = Counter(states)
    if not count:
        return "nothing waited."
    with_errors = count[RunState.SUCCEEDED_WITH_ERRORS]
    partly = f", {with_errors} succeeded with errors" if with_errors else ""
    return f"{counted(count.total(), 'run')} ended, {count[RunState.SUCCEEDED]} succeeded{partly}."


def _told(ended: Sequence[Run]) -> Exit:
    from batchscore.cli.accounts import short

    bad = [run for run in ended if code_of_run(run) is not Exit.OK]
    terminal.answer(how_many(run.state for run in ended))
    for run in bad[:MOST_NAMED]:
        terminal.complain(f"run {short(run)} {run.state}: {run.reason}")
    if len(bad) > MOST_NAMED:
        terminal.complain(f"and {len(bad) - MOST_NAMED} more")
    if not bad:
        return Exit.OK
    return Exit.FAILED if any(code_of_run(run) is Exit.FAILED for run in bad) else Exit.WITH_ERRORS
