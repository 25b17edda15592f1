"""A step with its names resolved: paths for data, values for scalars, and the command line they make."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from batchscore.compute.base import Overrides
from batchscore.compute.local.arguments import DriverArguments
from batchscore.compute.local.markers import Marker, fingerprint
from batchscore.compute.local.minibatches import items_in, split
from batchscore.compute.local.parallel import ParallelPlan
from batchscore.compute.local.pool import WorkerSetup
from batchscore.compute.local.site import Site
from batchscore.compute.local.tables import FILES_OF_A_MINI_BATCH, Items, plan
from batchscore.compute.local.thresholds import Thresholds
from batchscore.definitions.expressions import filled_words, render
from batchscore.definitions.mltable import FILE_NAME, load_table
from batchscore.definitions.model import (
    CommandStep,
    Input,
    Literal,
    LocalPath,
    ParallelStep,
    ParentInput,
    Pipeline,
    Scalar,
    Step,
    StepOutput,
    is_remote,
)
from batchscore.definitions.values import as_text
from batchscore.errors import BatchscoreError

UNTOUCHED = ("file", "line", "compute", "modes", "passed_on", "written")
"""What may be said otherwise of a step without making what it has done another thing."""


class StepInputError(BatchscoreError):
    """An input of a step cannot be used."""


@dataclass(frozen=True)
class ResolvedStep:
    """A step of this run: where its data lies and what its scalars are. Unset optional inputs are absent."""

    step: Step
    code: Path | None
    """The folder that the step runs in; without one it runs in an empty folder."""
    data: Mapping[str, Path]
    scalars: Mapping[str, Scalar]
    outputs: Mapping[str, Path]
    shared: frozenset[str]
    """The outputs that other steps write to as well."""

    @property
    def _texts(self) -> dict[str, str | None]:
        return {
            **{name: as_text(value) for name, value in self.scalars.items()},
            **{name: str(path) for name, path in self.data.items()},
        }

    @property
    def _output_texts(self) -> dict[str, str]:
        return {name: str(path) for name, path in self.outputs.items()}

    def command(self, step: CommandStep) -> str:
        return render(step.command, self._texts, self._output_texts)

    def make_outputs(self) -> None:
        """Make the folders that outputs lie in."""
        for name, path in self.outputs.items():
            folder = path.parent if self.step.outputs[name].type == "uri_file" else path
            folder.mkdir(parents=True, exist_ok=True)

    def clear_outputs(self) -> list[str]:
        """Remove what the outputs hold, but for those that other steps write to as well; which these are."""
        cleared = [name for name in self.outputs if name not in self.shared]
        for name in cleared:
            path = self.outputs[name]
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        self.make_outputs()
        return cleared

    def check_outputs(self) -> None:
        """StepInputError when a file that the step promised is not there."""
        for name, path in self.outputs.items():
            if self.step.outputs[name].type == "uri_file" and not path.is_file():
                raise StepInputError(f"its output {name!r} is a file, but the step did not write {path}")

    def marker(self, work: Path, overrides: Overrides, python: str) -> Marker:
        """What says that this step, as it is now, has been done."""
        step = {name: value for name, value in asdict(self.step).items() if name not in UNTOUCHED}
        data = {name: fingerprint(path) for name, path in self.data.items()}
        key = {
            "step": step,
            "scalars": dict(self.scalars),
            "data": data,
            "code": None if self.code is None else fingerprint(self.code),
            "includes": [fingerprint(_included(path)) for path in getattr(self.step, "includes", ())],
            "overrides": {name: value for name, value in asdict(overrides).items() if name not in UNTOUCHED},
            "python": python,
        }
        origin = {
            "step": {name: value for name, value in step.items() if name not in ("code", "includes")},
            "scalars": dict(self.scalars),
            "data": data,
            "code": None if self.code is None else fingerprint(self.code, times=False),
        }
        kept = {name: path for name, path in self.outputs.items() if name not in self.shared}
        return Marker(work / f"{self.step.name.replace('/', '.')}.done", key, kept, origin)

    def parallel_plan(
        self, step: ParallelStep, overrides: Overrides, python: str, site: Site
    ) -> ParallelPlan:
        """Mini-batches, workers and thresholds, the run's overrides applied. StepInputError without items."""
        assert self.code is not None, "the loader refuses a parallel step without one"
        try:
            driver = DriverArguments.of(filled_words(step.program_arguments, self._texts, self._output_texts))
            thresholds = Thresholds(
                items=_first(overrides.error_threshold, driver.error_threshold(step.error_threshold)),
                mini_batches=_first(overrides.mini_batch_error_threshold, step.mini_batch_error_threshold),
                mini_batches_percent=driver.allowed_failed_percent,
            )
            init_timeout_s, rows_name = driver.init_timeout_s, driver.rows_name
        except ValueError as error:
            raise StepInputError(str(error)) from error
        if driver.without_effect:
            site.log(f"without effect on this machine: {' '.join(driver.without_effect)}")
        data = self.data[step.input_data]
        items = self._items(step, overrides, data)
        batches = items.batches
        if not batches:
            nothing = "rows" if items.table else "files"
            raise StepInputError(
                f"its input {step.input_data!r} holds no {nothing}, so there is nothing to do: {data}"
            )
        workers = site.machine.workers(
            len(batches), overrides.max_concurrency_per_instance or step.max_concurrency_per_instance
        )
        threads = site.machine.threads(workers)
        setup = WorkerSetup(
            python=python,
            entry=self.code / step.entry_script,
            code=self.code,
            arguments=driver.script,
            logging_level=overrides.logging_level or step.logging_level,
            dataset_name=step.input_data,
            data=data.parent if data.is_file() else data,
            variables={
                "OMP_NUM_THREADS": str(threads),
                **replace(site.machine, cores=threads).limits,
                **site.environment,
            },
            init_timeout_s=init_timeout_s,
            timeout_s=_first(overrides.timeout_s, step.retry.timeout_s),
            with_rows=step.append_row_to is not None,
            table=items.table,
        )
        return ParallelPlan(
            name=step.name,
            setup=setup,
            batches=batches,
            workers=workers,
            max_retries=_first(overrides.max_retries, step.retry.max_retries),
            thresholds=thresholds,
            rows_file=self._rows_file(step, rows_name),
            rows_header=driver.rows_header,
        )

    def _items(self, step: ParallelStep, overrides: Overrides, data: Path) -> Items:
        size = overrides.mini_batch_size or step.mini_batch_size
        if step.inputs[step.input_data].type == "mltable":
            return plan(load_table(data), size, step.partition_keys)
        return Items(split(items_in(data), size or FILES_OF_A_MINI_BATCH), None)

    def _rows_file(self, step: ParallelStep, name: str) -> Path | None:
        if step.append_row_to is None:
            return None
        path = self.outputs[step.append_row_to]
        return path if step.outputs[step.append_row_to].type == "uri_file" else path / name


