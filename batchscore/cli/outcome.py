"""How a command ends: exit codes, and errors as one sentence on stderr."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from batchscore.cli.terminal import complain
from batchscore.errors import (
    BatchscoreError,
    ComputeUnavailableError,
    DefinitionError,
    RequestError,
    RunConflictError,
    RunNotFoundError,
    SettingsError,
    StorageUnavailableError,
)

if TYPE_CHECKING:
    from batchscore.runs import Run


class Exit(IntEnum):
    """Exit codes; docs/cli.md explains them."""

    OK = 0
    FAILED = 1
    """The run, the check or the work failed."""
    USAGE = 2
    """What was asked is wrong: options, settings, inputs, or a run in a state in which it cannot be done."""
    NOT_FOUND = 3
    """There is no such run."""
    UNAVAILABLE = 4
    """Storage or the compute did not answer; the same command may succeed later."""
    WITH_ERRORS = 5
    """The run succeeded and some of its items failed."""
    INTERRUPTED = 130


_CODES: tuple[tuple[type[BatchscoreError], Exit], ...] = (
    (RunNotFoundError, Exit.NOT_FOUND),
    (StorageUnavailableError, Exit.UNAVAILABLE),
    (ComputeUnavailableError, Exit.UNAVAILABLE),
    (SettingsError, Exit.USAGE),
    (RequestError, Exit.USAGE),
    (DefinitionError, Exit.USAGE),
    (RunConflictError, Exit.USAGE),
)


def code_of(error: BatchscoreError) -> Exit:
    """The exit code that tells a program what kind of error it was."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.FAILED)


def code_of_run(run: Run) -> Exit:
    """0 when the run succeeded with every item, 5 when some of them failed, 1 when it ended otherwise."""
    from batchscore.runs import RunState

    ends = {RunState.SUCCEEDED: Exit.OK, RunState.SUCCEEDED_WITH_ERRORS: Exit.WITH_ERRORS}
    return ends.get(run.state, Exit.FAILED)


class Commands(TyperGroup):
    """The group of all commands: says an error in red instead of showing a traceback, and ends with its code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BatchscoreError as error:
            complain(str(error))
            raise typer.Exit(code_of(error)) from None
        except KeyboardInterrupt:
            complain("interrupted.")
            raise typer.Exit(Exit.INTERRUPTED) from None
