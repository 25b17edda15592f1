"""How steps hang together: references followed, types compared, cycles found, an order to run in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from batchscore.definitions.addresses import check_kind
from batchscore.definitions.expressions import whole_reference
from batchscore.definitions.fitting import fits, inferred, readable
from batchscore.definitions.given import Given, GivenOutput
from batchscore.definitions.local_files import remedy
from batchscore.definitions.model import (
    DATA_TYPES,
    Binding,
    Input,
    Literal,
    LocalPath,
    Output,
    ParentInput,
    StepOutput,
    is_remote,
)
from batchscore.definitions.reading import nearest, shown
from batchscore.definitions.steps import Bound, Draft
from batchscore.definitions.values import fault, literal
from batchscore.definitions.yamlnodes import Problems


@dataclass
class Wiring:
    """The pipeline's inputs and outputs and the steps between which references are followed."""

    file: str
    inputs: dict[str, Input]
    outputs: dict[str, Output]
    drafts: dict[str, Draft]
    broken: frozenset[str]
    """Steps that could not be read; a reference to one of them is no second mistake."""
    problems: Problems

    def wire(self) -> dict[str, Bound]:
        """Every step's ports with their types and bindings."""
        writers = self._write_outputs()
        bound = {name: self._bind(draft, writers) for name, draft in self.drafts.items()}
        for draft in self.drafts.values():
            self._check_compute(draft)
        written = {target for step in writers.values() for target in step.values()}
        for name, output in self.outputs.items():
            if name not in written and not self.broken:
                self.problems.add_at(
                    self.file,
                    output.line,
                    f"output {name!r} is written by no step. Let one say ${{{{parent.outputs.{name}}}}}.",
                )
        return bound

    def _check_compute(self, draft: Draft) -> None:
        """A compute may be one of the pipeline's inputs, which a local run does not need but Azure ML does."""
        text = draft.node.text("compute")
        reference = whole_reference(text) if text else None
        if reference is None:
            return
        parts = reference.parts
        if parts[:2] != ("parent", "inputs") or len(parts) != 3 or parts[2] not in self.inputs:
            remedy = nearest(parts[-1], self.inputs, "The pipeline's inputs are")
            draft.node.refuse("compute", f"is {reference.text}, which is no input of the pipeline. {remedy}")

    def _write_outputs(self) -> dict[str, dict[str, str]]:
        """Step -> its output -> the pipeline's output; settles the types that only one side says."""
        result: dict[str, dict[str, str]] = {name: {} for name in self.drafts}
        taken: dict[str, str] = {}
        for name, draft in self.drafts.items():
            for port, given in draft.given_outputs.items():
                target = self._target(draft, port, given, taken)
                if target is None:
                    continue
                taken[target.name] = f"output {port!r} of {draft.what}"
                result[name][port] = target.name
                output = draft.outputs[port]
                kind = output.type or target.type or "uri_folder"
                if target.type and not fits(kind, target.type):
                    self.problems.add(
                        given.node,
                        f"{draft.what}: output {port!r} is of type {kind}, and the pipeline's output {target.name!r} "
                        f"is of type {target.type}. Make the two agree.",
                    )
                self.outputs[target.name] = replace(target, type=target.type or kind)
                draft.outputs[port] = replace(output, type=kind)
            for port, output in draft.outputs.items():
                draft.outputs[port] = replace(output, type=output.type or "uri_folder")
        for name, output in self.outputs.items():
            self.outputs[name] = replace(output, type=output.type or "uri_folder")
        return result

    def _target(self, draft: Draft, port: str, given: GivenOutput, taken: Mapping[str, str]) -> Output | None:
        """The pipeline's output that a step's output becomes."""
        if given.reference is None or port not in draft.outputs:
            return None
        parts, text = given.reference.parts, given.reference.text
        what = f"{draft.what}: output {port!r} is {text}"
        if len(parts) != 3 or parts[:2] != ("parent", "outputs"):
            remedy = "An output can only be one of the pipeline's: ${{parent.outputs.<name>}}."
            self.problems.add(given.node, f"{what}. {remedy}")
            return None
        target = self.outputs.get(parts[2])
        if target is None:
            remedy = nearest(parts[2], self.outputs)
            self.problems.add(given.node, f"{what}, and the pipeline has no such output. {remedy}")
        elif target.name in taken:
            remedy = "Give each its own output."
            self.problems.add(given.node, f"{what}, which {taken[target.name]} writes already. {remedy}")
            return None
        return target

    def _bind(self, draft: Draft, writers: Mapping[str, dict[str, str]]) -> Bound:
        inputs = dict(draft.inputs or {})
        bindings: dict[str, Binding] = {}
        for port, given in draft.given.items():
            declared = inputs.get(port)
            if draft.inputs is not None and declared is None:
                self.problems.add(
                    given.node,
                    f"{draft.what}: the component has no input {port!r}. "
                    f"{nearest(port, draft.inputs, 'Its inputs are')}",
                )
                continue
            if declared is not None and given.says_otherwise(declared):
                declared = inputs[port] = replace(declared, type=given.type or "")
            if declared is not None and given.mode is not None:
                declared = inputs[port] = replace(declared, mode=given.mode)
            binding, source = self._binding(draft, port, given, writers)
            if binding is None:
                if declared is None:
                    inputs[port] = Input(port, given.type or "", given.node.line)
                continue
            bindings[port] = self._fitted(draft, port, given, declared, binding, source)
            if declared is None:
                inputs[port] = inferred(port, given, binding, source)
        if draft.inputs is None:  # what could not be read is there all the same, and no second mistake
            for port in draft.named_inputs - set(inputs):
                inputs[port] = Input(port, "", draft.node.node.line)
        for port, declared in (draft.inputs or {}).items():
            if declared.required and port not in draft.named_inputs:
                self.problems.add(
                    draft.node.node,
                    f"{draft.what} gives no {port!r}, which the component needs. "
                    f"Add under inputs: {port}: ${{{{parent.inputs.<name>}}}}.",
                )
        return Bound(inputs, draft.outputs, bindings, writers[draft.name], frozenset(self.inputs))

    def _binding(
        self, draft: Draft, port: str, given: Given, writers: Mapping[str, dict[str, str]]
    ) -> tuple[Binding | None, Input | Output | None]:
        what = f"{draft.what}: input {port!r}"
        if given.path is not None:
            if is_remote(given.path):
                self.problems.add(
                    given.node,
                    f"{what} is at {given.path}, which a local run does not fetch. {remedy(given.path)}",
                )
                return None, None
            return LocalPath(given.path, given.address), None
        if given.reference is None:
            return (None, None) if given.value is None else (Literal(given.value), None)
        parts, text = given.reference.parts, given.reference.text
        if len(parts) == 3 and parts[:2] == ("parent", "inputs"):
            declared = self.inputs.get(parts[2])
            if declared is None:
                self.problems.add(
                    given.node,
                    f"{what} is {text}, and the pipeline has no such input. {nearest(parts[2], self.inputs)}",
                )
                return None, None
            return ParentInput(parts[2]), declared
        if len(parts) == 5 and parts[:2] == ("parent", "jobs") and parts[3] == "outputs":
            return self._step_output(what, given, parts[2], parts[4])
        self.problems.add(given.node, f"{what} is {text}. {self._meant(parts, writers)}")
        return None, None

    def _step_output(
        self, what: str, given: Given, step: str, output: str
    ) -> tuple[Binding | None, Output | None]:
        text = given.reference.text if given.reference else ""
        if step in self.broken:
            return None, None
        source = self.drafts.get(step)
        if source is None:
            self.problems.add(
                given.node, f"{what} is {text}, and there is no step {step!r}. {nearest(step, self.drafts)}"
            )
            return None, None
        if output not in source.outputs:
            self.problems.add(
                given.node,
                f"{what} is {text}, and step {step!r} has no such output. {nearest(output, source.outputs)}",
            )
            return None, None
        return StepOutput(step, output), source.outputs[output]

    def _meant(self, parts: tuple[str, ...], writers: Mapping[str, dict[str, str]]) -> str:
        forms = "${{parent.inputs.<name>}} or ${{parent.jobs.<step>.outputs.<name>}}"
        if parts[0] == "inputs" and len(parts) == 2:
            return f"Inside jobs the pipeline is the parent: write ${{{{parent.inputs.{parts[1]}}}}}."
        if parts[:2] == ("parent", "outputs"):
            writer = next(
                (
                    f"{step}.outputs.{port}"
                    for step, ports in writers.items()
                    for port, target in ports.items()
                    if parts[2:] == (target,)
                ),
                "<step>.outputs.<name>",
            )
            return f"Read it from the step that writes it: ${{{{parent.jobs.{writer}}}}}."
        return f"It must be {forms}."

    def _fitted(
        self,
        draft: Draft,
        port: str,
        given: Given,
        declared: Input | None,
        binding: Binding,
        source: Input | Output | None,
    ) -> Binding:
        """The binding, its value brought to the declared type; types that do not fit are reported."""
        what = f"{draft.what}: input {port!r}"
        wanted = declared.type if declared is not None else given.type
        if not wanted:
            return binding
        if given.type and not fits(given.type, wanted):
            self.problems.add(
                given.node, f"{what} is {given.type} here and {wanted} in the component. Make the two agree."
            )
        if isinstance(binding, Literal) and declared is not None:
            if declared.is_data:
                self.problems.add(
                    given.node,
                    f"{what} is {shown(binding.value)}; it must be of type {wanted}: a reference, or a mapping with "
                    "type and path.",
                )
                return binding
            value = literal(declared, binding.value)
            wrong = fault(declared, value)
            if wrong:
                self.problems.add(given.node, f"{what} {wrong}.")
            return Literal(value)
        if isinstance(binding, LocalPath):
            if wanted not in DATA_TYPES:
                remedy = "Write the value alone."
                self.problems.add(
                    given.node, f"{what} is a file or folder; it must be of type {wanted}. {remedy}"
                )
            elif given.type is None:
                check_kind(binding.path, wanted, given.node, what, self.problems)
        if source is not None:
            self._compare(what, given, wanted, declared, source)
        return binding

    def _compare(
        self, what: str, given: Given, wanted: str, declared: Input | None, source: Input | Output
    ) -> None:
        text = given.reference.text if given.reference else ""
        if not fits(source.type, wanted) and not readable(source, wanted):
            self.problems.add(
                given.node,
                f"{what} must be of type {wanted}, and {text} is of type {source.type}. Make the two agree.",
            )
            return
        if not isinstance(source, Input) or declared is None:
            return
        if source.optional and source.default is None and declared.required:
            self.problems.add(
                given.node,
                f"{what} is required, and {text} is optional. Make the component's input optional too, or give "
                "the pipeline's a default.",
            )
        if source.default is not None and not declared.is_data:
            wrong = fault(declared, literal(declared, source.default))
            if wrong:
                self.problems.add(given.node, f"{what}: the pipeline's own value for {text} {wrong}.")
