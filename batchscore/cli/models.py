"""`models`: the models in storage, what a version is, which one a name means, and putting one there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchscore.cli import terminal, wording
from batchscore.cli.environment import application
from batchscore.errors import RequestError
from batchscore.printable import printable

if TYPE_CHECKING:
    from rich.table import Table

    from batchscore.model_pointer import Pointer
    from batchscore.models import ModelStore, ModelVersion

app = typer.Typer(
    help="The models in storage: list them, show one, choose the version that a name means, add one.",
    invoke_without_command=True,
)

Reference = Annotated[str, typer.Argument(metavar="NAME[:VERSION]")]
_PROMOTE = "batchscore models promote"


@app.callback()
def models(ctx: typer.Context, json: terminal.Json = False) -> None:
    """The models in storage: list them, show one, choose the version that a name means, add one."""
    if ctx.invoked_subcommand is None:
        list_models(json)


@app.command("list")
def list_models(json: terminal.Json = False) -> None:
    """List the models in storage, with the version that each name means now."""
    from batchscore.models import ModelStore

    with application() as control:
        store = ModelStore(control.storage, control.workloads.models)
        found = {name: versions for name in store.names() if (versions := store.versions(name))}
        pointers = {name: store.pointer(name) for name in found}
        manifests = {
            name: store.manifest(name, current(versions, pointers[name])) for name, versions in found.items()
        }
        shipped = store.shipped()
    if json:
        now = {name: current(versions, pointers[name]) for name, versions in found.items()}
        terminal.answer_json({"models": found, "current": now, "shipped": shipped})
        return
    table = _table("Model", "Current", "Newest", "What", "Where")
    for name, versions in found.items():
        pointer, manifest = pointers[name], manifests[name]
        older = f", {wording.counted(len(versions), 'version')}" if len(versions) > 1 else ""
        table.add_row(
            name,
            f"{name}:{current(versions, pointer)}" + (" (promoted)" if pointer else ""),
            f"{name}:{versions[-1]}",
            wording.counted(manifest["sensors"], "sensor") if manifest else "ONNX",
            ("shipped, in storage" if name in shipped else "storage") + older,
        )
    for name in shipped:
        if name not in found:
            table.add_row(name, "", "", "ONNX", "shipped")
    terminal.out.print(table)
    if not found and not shipped:
        terminal.answer("Storage holds no models. 'batchscore models add NAME FOLDER' adds one.")


@app.command()
def show(reference: Reference, json: terminal.Json = False) -> None:
    """The versions of a model, and what the current one, or the one that is given, says of itself."""
    from batchscore.models import ModelStore

    with application() as control:
        store = ModelStore(control.storage, control.workloads.models)
        place = store.resolve(reference)
        name, number = place.path.split("/")[0], int(place.path.split("/")[1])
        history, pointer, manifest = (
            store.history(name),
            store.pointer(name),
            store.manifest(name, int(number)),
        )
    now = current([version.number for version in history], pointer)
    if json:
        terminal.answer_json(
            {
                "model": name,
                "current": now,
                "promoted": pointer,
                "versions": history,
                "shown": number,
                "manifest": manifest,
            }
        )
        return
    table = _table("Version", "Published", "By", "")
    for version in reversed(history):
        when = wording.age(version.published_at, datetime.now(UTC)) if version.published_at else ""
        mark = "current" if version.number == now else ""
        table.add_row(f"{name}:{version.number}", when, publisher(version), mark)
    terminal.out.print(table)
    if pointer:
        terminal.answer(
            f"\n{name}:{now} was promoted on {wording.moment(pointer.promoted_at)} and stays current until another is"
            + (f", because {pointer.why}" if pointer.why else "")
            + (f"; before it was {name}:{pointer.before}" if pointer.before != now else "")
            + f". '{_PROMOTE} {name}' follows the newest again."
        )
    if manifest:
        terminal.answer(f"\n{name}:{number}")
        for line in manifest_lines(manifest):
            terminal.answer(f"  {line}")


@app.command()
def promote(reference: Reference, json: terminal.Json = False) -> None:
    """Make NAME:VERSION the version that the name means, also when newer ones come. With the name alone, the newest
    version is current again, and every newer one when it comes."""
    from batchscore.models import ModelStore

    name, _, version = reference.partition(":")
    if ":" in reference and not version.isdecimal():
        raise RequestError(f"{reference[:100]!r} names no version. Give name:version, such as {name[:50]}:2.")
    with application() as control:
        store = ModelStore(control.storage)
        before = _current(store, name)
        pointer = store.promote(name, int(version) if version else None)
        after = current(store.versions(name), pointer)
    if json:
        terminal.answer_json({"model": f"{name}:{after}", "before": before, "promoted": pointer})
        return
    was = f" It was {name}:{before}; '{_PROMOTE} {name}:{before}' goes back." if before != after else ""
    if pointer:
        terminal.answer(
            f"{name}:{after} is current and stays so until another version is promoted.{was} Runs that have started "
            "keep what they have."
        )
    else:
        terminal.answer(
            f"{name}:{after}, the newest, is current, and so is every newer one when it comes.{was}"
        )


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="The name that trigger files use.")],
    folder: Annotated[
        Path, typer.Argument(help="The model's folder: model.onnx and its card, or a set of sensors' models.")
    ],
    json: terminal.Json = False,
) -> None:
    """Store a folder as the model's next version; runs that name the model use it from now on, unless another version
    was promoted."""
    if not folder.is_dir():
        raise RequestError(
            f"{folder} is not a folder. Give the folder that holds model.onnx or manifest.json."
        )
    from batchscore.models import ModelStore

    with application() as control:
        store = ModelStore(control.storage)
        reference, new = store.publish(name, folder)
        pointer = store.pointer(name)
    if json:
        terminal.answer_json({"model": reference, "new": new})
        return
    terminal.answer(f"{reference} is published." if new else f"{reference} holds the same files already.")
    if pointer and reference != f"{name}:{pointer.version}":
        terminal.answer(f"{name}:{pointer.version} stays current. '{_PROMOTE} {reference}' changes that.")


def current(versions: Sequence[int], pointer: Pointer | None) -> int:
    """The version that a name means."""
    return pointer.version if pointer and pointer.version else versions[-1]


def _current(store: ModelStore, name: str) -> int | None:
    versions = store.versions(name)
    return current(versions, store.pointer(name)) if versions else None


def publisher(version: ModelVersion) -> str:
    """Who made a version, in words."""
    for kind in ("by hand", "shipped"):
        if version.publisher.startswith(kind):
            return kind
    return f"run {version.publisher[:8]}"


def manifest_lines(manifest: Mapping[str, Any]) -> list[str]:
    """What a set of models says of itself, a line each. Whoever made it wrote it, so nothing is taken for granted."""
    count, vectors = manifest["sensors"], manifest.get("support_vectors")
    lines = [wording.counted(count, "sensor")]
    if isinstance(vectors, int):
        lines[0] += f", {vectors / count:.3g} support vectors each"
    if manifest.get("skipped"):
        lines[0] += f"; {manifest['skipped']} more have no model (skipped.csv says why)"
    rate = manifest.get("training_anomaly_rate")
    if isinstance(rate, float):
        lines.append(f"{100 * rate:.3g} % of the training readings are abnormal to it")
    for key in ("created_at", "readings", "parameters", "versions"):
        value = manifest.get(key)
        if isinstance(value, dict):
            told = {name: each for name, each in value.items() if each is not None}
            if key == "readings":
                told = {name: each for name, each in told.items() if each != 0}
            value = ", ".join(f"{name} {_number(each)}" for name, each in told.items())
        if value:
            lines.append(f"{key.replace('_', ' ')}: {printable(str(value), 400)}")
    return lines


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _table(*titles: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(title)
    return table
