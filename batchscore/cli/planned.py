"""`plan`: what a trigger file's run would take, what it would be given, and what else it could have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batchscore.cli import terminal
from batchscore.cli.environment import application
from batchscore.errors import RequestError

if TYPE_CHECKING:
    from rich.table import Table

    from batchscore.application import Application
    from batchscore.catalog import Catalog
    from batchscore.compute.base import Location
    from batchscore.deployment import Deployment
    from batchscore.estimates import Estimate
    from batchscore.holdings import Amount
    from batchscore.measured import RunSample
    from batchscore.planner import Proposal
    from batchscore.triggers import RunRequest

COMPUTES = {"local": "this machine", "azureml": "Azure ML"}


def plan(
    trigger: Annotated[Path, typer.Argument(metavar="TRIGGER.json", help="A trigger file.")],
    compute: Annotated[
        str | None, typer.Option(help="Where it would run: local or azureml. Without it, where runs run now.")
    ] = None,
    json: terminal.Json = False,
) -> None:
    """Say what a run would take: minutes, node-hours, money, and what else it could have. Nothing is started.

    Data that is not in storage yet is looked for beside the trigger file."""
    from batchscore.expectations import within_budget

    if compute is not None and compute not in COMPUTES:
        raise RequestError(f"--compute is {compute!r}; it must be one of {', '.join(COMPUTES)}.")
    with application() as control:
        where = compute or control.settings.compute
        request = _request(control, trigger)
        found = _proposal(control, request, trigger.parent, where)
    if json:
        terminal.answer_json(
            {
                "compute": where,
                "chosen": found.chosen,
                "alternatives": [{"name": name, "estimate": each} for name, each in found.alternatives],
                "affordable": found.affordable,
            }
        )
    else:
        _tell(request, found, where)
    within_budget(found, request.max_cost)


def _request(control: Application, trigger: Path) -> RunRequest:
    from batchscore.triggers import parse

    limit = control.settings.max_trigger_bytes
    try:
        with trigger.open("rb") as stream:
            body = stream.read(limit + 1)
    except OSError as error:
        raise RequestError(f"{trigger} cannot be read: {error.strerror or error}.") from error
    return parse(body, control.workloads, limit)


def _proposal(control: Application, request: RunRequest, folder: Path, compute: str) -> Proposal:
    from batchscore.catalog import StorageCatalog
    from batchscore.expectations import expect
    from batchscore.planning import AZUREML, bind_inputs, check_suitable

    catalog = Beside(folder, StorageCatalog(control.storage, control.workloads.models))
    pipeline = control.workloads.pipeline(request.workload)
    inputs = bind_inputs(pipeline, request, control.settings, catalog)
    if compute == AZUREML:
        check_suitable(pipeline, request.overrides, control.settings)
    return expect(request, pipeline, inputs, control.settings, catalog, compute)


@dataclass(frozen=True)
class Beside:
    """What storage holds, and what lies beside the trigger file and `submit` would upload."""

    folder: Path
    stored: Catalog

    def blob_exists(self, location: Location) -> bool:
        return self.stored.blob_exists(location) or self._local(location).is_file()

    def holds_blobs(self, location: Location) -> bool:
        return self.stored.holds_blobs(location) or self._local(location).is_dir()

    def amount(self, location: Location, kind: str) -> Amount:
        from batchscore.holdings import Amount

        found = self.stored.amount(location, kind)
        local = self._local(location)
        if found.blobs or not local.exists():
            return found
        files = [local] if local.is_file() else [each for each in local.rglob("*") if each.is_file()]
        return Amount(len(files), sum(each.stat().st_size for each in files))

    def model(self, reference: str) -> Location:
        return self.stored.model(reference)

    def kept_from_runs(self, model: str) -> str | None:
        return self.stored.kept_from_runs(model)

    def deployment(self) -> Deployment | None:
        return self.stored.deployment()

    def measured(self, workload: str) -> Sequence[RunSample]:
        return self.stored.measured(workload)

    def remember(self, workload: str, sample: RunSample) -> None:
        self.stored.remember(workload, sample)

    def _local(self, location: Location) -> Path:
        return self.folder / location.path


def _tell(request: RunRequest, found: Proposal, where: str) -> None:
    from batchscore.cli.costs import estimate_words

    chosen = found.chosen
    terminal.answer(f"{request.workload} on {COMPUTES[where]}: {estimate_words(chosen)}.", "bold")
    terminal.out.print(choices_table(found))
    terminal.out.print(steps_table(chosen))
    terminal.answer("These figures rest on:")
    for line in chosen.basis:
        terminal.answer(f"  {line}")
    if where == "local":
        terminal.answer(
            "'batchscore plan --compute azureml' says what it would take, and cost, on its clusters."
        )


def choices_table(found: Proposal) -> Table:
    """The choices, each once, the one that is taken first."""
    from rich.table import Table
    from rich.text import Text

    from batchscore.cli.costs import money, node_hours
    from batchscore.cli.wording import duration

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("Choice")
    for title in ("Nodes", "Items", "Batches", "Time", "Node-hours", found.chosen.currency, "Redo"):
        table.add_column(title, justify="right", no_wrap=True)
    for names, each in _choices(found):
        nodes, size = _given(each)
        table.add_row(
            Text(", ".join(names), style="green" if names[0] == "chosen" else ""),
            nodes,
            size,
            f"{each.mini_batches:,}",
            duration(each.seconds),
            node_hours(each.node_seconds),
            money(each.cost),
            duration(each.redo_at_most_s),
        )
    table.caption = "Items: of a mini-batch. Redo: of a worker, at most, when its node is lost."
    table.caption_justify = "left"
    return table


def steps_table(chosen: Estimate) -> Table:
    """What is expected of each step."""
    from rich.table import Table

    from batchscore.cli.costs import money
    from batchscore.cli.wording import duration

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("Step", "Where", "VM size", "An hour", "Nodes", "Items", "Time"):
        table.add_column(title, justify="right" if title in ("An hour", "Nodes", "Items", "Time") else "left")
    for step in chosen.steps:
        table.add_row(
            step.name,
            step.cluster,
            "" if step.size == "local" else step.size,
            money(step.price),
            str(step.nodes),
            "" if step.items is None else f"{step.items:,}",
            duration(step.seconds),
        )
    return table


def _choices(found: Proposal) -> list[tuple[list[str], Estimate]]:
    rows: list[tuple[list[str], Estimate]] = [(["chosen"], found.chosen)]
    for name, each in found.alternatives:
        same = next((names for names, other in rows if _given(other) == _given(each)), None)
        if same is None:
            rows.append(([name], each))
        else:
            same.append(name)
    return rows


def _given(each: Estimate) -> tuple[str, str]:
    """Nodes and mini-batch size as a person reads them: those of the definition where nothing else is said."""
    items = [step for step in each.steps if step.items is not None]
    nodes = each.nodes or max((step.nodes for step in items), default=1)
    size = "own" if each.mini_batch_size is None else f"{each.mini_batch_size:,}"
    return str(nodes), size if items else "–"
