"""Pipeline components inside pipelines: their steps put among the outer pipeline's, under names like `outer/inner`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from batchscore.definitions.model import (
    Binding,
    Input,
    Literal,
    Nested,
    Output,
    ParentInput,
    Pipeline,
    Step,
    StepOutput,
)
from batchscore.definitions.steps import Bound, Draft

MOST_STEPS = 1_000
"""More than this no machine runs, and a few small files that contain each other twice each make millions."""


@dataclass
class Steps:
    """The steps of one pipeline as they are found, in their order, those of its components among them.

    `outlets` says which step really writes an output of a step of type pipeline.
    """

    steps: list[Step] = field(default_factory=list)
    nested: list[Nested] = field(default_factory=list)
    outlets: dict[tuple[str, str], StepOutput] = field(default_factory=dict)

    def followed(self, bound: Bound) -> Bound:
        """The bindings of the next step, those that read from a step of type pipeline led to the step inside it."""
        bindings: dict[str, Binding] = {}
        for port, binding in bound.bindings.items():
            if isinstance(binding, StepOutput):
                bindings[port] = self.outlets.get((binding.step, binding.output), binding)
            else:
                bindings[port] = binding
        return replace(bound, bindings=bindings)

    def add_inside(self, draft: Draft, inner: Pipeline, bound: Bound) -> None:
        """Put the steps of a pipeline component here, as `<draft's name>/<step>`."""
        name = draft.name
        self.nested.append(
            Nested(name, inner.file, draft.node.node.line, bound.inputs, bound.outputs, bound.bindings)
        )
        for part in inner.nested:
            inputs, bindings = _inputs(part, name, inner, bound)
            self.nested.append(replace(part, name=f"{name}/{part.name}", inputs=inputs, bindings=bindings))
        for step in inner.steps:
            inputs, bindings = _inputs(step, name, inner, bound)
            for port, target in step.output_bindings.items():
                self.outlets[name, target] = StepOutput(f"{name}/{step.name}", port)
            self.steps.append(
                replace(
                    step,
                    name=f"{name}/{step.name}",
                    inputs=inputs,
                    bindings=bindings,
                    outputs=_outputs(step, inner, bound),
                    output_bindings={
                        port: bound.output_bindings[target]
                        for port, target in step.output_bindings.items()
                        if target in bound.output_bindings
                    },
                )
            )


def _inputs(
    step: Step | Nested, name: str, inner: Pipeline, bound: Bound
) -> tuple[dict[str, Input], dict[str, Binding]]:
    """An inner step's inputs, bound to what the outer pipeline hands to the component."""
    inputs, bindings = dict(step.inputs), dict[str, Binding]()
    for port, binding in step.bindings.items():
        if isinstance(binding, StepOutput):
            bindings[port] = StepOutput(f"{name}/{binding.step}", binding.output)
            continue
        if not isinstance(binding, ParentInput):
            bindings[port] = binding
            continue
        default = inner.inputs[binding.name].default
        outer = bound.bindings.get(binding.name)
        if outer is not None:
            bindings[port] = outer
        elif default is not None:
            bindings[port] = Literal(default)
        if isinstance(outer, ParentInput) and default is not None:  # the outer one may be left unset
            inputs[port] = replace(inputs[port], default=default)
    return inputs, bindings


def _outputs(step: Step, inner: Pipeline, bound: Bound) -> dict[str, Output]:
    """An inner step's outputs, with the mode that is said of the component's output they become."""
    outputs = dict(step.outputs)
    for port, target in step.output_bindings.items():
        mode = _mode(bound.outputs, target) or _mode(inner.outputs, target)
        if mode is not None:
            outputs[port] = replace(outputs[port], mode=mode)
    return outputs


def _mode(outputs: Mapping[str, Output], name: str) -> str | None:
    return outputs[name].mode if name in outputs else None
