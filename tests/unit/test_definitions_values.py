"""What a run is given: names, types, bounds and defaults; every mistake told at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from batchscore.definitions import (
    CommandStep,
    Input,
    ParentInput,
    Pipeline,
    Scalar,
    as_text,
    from_text,
    load_pipeline,
    resolve_inputs,
)
from batchscore.errors import RequestError


def pipeline(*inputs: Input, step: CommandStep | None = None) -> Pipeline:
    by_name = {each.name: each for each in inputs}
    return Pipeline("paint", Path("p.yml"), by_name, {}, () if step is None else (step,))


PAINT = pipeline(
    Input("video", "uri_file", 1, description="what is painted"),
    Input("frames", "uri_folder", 2, optional=True),
    Input("model", "custom_model", 3, optional=True),
    Input("strength", "number", 4, default=0.5, min=0, max=1),
    Input("height", "integer", 5, optional=True, min=16, max=4096),
    Input("style", "string", 6, optional=True, enum=("night", "wave")),
    Input("audio", "boolean", 7, default=True),
)


def test_defaults_are_filled_in_and_unset_optional_inputs_stay_absent() -> None:
    assert resolve_inputs(PAINT, {"video": "v.mp4"}) == {"video": "v.mp4", "strength": 0.5, "audio": True}


def test_given_values_win_and_null_is_not_given() -> None:
    given = {
        "video": "v.mp4",
        "strength": 1,
        "height": 720,
        "style": None,
        "audio": False,
        "model": "night:3",
    }
    assert resolve_inputs(PAINT, given) == {
        "video": "v.mp4",
        "strength": 1,
        "height": 720,
        "audio": False,
        "model": "night:3",
    }


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("vidio", "v.mp4", "has no input 'vidio'. Did you mean 'video'?"),
        ("strength", 1.5, "input 'strength' is 1.5; it must be at most 1."),
        ("strength", -0.1, "at least 0"),
        ("strength", "0.5", "input 'strength' is '0.5'; it must be a number."),
        ("strength", True, "input 'strength' is true; it must be a number."),
        ("strength", float("nan"), "it must be a number"),
        ("strength", float("inf"), "it must be a number"),
        ("strength", 10**400, "it must be a number"),
        ("strength", [0.5], "is a list; it must be a number"),
        ("height", 720.0, "it must be a whole number"),
        ("height", 10**400, "at most 4096"),
        ("height", 8, "input 'height' is 8; it must be at least 16."),
        ("style", "day", "it must be one of 'night', 'wave'"),
        ("style", 3, "input 'style' is 3; it must be text."),
        ("audio", "yes", "it must be true or false"),
        ("audio", 1, "it must be true or false"),
        ("video", 3, "input 'video' is 3; it must be a path, as text."),
        ("video", "", "input 'video' is ''; it must be a path"),
        ("video", {"path": "v.mp4"}, "is a mapping; it must be a path"),
        ("model", 3, "input 'model' is 3; it must be a name, as text."),
    ],
)
def test_a_wrong_value_is_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        resolve_inputs(PAINT, {"video": "v.mp4", name: value})
    assert message in str(caught.value)


def test_a_long_value_is_shortened_in_the_message() -> None:
    with pytest.raises(RequestError) as caught:
        resolve_inputs(PAINT, {"video": "v.mp4", "style": "x" * 10_000, "y" * 10_000: 1})
    assert len(str(caught.value)) < 600


def test_every_mistake_is_told() -> None:
    with pytest.raises(RequestError) as caught:
        resolve_inputs(PAINT, {"vidio": "v.mp4", "strength": 2, "height": "tall"})
    assert str(caught.value).splitlines() == [
        "the pipeline 'paint' has no input 'vidio'. Did you mean 'video'?",
        "input 'video' is missing. Give the path of a file (what is painted).",
        "input 'strength' is 2; it must be at most 1.",
        "input 'height' is 'tall'; it must be a whole number.",
    ]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"frames": "f", "model": "m"}, "'frames' and 'model' are given"),
        ({"frames": None}, "none of them is given"),
        ({"frames": "f"}, None),
        ({"model": "m"}, None),
    ],
)
def test_a_tag_says_of_which_inputs_exactly_one_is_needed(
    given: dict[str, object], found: str | None
) -> None:
    tagged = replace(PAINT, tags={"exactly_one_of": "frames, model"})
    if found is None:
        assert resolve_inputs(tagged, {"video": "v.mp4", **given})
        return
    with pytest.raises(
        RequestError, match="exactly one of the inputs 'frames' or 'model' is needed"
    ) as raised:
        resolve_inputs(tagged, {"video": "v.mp4", **given})
    assert found in str(raised.value)


@pytest.mark.parametrize("name", ["video", "frames"])
def test_the_shipped_pipelines_name_inputs_in_that_tag(name: str) -> None:
    folder = Path(__file__).parents[2] / "scoring" / "style_transfer"
    shipped = load_pipeline(folder / f"{name}.pipeline.yml")
    assert {"style", "style_image"} <= shipped.inputs.keys()
    with pytest.raises(RequestError, match="'style' or 'style_image' is needed: none"):
        resolve_inputs(shipped, {name: "x"})


def test_a_step_may_be_narrower_than_the_pipeline() -> None:
    step = CommandStep(
        "blend",
        Path("p.yml"),
        1,
        "echo",
        inputs={"amount": Input("amount", "number", 1, max=0.5)},
        bindings={"amount": ParentInput("strength")},
    )
    narrow = pipeline(Input("strength", "number", 1, max=1), step=step)
    assert resolve_inputs(narrow, {"strength": 0.4}) == {"strength": 0.4}
    with pytest.raises(RequestError, match=r"at most 0.5 \(input 'amount' of step 'blend'\)"):
        resolve_inputs(narrow, {"strength": 0.9})


def test_a_path_in_a_pipeline_job_is_the_default() -> None:
    job = pipeline(Input("data", "uri_folder", 1, path="/data"))
    assert resolve_inputs(job, {}) == {"data": "/data"}
    assert resolve_inputs(job, {"data": "/other"}) == {"data": "/other"}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("number", "0.5", 0.5),
        ("number", "1e-3", 0.001),
        ("integer", "12", 12),
        ("boolean", "true", True),
        ("boolean", "False", False),
        ("string", "12", "12"),
        ("uri_file", "a/b.mp4", "a/b.mp4"),
    ],
)
def test_typed_words_become_values(kind: str, text: str, value: Scalar) -> None:
    found = from_text(Input("x", kind, 1), text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "text"), [("number", "much"), ("number", "nan"), ("integer", "1.5"), ("boolean", "1")]
)
def test_typed_words_that_are_no_value_are_refused(kind: str, text: str) -> None:
    with pytest.raises(RequestError, match=f"input 'x' is '{text}'; it must be"):
        from_text(Input("x", kind, 1), text)


def test_scalars_are_written_as_azure_ml_writes_them() -> None:
    assert [as_text(value) for value in (True, 5, 0.5, "a b")] == ["True", "5", "0.5", "a b"]
