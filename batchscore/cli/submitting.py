"""`submit`: a trigger file, a workload with its inputs, or a file or folder of this machine becomes a run."""

from __future__ import annotations

import json as json_text
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchscore.cli import terminal
from batchscore.cli.environment import application
from batchscore.cli.given import Inputs, typed_inputs
from batchscore.cli.outcome import code_of_run
from batchscore.cli.watching import follow, tell_outcome
from batchscore.errors import RequestError

if TYPE_CHECKING:
    from batchscore.application import Application
    from batchscore.cli.uploads import Uploads
    from batchscore.definitions.model import Input, Pipeline
    from batchscore.runs import Run

TRIGGER_SUFFIX = ".json"
DEFAULT_WORKLOAD = "style_transfer/video"
STYLE_IMAGES = "style-images"
FOLDERS = ("uri_folder", "mltable")


def submit(
    source: Annotated[
        str,
        typer.Argument(
            metavar="TRIGGER.json|VIDEO|WORKLOAD",
            help="A trigger file; a video (or a folder), here or in storage; or a workload, with --input.",
        ),
    ],
    workload: Annotated[
        str, typer.Option(help="The workload that scores a video or folder.")
    ] = DEFAULT_WORKLOAD,
    style: Annotated[str | None, typer.Option(metavar="NAME", help="The model to paint with.")] = None,
    style_image: Annotated[
        str | None, typer.Option(metavar="PICTURE", help="A picture to paint like, here or in storage.")
    ] = None,
    strength: Annotated[float | None, typer.Option(help="0 keeps the original, 1 is all style.")] = None,
    max_height: Annotated[int | None, typer.Option(help="Larger pictures are made smaller first.")] = None,
    inputs: Inputs = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="How many nodes score it.")] = None,
    mini_batch_size: Annotated[int | None, typer.Option(min=1, help="Items handed out at once.")] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(min=0, help="Refuse the run when its estimate is above this, in the prices' currency."),
    ] = None,
    upload: Annotated[
        bool, typer.Option("--upload", help="Replace what a trigger file's paths name in storage.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the run until it is over.")] = False,
    json: terminal.Json = False,
) -> None:
    """Start a run.

    A local video is uploaded first; data that a trigger file names is uploaded when it is missing in storage and
    lies beside the trigger file."""
    given: dict[str, object] = {
        "style": style,
        "style_image": style_image,
        "strength": strength,
        "max_height": max_height,
    }
    options = {"nodes": nodes, "mini_batch_size": mini_batch_size, "max_cost": max_cost}
    with application() as control:
        if source.endswith(TRIGGER_SUFFIX):
            if inputs or any(value is not None for value in (*given.values(), *options.values())):
                raise RequestError(
                    f"{source} says it all: options for inputs go with a video, not with a trigger file."
                )
            body = _from_trigger_file(control, Path(source), upload)
        elif not Path(source).exists() and source in control.workloads.names():
            body = _from_source(control, None, source, given, inputs or [], options)
        else:
            body = _from_source(control, source, workload, given, inputs or [], options)
        run, _ = control.intake.request("cli", uuid.uuid4().hex, body)
        control.kick()
        if not watch:
            _tell_accepted(run, json)
            return
        run = follow(control, run)
    tell_outcome(run, json)
    raise typer.Exit(code_of_run(run))


def _tell_accepted(run: Run, json: bool) -> None:
    from batchscore.cli.accounts import short

    if json:
        terminal.answer_json(run)
    else:
        terminal.answer(f"run {short(run)} is accepted. 'batchscore watch {short(run)}' follows it.")


def _from_trigger_file(control: Application, file: Path, replace: bool) -> bytes:
    """The bytes of a valid trigger file, its local data uploaded."""
    from batchscore.triggers import parse

    limit = control.settings.max_trigger_bytes
    try:
        with file.open("rb") as stream:
            body = stream.read(limit + 1)
    except OSError as error:
        raise RequestError(f"{file} cannot be read: {error.strerror or error}.") from error
    request = parse(body, control.workloads, limit)
    pipeline = control.workloads.pipeline(request.workload)
    _check_models(control, pipeline, dict(request.inputs))
    uploads = _uploads(control)
    for name, value in request.inputs.items():
        local = file.parent / str(value)
        if _is_path(pipeline.inputs[name]) and local.exists():
            uploads.exactly(local, str(value).rstrip("/"), replace=replace)
    uploads.send()
    return body


