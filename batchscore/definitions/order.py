"""The order of steps: what waits for what, circles, and which outputs are read on the way."""

from __future__ import annotations

from collections.abc import Mapping

from batchscore.definitions.model import Pipeline, StepOutput
from batchscore.definitions.steps import Bound, Draft
from batchscore.definitions.yamlnodes import Problems


def ordered(bound: Mapping[str, Bound], drafts: Mapping[str, Draft], problems: Problems) -> list[str]:
    """Step names so that each comes after those it reads from, otherwise as in the file."""
    needs = {
        name: {binding.step for binding in each.bindings.values() if isinstance(binding, StepOutput)}
        for name, each in bound.items()
    }
    order: list[str] = []
    while len(order) < len(needs):
        ready = next((name for name in needs if name not in order and needs[name] <= set(order)), None)
        if ready is None:
            circle = _circle({name: needs[name] - set(order) for name in needs if name not in order})
            problems.add(
                drafts[circle[0]].node.node,
                f"steps wait for one another: {' → '.join((*circle, circle[0]))}. Break the circle.",
            )
            return [*order, *(name for name in needs if name not in order)]
        order.append(ready)
    return order


def _circle(needs: Mapping[str, set[str]]) -> list[str]:
    """A circle among steps that all wait, the step that stands first in the file at its beginning."""
    path = [next(iter(needs))]
    while True:
        following = next(name for name in needs if name in needs[path[-1]])
        if following in path:
            circle = path[path.index(following) :][::-1]
            start = min(range(len(circle)), key=lambda index: list(needs).index(circle[index]))
            return circle[start:] + circle[:start]
        path.append(following)


def intermediates(pipeline: Pipeline) -> frozenset[str]:
    """The pipeline's outputs that another step consumes: no results, though they are kept with the run."""
    read = {
        (binding.step, binding.output)
        for step in pipeline.steps
        for binding in step.bindings.values()
        if isinstance(binding, StepOutput)
    }
    return frozenset(
        target
        for step in pipeline.steps
        for port, target in step.output_bindings.items()
        if (step.name, port) in read
    )
