"""Which type can be handed to which, and what an input is that is not declared."""

from __future__ import annotations

from batchscore.definitions.given import Given
from batchscore.definitions.model import DATA_TYPES, MODEL_TYPES, Binding, Input, Literal, Output
from batchscore.definitions.values import kind_of, literal


def fits(source: str, wanted: str) -> bool:
    """Whether a value of one type can be handed to an input of another; an unknown type fits everywhere.

    A model is a folder, and a custom model may be anything.
    """
    if not source or source == wanted:
        return True
    if source in DATA_TYPES or wanted in DATA_TYPES:
        both = {source, wanted}
        return both <= set(DATA_TYPES) and ("custom_model" in both or both <= {"uri_folder", *MODEL_TYPES})
    return wanted == "string" or (source, wanted) == ("integer", "number")


def readable(source: Input | Output, wanted: str) -> bool:
    """A pipeline job's text has no declared type: what counts is whether it can be read as one."""
    return (
        isinstance(source, Input)
        and isinstance(source.default, str)
        and source.type == "string"
        and not isinstance(literal(Input("", wanted, 0), source.default), str)
    )


def inferred(port: str, given: Given, binding: Binding, source: Input | Output | None) -> Input:
    """The input of an inline step, which declares none: as what it is given."""
    line, mode = given.node.line, given.mode
    if isinstance(binding, Literal):
        return Input(port, kind_of(binding.value), line)
    if isinstance(source, Input):
        optional = source.optional and source.default is None
        return Input(port, given.type or source.type, line, optional=optional, mode=mode)
    return Input(port, given.type or (source.type if source else "uri_folder"), line, mode=mode)
