"""`models`: the models in storage, and putting one there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from batchscore.cli import terminal
from batchscore.cli.environment import application
from batchscore.errors import RequestError

app = typer.Typer(help="List the models in storage, or add one.", invoke_without_command=True)


@app.callback()
def list_models(ctx: typer.Context, json: terminal.Json = False) -> None:
    """List the models in storage, or add one."""
    if ctx.invoked_subcommand is not None:
        return
    from batchscore.models import ModelStore

    with application() as control:
        store = ModelStore(control.storage, control.workloads.models)
        found = {name: store.versions(name) for name in store.names()}
        shipped = store.shipped()
    found = {name: versions for name, versions in found.items() if versions}
    if json:
        terminal.answer_json({"models": found, "shipped": shipped})
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("Model", "Newest", "Where"):
        table.add_column(title)
    for name, versions in found.items():
        older = f", {len(versions) - 1} older" if len(versions) > 1 else ""
        where = "shipped, in storage" if name in shipped else "storage"
        table.add_row(name, f"{name}:{versions[-1]}", where + older)
    for name in shipped:
        if name not in found:
            table.add_row(name, "", "shipped")
    terminal.out.print(table)
    if not found and not shipped:
        terminal.answer("Storage holds no models. 'batchscore models add NAME FOLDER' adds one.")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="The name that trigger files use.")],
    folder: Annotated[Path, typer.Argument(help="The model's folder: model.onnx and its card.")],
    json: terminal.Json = False,
) -> None:
    """Store a folder as the model's next version; runs that name the model use it from now on."""
    if not folder.is_dir():
        raise RequestError(f"{folder} is not a folder. Give the folder that holds model.onnx.")
    from batchscore.models import ModelStore

    with application() as control:
        reference, new = ModelStore(control.storage).publish(name, folder)
    if json:
        terminal.answer_json({"model": reference, "new": new})
    else:
        terminal.answer(f"{reference} is published." if new else f"{reference} holds the same files already.")
