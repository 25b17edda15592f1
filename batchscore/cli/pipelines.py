"""`run` and `check`: a pipeline file on this machine, without host or storage."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batchscore.cli import terminal
from batchscore.cli.environment import local_values, workloads_folder
from batchscore.cli.given import Inputs, typed_inputs
from batchscore.cli.outcome import Exit
from batchscore.errors import DefinitionError, RequestError

if TYPE_CHECKING:
    from batchscore.cli.progress import StepsProgress
    from batchscore.compute.base import JobStatus, Overrides, Scalar
    from batchscore.definitions.model import Input, Pipeline
    from batchscore.receipts import FailedItem

LOGS = "logs"
WORK = ".work"
RESERVED = (LOGS, WORK)
MOST_SHOWN = 10

Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="REFERENCE=PATH",
        help="What is here in the place of azureml:NAME:VERSION, of an address or a URL; may be repeated.",
    ),
]
PipelineName = Annotated[
    str,
    typer.Argument(
        metavar="PIPELINE", help="A pipeline file, or the name of a workload.", show_default=False
    ),
]


def run(
    pipeline: PipelineName,
    inputs: Inputs = None,
    output_folder: Annotated[
        Path,
        typer.Option("--output-folder", "-o", help="Where outputs and logs go. A second run goes on there."),
    ] = Path("output"),
    mini_batch_size: Annotated[int | None, typer.Option(min=1, help="Items handed out at once.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes of a parallel step (max_concurrency_per_instance).")
    ] = None,
    error_threshold: Annotated[
        int | None, typer.Option(min=-1, help="Failed items that are let pass.")
    ] = None,
    logging_level: Annotated[str | None, typer.Option(help="DEBUG, INFO or WARNING.")] = None,
    python: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ENVIRONMENT=PYTHON", help="The interpreter of an environment; may be repeated."
        ),
    ] = None,
    local: Map = None,
    json: terminal.Json = False,
) -> None:
    """Run any Azure ML pipeline on this machine, on plain files: no host, no storage."""
    from batchscore.compute.base import JobState, Overrides
    from batchscore.definitions import load_pipeline
    from batchscore.paths import RECEIPTS_OUTPUT
    from batchscore.runs import RunState

    if logging_level not in (None, "DEBUG", "INFO", "WARNING"):
        raise RequestError(f"--logging-level is {logging_level!r}; it must be DEBUG, INFO or WARNING.")
    loaded = load_pipeline(pipeline_file(pipeline), local=_mapped(local))
    values = local_inputs(loaded, typed_inputs(loaded, inputs or []))
    overrides = Overrides(
        mini_batch_size=mini_batch_size,
        max_concurrency_per_instance=workers,
        error_threshold=error_threshold,
        logging_level=logging_level,
    )
    outputs = local_outputs(loaded, output_folder)
    check_free(outputs, output_folder)
    shown = outputs | unbound_outputs(loaded, outputs, output_folder / WORK)
    interpreters = _interpreters(python)
    logs = new_logs(output_folder / LOGS)
    started = time.monotonic()
    status, interrupted = _run(loaded, values, outputs, output_folder, logs, overrides, interpreters)
    failures = failed_items_of(outputs.get(RECEIPTS_OUTPUT), logs)
    with_errors = status.state is JobState.SUCCEEDED and bool(failures)
    state = RunState.SUCCEEDED_WITH_ERRORS if with_errors else status.state
    if json:
        terminal.answer_json(
            {
                "state": state,
                "message": status.message,
                "steps": status.steps,
                "failed_items": failures,
                "outputs": {name: str(path.absolute()) for name, path in shown.items()},
                "logs": str(logs.absolute()),
                "seconds": round(time.monotonic() - started, 3),
            }
        )
    else:
        _tell(state, status.message, failures, shown, logs, time.monotonic() - started)
    if interrupted:
        raise typer.Exit(Exit.INTERRUPTED)
    if with_errors:
        raise typer.Exit(Exit.WITH_ERRORS)
    raise typer.Exit(Exit.OK if status.state is JobState.SUCCEEDED else Exit.FAILED)


def check(
    pipelines: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PIPELINE]...", help="Pipeline files or names of workloads; all workloads without."
        ),
    ] = None,
    local: Map = None,
    json: terminal.Json = False,
) -> None:
    """Check pipeline files: every mistake with its file, line and remedy."""
    from batchscore.definitions import load_pipeline
    from batchscore.figures import declared
    from batchscore.workloads import Workloads

    reports: list[dict[str, object]] = []
    mapped = _mapped(local)
    for name in pipelines or Workloads(workloads_folder()).names():
        try:
            file = pipeline_file(name)
            loaded = load_pipeline(file, local=mapped)
            declared(loaded)
            _check_suitable(file, loaded)
        except DefinitionError as error:
            reports.append({"pipeline": name, "ok": False, "problems": error.problems})
            for problem in () if json else error.problems:
                terminal.answer(str(problem), "red")
        else:
            reports.append({"pipeline": name, "ok": True, "problems": (), "notices": loaded.notices})
            if not json:
                _tell_checked(name, loaded)
    if json:
        terminal.answer_json({"pipelines": reports})
    if not all(report["ok"] for report in reports):
        raise typer.Exit(Exit.FAILED)


def _check_suitable(file: Path, pipeline: Pipeline) -> None:
    """DefinitionError where Azure ML could not run a workload on its clusters. Other files are nobody's workload: which
    clusters they find is not known here."""
    folder = workloads_folder()
    if not file.resolve().is_relative_to(folder.resolve()):
        return
    from batchscore.definitions.compute_targets import load_targets
    from batchscore.definitions.placement import environments
    from batchscore.definitions.suitability import unsuitable

    problems = unsuitable(pipeline, load_targets(folder, local_values()), environments(folder))
    if problems:
        raise DefinitionError(problems)


def pipeline_file(name: str) -> Path:
    """The file of a pipeline given as a path or as a workload's name; RequestError when there is neither."""
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix in (".yml", ".yaml"):
        raise RequestError(f"there is no file {name!r}.")
    from batchscore.workloads import Workloads

    workloads = Workloads(workloads_folder())
    return workloads.folder / workloads.file(name)


