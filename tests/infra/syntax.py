"""The syntax of Bicep: a file as declarations and expressions, each with the line on which it begins.

The published grammar for tree-sitter puts `a ? b : c.d` together as `(a ? b : c).d`, so values cannot be read from its trees.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

_TOKEN = re.compile(
    r"(?P<space>[ \t\r]+|//[^\n]*|/\*.*?\*/|#[^\n]*)"
    r"|(?P<newline>\n)"
    r"|(?P<long>'''.*?'''+)"
    r"|(?P<number>\d+)"
    r"|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign>=>|==|!=|=~|!~|<=|>=|&&|\|\||\?\?|::|\.\?|\[\?|[-+*/%<>!?:.,=@()\[\]{}|])",
    re.DOTALL,
)
_ESCAPES = {"'": "'", "n": "\n", "r": "\r", "t": "\t", "$": "$", "\\": "\\"}
_BINARY = (
    ("??",),
    ("||",),
    ("&&",),
    ("==", "!=", "=~", "!~"),
    ("<", "<=", ">", ">="),
    ("+", "-"),
    ("*", "/", "%"),
)
_OPEN = {"(": ")", "[": "]", "{": "}", "[?": "]"}


class BicepError(Exception):
    """A file is not Bicep as this reader understands it; says where."""


@dataclass(frozen=True, eq=False)
class Node:
    """An expression. `value` is what its kind says: a name, a number, an operator, the pieces of a text."""

    kind: str
    line: int
    parts: tuple[Node, ...] = ()
    value: object = None
    safe: bool = False
    """`.?` and `[?`."""

    @property
    def literal(self) -> str | None:
        """The text of a text without expressions in it."""
        pieces = self.value if self.kind == "text" else None
        return (
            pieces[0]
            if isinstance(pieces, tuple) and len(pieces) == 1 and isinstance(pieces[0], str)
            else None
        )

    @property
    def properties(self) -> dict[str, Node]:
        """Of an object: its values by their keys, where those are no expressions."""
        found = {}
        for part in self.parts:
            key = part.parts[0].literal if part.kind == "property" else None
            if key is not None:
                found[key] = part.parts[1]
        return found

    def all(self) -> Iterator[Node]:
        yield self
        for part in self.parts:
            yield from part.all()
        for piece in self.value if isinstance(self.value, tuple) else ():
            if isinstance(piece, Node):
                yield from piece.all()


@dataclass(frozen=True, eq=False)
class Statement:
    """`keyword name …`: a declaration with its decorators."""

    keyword: str
    name: str
    line: int
    type: str
    """Of a parameter or an output; of a resource its type and version, of a module its path."""
    value: Node | None
    existing: bool
    decorators: dict[str, tuple[Node, ...]]


class _Token(NamedTuple):
    kind: str
    text: str
    line: int
    pieces: tuple[str | Node, ...] = ()


def statements(path: str, source: str) -> list[Statement]:
    """What a file declares; BicepError where it is no Bicep."""
    parser = _Parser(path, _tokens(path, source, 1))
    found = []
    while not parser.at_end():
        found.append(parser.statement())
    return found


def _tokens(path: str, source: str, number: int) -> list[_Token]:
    found: list[_Token] = []
    brackets: list[str] = []
    at = 0
    while at < len(source):
        if source[at] == "'" and not source.startswith("'''", at):
            pieces, end = _text(path, source, at + 1, number)
            found.append(_Token("text", "'", number, pieces))
            at = end
            continue
        match = _TOKEN.match(source, at)
        if match is None:
            raise BicepError(f"{path}:{number}: {source[at]!r} is nothing that Bicep knows")
        text, kind = match[0], str(match.lastgroup)
        if kind == "long":
            found.append(_Token("text", "'", number, (text[3:-3].removeprefix("\n"),)))
        elif kind == "newline":
            if not brackets or brackets[-1] != ")":
                found.append(_Token(kind, "the end of a line", number))
        elif kind != "space":
            if text in _OPEN:
                brackets.append(_OPEN[text])
            elif brackets and text == brackets[-1]:
                brackets.pop()
            found.append(_Token(kind, text, number))
        number += text.count("\n")
        at = match.end()
    found.append(_Token("newline", "the end of a line", number))
    found.append(_Token("end", "the end", number))
    return found


def _text(path: str, source: str, at: int, number: int) -> tuple[tuple[str | Node, ...], int]:
    """The pieces of a text that begins here, and where it ends."""
    pieces: list[str | Node] = []
    plain = ""
    while True:
        if at >= len(source) or source[at] == "\n":
            raise BicepError(f"{path}:{number}: a text has no end")
        if source[at] == "'":
            return (*pieces, plain) if plain or not pieces else tuple(pieces), at + 1
        if source[at] == "\\":
            escape = re.compile(r"\\(?:u\{([0-9a-fA-F]+)\}|(.))").match(source, at)
            if escape is None or (escape[2] and escape[2] not in _ESCAPES):
                raise BicepError(f"{path}:{number}: an escape that Bicep does not know")
            plain += chr(int(escape[1], 16)) if escape[1] else _ESCAPES[escape[2]]
            at = escape.end()
        elif source.startswith("${", at):
            end = _end_of_expression(path, source, at + 2, number)
            inner = _Parser(path, _tokens(path, source[at + 2 : end], number))
            pieces += [plain, inner.expression()] if plain else [inner.expression()]
            plain = ""
            at = end + 1
        else:
            plain += source[at]
            at += 1


def _end_of_expression(path: str, source: str, at: int, number: int) -> int:
    depth = 0
    while at < len(source):
        if source[at] == "'":
            _, at = _text(path, source, at + 1, number)
            continue
        if source[at] == "}" and depth == 0:
            return at
        depth += {"{": 1, "}": -1}.get(source[at], 0)
        at += 1
    raise BicepError(f"{path}:{number}: an expression in a text has no end")


class _Parser:
    def __init__(self, path: str, tokens: list[_Token]) -> None:
        self.path, self.tokens, self.at = path, tokens, 0

    @property
    def next(self) -> _Token:
        return self.tokens[self.at]

    @property
    def after(self) -> _Token:
        return self.tokens[min(self.at + 1, len(self.tokens) - 1)]

    def is_next(self, *texts: str) -> bool:
        return self.next.kind in ("sign", "name") and self.next.text in texts

    def take(self) -> _Token:
        if self.next.kind == "end":
            raise self.wrong("something")
        self.at += 1
        return self.tokens[self.at - 1]

    def taken(self, text: str) -> bool:
        if self.is_next(text):
            self.at += 1
            return True
        return False

    def want(self, text: str) -> None:
        if not self.taken(text):
            raise self.wrong(text)

    def name(self) -> str:
        if self.next.kind != "name":
            raise self.wrong("a name")
        return self.take().text

    def wrong(self, wanted: str) -> BicepError:
        return BicepError(f"{self.path}:{self.next.line}: {wanted} is missing before {self.next.text!r}")

    def skip_lines(self) -> None:
        while self.next.kind == "newline":
            self.at += 1

    def at_end(self) -> bool:
        self.skip_lines()
        return self.next.kind == "end"

    # ---- declarations

    def statement(self) -> Statement:
        decorators: dict[str, tuple[Node, ...]] = {}
        self.skip_lines()
        while self.taken("@"):
            call = self.postfix()
            if call.kind == "method":  # sys.description('…')
                call = Node("call", call.line, call.parts[1:], call.value)
            if call.kind != "call":
                raise self.wrong("a decorator")
            decorators[str(call.value)] = call.parts
            self.skip_lines()
        line = self.next.line
        keyword = self.name()
        name = "" if keyword == "targetScope" else self.name()
        type_, value, existing = "", None, False
        if keyword in ("resource", "module"):
            type_ = self.postfix().literal or ""
            existing = self.taken("existing")
        elif keyword in ("param", "output"):
            type_ = self.type()
        elif keyword not in ("var", "targetScope", "metadata"):
            raise BicepError(f"{self.path}:{line}: {keyword!r} is nothing that this reader knows")
        if self.taken("="):
            value = self.body() if keyword in ("resource", "module") else self.expression()
        elif keyword != "param":
            raise self.wrong("=")
        if self.next.kind not in ("newline", "end") and not self.is_next("}"):
            raise self.wrong("the end of a line")
        return Statement(keyword, name, line, type_, value, existing, decorators)

    def type(self) -> str:
        found = self.name()
        while self.next.kind == "sign" and self.next.text in ("[", "]", "?"):
            found += self.take().text
        return found

    def body(self) -> Node:
        """What a resource or a module is: an object, on a condition, or for each of several values."""
        line = self.next.line
        if self.taken("if"):
            self.want("(")
            condition = self.expression()
            self.want(")")
            return Node("if", line, (condition, self.body()))
        return self.expression()

    # ---- expressions

    def expression(self) -> Node:
        condition = self.binary(0)
        if not self.taken("?"):
            return condition
        self.skip_lines()
        chosen = self.expression()
        self.skip_lines()
        self.want(":")
        self.skip_lines()
        return Node("choice", condition.line, (condition, chosen, self.expression()))

    def binary(self, level: int) -> Node:
        if level == len(_BINARY):
            return self.unary()
        left = self.binary(level + 1)
        while self.next.kind == "sign" and self.next.text in _BINARY[level]:
            operator = self.take().text
            self.skip_lines()
            left = Node("binary", left.line, (left, self.binary(level + 1)), operator)
        return left

    def unary(self) -> Node:
        line = self.next.line
        for operator in ("!", "-"):
            if self.taken(operator):
                return Node("unary", line, (self.unary(),), operator)
        return self.postfix()

    def postfix(self) -> Node:
        found = self.primary()
        while self.next.kind == "sign":
            line = self.next.line
            safe = self.next.text in (".?", "[?")
            if self.taken(".") or self.taken(".?"):
                name = self.name()
                if self.is_next("("):
                    found = Node("method", line, (found, *self.arguments()), name)
                else:
                    found = Node("member", line, (found,), name, safe)
            elif self.taken("[") or self.taken("[?"):
                found = Node("index", line, (found, self.expression()), None, safe)
                self.want("]")
            elif self.taken("::"):
                found = Node("nested", line, (found,), self.name())
            elif not self.taken("!"):
                break
        return found

    def arguments(self) -> tuple[Node, ...]:
        found: list[Node] = []
        self.want("(")
        while not self.taken(")"):
            if found:
                self.want(",")
            found.append(self.expression())
        return tuple(found)

    def primary(self) -> Node:
        token = self.take()
        match token.kind, token.text:
            case "text", _:
                return Node("text", token.line, (), token.pieces or ("",))
            case "number", digits:
                return Node("value", token.line, (), int(digits))
            case "name", "true" | "false" as word:
                return Node("value", token.line, (), word == "true")
            case "name", "null":
                return Node("value", token.line)
            case "name", name:
                if self.taken("=>"):
                    return Node("lambda", token.line, (self.expression(),), [name])
                if self.is_next("("):
                    return Node("call", token.line, self.arguments(), name)
                return Node("name", token.line, (), name)
            case "sign", "(":
                return self.parenthesis(token.line)
            case "sign", "[":
                return self.array(token.line)
            case "sign", "{":
                return self.object(token.line)
        self.at -= 1
        raise self.wrong("a value")

    def parenthesis(self, line: int) -> Node:
        start = self.at
        names = []
        while self.next.kind == "name" and self.after.text in (",", ")"):
            names.append(self.take().text)
            self.taken(",")
        if self.taken(")") and self.taken("=>"):
            return Node("lambda", line, (self.expression(),), names)
        self.at = start
        found = self.expression()
        self.want(")")
        return found

    def array(self, line: int) -> Node:
        self.skip_lines()
        if self.taken("for"):
            found = self.loop(line)
            self.skip_lines()
            self.want("]")
            return found
        items: list[Node] = []
        while not self.taken("]"):
            items.append(self.expression())
            self.separator("]")
        return Node("array", line, tuple(items))

    def loop(self, line: int) -> Node:
        if self.taken("("):
            names = [self.name()]
            self.want(",")
            names.append(self.name())
            self.want(")")
        else:
            names = [self.name()]
        self.want("in")
        values = self.expression()
        self.want(":")
        self.skip_lines()
        return Node("for", line, (values, self.body()), names)

    def object(self, line: int) -> Node:
        items: list[Node] = []
        self.skip_lines()
        while not self.taken("}"):
            after = self.after
            if self.is_next("@") or (self.is_next("resource") and after.kind == "name"):
                items.append(Node("resource", self.next.line, (), self.statement()))
            else:
                key_line = self.next.line
                key = (
                    self.primary() if self.next.kind == "text" else Node("text", key_line, (), (self.name(),))
                )
                self.want(":")
                items.append(Node("property", key_line, (key, self.expression())))
            self.separator("}")
        return Node("object", line, tuple(items))

    def separator(self, end: str) -> None:
        if self.next.kind != "newline" and not self.is_next(",", end):
            raise self.wrong(end)
        self.taken(",")
        self.skip_lines()
