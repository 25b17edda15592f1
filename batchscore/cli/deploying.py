"""`deploy`: what the workloads need in an Azure Machine Learning workspace, shown and brought there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from batchscore.cli import terminal, wording
from batchscore.cli.environment import application
from batchscore.cli.outcome import Exit
from batchscore.errors import SettingsError, StorageUnavailableError
from batchscore.settings import DEVELOPMENT_WORKSPACE, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchscore.deploying.changes import Change
    from batchscore.deployment import Deployment
    from batchscore.settings import Workspace

STYLES = {"create": "green", "register": "green", "change": "yellow", "left": "yellow", "refused": "red"}


def deploy(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done; nothing is changed.")
    ] = False,
    compute_by_infra: Annotated[
        bool,
        typer.Option(
            "--compute-by-infra",
            help="The infrastructure owns the clusters: they must be there and are left alone.",
        ),
    ] = False,
    json: terminal.Json = False,
) -> None:
    """Bring clusters, datastores, environments, components and models to the Azure ML workspace. What is unchanged keeps
    its version and is not registered again; jobs that run keep the versions they started with."""
    started = time.monotonic()
    with application() as control:
        there = workspace(control.settings)
        from batchscore.deploying.deploy import Deploying
        from batchscore.deploying.workspace import Workspace as Edge

        edge = Edge(there, control.storage)
        deployment: Deployment | None = None
        try:
            deploying = Deploying(control.settings, control.storage, control.workloads, edge)
            plan = deploying.plan(computes_by_infra=compute_by_infra, dry_run=dry_run)
            if not json:
                _show(there, plan)
            if not dry_run:
                deployment = deploying.carry_out(plan, _tell)
        finally:
            edge.close()
    if json:
        terminal.answer_json(
            {
                "workspace": there.name,
                "dry_run": dry_run,
                "changes": plan_rows(plan),
                "deployment": deployment,
            }
        )
    elif deployment is None:
        terminal.answer("Nothing was changed (--dry-run).")
    else:
        _sum_up(there, plan, deployment, time.monotonic() - started)
    if dry_run and any(change.action == "refused" for change in plan):
        raise typer.Exit(Exit.FAILED)


def workspace(settings: Settings) -> Workspace:
    """The workspace that the settings name. SettingsError where they name none, StorageUnavailableError where it is the
    stand-in of a dev host and none runs."""
    found = settings.workspace
    if found is None:
        raise SettingsError(
            "AZUREML_WORKSPACE_NAME is not set. Give it, AZURE_RESOURCE_GROUP and AZURE_SUBSCRIPTION_ID in the environment "
            f"or in local.settings.json; {DEVELOPMENT_WORKSPACE} is the stand-in that a dev host starts."
        )
    if found.name == DEVELOPMENT_WORKSPACE:
        raise StorageUnavailableError(
            "AZUREML_WORKSPACE_NAME asks for the workspace of a dev host, and none with COMPUTE=azureml is running "
            "here. Start one with 'batchscore start'."
        )
    return found


def plan_rows(plan: Sequence[Change]) -> list[dict[str, str]]:
    """The plan for programs."""
    return [
        {
            "action": change.action.value,
            "kind": change.kind,
            "name": change.name,
            "version": change.version,
            "note": change.note,
        }
        for change in plan
    ]


def _show(there: Workspace, plan: Sequence[Change]) -> None:
    """What is to be done, or cannot be; what is there already is counted."""
    from rich.table import Table

    told = [change for change in plan if change.action != "there"]
    terminal.answer(f"Workspace {there.name} in resource group {there.resource_group}")
    if told:
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for title in ("", "What", "Name"):
            table.add_column(title, no_wrap=True)
        table.add_column("Version", overflow="fold")  # clusters and datastores have a note in its place
        for change in told:
            version = " ".join(each for each in (change.version, change.note) if each)
            style = STYLES[change.action.value]
            table.add_row(change.action.value, change.kind, change.name, version, style=style)
        terminal.out.print(table)
    kept = len(plan) - len(told)
    if kept:
        terminal.answer(f"{wording.counted(kept, 'thing is', 'things are')} there already and unchanged.")


def _tell(change: Change) -> None:
    verb = {"create": "creating", "register": "registering", "change": "changing"}[change.action.value]
    terminal.note(f"{verb} {change.kind} {change.name} …")


def _sum_up(there: Workspace, plan: Sequence[Change], deployment: Deployment, seconds: float) -> None:
    due = [change for change in plan if change.is_due]
    if not due:
        terminal.answer(f"Everything is there: nothing was registered ({wording.duration(seconds)}).")
    else:
        terminal.answer(
            f"Deployed {wording.counted(len(deployment.workloads), 'workload')} to {there.name}: "
            f"{wording.counted(len(due), 'change')} in {wording.duration(seconds)}. Runs that start from now on use it; "
            "those that run keep what they have."
        )
    if any(change.kind == "environment" for change in due):
        terminal.answer(
            "Azure ML builds the image of a new environment when a step first needs it, which takes ten to twenty minutes; "
            "that step waits."
        )