def local_inputs(pipeline: Pipeline, given: dict[str, Scalar]) -> dict[str, Path | Scalar]:
    """The inputs of a run on this machine, defaults filled in, data as paths that exist; RequestError lists the rest."""
    from batchscore.definitions import resolve_inputs

    found: dict[str, Path | Scalar] = {}
    problems = []
    for name, value in resolve_inputs(pipeline, given).items():
        declared = pipeline.inputs[name]
        if not declared.is_data:
            found[name] = value
            continue
        try:
            found[name] = _local_path(pipeline, declared, str(value))
        except RequestError as error:
            problems.append(str(error))
    if problems:
        raise RequestError("\n".join(problems))
    return found


def local_outputs(pipeline: Pipeline, folder: Path) -> dict[str, Path]:
    """Where each output of the pipeline goes below the folder."""
    return {name: folder / (f"{name}-output" if name in RESERVED else name) for name in pipeline.outputs}


def check_free(outputs: dict[str, Path], folder: Path) -> None:
    """RequestError when an output would go where there is something that no run has made: a step that begins from
    other inputs than before empties its outputs first."""
    if (folder / WORK).is_dir():
        return
    for name, path in outputs.items():
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise RequestError(
                f"output {name!r} would go to {path}, where there are files that no run has made. Name another "
                "--output-folder, or move them."
            )


def unbound_outputs(pipeline: Pipeline, outputs: dict[str, Path], work: Path) -> dict[str, Path]:
    """Where steps write what is neither an output of the pipeline nor read by another step, as `step.output`."""
    from batchscore.compute.local.resolution import output_path
    from batchscore.definitions.model import StepOutput

    read = {
        (binding.step, binding.output)
        for step in pipeline.steps
        for binding in step.bindings.values()
        if isinstance(binding, StepOutput)
    }
    return {
        f"{step.name}.{name}": output_path(step, name, outputs, work)
        for step in pipeline.steps
        for name in step.outputs
        if name not in step.output_bindings and (step.name, name) not in read
    }


def _local_path(pipeline: Pipeline, declared: Input, text: str) -> Path:
    from batchscore.definitions.model import is_remote

    path = Path(text).expanduser()
    if is_remote(text):
        where = f" ({pipeline.file}:{declared.line})" if text == declared.path else ""
        instead = f", or --map {text}=PATH" if text == declared.path else ""
        raise RequestError(
            f"input {declared.name!r}{where} is {text}, which a local run does not fetch. Give files of this machine: "
            f"--input {declared.name}=PATH{instead}."
        )
    if declared.is_model and not path.exists():
        shipped = workloads_folder() / "models" / text
        if shipped.is_dir():
            return shipped
        names = sorted(each.parent.name for each in shipped.parent.glob("*/*.onnx"))
        raise RequestError(
            f"input {declared.name!r}: there is no model folder {text!r}. Give one"
            + (f", or one of: {', '.join(dict.fromkeys(names))}." if names else ".")
        )
    is_right = {"uri_file": path.is_file, "uri_folder": path.is_dir, "mltable": path.is_dir}.get(
        declared.type, path.exists
    )()
    if not is_right:
        kind = {"uri_file": "file", "uri_folder": "folder", "mltable": "folder"}.get(
            declared.type, "file or folder"
        )
        raise RequestError(f"input {declared.name!r}: there is no {kind} {text!r}.")
    return path.absolute()


