"""`--input name=value`: texts that a person typed, as values of the inputs that a pipeline declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from batchscore.errors import RequestError

if TYPE_CHECKING:
    from batchscore.compute.base import Scalar
    from batchscore.definitions.model import Pipeline

Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", metavar="NAME=VALUE", help="An input of the pipeline; may be repeated."),
]


def typed_inputs(pipeline: Pipeline, texts: list[str]) -> dict[str, Scalar]:
    """Values by input name, each of its declared type. An unknown name keeps its text, for the checks that follow;
    RequestError for what is no NAME=VALUE, comes twice, or is not of the type."""
    from batchscore.definitions.values import from_text

    found: dict[str, Scalar] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise RequestError(f"--input is {text!r}; it must be NAME=VALUE, such as strength=0.5.")
        if name in found:
            raise RequestError(f"input {name!r} is given twice. Keep one of them.")
        declared = pipeline.inputs.get(name)
        found[name] = value if declared is None else from_text(declared, value)
    return found
