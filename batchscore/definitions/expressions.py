"""The expressions of Azure ML's YAML: `${{inputs.x}}`, `${{parent.jobs.s.outputs.o}}` and optional `$[[ … ]]`.

A command line is a text for a shell, so a value goes into it quoted for the place where it stands: bare, in
double quotes or in single quotes. Places in which no quoting is safe (backquotes, arithmetic, `${…}`, comments,
here-documents) are refused when the file is loaded. Program arguments are no shell's text: they are split
first and filled in afterwards, so a value is always one argument, whatever it holds.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from batchscore.errors import RequestError

_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}", re.DOTALL)
_OPTIONAL = re.compile(r"\$\[\[(.*?)\]\]", re.DOTALL)
_INTERPRETS_AGAIN = re.compile(r"\b(?:ba|da|k|z)?sh\s+(?:-\S+\s+)*-\w*c\b|\beval\b|\bxargs\b")
_HARMLESS = re.compile(r"[\w@%+=:,./-]*", re.ASCII)
_UNSAFE = {
    "`": "in backquotes (write $(…) instead)",
    "$((": "in arithmetic $((…)) (let the script calculate)",
    "${": "in ${…} (write the expression alone)",
    "$'": "in $'…' (use plain quotes)",
    "#": "in a comment (remove it)",
    "<<": "after a here-document << (let the script read it)",
    "\\": "behind a backslash (remove the backslash)",
}


@dataclass(frozen=True)
class Reference:
    """One `${{…}}`: its dotted parts, the text it came from, and whether it stands in `$[[ ]]`."""

    parts: tuple[str, ...]
    text: str
    optional: bool = False


def references(template: str) -> list[Reference]:
    """Every expression of a text, in order."""
    spans = [match.span() for match in _OPTIONAL.finditer(template)]
    return [
        Reference(
            tuple(match[1].split(".")),
            match[0],
            any(start <= match.start() < end for start, end in spans),
        )
        for match in _EXPRESSION.finditer(template)
    ]


def whole_reference(text: str) -> Reference | None:
    """The expression that a text consists of, or None when the text is something else."""
    match = _EXPRESSION.fullmatch(text.strip())
    return Reference(tuple(match[1].split(".")), match[0]) if match and "${{" not in match[1] else None


def template_faults(template: str, *, for_shell: bool) -> list[str]:
    """What is wrong with a command line (`for_shell`) or with program arguments, apart from the names in it."""
    if template.count("${{") != len(_EXPRESSION.findall(template)):
        return ["has a '${{' without its '}}'. Close every expression: ${{inputs.name}}"]
    if template.count("$[[") != len(_OPTIONAL.findall(template)):
        return ["has a '$[[' without its ']]'. Close every optional argument: $[[--flag ${{inputs.name}}]]"]
    faults = []
    for match in _OPTIONAL.finditer(template):
        if "$[[" in match[1]:
            faults.append(f"has optional arguments inside one another: {match[0]!r}. Write them side by side")
        elif not _EXPRESSION.search(match[1]):
            faults.append(
                f"has an optional argument that names no input: {match[0]!r}. Take it out of $[[ ]]"
            )
    plain = _OPTIONAL.sub(lambda match: match[1], template)
    try:
        if for_shell:
            _fill(plain, lambda _: "x")
        else:
            shlex.split(_joined(plain))
    except ValueError as error:
        faults.append(str(error) if for_shell else "has a quote that is not closed. Close it")
    return faults


def render(template: str, inputs: Mapping[str, str | None], outputs: Mapping[str, str]) -> str:
    """A command line for a shell, its expressions replaced by quoted values.

    A value is one word, whatever it holds: blanks, quotes and `;` have no meaning to the shell, and an empty
    value is an empty word. `$[[ … ]]` disappears when one of its inputs has no value. RequestError when a
    value is missing, or cannot be quoted because the command hands its text to another shell (`bash -c`).
    """
    kept = _without_unset(template, inputs)
    reinterpreted = _INTERPRETS_AGAIN.search(kept)

    def value(reference: str) -> str:
        text = _value(reference, inputs, outputs)
        if "\0" in text:
            raise RequestError(f"{reference} holds a NUL character, which no command line can. Remove it.")
        if reinterpreted and not _HARMLESS.fullmatch(text):
            raise RequestError(
                f"{reference} is {text!r}, and the command hands it to {reinterpreted[0]!r}, which would read "
                "it again. Use letters, digits and ./_- only, or call the program directly."
            )
        return text

    try:
        return _fill(kept, value)
    except ValueError as error:
        raise RequestError(f"the command {error}.") from error


def render_arguments(
    template: str, inputs: Mapping[str, str | None], outputs: Mapping[str, str]
) -> list[str]:
    """Program arguments as a list: split as a shell would, then filled in; a value never splits."""
    return [word for word, _ in filled_words(template, inputs, outputs)]


def filled_words(
    template: str, inputs: Mapping[str, str | None], outputs: Mapping[str, str]
) -> list[tuple[str, bool]]:
    """Program arguments, each with whether it begins with a value: such a one is never the name of an option."""
    kept = _without_unset(template, inputs)
    found: list[str] = []

    def mark(match: re.Match[str]) -> str:
        found.append(_value(match[1], inputs, outputs))
        return f"\ue000{len(found) - 1}\ue001"

    marked = _EXPRESSION.sub(mark, _joined(kept.replace("\ue000", "")))
    return [
        (re.sub("\ue000(\\d+)\ue001", lambda m: found[int(m[1])], word), word.startswith("\ue000"))
        for word in shlex.split(marked)
    ]


def _joined(template: str) -> str:
    """Lines continued with a backslash, put together as a shell does; shlex would keep the line break."""
    return template.replace("\\\r\n", " ").replace("\\\n", " ")


def _without_unset(template: str, inputs: Mapping[str, str | None]) -> str:
    def keep(match: re.Match[str]) -> str:
        names = [
            ref.parts[1] for ref in references(match[1]) if len(ref.parts) == 2 and ref.parts[0] == "inputs"
        ]
        return "" if any(inputs.get(name) is None for name in names) else match[1]

    return _OPTIONAL.sub(keep, template)


def _value(expression: str, inputs: Mapping[str, str | None], outputs: Mapping[str, str]) -> str:
    kind, _, name = expression.partition(".")
    value = inputs.get(name) if kind == "inputs" else outputs.get(name) if kind == "outputs" else None
    if value is None:
        raise RequestError(f"${{{{{expression}}}}} has no value in this run. Give one.")
    return value


def _fill(command: str, value: Callable[[str], str]) -> str:
    """Replace expressions in a shell's text, each quoted for its place. ValueError says what is unsafe."""
    out: list[str] = []
    places: list[str] = []  # what is open: a quote, or one of the keys of _UNSAFE, or "("
    position, here_document = 0, False
    while position < len(command):
        place = places[-1] if places else ""
        match = _EXPRESSION.match(command, position)
        if match:
            unsafe = next((p for p in places if p in _UNSAFE), "<<" if here_document else "")
            if not unsafe and place != "'" and out and out[-1] == "\\":
                unsafe = "\\"
            if unsafe:
                raise ValueError(f"has {match[0]} {_UNSAFE[unsafe]}; a value there cannot be kept safe")
            out.append(_quoted(value(match[1]), place))
            position = match.end()
            continue
        step = _step(command, position, place)
        here_document = here_document or (step == "<<" and place not in ("'", '"'))
        _turn(places, place, step, command, position)
        out.append(step)
        position += len(step)
    if any(place in ("'", '"', "`", "$'") for place in places):
        raise ValueError("has a quote that is not closed. Close it")
    return "".join(out)


