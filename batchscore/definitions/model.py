"""A pipeline as data: what an Azure ML pipeline file says, checked and with its references resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from batchscore.errors import Problem

Scalar = str | int | float | bool

MODEL_TYPES = ("custom_model", "mlflow_model", "triton_model")
DATA_TYPES = ("uri_file", "uri_folder", "mltable", *MODEL_TYPES)
SCALAR_TYPES = ("string", "integer", "number", "boolean")


def is_remote(path: str) -> bool:
    """Whether a path of a definition is an address in the cloud instead of a path on this machine."""
    return "://" in path or path.startswith("azureml:")


@dataclass(frozen=True)
class Input:
    """A declared input of a pipeline or of a component.

    `path` is what a pipeline *job* file binds to the input (a local path, relative ones already made
    absolute) or a cloud address as it is written (`is_remote`); a pipeline *component* leaves it None. `default` holds a scalar, also the value that a
    pipeline job file gives to a scalar input.
    """

    name: str
    type: str
    line: int
    optional: bool = False
    default: Scalar | None = None
    min: float | None = None
    max: float | None = None
    enum: tuple[Scalar, ...] = ()
    mode: str | None = None
    path: str | None = None
    description: str = ""

    @property
    def is_data(self) -> bool:
        return self.type in DATA_TYPES

    @property
    def is_model(self) -> bool:
        return self.type in MODEL_TYPES

    @property
    def is_remote(self) -> bool:
        """Whether `path` is an address in the cloud (`azureml:…`, `https://…`) instead of a local path."""
        return self.path is not None and is_remote(self.path)

    @property
    def required(self) -> bool:
        return not self.optional and self.default is None and self.path is None


@dataclass(frozen=True)
class Output:
    """A declared output of a pipeline or of a component; `mode` is Azure ML's (`rw_mount`, `upload`)."""

    name: str
    type: str
    line: int
    mode: str | None = None
    path: str | None = None
    description: str = ""
    asset: str | None = None
    """The name under which Azure ML registers what is written, which a local run does not."""


@dataclass(frozen=True)
class Written:
    """Where something is said: the file, and the line in it."""

    file: str
    line: int


@dataclass(frozen=True)
class Literal:
    """A step's input is this value."""

    value: Scalar


@dataclass(frozen=True)
class LocalPath:
    """A step's input is this file or folder, written in the pipeline file itself."""

    path: str
    address: str | None = None
    """What the file says, where the path stands for an address of Azure ML in a local run."""


@dataclass(frozen=True)
class ParentInput:
    """A step's input is the pipeline's input of this name: `${{parent.inputs.name}}`."""

    name: str


@dataclass(frozen=True)
class StepOutput:
    """A step's input is another step's output: `${{parent.jobs.step.outputs.output}}`."""

    step: str
    output: str


Binding = Literal | LocalPath | ParentInput | StepOutput


@dataclass(frozen=True)
class Retry:
    """`retry_settings` of a parallel step: how long one mini-batch may take and how often it is tried again."""

    timeout_s: int = 60
    max_retries: int = 2


@dataclass(frozen=True)
class CommandStep:
    """A step that runs one command line once."""

    name: str
    file: Path
    line: int
    command: str
    inputs: dict[str, Input] = field(default_factory=dict)
    outputs: dict[str, Output] = field(default_factory=dict)
    bindings: dict[str, Binding] = field(default_factory=dict)
    output_bindings: dict[str, str] = field(default_factory=dict)
    """Step output name -> pipeline output name, where the step's output is one of the pipeline's."""
    code: Path | None = None
    environment: str | None = None
    includes: tuple[Path, ...] = ()
    """Files and folders that the step finds in its code folder beside what is there (`additional_includes`)."""
    environment_variables: dict[str, str] = field(default_factory=dict)
    compute: str | None = None
    """The compute target that runs it on Azure ML, without `azureml:`; an input of the pipeline as it is written."""
    passed_on: Mapping[str, object] = field(default_factory=dict)
    """What its node says to Azure ML alone, as it is written (`identity`, `distribution`, the rest of `resources`)."""
    written: Mapping[str, Written] = field(default_factory=dict)
    """Where its compute, its number of nodes and its environment are said, by the key."""
    timeout_s: int | None = None
    """How long the command may take (`limits.timeout`)."""


@dataclass(frozen=True)
class ParallelStep:
    """A step that splits one input's files, or a table's rows, into mini-batches and hands them to `run(mini_batch)`."""

    name: str
    file: Path
    line: int
    entry_script: str
    input_data: str
    """The name of the step's input whose files, or whose table's rows, are the items."""
    program_arguments: str = ""
    inputs: dict[str, Input] = field(default_factory=dict)
    outputs: dict[str, Output] = field(default_factory=dict)
    bindings: dict[str, Binding] = field(default_factory=dict)
    output_bindings: dict[str, str] = field(default_factory=dict)
    code: Path | None = None
    environment: str | None = None
    environment_variables: dict[str, str] = field(default_factory=dict)
    compute: str | None = None
    passed_on: Mapping[str, object] = field(default_factory=dict)
    written: Mapping[str, Written] = field(default_factory=dict)
    append_row_to: str | None = None
    """The name of the step's output that receives the returned rows, or None for `summary_only`."""
    mini_batch_size: int | None = 10
    """Files of a mini-batch; of a table (`input_data` of type mltable) about as many bytes, None when not said."""
    partition_keys: tuple[str, ...] = ()
    """The columns of which each distinct value makes one mini-batch, in place of `mini_batch_size`."""
    max_concurrency_per_instance: int | None = None
    instance_count: int = 1
    retry: Retry = Retry()
    error_threshold: int = -1
    mini_batch_error_threshold: int = -1
    logging_level: str = "INFO"


Step = CommandStep | ParallelStep


@dataclass(frozen=True)
class Nested:
    """A step of type pipeline. Its own steps stand among the pipeline's, as `name/step`; what is left of it are
    its declarations, which a run's inputs have to fit too, and where it was written."""

    name: str
    file: Path
    """The pipeline component's file."""
    line: int
    inputs: dict[str, Input] = field(default_factory=dict)
    outputs: dict[str, Output] = field(default_factory=dict)
    bindings: dict[str, Binding] = field(default_factory=dict)


@dataclass(frozen=True)
class Pipeline:
    """A whole pipeline; `steps` are in an order in which they can run one after another.

    The steps of pipeline components are among them, under names such as `outer/inner`, with every reference
    through the component's inputs and outputs followed to its end.
    """

    name: str
    file: Path
    inputs: dict[str, Input]
    outputs: dict[str, Output]
    steps: tuple[Step, ...]
    version: str | None = None
    display_name: str = ""
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    """Every file that it was read from: its own, its components' and the maps."""
    maps: tuple[Path, ...] = ()
    """Those of its files that say what stands on this machine for what Azure ML knows by name."""
    nested: tuple[Nested, ...] = ()
    continue_on_step_failure: bool = False
    """Whether steps that need nothing of a failed one run on, instead of being cancelled."""
    unregistrable: tuple[Problem, ...] = ()
    """What keeps Azure ML from registering it or one of its components, though their jobs run there and here."""
    notices: tuple[str, ...] = ()
    """What the file says and a local run does not act on, a sentence each (environments, computes)."""

    def step(self, name: str) -> Step:
        """The step of this name; KeyError when there is none."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)
