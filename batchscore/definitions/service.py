"""What only Azure ML acts upon: identities, distribution, queues, machines and environments, checked as it would.

A mistake there costs a night: the service finds it when the job is sent, or once its node has started.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from batchscore.definitions.expressions import whole_reference
from batchscore.definitions.reading import Section, nearest

NODE_NAME = re.compile(r"[a-z_][a-z0-9_]*")
COMPONENT_NAME = re.compile(r"[a-z][a-z0-9_]*")

_COMPUTE = re.compile(r"[A-Za-z0-9][\w-]*", re.ASCII)
_ENVIRONMENT = re.compile(
    r"azureml:[\w.-]+(?::[\w.-]+|@latest)"
    r"|azureml://registries/[\w.-]+/environments/[\w.-]+/(?:versions/[\w.-]+|labels/latest)"
    r"|azureml:/?/subscriptions/\S+",
    re.ASCII,
)
_VARIABLE = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_SHARED_MEMORY = re.compile(r"[1-9]\d*[bkmg]", re.IGNORECASE | re.ASCII)

_IDENTITIES = {
    "user_identity": (),
    "aml_token": (),
    "managed": ("client_id", "object_id", "msi_resource_id"),
    "managed_identity": ("client_id", "object_id", "msi_resource_id"),
}
_DISTRIBUTIONS = {
    "pytorch": ("process_count_per_instance",),
    "mpi": ("process_count_per_instance",),
    "tensorflow": ("parameter_server_count", "worker_count"),
    "ray": (
        "port",
        "address",
        "include_dashboard",
        "dashboard_port",
        "head_node_additional_args",
        "worker_node_additional_args",
    ),
}
_QUEUE = {
    "job_tier": ("spot", "basic", "standard", "premium", "null"),
    "priority": ("low", "medium", "high"),
}


def check_service_keys(section: Section) -> None:
    """What a step, a component or a pipeline job says to Azure ML alone."""
    _kind_of(section, "identity", _IDENTITIES)
    distribution = _kind_of(section, "distribution", _DISTRIBUTIONS)
    if distribution is not None:
        for key in ("process_count_per_instance", "worker_count"):
            if not _is_reference(distribution, key):
                distribution.whole(key, 1)
    queue = section.section("queue_settings")
    if queue is not None:
        queue.allow(_QUEUE)
        for key, choices in _QUEUE.items():
            if not _is_reference(queue, key):
                _choice(queue, key, choices)
    resources = section.section("resources")
    if resources is not None and not _is_reference(resources, "shm_size"):
        size = resources.label("shm_size")
        if size is not None and not _SHARED_MEMORY.fullmatch(size):
            resources.wrong("shm_size", "a number and b, k, m or g, such as 8g")
    _check_compute(section, "compute")
    variables = section.section("environment_variables")
    for name, node in ({} if variables is None else variables.values).items():
        if variables is not None and not _VARIABLE.fullmatch(name):
            variables.problems.add(
                node,
                f"{variables.what}: {name!r} is no name of a variable. Use letters, digits and _, a letter first.",
            )


def check_default_compute(settings: Section) -> None:
    """The cluster that a pipeline job names for all of its steps."""
    _check_compute(settings, "default_compute")


def environment_fault(reference: str) -> str | None:
    """What is wrong with the name of a registered environment: it needs a version, or `@latest`."""
    if _ENVIRONMENT.fullmatch(reference):
        return None
    return "azureml:<name>:<version>, azureml:<name>@latest, a file or a mapping with image"


def names_equal_but_for_case(names: Collection[str]) -> list[tuple[str, str]]:
    """Pairs of names that Azure ML takes for the same one; the one that stands first comes first."""
    first: dict[str, str] = {}
    return [(there, name) for name in names if (there := first.setdefault(name.lower(), name)) != name]


def _check_compute(section: Section, key: str) -> None:
    text = section.text(key)
    if text is None or whole_reference(text) is not None:
        return
    name = text.removeprefix("azureml:")
    if name.startswith(("/subscriptions/", "//subscriptions/")):
        return
    if not _COMPUTE.fullmatch(name):
        section.wrong(key, "azureml:<name>, the name of a cluster without a version")


def _kind_of(section: Section, key: str, kinds: dict[str, tuple[str, ...]]) -> Section | None:
    """The mapping below a key, its `type` and the keys of that type checked."""
    inner = section.section(key)
    if inner is None:
        return None
    kind = inner.text("type")
    if kind is None:
        if "type" not in inner:
            inner.allow(("type", *{each for known in kinds.values() for each in known}))
            inner.missing("type", f"Say one of {', '.join(kinds)}.")
        return None
    known = kinds.get(kind.lower())
    if known is None:
        inner.wrong("type", f"one of {', '.join(kinds)}. {nearest(kind, kinds)}".removesuffix("."))
        return None
    inner.allow(("type", *known))
    return inner


def _choice(section: Section, key: str, choices: tuple[str, ...]) -> None:
    text = section.label(key)
    if text is not None and text.lower() not in choices:
        section.wrong(key, f"one of {', '.join(choices)}. {nearest(text, choices)}".removesuffix("."))


def _is_reference(section: Section, key: str) -> bool:
    node = section.get(key)
    return node is not None and isinstance(node.value, str) and whole_reference(node.value) is not None
