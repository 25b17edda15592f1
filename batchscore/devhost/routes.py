"""Route templates of HTTP functions: `runs/{id:int}/{rest?}`, `{*path}` and which function serves a path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

_PARAMETER = re.compile(r"\{(?P<star>\*{0,2})(?P<name>\w+)(?::(?P<constraint>[^{}?=]+))?(?P<optional>\?)?\}")
_CONSTRAINTS = {
    "int": r"-?\d+",
    "long": r"-?\d+",
    "alpha": r"[A-Za-z]+",
    "bool": r"[Tt]rue|[Ff]alse",
    "guid": r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
}


@dataclass(frozen=True)
class Route:
    """A template, ready to be matched."""

    template: str
    expression: re.Pattern[str]
    rank: tuple[int, ...]
    """Lower goes first: a literal segment before a constrained parameter, a parameter, a rest of the path."""

    @classmethod
    def parse(cls, template: str) -> Route:
        """Read a template without a leading slash; ValueError says what is wrong with it."""
        expression, rank = "", []
        segments = [segment for segment in template.split("/") if segment]
        for index, segment in enumerate(segments):
            pattern, weight, optional = _segment(segment)
            if weight == 3 and index != len(segments) - 1:
                raise ValueError(f"{segment} takes the rest of the path, so it must come last")
            slash = "/" if index else ""
            expression += f"(?:{slash}{pattern})?" if optional else f"{slash}{pattern}"
            rank.append(weight)
        return cls(template, re.compile(f"^{expression}/?$", re.IGNORECASE), tuple(rank))

    def match(self, path: str) -> dict[str, str] | None:
        """The parameters in a path without its leading slash (still percent-encoded), or None."""
        found = self.expression.match(path)
        if found is None:
            return None
        return {name: unquote(value) for name, value in found.groupdict().items() if value is not None}


def _segment(segment: str) -> tuple[str, int, bool]:
    """A segment as an expression, its rank, and whether it may be absent."""
    whole = _PARAMETER.fullmatch(segment)
    if whole is not None and whole["star"]:
        return f"(?P<{whole['name']}>.*)", 3, True
    if set("{}") & set(_PARAMETER.sub("", segment)):
        raise ValueError(f"{segment!r} is not a segment such as name, {{name}}, {{name:int}} or {{*rest}}")
    pattern, weight, position = "", 0, 0
    for found in _PARAMETER.finditer(segment):
        pattern += re.escape(segment[position : found.start()])
        constraint = found["constraint"]
        if constraint is not None and constraint not in _CONSTRAINTS:
            raise ValueError(f"{constraint!r} is not one of the constraints {', '.join(_CONSTRAINTS)}")
        pattern += f"(?P<{found['name']}>{_CONSTRAINTS[constraint] if constraint else '[^/]+'})"
        weight = max(weight, 1 if constraint else 2)
        position = found.end()
    return pattern + re.escape(segment[position:]), weight, bool(whole and whole["optional"])
