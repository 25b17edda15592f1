"""What can be seen in a step's scripts without running them: that they are there, and that one can be an entry script."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from batchscore.definitions.reading import Section, nearest

LARGEST_SCRIPT_BYTES = 1_000_000
MOST_SCRIPTS = 1_000

_PIECES = re.compile(r"&&|;|\n")
_PYTHON = re.compile(r"\s*(?:time\s+)?python[\d.]*\s+([\w./-]+\.py)(?=\s|$)")
_LEAVES_FILES_ALONE = re.compile(
    r"\s*(?:python[\d.]*|pip[\d.]*|conda|apt(?:-get)?|ls|pwd|env|export|set|date|nvidia-smi)\b|\s*$"
)


def check_command(section: Section, command: str, code: Path | None, has_includes: bool) -> None:
    """Refuse a script of `python x.py …` that is not in the code folder. What stands behind a command that may make
    files or change the folder is left to the run."""
    for piece in _PIECES.split(command):
        match = _PYTHON.match(piece)
        script = PurePosixPath(match[1]) if match else None
        if script is not None and not script.is_absolute() and not has_includes:
            if code is None:
                section.refuse(
                    "command", f"runs {str(script)!r}, and there is no code. Name the folder that holds it."
                )
            elif not (code / script).is_file():
                remedy = nearest(str(script), scripts_in(code), "There are")
                section.refuse(
                    "command", f"runs {str(script)!r}, which is not in the code folder {code}. {remedy}"
                )
        if not _LEAVES_FILES_ALONE.match(piece):
            return


def scripts_in(code: Path) -> list[str]:
    """The names of Python files, for messages."""
    return sorted(path.relative_to(code).as_posix() for path in code.glob("**/*.py"))[:20]


def entry_script_fault(file: Path) -> tuple[int, str] | None:
    """What keeps a file from being an entry script, with its line: it is no Python, or it has no `run`."""
    try:
        if file.stat().st_size > LARGEST_SCRIPT_BYTES:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape is the author's business
            module = ast.parse(file.read_bytes())
    except SyntaxError as error:
        return error.lineno or 1, f"is not Python: {error.msg}. Correct it."
    except (OSError, ValueError, RecursionError, MemoryError):
        return None
    names = set(_bound(module.body))
    if "run" in names or "*" in names:
        return None
    return 1, "has no function run(mini_batch), which is called for each mini-batch. Add it."


def mentions(code: Path, text: str) -> bool:
    """Whether a Python file of the folder holds this text."""
    for number, file in enumerate(code.glob("**/*.py")):
        if number >= MOST_SCRIPTS:
            return True
        try:
            if file.stat().st_size <= LARGEST_SCRIPT_BYTES and text.encode() in file.read_bytes():
                return True
        except OSError:
            continue
    return False


def _bound(statements: Iterable[ast.stmt]) -> Iterator[str]:
    """The names that a module's statements bind, those in its if, try, with and loops among them."""
    for statement in statements:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield statement.name
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name for alias in statement.names)
        else:
            for node in ast.walk(statement) if isinstance(statement, (ast.Assign, ast.AnnAssign)) else ():
                if isinstance(node, ast.Name):
                    yield node.id
            for field in ("body", "orelse", "finalbody", "handlers"):
                inner = getattr(statement, field, [])
                for each in inner:
                    yield from _bound(each.body if isinstance(each, ast.ExceptHandler) else [each])
