"""Text from outside as it may be shown: on one line, without control characters, of a bounded length."""

from __future__ import annotations

import re

LONGEST = 200
LONGEST_TEXT = 4_000
_SIGNATURE = re.compile(r"(?<![a-z])(sig=)[^&\s'\")]+", re.IGNORECASE)


def printable(text: str, longest: int = LONGEST) -> str:
    """The text with everything that a screen or a log would act upon written as an escape (`\\n`, `\\x1b`, `\\u202e`),
    and its end cut off where it is longer than `longest` characters."""
    cut = text if len(text) <= longest else text[: longest - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in cut)


def printable_lines(text: str) -> str:
    """The same for a text of several lines: its line feeds stay, and it is not cut."""
    return "\n".join(printable(line, len(line) + 1) for line in text.split("\n"))


def shortened(text: str) -> str:
    """A text from outside in a length that a record may hold; the middle goes, the whole is in the logs."""
    half = LONGEST_TEXT // 2
    return text if len(text) <= LONGEST_TEXT else f"{text[:half]} […] {text[-half:]}"


def quoted(text: str, longest: int = 100) -> str:
    """The text in quotes, cut and escaped: a name or a value in a sentence."""
    return repr(text if len(text) <= longest else text[: longest - 1] + "…")


def unsigned(text: str) -> str:
    """The text without the signature of an address in it, which opens storage to whoever reads it."""
    return _SIGNATURE.sub(r"\1…", text)
