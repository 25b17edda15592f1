"""Reading a mapping of a definition: typed getters that report what is wrong, with a remedy, and read on."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from batchscore.definitions.schema import NOT_YET
from batchscore.definitions.yamlnodes import Node, Problems, Scalar

LARGEST_COUNT = 2**31 - 1


def nearest(word: str, choices: Collection[str], say: str = "They are") -> str:
    """A sentence that names what was probably meant, or what there is."""
    near = difflib.get_close_matches(word, list(choices), n=1)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"{say}: {', '.join(sorted(choices))}." if choices else f"{say}: none."


def shown(value: object) -> str:
    """A value as a person would write it, short."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "empty"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


@dataclass(frozen=True)
class Section:
    """A mapping being read; `what` is its name in messages (`step 'score'`)."""

    node: Node
    values: dict[str, Node]
    what: str
    problems: Problems

    @staticmethod
    def of(node: Node, what: str, problems: Problems) -> Section | None:
        """The node as a mapping, or None after saying that it is none."""
        if not isinstance(node.value, dict):
            problems.add(node, f"{what} is {shown(node.value)}; it must be a mapping (key: value lines).")
            return None
        return Section(node, node.value, what, problems)

    def allow(self, legal: Collection[str]) -> None:
        """Refuse every key that is not legal here."""
        for key, value in self.values.items():
            if key not in legal:
                remedy = nearest(key, legal, "Legal here")
                self.problems.add(value, f"{key!r} is not a key of {self.what}. {remedy}")

    def refuse(self, key: str, reason: str) -> None:
        """Say why a key that is there cannot be used."""
        if key in self.values:
            self.problems.add(self.values[key], f"{self.what}: {key} {reason}")

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def get(self, key: str) -> Node | None:
        """The node of a key, or None when it is absent or empty."""
        node = self.values.get(key)
        return None if node is None or node.value is None else node

    def line(self, key: str) -> int:
        return self.values[key].line if key in self.values else self.node.line

    def wrong(self, key: str, must_be: str) -> None:
        node = self.values[key]
        if isinstance(node.value, str) and "${{parent." in node.value:
            self.refuse(key, f"is {node.value}: a reference there {NOT_YET}. Write the value.")
            return
        self.problems.add(node, f"{self.what}: {key} is {shown(node.value)}; it must be {must_be}.")

    def missing(self, key: str, remedy: str) -> None:
        self.problems.add(self.node, f"{self.what} has no {key}. {remedy}")

    def text(self, key: str) -> str | None:
        node = self.get(key)
        if node is None:
            return None
        if not isinstance(node.value, str):
            self.wrong(key, "text (quote it)")
            return None
        return node.value

    def texts(self, key: str) -> list[str]:
        """A list of texts; nothing when it is absent."""
        node = self.get(key)
        if node is None:
            return []
        if not isinstance(node.value, list) or not all(isinstance(each.value, str) for each in node.value):
            self.wrong(key, "a list of paths")
            return []
        return [str(each.value) for each in node.value]

    def label(self, key: str) -> str | None:
        """Text for people or a version, for which a plain number is as good."""
        node = self.get(key)
        if node is None:
            return None
        if isinstance(node.value, (dict, list, bool)):
            self.wrong(key, "text")
            return None
        return str(node.value)

    def choice(self, key: str, choices: Collection[str]) -> str | None:
        value = self.text(key)
        if value is not None and value not in choices:
            near = difflib.get_close_matches(value.lower(), [choice.lower() for choice in choices], n=1)
            match = [choice for choice in choices if near and choice.lower() == near[0]]
            self.wrong(
                key, f"one of {', '.join(choices)}" + (f" (did you mean {match[0]!r}?)" if match else "")
            )
            return None
        return value

    def flag(self, key: str) -> bool | None:
        node = self.get(key)
        if node is None:
            return None
        if not isinstance(node.value, bool):
            self.wrong(key, "true or false, without quotes")
            return None
        return node.value

    def whole(self, key: str, least: int, most: int = LARGEST_COUNT) -> int | None:
        """A whole number, also as text of digits, as Azure ML takes it."""
        node = self.get(key)
        if node is None:
            return None
        number = as_whole(node.value)
        if number is None or not least <= number <= most:
            self.wrong(key, f"a whole number from {least} to {most}")
            return None
        return number

    def section(self, key: str) -> Section | None:
        node = self.get(key)
        return None if node is None else Section.of(node, f"{self.what}: {key}", self.problems)

    def entries(self, key: str) -> Iterator[tuple[str, Node]]:
        """The entries of a mapping below `key`; nothing when it is absent or empty."""
        section = self.section(key)
        if section is not None:
            yield from section.values.items()

    def scalars(self, key: str) -> dict[str, str]:
        """A mapping of names to text, such as tags or environment variables."""
        result = {}
        for name, node in self.entries(key):
            if isinstance(node.value, bool) or not isinstance(node.value, Scalar):
                self.problems.add(
                    node, f"{self.what}: {key}.{name} is {shown(node.value)}; it must be text (quote it)."
                )
            else:
                result[name] = str(node.value)
        return result


def as_whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.strip().lstrip("-").isascii() and len(value) <= 20:
        digits = value.strip()
        return int(digits) if digits.removeprefix("-").isdigit() else None
    return None
