"""What a pipeline's file declares that its steps take: tags `takes.<step>`, such as `item_s=9.5 start_s=2`."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchscore.compute.base import Scalar
from batchscore.errors import DefinitionError, Problem

if TYPE_CHECKING:
    from batchscore.definitions.model import Pipeline

TAG = "takes."
MEGABYTE = 1_000_000
LARGEST = 1e9
NAMES = ("seconds", "start_s", "item_s", "mb_s", "items", "items_per_mb")
_ON_GPU = ("gpu_seconds", "gpu_start_s", "gpu_item_s", "gpu_mb_s")


@dataclass(frozen=True)
class Features:
    """What the time of a run depends on."""

    megabytes: float = 0
    """Of its data inputs, models left out."""
    scalars: Mapping[str, Scalar] = field(default_factory=dict)

    def number(self, name: str) -> float:
        value = self.scalars.get(name, 0)
        return float(value) if isinstance(value, int | float) else 0.0


@dataclass(frozen=True)
class Figures:
    """What one step takes on one worker: a CPU core, or a GPU where there are figures for one."""

    seconds: float = 0
    """Whatever the input is."""
    start_s: float = 0
    """Of a worker, before its first mini-batch."""
    item_s: float = 0
    mb_s: float = 0
    """For each megabyte of the run's data inputs."""
    per_input_s: Mapping[str, float] = field(default_factory=dict)
    """For each unit of a scalar input of the pipeline."""
    items: float | str | None = None
    """How many items there are: a number, or the scalar input that says it. None: by megabytes."""
    items_per_mb: float = 1
    text: str = ""
    """As it is declared; empty for a guess."""

    def work_s(self, features: Features, items: float = 0) -> float:
        """Worker-seconds, without starting."""
        by_inputs = sum(rate * features.number(name) for name, rate in self.per_input_s.items())
        return self.seconds + self.item_s * items + self.mb_s * features.megabytes + by_inputs

    def expected_items(self, features: Features) -> float:
        """How many items there will be, of a step whose items another step makes."""
        if self.items is None:
            return max(1.0, self.items_per_mb * features.megabytes)
        return max(1.0, features.number(self.items) if isinstance(self.items, str) else self.items)


GUESSED_ITEMS = Figures(item_s=1, start_s=5)
GUESSED_COMMAND = Figures(seconds=30)


@dataclass(frozen=True)
class Declared:
    """The figures of a step on both kinds of workers."""

    cpu: Figures
    gpu: Figures

    def on(self, *, gpu: bool) -> Figures:
        return self.gpu if gpu else self.cpu


def declared(pipeline: Pipeline) -> dict[str, Declared]:
    """The figures of every step; a step of which nothing is declared has a guess. DefinitionError lists tags that
    cannot be understood."""
    problems: list[Problem] = []
    found = {step.name: _guess(hasattr(step, "entry_script")) for step in pipeline.steps}
    for tag, text in pipeline.tags.items():
        name = tag.removeprefix(TAG)
        if name == tag:
            continue
        if name not in found:
            near = difflib.get_close_matches(name, found, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(found)}."
            _complain(problems, pipeline, tag, f"names no step. {hint}")
            continue
        values = _values(pipeline, tag, text, problems)
        found[name] = Declared(*(_figures(pipeline, values, text, kind) for kind in ("", "gpu_")))
    if problems:
        raise DefinitionError(tuple(problems))
    return found


def _guess(parallel: bool) -> Declared:
    guess = GUESSED_ITEMS if parallel else GUESSED_COMMAND
    return Declared(guess, guess)


def _values(pipeline: Pipeline, tag: str, text: str, problems: list[Problem]) -> dict[str, float | str]:
    numeric = _numeric(pipeline)
    legal = [*NAMES, *_ON_GPU, *(f"{kind}per_{name}_s" for kind in ("", "gpu_") for name in numeric)]
    values: dict[str, float | str] = {}
    for word in text.replace(",", " ").split():
        name, _, value = word.partition("=")
        number = _number(value)
        if name not in legal:
            _complain(
                problems, pipeline, tag, f"holds {word!r}; it may hold name=number of {', '.join(legal)}"
            )
        elif name == "items" and value in numeric:
            values[name] = value
        elif number is None:
            _complain(problems, pipeline, tag, f"holds {word!r}; {name} must be a number, such as {name}=2.5")
        else:
            values[name] = number
    return values


def _numeric(pipeline: Pipeline) -> list[str]:
    return [name for name, each in pipeline.inputs.items() if each.type in ("integer", "number")]


def _figures(pipeline: Pipeline, values: Mapping[str, float | str], text: str, kind: str) -> Figures:
    """Those of one kind of worker; what is said of GPUs alone replaces what is said of all."""

    def of(name: str, otherwise: float = 0) -> float:
        return float(values.get(f"{kind}{name}", values.get(name, otherwise)))

    per_input = {name: of(f"per_{name}_s") for name in _numeric(pipeline)}
    return Figures(
        seconds=of("seconds"),
        start_s=of("start_s"),
        item_s=of("item_s"),
        mb_s=of("mb_s"),
        per_input_s={name: rate for name, rate in per_input.items() if rate},
        items=values.get("items"),
        items_per_mb=of("items_per_mb", 1),
        text=text,
    )


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and 0 <= number <= LARGEST else None


def _complain(problems: list[Problem], pipeline: Pipeline, tag: str, why: str) -> None:
    problems.append(Problem(str(pipeline.file), _line(pipeline, tag), f"the tag {tag!r} {why.rstrip('.')}."))


def _line(pipeline: Pipeline, tag: str) -> int:
    """Where the tag stands in the file."""
    lines = pipeline.file.read_text("utf-8", errors="replace").splitlines()
    return next((number for number, line in enumerate(lines, 1) if tag in line), 1)
