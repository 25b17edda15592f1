"""Expressions in command lines and program arguments: values go in as they are, whatever they hold."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchscore.definitions import render, render_arguments
from batchscore.definitions.expressions import references, template_faults, whole_reference
from batchscore.errors import RequestError

NASTY = ["", " ", "a b", "it's", 'say "x"', "$HOME", "`id`", "$(id)", "a;id", "a\nb", "\\", "\\'", "*", "~", "#x", "!!", "é→", "-n"]  # fmt: skip


def words_of(command: str) -> list[str]:
    """What a shell makes of the arguments of `show`."""
    shell = "show() { printf '%s\\0' \"$@\"; }\n" + command
    done = subprocess.run(["sh", "-c", shell], capture_output=True, check=True, text=True, timeout=20)
    return done.stdout.split("\0")[:-1]


@pytest.mark.parametrize("value", NASTY)
@pytest.mark.parametrize(
    "template",
    [
        "show ${{inputs.x}}",
        'show "${{inputs.x}}"',
        "show '${{inputs.x}}'",
        "show ${{ inputs.x }}",
        'show "$(printf %s ${{inputs.x}})"',
        "if true; then (show ${{inputs.x}}); fi",
        "# it's a remark\nshow ${{inputs.x}}",
        "show \\\n  ${{inputs.x}}",
    ],
)
def test_a_value_is_one_word_to_the_shell(template: str, value: str) -> None:
    assert words_of(render(template, {"x": value}, {})) == [value]


def test_a_value_joins_what_stands_next_to_it() -> None:
    command = render("show --x=${{inputs.x}}/${{outputs.o}}.csv", {"x": "a b"}, {"o": "it's"})
    assert words_of(command) == ["--x=a b/it's.csv"]


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12))
def test_no_value_ever_reaches_the_shell_as_code(value: str) -> None:
    template = "show ${{inputs.x}} \"${{inputs.x}}\" '${{inputs.x}}' a${{inputs.x}}b"
    assert words_of(render(template, {"x": value}, {})) == [value, value, value, f"a{value}b"]


@pytest.mark.parametrize("value", NASTY)
def test_a_program_argument_is_one_argument(value: str) -> None:
    template = "--x ${{inputs.x}} --y=${{inputs.x}} \"${{inputs.x}}\" 'a ${{inputs.x}}' \\\n --z"
    assert render_arguments(template, {"x": value}, {}) == [
        "--x",
        value,
        f"--y={value}",
        value,
        f"a {value}",
        "--z",
    ]


def test_program_arguments_that_look_like_the_marks_inside_are_kept() -> None:
    assert render_arguments("${{inputs.x}} ${{outputs.o}}", {"x": "\ue0001\ue001"}, {"o": "o"}) == [
        "\ue0001\ue001",
        "o",
    ]


@pytest.mark.parametrize(
    ("style", "seed", "expected"),
    [
        ("night", "3", ["--out", "o", "--style", "night", "--both", "night", "3"]),
        ("night", None, ["--out", "o", "--style", "night"]),
        (None, "3", ["--out", "o"]),
        ("", "", ["--out", "o", "--style", "", "--both", "", ""]),
    ],
)
def test_an_optional_argument_goes_with_its_input(
    style: str | None, seed: str | None, expected: list[str]
) -> None:
    template = (
        "--out ${{outputs.o}} $[[--style ${{inputs.style}}]]\n$[[--both ${{inputs.style}} ${{inputs.seed}}]]"
    )
    values = {"style": style, "seed": seed}
    assert render_arguments(template, values, {"o": "o"}) == expected
    assert words_of("show " + render(template.replace("\n", " "), values, {"o": "o"})) == expected


def test_an_absent_input_is_an_unset_one() -> None:
    assert render("show $[[--style ${{inputs.style}}]]", {}, {}).split() == ["show"]


def test_a_missing_value_outside_of_an_optional_argument_is_refused() -> None:
    for call in (render, render_arguments):
        with pytest.raises(RequestError, match=r"\$\{\{inputs.x\}\} has no value"):
            call("--x ${{inputs.x}}", {"x": None}, {})


@pytest.mark.parametrize(
    "template", ["bash -c 'run ${{inputs.x}}'", 'sh -ec "run ${{inputs.x}}"', "eval run ${{inputs.x}}"]
)
def test_a_command_that_is_read_twice_takes_harmless_values_only(template: str) -> None:
    assert "/data/a-1.csv" in render(template, {"x": "/data/a-1.csv"}, {})
    with pytest.raises(RequestError, match="would read it again"):
        render(template, {"x": "a;id"}, {})


def test_a_nul_character_is_refused() -> None:
    with pytest.raises(RequestError, match="NUL"):
        render("show ${{inputs.x}}", {"x": "a\0b"}, {})


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("echo ${{inputs.x}}", None),
        ('echo "it\'s ${{inputs.x}}" # done', None),
        ("python x.py \\\n  --x ${{inputs.x}}", None),
        ("for i in 1 2; do echo $i ${{inputs.x}}; done", None),
        ('[[ "$A" == ${{inputs.x}} ]] && echo ${A:-b} $((1+2))', None),
        ("cat <<< ${{inputs.x}}", None),
        ("echo \\${{inputs.x}}", "behind a backslash"),
        ("echo `date ${{inputs.x}}`", "in backquotes"),
        ('echo "`date ${{inputs.x}}`"', "in backquotes"),
        ("echo $((1 + ${{inputs.x}}))", "in arithmetic"),
        ('echo "${A:-${{inputs.x}}}"', "in ${…}"),
        ("echo $'a ${{inputs.x}}'", "in $'…'"),
        ("echo a # ${{inputs.x}}", "in a comment"),
        ("cat <<EOF\n${{inputs.x}}\nEOF", "after a here-document"),
        ("echo '${{inputs.x}}", "a quote that is not closed"),
        ('echo "${{inputs.x}}', "a quote that is not closed"),
        ("echo ${{inputs.x}", "without its '}}'"),
        ("echo $[[${{inputs.x}}", "without its ']]'"),
        ("echo $[[a]]", "names no input"),
    ],
)
def test_what_cannot_be_quoted_safely_is_a_fault(command: str, expected: str | None) -> None:
    faults = template_faults(command, for_shell=True)
    assert (expected is None) == (not faults)
    assert expected is None or expected in faults[0]


def test_references_know_where_they_stand() -> None:
    found = references("a ${{inputs.x}} $[[--y ${{ inputs.y }}]] ${{parent.jobs.s-1.outputs.o}}")
    assert [each.parts for each in found] == [
        ("inputs", "x"),
        ("inputs", "y"),
        ("parent", "jobs", "s-1", "outputs", "o"),
    ]
    assert [each.optional for each in found] == [False, True, False]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("${{parent.inputs.x}}", ("parent", "inputs", "x")),
        (" ${{ parent.inputs.x }} ", ("parent", "inputs", "x")),
        ("a ${{parent.inputs.x}}", None),
        ("${{a}}${{b}}", None),
        ("plain", None),
    ],
)
def test_a_text_that_is_one_reference(text: str, parts: tuple[str, ...] | None) -> None:
    found = whole_reference(text)
    assert (None if found is None else found.parts) == parts
