"""Which keys Azure ML knows in which place, and which of them a local run does nothing with."""

from __future__ import annotations

_ASSET = ("$schema", "type", "name", "version", "display_name", "description", "tags", "properties")
_PORTS = ("inputs", "outputs")
_NODE = (
    *_ASSET,
    *_PORTS,
    "component",
    "compute",
    "experiment_name",
    "identity",
    "services",
    "limits",
    "queue_settings",
    "resources",
    "environment_variables",
    "is_deterministic",
    "comment",
)
_COMMAND = ("command", "code", "environment", "distribution", "additional_includes")
_PARALLEL = (
    "task",
    "input_data",
    "mini_batch_size",
    "partition_keys",
    "max_concurrency_per_instance",
    "retry_settings",
    "error_threshold",
    "mini_batch_error_threshold",
    "logging_level",
)

PIPELINE_COMPONENT = (*_ASSET, *_PORTS, "is_deterministic", "jobs")
PIPELINE_JOB_ONLY = ("experiment_name", "settings", "compute", "identity", "services", "component", "limits")
PIPELINE_JOB = (*_ASSET, *_PORTS, *PIPELINE_JOB_ONLY, "jobs")
PIPELINE_SETTINGS = (
    "default_datastore",
    "default_compute",
    "continue_on_step_failure",
    "force_rerun",
    "on_init",
    "on_finalize",
)
LIMITS = ("timeout",)
COMPONENT = {
    "pipeline": PIPELINE_COMPONENT,
    "command": (*_ASSET, *_PORTS, "is_deterministic", "resources", "environment_variables", *_COMMAND),
    "parallel": (
        *_ASSET,
        *_PORTS,
        "is_deterministic",
        "resources",
        "environment_variables",
        "additional_includes",
        *_PARALLEL,
    ),
}
NODE = {"command": (*_NODE, *_COMMAND), "parallel": (*_NODE, *_PARALLEL), "pipeline": _NODE}
TASK = ("type", "code", "entry_script", "environment", "program_arguments", "append_row_to", "model")
RETRY = ("timeout", "max_retries")
RESOURCES = (
    "instance_count",
    "instance_type",
    "shm_size",
    "properties",
    "docker_args",
    "locations",
    "max_instance_count",
)
ENVIRONMENT = (
    "$schema",
    "name",
    "version",
    "description",
    "tags",
    "properties",
    "image",
    "conda_file",
    "build",
    "os_type",
    "inference_config",
)
DECLARED_INPUT = ("type", "description", "optional", "default", "min", "max", "enum", "mode")
DECLARED_OUTPUT = ("type", "description", "mode")
GIVEN_INPUT = ("type", "path", "mode", "description")
GIVEN_OUTPUT = ("type", "path", "mode", "description", "name", "version")

INPUT_MODES = ("ro_mount", "download", "direct")
TABLE_INPUT_MODES = (*INPUT_MODES, "eval_mount", "eval_download")
FILE_OUTPUT_MODES = ("rw_mount", "upload")
OUTPUT_MODES = (*FILE_OUTPUT_MODES, "direct")
LOGGING_LEVELS = ("DEBUG", "INFO", "WARNING")
LONGEST_TIMEOUT_S = 259_200

STEP_TYPES = ("command", "parallel", "pipeline")
LATER_STEP_TYPES = ("sweep", "automl", "spark", "import", "data_transfer", "if_else", "do_while")
NOT_YET = "is not supported yet by the local engine"

UNUSED = {
    "compute": "runs on this machine",
    "identity": "reads and writes as the person or service that started the run",
    "services": "starts no such services",
    "queue_settings": "does not queue by job tier",
    "distribution": "runs as one process",
}
"""Legal keys of a step that change nothing in a local run -> what the local run does instead."""

DRIVER_ARGUMENTS: dict[str, tuple[float, float] | None] = {
    "error_threshold": (-1, 2**31 - 1),
    "allowed_failed_percent": (0, 100),
    "task_overhead_timeout": (1, LONGEST_TIMEOUT_S),
    "progress_update_timeout": (1, LONGEST_TIMEOUT_S),
    "first_task_creation_timeout": (1, LONGEST_TIMEOUT_S),
    "resource_monitor_interval": (0, 2**31 - 1),
    "copy_logs_to_parent": None,
    "push_metrics_to_parent": None,
    "append_row_dataframe_header": None,
    "append_row_file_name": (0, 0),
}
"""Arguments that Azure ML's own driver reads from `program_arguments`, with their ranges."""
