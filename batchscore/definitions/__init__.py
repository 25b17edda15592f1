"""Azure ML pipeline files -> checked data: `load_pipeline`, the model, and what a run needs of it."""

from __future__ import annotations

from batchscore.definitions.expressions import render, render_arguments
from batchscore.definitions.loader import load_pipeline
from batchscore.definitions.model import (
    DATA_TYPES,
    SCALAR_TYPES,
    Binding,
    CommandStep,
    Input,
    Literal,
    LocalPath,
    Nested,
    Output,
    ParallelStep,
    ParentInput,
    Pipeline,
    Retry,
    Scalar,
    Step,
    StepOutput,
)
from batchscore.definitions.order import intermediates
from batchscore.definitions.values import as_text, from_text, resolve_inputs

__all__ = [
    "DATA_TYPES",
    "SCALAR_TYPES",
    "Binding",
    "CommandStep",
    "Input",
    "Literal",
    "LocalPath",
    "Nested",
    "Output",
    "ParallelStep",
    "ParentInput",
    "Pipeline",
    "Retry",
    "Scalar",
    "Step",
    "StepOutput",
    "as_text",
    "from_text",
    "intermediates",
    "load_pipeline",
    "render",
    "render_arguments",
    "resolve_inputs",
]