def _mapped(texts: list[str] | None) -> dict[str, Path]:
    found = {}
    for text in texts or []:
        reference, equals, path = text.rpartition("=")
        place = Path(path).expanduser()
        if not equals or not reference or not path or not place.exists():
            raise RequestError(
                f"--map is {text!r}; it must be REFERENCE=PATH, with the path of a file or folder that is there."
            )
        found[reference] = place.absolute()
    return found


def _interpreters(texts: list[str] | None) -> dict[str, str]:
    found = {}
    for text in texts or []:
        name, equals, path = text.rpartition("=")
        if not equals or not Path(path).is_file():
            raise RequestError(f"--python is {text!r}; it must be ENVIRONMENT=PATH of an interpreter.")
        found[name] = str(Path(path).absolute())
    return found


def _run(
    pipeline: Pipeline,
    inputs: dict[str, Path | Scalar],
    outputs: dict[str, Path],
    folder: Path,
    logs: Path,
    overrides: Overrides,
    python: dict[str, str],
) -> tuple[JobStatus, bool]:
    """Run the engine under progress bars; the status, and whether somebody stopped it."""
    from batchscore.cli.progress import StepsProgress
    from batchscore.compute.local.engine import Engine

    cancelled = threading.Event()
    with StepsProgress(terminal.err) as progress, _stopped_by_signals(cancelled, progress):
        engine = Engine(
            pipeline=pipeline,
            inputs=inputs,
            outputs=outputs,
            work=folder / WORK,
            logs=logs,
            overrides=overrides,
            python=python,
            on_progress=lambda status: progress.show(status.steps),
            cancelled=cancelled,
        )
        for notice in engine.notices:
            progress.say(notice, "dim")
        status = engine.run()
    return status, cancelled.is_set()


@contextmanager
def _stopped_by_signals(cancelled: threading.Event, progress: StepsProgress) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask the engine to stop, which ends its processes within seconds."""

    def stop(*_: object) -> None:
        if not cancelled.is_set():
            cancelled.set()
            progress.say("stopping; what is finished is kept.")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def new_logs(folder: Path) -> Path:
    """A folder for the logs of this run alone, named after the moment; runs may begin within one second."""
    name = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    for suffix in ("", *(f"-{number}" for number in range(2, 1_000))):
        with suppress(FileExistsError):
            (folder / (name + suffix)).mkdir(parents=True)
            return folder / (name + suffix)
    raise RequestError(f"there is no room for more logs of this second in {folder}.")


def failed_items_of(receipts: Path | None, logs: Path) -> tuple[FailedItem, ...]:
    """The items that failed, as receipts and the engine's own lines tell."""
    from batchscore.receipts import failed_items

    return failed_items(
        _lines(receipts.rglob("*.jsonl") if receipts is not None else ()), _lines(logs.rglob("*.jsonl"))
    )


def _lines(files: Iterable[Path]) -> Iterator[bytes]:
    for file in files:
        yield from file.read_bytes().splitlines()


def _tell(
    state: str,
    message: str,
    failures: Sequence[FailedItem],
    outputs: dict[str, Path],
    logs: Path,
    seconds: float,
) -> None:
    from batchscore.cli.wording import counted, duration
    from batchscore.compute.base import JobState
    from batchscore.printable import printable
    from batchscore.runs import RunState

    colours: dict[str, str] = {JobState.SUCCEEDED: "green", RunState.SUCCEEDED_WITH_ERRORS: "yellow"}
    terminal.answer(f"{state} after {duration(seconds)}.", colours.get(state, "red"))
    if message:
        terminal.answer(message)
    if failures:
        terminal.answer(f"{counted(len(failures), 'item')} failed:")
    for failure in failures[:MOST_SHOWN]:
        terminal.answer(f"  {printable(failure.item)}: {printable(failure.error)}")
    if len(failures) > MOST_SHOWN:
        terminal.answer(f"  and {len(failures) - MOST_SHOWN} more (--json lists them all)")
    for name, path in outputs.items():
        if path.exists():
            terminal.answer(f"  {name}: {path}")
    terminal.answer(f"  logs: {logs}")


def _tell_checked(name: str, pipeline: Pipeline) -> None:
    from batchscore.cli.wording import counted

    needed = [each.name for each in pipeline.inputs.values() if each.required or each.is_remote]
    steps = ", ".join(step.name for step in pipeline.steps)
    terminal.answer(
        f"{name}: good. {counted(len(pipeline.steps), 'step')} ({steps})"
        + (f"; must be given {', '.join(needed)}." if needed else "; needs no inputs."),
        "green",
    )
    for notice in pipeline.notices:
        terminal.answer(f"  {notice}")
