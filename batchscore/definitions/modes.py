"""How inputs and outputs reach the machine of a step: mounted, downloaded, uploaded, or as an address.

What a run asks for (`modes` in a trigger file) is checked against the pipeline here, and put into it, so that
whatever runs the pipeline finds the mode where the definition would have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from batchscore.definitions import schema
from batchscore.definitions.model import Input, Output, ParentInput, Pipeline, Step
from batchscore.definitions.reading import nearest, shown


def input_modes(kind: str) -> tuple[str, ...]:
    """The modes of an input of this type; tables may also be handed over as the files or rows that they name."""
    return schema.TABLE_INPUT_MODES if kind == "mltable" else schema.INPUT_MODES


def output_modes(kind: str) -> tuple[str, ...]:
    """The modes of an output of this type."""
    return schema.OUTPUT_MODES if kind == "mltable" else schema.FILE_OUTPUT_MODES


def mode_faults(pipeline: Pipeline, modes: Mapping[str, object]) -> list[str]:
    """What is wrong with the modes that a run asks for, a sentence each."""
    faults = []
    ports = _ports(pipeline)
    for name, mode in modes.items():
        if name not in ports:
            scalar = " It is a value, and no file or folder." if name in pipeline.inputs else ""
            remedy = "" if scalar else f" {nearest(name, ports)}"
            faults.append(f"modes names {name[:100]!r}, which is no data of the pipeline.{scalar}{remedy}")
            continue
        legal = dict.fromkeys(mode for port in ports[name] for mode in _modes(port))
        if mode not in legal:
            what = "output" if isinstance(ports[name][-1], Output) else "input"
            kind = ports[name][-1].type
            faults.append(
                f"modes: {name} is {shown(mode)}; an {what} of type {kind} can be {', '.join(legal)}."
            )
    return faults


def with_modes(pipeline: Pipeline, modes: Mapping[str, str]) -> Pipeline:
    """The pipeline as a run wants it, its own declarations and those of the steps bound to them.

    A name that is both an input and an output is the one that the mode is for, and the output for what both allow.
    """
    if not modes:
        return pipeline
    outputs = {
        name: mode
        for name, mode in modes.items()
        if name in pipeline.outputs and mode in _modes(pipeline.outputs[name])
    }
    inputs = {name: mode for name, mode in modes.items() if name not in outputs and name in pipeline.inputs}
    return replace(
        pipeline,
        inputs={
            name: replace(port, mode=inputs.get(name, port.mode)) for name, port in pipeline.inputs.items()
        },
        outputs={
            name: replace(port, mode=outputs.get(name, port.mode)) for name, port in pipeline.outputs.items()
        },
        steps=tuple(_in_step(step, inputs, outputs) for step in pipeline.steps),
    )


def _in_step(step: Step, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Step:
    read, written = dict(step.inputs), dict(step.outputs)
    for port, binding in step.bindings.items():
        if isinstance(binding, ParentInput) and binding.name in inputs:
            read[port] = replace(read[port], mode=inputs[binding.name])
    for port, target in step.output_bindings.items():
        if target in outputs:
            written[port] = replace(written[port], mode=outputs[target])
    return replace(step, inputs=read, outputs=written)


def _ports(pipeline: Pipeline) -> dict[str, list[Input | Output]]:
    """The data of a pipeline by name, an input before the output of the same name."""
    ports: dict[str, list[Input | Output]] = {
        name: [port] for name, port in pipeline.inputs.items() if port.is_data
    }
    for name, output in pipeline.outputs.items():
        ports.setdefault(name, []).append(output)
    return ports


def _modes(port: Input | Output) -> tuple[str, ...]:
    return input_modes(port.type) if isinstance(port, Input) else output_modes(port.type)