def _step(command: str, position: int, place: str) -> str:
    """The next character, or the few that mean something together."""
    if place in ("'", "#"):
        return command[position]
    if command[position] == "\\" and not _EXPRESSION.match(command, position + 1):
        return command[position : position + 2]
    tokens = ("$((", "$(", "${") if place == '"' else ("$((", "$(", "${", "$'", "<<<", "<<")
    return next((token for token in tokens if command.startswith(token, position)), command[position])


def _turn(places: list[str], place: str, step: str, command: str, position: int) -> None:
    """Open or close a place."""
    if place in ("'", "$'", "#"):
        if step == {"'": "'", "$'": "'", "#": "\n"}[place]:
            places.pop()
        return
    if (
        (step in ('"', "`") and place == step)
        or (step == "}" and place == "${")
        or (step == ")" and place in ("(", "$(("))
    ):
        places.pop()
    elif step == "$((":
        places += ["$((", "("]
    elif step in ("${", "`") or (step == '"'):
        places.append(step)
    elif step == "$(" or (step == "(" and place != '"'):
        places.append("(")
    elif place != '"' and (
        step in ("'", "$'") or (step == "#" and (position == 0 or command[position - 1].isspace()))
    ):
        places.append(step)


def _quoted(value: str, place: str) -> str:
    if place == '"':
        return re.sub(r'([\\"$`])', r"\\\1", value)
    if place == "'":
        return value.replace("'", "'\"'\"'")
    return shlex.quote(value)
