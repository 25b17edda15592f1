"""How much the inputs of a run hold: blobs and bytes, looked up once each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from batchscore.compute.base import Location, Scalar
from batchscore.definitions.model import MODEL_TYPES, ParallelStep, ParentInput, Pipeline, Step
from batchscore.figures import MEGABYTE, Features, Figures
from batchscore.measured import RunSample

Inputs = Mapping[str, Location | Scalar]


@dataclass(frozen=True)
class Amount:
    """How much there is at a place in storage."""

    blobs: int = 0
    size_bytes: int = 0
    whole: bool = True
    """Whether everything was counted; of very many blobs only the first are."""


class Inventory(Protocol):
    """What an expectation asks storage."""

    def amount(self, location: Location, kind: str) -> Amount: ...

    def measured(self, workload: str) -> Sequence[RunSample]: ...


@dataclass
class Holdings:
    """How much a run's inputs hold, looked up once each, and only what is asked."""

    pipeline: Pipeline
    inputs: Inputs
    inventory: Inventory
    _known: dict[str, Amount] = field(default_factory=dict)

    def of(self, name: str) -> Amount:
        value = self.inputs.get(name)
        if name not in self._known:
            kind = self.pipeline.inputs[name].type
            self._known[name] = (
                self.inventory.amount(value, kind) if isinstance(value, Location) else Amount()
            )
        return self._known[name]

    @property
    def data(self) -> Amount:
        """All data inputs together, models left out."""
        amounts = [
            self.of(name)
            for name, value in self.inputs.items()
            if isinstance(value, Location) and self.pipeline.inputs[name].type not in MODEL_TYPES
        ]
        return Amount(
            sum(each.blobs for each in amounts),
            sum(each.size_bytes for each in amounts),
            all(each.whole for each in amounts),
        )

    def features(self, figures: Mapping[str, Figures]) -> Features:
        """What the steps' figures depend on; storage is asked only where the size of the inputs counts."""
        scalars = {name: value for name, value in self.inputs.items() if not isinstance(value, Location)}
        by_size = any(
            figures[step.name].mb_s or (has_made_items(step) and figures[step.name].items is None)
            for step in self.pipeline.steps
        )
        return Features(self.data.size_bytes / MEGABYTE if by_size else 0, scalars)


def has_made_items(step: Step) -> bool:
    """Whether nobody knows yet how many items the step has: another one makes them."""
    return isinstance(step, ParallelStep) and not isinstance(step.bindings.get(step.input_data), ParentInput)
