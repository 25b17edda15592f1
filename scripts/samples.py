"""Azure ML's public sample pipelines on this machine: which run, which only load, which are refused and why.

    make samples EXAMPLES=../azureml-examples        (a checkout of github.com/Azure/azureml-examples)

Every pipeline file below its `cli/jobs` is loaded as it is, and run when it loads and its inputs are there. What a
sample names in Azure ML is found by an `azureml-local.yml` that you put beside its pipeline.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from batchscore.cli.pipelines import local_inputs
from batchscore.compute.base import JobState
from batchscore.compute.local.engine import Engine
from batchscore.definitions import Pipeline, load_pipeline
from batchscore.errors import DefinitionError, RequestError

COLOURS = {"runs": "green", "loads": "yellow", "refused": "cyan", "failed": "red"}


@dataclass(frozen=True)
class Sample:
    """One pipeline file: `result` is a key of COLOURS, `why` says what stood in the way."""

    file: str
    result: str
    why: str = ""


def pipelines_in(folder: Path) -> Iterator[Path]:
    """The files that say they are a pipeline's, pipeline components that another one names included."""
    for path in sorted([*folder.rglob("*.yml"), *folder.rglob("*.yaml")]):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        if any(line.rstrip() == "type: pipeline" for line in lines):
            yield path


def tried(path: Path, name: str, python: str | None, limit_s: float) -> Sample:
    """Load one pipeline and run it."""
    try:
        pipeline = load_pipeline(path)
    except DefinitionError as error:
        first = error.problems[0]
        return Sample(name, "refused", f"line {first.line}: {first.message}")
    try:
        inputs = local_inputs(pipeline, {})
    except RequestError as error:
        return Sample(name, "loads", str(error).splitlines()[0])
    with tempfile.TemporaryDirectory(prefix="samples-") as folder:
        engine = Engine(
            pipeline,
            inputs,
            {output: Path(folder) / "outputs" / output for output in pipeline.outputs},
            Path(folder) / "work",
            Path(folder) / "logs",
            python=_interpreters(pipeline, python),
        )
        limit = threading.Timer(limit_s, engine.cancelled.set)
        limit.start()
        try:
            status = engine.run()
        finally:
            limit.cancel()
    if status.state is JobState.SUCCEEDED:
        return Sample(name, "runs")
    return Sample(name, "failed", f"{status.state}: {status.message}")


def _interpreters(pipeline: Pipeline, python: str | None) -> dict[str, str]:
    return {step.environment: python for step in pipeline.steps if python and step.environment}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("examples", type=Path, help="a checkout of Azure/azureml-examples")
    parser.add_argument(
        "--python", help="the Python that has what the samples import (mlflow, scikit-learn, …)"
    )
    parser.add_argument("--limit", type=float, default=600, help="seconds that one sample may take")
    options = parser.parse_args()
    console = Console(width=160)
    root = options.examples / "cli" / "jobs"
    if not root.is_dir():
        console.print(
            f"{options.examples} has no folder cli/jobs. Name a checkout of Azure/azureml-examples."
        )
        return 2
    python = str(Path(options.python).absolute()) if options.python else None
    files = list(pipelines_in(root))
    samples = [
        tried(path, path.relative_to(root).as_posix(), python, options.limit)
        for path in track(files, "Samples", console=Console(stderr=True))
    ]
    table = Table("sample", "result", "why")
    for sample in samples:
        colour = COLOURS[sample.result]
        table.add_row(sample.file, f"[{colour}]{sample.result}[/]", sample.why.replace("[", "\\["))
    console.print(table)
    counts = Counter(sample.result for sample in samples)
    console.print(", ".join(f"{counts[result]} {result}" for result in COLOURS if counts[result]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
