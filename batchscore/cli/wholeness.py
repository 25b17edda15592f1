"""Which files of a run's outputs are whole: receipts say it, or the end of the step that wrote them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchscore.receipts import PromisedFile, promised_files

if TYPE_CHECKING:
    from batchscore.definitions.model import Pipeline
    from batchscore.runs import Run

NO_RECEIPT = "no receipt says that it is whole, and the step that writes it has not finished"
NOT_AS_PROMISED = "it is not what its receipt says"


class Promises:
    """What the receipts of a run say about files, in a database without a name on disk: memory does not grow."""

    def __init__(self, lines: Iterable[bytes | str]) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("CREATE TABLE promised (name TEXT, size INTEGER, sha256 TEXT)")
        self._database.execute("BEGIN")
        rows = ((each.name, each.size_bytes, each.sha256) for each in promised_files(lines))
        self._database.executemany("INSERT INTO promised VALUES (?, ?, ?)", rows)
        self._database.execute("COMMIT")
        self._database.execute("CREATE INDEX by_name ON promised (name)")

    def of(self, name: str) -> frozenset[PromisedFile]:
        """Every whole content that a file of this name had."""
        rows = self._database.execute(
            "SELECT DISTINCT name, size, sha256 FROM promised WHERE name = ?", (name,)
        )
        return frozenset(PromisedFile(*row) for row in rows)

    def close(self) -> None:
        self._database.close()


@dataclass(frozen=True)
class Check:
    """What to do with a file: leave it out because of `reason`; else it must be one of `promised`, if there are any."""

    promised: frozenset[PromisedFile] = frozenset()
    reason: str = ""


def check(promised: frozenset[PromisedFile], size_bytes: int, *, finished: bool, covered: bool) -> Check:
    """How a file of an output is told to be whole.

    `promised` is what receipts say of its name. `finished` means that the step that wrote the output has ended well,
    `covered` that receipts speak of files of this output at all (another output may have a file of the same name).
    """
    fitting = frozenset(each for each in promised if each.size_bytes == size_bytes)
    if fitting:
        return Check(fitting)
    if finished and not (covered and promised):
        return Check()
    return Check(reason=NOT_AS_PROMISED if promised else NO_RECEIPT)


def finished_outputs(run: Run, pipeline: Pipeline | None) -> frozenset[str]:
    """The outputs whose files are whole because every step that writes them has succeeded; and those that appear in
    storage only then."""
    from batchscore.compute.base import JobState
    from batchscore.runs import RunState

    outputs = frozenset(run.job.outputs if run.job else ())
    if run.state in (RunState.SUCCEEDED, RunState.SUCCEEDED_WITH_ERRORS):
        return outputs
    if pipeline is None:
        return frozenset()
    succeeded = {step.name for step in run.steps if step.state is JobState.SUCCEEDED}
    unfinished = {
        target
        for step in pipeline.steps
        for port, target in step.output_bindings.items()
        if step.name not in succeeded
        and "upload" not in (step.outputs[port].mode, pipeline.outputs[target].mode)
    }
    written = {target for step in pipeline.steps for target in step.output_bindings.values()}
    return (outputs & written) - unfinished