def resolve(
    step: Step,
    pipeline: Pipeline,
    inputs: Mapping[str, Path | Scalar],
    outputs: Mapping[str, Path],
    work: Path,
) -> ResolvedStep:
    """Find the values of a step's inputs and the paths of its outputs. StepInputError names what is missing."""
    data: dict[str, Path] = {}
    scalars: dict[str, Scalar] = {}
    for name, declared in step.inputs.items():
        value = _value(name, declared, step, pipeline, inputs, outputs, work)
        if value is None:
            if declared.required:
                raise StepInputError(f"its input {name!r} has no value. Give one.")
        elif declared.is_data:
            data[name] = _existing(name, declared, value)
        else:
            scalars[name] = str(value) if isinstance(value, Path) else value
    bound = [each for other in pipeline.steps for each in other.output_bindings.values()]
    return ResolvedStep(
        step=step,
        code=None if step.code is None else step.code.absolute(),
        data=data,
        scalars=scalars,
        outputs={name: output_path(step, name, outputs, work) for name in step.outputs},
        shared=frozenset(name for name, target in step.output_bindings.items() if bound.count(target) > 1),
    )


def _value(
    name: str,
    declared: Input,
    step: Step,
    pipeline: Pipeline,
    inputs: Mapping[str, Path | Scalar],
    outputs: Mapping[str, Path],
    work: Path,
) -> Path | Scalar | None:
    binding = step.bindings.get(name)
    value: Path | Scalar | None = None
    if isinstance(binding, Literal):
        value = binding.value
    elif isinstance(binding, LocalPath):
        value = binding.path
    elif isinstance(binding, StepOutput):
        value = output_path(pipeline.step(binding.step), binding.output, outputs, work)
    elif isinstance(binding, ParentInput):
        parent = pipeline.inputs[binding.name]
        value = inputs.get(binding.name)
        for fallback in (parent.default, parent.path):
            value = fallback if value is None else value
    for fallback in (declared.default, declared.path):
        value = fallback if value is None else value
    return value


def output_path(step: Step, name: str, outputs: Mapping[str, Path], work: Path) -> Path:
    """Where a step writes an output: the pipeline's output that it is bound to, or a place of its own below `work`."""
    target = step.output_bindings.get(name)
    return outputs[target] if target is not None else work / "steps" / step.name / name


def _existing(name: str, declared: Input, value: Path | Scalar) -> Path:
    if is_remote(str(value)):
        raise StepInputError(
            f"its input {name!r} is at {value}, which a local run does not fetch: give it a local path"
        )
    path = Path(str(value)).absolute()
    wanted, there = {
        "uri_file": ("a file", path.is_file()),
        "uri_folder": ("a folder", path.is_dir()),
        "mltable": ("a folder with a file MLTable in it", (path / FILE_NAME).is_file()),
    }.get(declared.type, ("a file or a folder", path.exists()))
    if not there:
        found = "there is none" if not path.exists() else f"it is {'a folder' if path.is_dir() else 'a file'}"
        raise StepInputError(f"its input {name!r} must be {wanted}, but {found}: {value}")
    return path


def _included(path: Path) -> Path:
    """What is really there of an include: `tools.zip` may be the folder `tools`, still to be packed."""
    return path if path.exists() else path.with_suffix("")


def _first(override: int | None, otherwise: int) -> int:
    return otherwise if override is None else override
