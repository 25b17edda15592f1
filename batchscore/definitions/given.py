"""What inputs and outputs are given: values, files, folders and references, by a step or by a pipeline job."""

from __future__ import annotations

from dataclasses import dataclass, replace

from batchscore.definitions import schema
from batchscore.definitions.addresses import check_address, input_path
from batchscore.definitions.expressions import Reference, references, whole_reference
from batchscore.definitions.interface import data_type, mode_of, named
from batchscore.definitions.local_files import Place
from batchscore.definitions.model import DATA_TYPES, SCALAR_TYPES, Input, Output, Scalar, is_remote
from batchscore.definitions.reading import Section, nearest, shown
from batchscore.definitions.values import fault, kind_of, literal
from batchscore.definitions.yamlnodes import Node, Problems


@dataclass(frozen=True)
class Given:
    """What a step's input is given: exactly one of `value`, `path` and `reference`."""

    node: Node
    type: str | None = None
    mode: str | None = None
    value: Scalar | None = None
    path: str | None = None
    reference: Reference | None = None
    address: str | None = None
    """What is written, where `path` stands for it on this machine."""

    def says_otherwise(self, declared: Input) -> bool:
        """Whether a file or folder is given as another type than the component declares: on Azure ML what is given
        decides what the step finds."""
        return self.path is not None and declared.is_data and self.type not in (None, declared.type)


@dataclass(frozen=True)
class GivenOutput:
    """What a step's output is given: perhaps a pipeline output that it becomes."""

    node: Node
    type: str | None = None
    mode: str | None = None
    path: str | None = None
    reference: Reference | None = None
    asset: str | None = None
    """The name under which Azure ML registers it."""


def job_inputs(owner: Section, place: Place) -> dict[str, Input]:
    """The `inputs:` of a pipeline *job*: values, files and folders instead of declarations."""
    result = {}
    for name, node in named(owner.entries("inputs"), f"{owner.what}: input", owner.problems):
        given = given_input(name, node, place, owner.problems, job=True)
        if given is not None and given.reference is not None:
            owner.problems.add(
                node,
                f"input {name!r} is {given.reference.text}, and a pipeline job has no parent. Write the value.",
            )
        if given is None or given.reference is not None:
            result[name] = Input(name, "", node.line)
        elif given.value is not None:
            result[name] = Input(name, kind_of(given.value), node.line, default=given.value)
        else:
            result[name] = Input(
                name, given.type or "uri_folder", node.line, mode=given.mode, path=given.path
            )
    return result


def with_values(
    declared: dict[str, Input], given: dict[str, Input], problems: Problems, node: Node
) -> dict[str, Input]:
    """A component's inputs, with the values that a job gives them as defaults."""
    result = dict(declared)
    for name, value in given.items():
        wanted = declared.get(name)
        at = replace(node, line=value.line)
        if wanted is None:
            remedy = nearest(name, declared, "Its inputs are")
            problems.add(at, f"the component has no input {name!r}. {remedy}")
        elif wanted.is_data != value.is_data:
            problems.add(at, f"input {name!r} must be of type {wanted.type}, as in the component.")
        elif value.default is None:
            result[name] = replace(wanted, path=value.path)
        else:
            scalar = literal(wanted, value.default)
            wrong = fault(wanted, scalar)
            if wrong:
                problems.add(at, f"input {name!r} {wrong}.")
            result[name] = replace(wanted, default=scalar)
    return result


def job_outputs(owner: Section) -> dict[str, Output]:
    """The `outputs:` of a pipeline *job*; a type that is not said is empty, for the step to decide."""
    result = {}
    for name, node in named(owner.entries("outputs"), f"{owner.what}: output", owner.problems):
        given = given_output(name, node, owner.problems)
        if given is not None and given.reference is not None:
            owner.problems.add(
                node,
                f"output {name!r} cannot be {given.reference.text}. "
                f"Let the step say ${{{{parent.outputs.{name}}}}}.",
            )
        if given is not None:
            result[name] = Output(
                name=name,
                type=given.type or "",
                line=node.line,
                mode=given.mode,
                path=given.path,
                asset=given.asset,
            )
    return result