def _from_source(
    control: Application,
    source: str | None,
    workload: str,
    given: dict[str, object],
    texts: list[str],
    options: Mapping[str, float | None],
) -> bytes:
    """The request to score a file or folder, or that the inputs alone make. Everything is checked before anything is
    uploaded."""
    from batchscore.triggers import parse

    pipeline = control.workloads.pipeline(workload)
    inputs: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if "style" in inputs and "style_image" in inputs:
        raise RequestError("--style and --style-image cannot both be given: a run paints in one style.")
    inputs |= typed_inputs(pipeline, texts)
    if {"style", "style_image"} <= pipeline.inputs.keys() and not {"style", "style_image"} & inputs.keys():
        raise RequestError(
            "there is no style. Give --style with a model's name ('batchscore models' lists them), "
            "or --style-image with a picture."
        )
    if source is not None:
        main = main_input(pipeline)
        if main.name in inputs:
            raise RequestError(f"input {main.name!r} is given twice, as {source!r} and by --input.")
        inputs[main.name] = source
    uploads = _uploads(control)
    missing = []
    for name, value in inputs.items():
        declared = pipeline.inputs.get(name)
        if declared is None or not _is_path(declared) or not isinstance(value, str):
            continue
        local = Path(value)
        if local.is_dir() if declared.type in FOLDERS else local.is_file():
            inputs[name] = _place(uploads, declared, local)
        elif local.exists():
            kind = "a folder" if declared.type in FOLDERS else "a file"
            raise RequestError(f"input {name!r} must be {kind}, and {value} is not.")
        elif Path(value).is_absolute() or not uploads.exists(value.rstrip("/")):
            missing.append(f"{value!r} is neither here nor in container {control.settings.data_container!r}.")
    if missing:
        raise RequestError(" ".join(missing))
    body: dict[str, Any] = {"workload": workload, "inputs": inputs}
    body |= {name: value for name, value in options.items() if value is not None}
    data = json_text.dumps(body).encode()
    parse(data, control.workloads, control.settings.max_trigger_bytes)
    _check_models(control, pipeline, inputs)
    uploads.send()
    return data


def _check_models(control: Application, pipeline: Pipeline, inputs: dict[str, Any]) -> None:
    """RequestError for a model that is not there: the person is still at the keyboard."""
    from batchscore.models import ModelStore

    for name, value in inputs.items():
        if pipeline.inputs[name].type == "custom_model":
            try:
                ModelStore(control.storage, control.workloads.models).resolve(str(value))
            except RequestError as error:
                raise RequestError(f"input {name!r}: {error}") from None


def main_input(pipeline: Pipeline) -> Input:
    """The input that a bare file or folder is for: the only data input that must be given."""
    wanted = [declared for declared in pipeline.inputs.values() if _is_path(declared) and declared.required]
    if len(wanted) != 1:
        names = ", ".join(declared.name for declared in wanted) or "none"
        raise RequestError(
            f"workload {pipeline.name!r} must be given these paths: {names}. Submit the workload by its name, with "
            "--input for each, or a trigger file that names them."
        )
    return wanted[0]


def _place(uploads: Uploads, declared: Input, local: Path) -> str:
    if declared.type in FOLDERS:
        return uploads.folder(local, declared.name)
    return uploads.file(local, STYLE_IMAGES if declared.name == "style_image" else f"{declared.name}s")


def _is_path(declared: Input) -> bool:
    return declared.type in ("uri_file", *FOLDERS)


def _uploads(control: Application) -> Uploads:
    from batchscore.cli.uploads import Uploads

    return Uploads(control.storage.container("data", control.settings.data_container))