def given_input(
    name: str, node: Node, place: Place, problems: Problems, *, job: bool = False
) -> Given | None:
    """One entry of a step's (or a pipeline job's) `inputs:`; None after a problem."""
    what = f"input {name!r}"
    if isinstance(node.value, list) or node.value is None:
        problems.add(
            node,
            f"{what} is {shown(node.value)}; it must be a value, a reference or a mapping with type and path.",
        )
        return None
    if isinstance(node.value, dict):
        section = Section(node, node.value, what, problems)
        declaring = _declaring(section) if job else []
        section.allow((*schema.GIVEN_INPUT, *declaring))
        if "type" in declaring:
            return None
        kind = data_type(section, DATA_TYPES)
        mode = mode_of(section, schema.TABLE_INPUT_MODES)
        path = section.text("path")
        if path is None:
            if section.get("path") is None:
                section.missing("path", "Say where the file or folder is.")
            return None
        reference = _reference(path, section.values["path"], what, problems)
        if reference is not None:
            return Given(node, kind, mode, reference=reference)
        found = input_path(
            path, section.values["path"], place, kind or ("uri_folder" if job else None), what, problems
        )
        if found is None:
            return None
        return Given(node, kind, mode, path=found, address=path if is_remote(path) else None)
    if isinstance(node.value, str):
        reference = _reference(node.value, node, what, problems)
        if reference is not None:
            return Given(node, reference=reference)
        if "${{" in node.value:
            return None
    return Given(node, value=node.value)


def _declaring(section: Section) -> list[str]:
    """The keys with which a component declares an input, and that a pipeline job's input cannot have."""
    kind = section.get("type")
    declaring = ["type"] if kind is not None and kind.value in SCALAR_TYPES else []
    declaring += [key for key in ("default", "min", "max", "enum", "optional") if key in section.values]
    if declaring:
        section.refuse(
            declaring[0],
            "declares, and a pipeline job gives values. Write the value alone, or make the file a pipeline "
            "component ($schema: https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json).",
        )
    return declaring


def given_output(name: str, node: Node, problems: Problems) -> GivenOutput | None:
    """One entry of a step's (or a pipeline job's) `outputs:`; an empty one takes every default."""
    what = f"output {name!r}"
    if node.value is None:
        return GivenOutput(node)
    if isinstance(node.value, str):
        reference = _reference(node.value, node, what, problems)
        if reference is None and "${{" not in node.value:
            problems.add(
                node,
                f"{what} is {shown(node.value)}; it must be ${{{{parent.outputs.name}}}} or a mapping "
                "with type, mode and path.",
            )
        return None if reference is None else GivenOutput(node, reference=reference)
    section = Section.of(node, what, problems)
    if section is None:
        return None
    section.allow(schema.GIVEN_OUTPUT)
    kind = data_type(section, DATA_TYPES)
    mode = mode_of(section, schema.OUTPUT_MODES)
    asset, _ = section.label("name"), section.label("version")
    path = section.text("path")
    if path is None:
        return GivenOutput(node, kind, mode, asset=asset)
    reference = whole_reference(path)
    if reference is not None and reference.parts[0] == "parent":
        return GivenOutput(node, kind, mode, reference=reference, asset=asset)
    for each in references(path):
        if each.parts not in (("name",), ("default_datastore",), ("output_name",)):
            problems.add(
                section.values["path"],
                f"{what}: path holds {each.text}; only ${{{{name}}}}, ${{{{output_name}}}} and "
                "${{default_datastore}} can stand there.",
            )
    if not is_remote(path):
        section.wrong("path", "an address in a datastore (azureml://datastores/<name>/paths/<path>)")
    else:
        check_address(path, section.values["path"], what, problems)
    return GivenOutput(node, kind, mode, path=path, asset=asset)


def _reference(text: str, node: Node, what: str, problems: Problems) -> Reference | None:
    """The reference that a text is; a reference inside a longer text is refused, unless it is a path's."""
    reference = whole_reference(text)
    if reference is not None:
        return reference
    if "${{" in text:
        found = references(text)
        if not found:
            problems.add(node, f"{what} is {shown(text)}, in which '${{{{' has no '}}}}'. Close it.")
        elif any(each.parts[0] == "parent" for each in found) or not is_remote(text):
            problems.add(
                node,
                f"{what} is {shown(text)}; a reference must stand alone, as in ${{{{parent.inputs.name}}}}.",
            )
    return None
