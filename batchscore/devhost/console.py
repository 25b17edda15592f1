"""What a person reads while the host runs: one line per invocation, the app's own log lines, short traces."""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from batchscore import signals
from batchscore.printable import printable_lines

_LEVELS = {
    "trace": 5,
    "debug": logging.DEBUG,
    "information": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "none": 100,
}
_COLOURS = {"time": "2", "function": "36", "ok": "32", "failed": "31", "warning": "33", "heading": "1"}
_FRAME = re.compile(r'^\s*File "(?P<file>.+)", line (?P<line>\d+)(?:, in (?P<name>.+))?$')
_NOT_OWN = frozenset({"site-packages", ".venv", "node_modules", ".python_packages"})
_WORKER_LOGGER = "azure.functions"


def level_of(category: str, levels: Mapping[str, str]) -> int:
    """The least level shown for a category: host.json's longest matching prefix, else its default."""
    best, length = levels.get("default", levels.get("Default", "Information")), 0
    for prefix, level in levels.items():
        if len(prefix) > length and (category + ".").startswith(prefix + "."):
            best, length = level, len(prefix)
    return _LEVELS.get(best.lower(), logging.INFO)


def own_frames(trace: str, folder: Path) -> list[str]:
    """The frames of a trace that lie in the app's own files, one line each; the last two where none does."""
    own: list[str] = []
    foreign: list[str] = []
    lines = trace.splitlines()
    for index, line in enumerate(lines):
        found = _FRAME.match(line)
        if found is None:
            continue
        file = Path(found["file"])
        source = lines[index + 1].strip() if index + 1 < len(lines) else ""
        if _FRAME.match(source):
            source = ""
        is_own = file.is_relative_to(folder) and not _NOT_OWN & set(file.relative_to(folder).parts)
        shown = str(file.relative_to(folder)) if is_own else file.name
        place = f"{shown}:{found['line']}" + (f" in {found['name']}" if found["name"] else "")
        (own if is_own else foreign).append(f"{place}    {source}".rstrip())
    return own or foreign[-2:]


class Console:
    """Writes lines of the form `06:40:12  function  what`; safe to call from any thread. Times are UTC."""

    def __init__(self, app_folder: Path, levels: Mapping[str, str], stream: TextIO | None = None) -> None:
        self._folder = app_folder
        self._levels = levels
        self._stream = stream or sys.stdout
        self._colour = self._stream.isatty()
        self._lock = threading.Lock()
        self._width = 12
        self._running: dict[str, str] = {}

    def make_room_for(self, function: str) -> None:
        """Keep lines aligned however long this function's name is."""
        self._width = max(self._width, len(function))

    def plain(self, text: str = "", style: str = "") -> None:
        """A line without a time: the banner, an explanation."""
        with self._lock:
            print(self._paint(text, style), file=self._stream, flush=True)

    def host(self, text: str, style: str = "") -> None:
        """Something that the host itself did or noticed."""
        self._line("host", printable_lines(text), style)

    def began(self, invocation_id: str, function: str) -> None:
        self._running[invocation_id] = function

    def ended(self, invocation_id: str, what: str, milliseconds: float) -> None:
        """An invocation that went well."""
        function = self._running.pop(invocation_id, "?")
        if level_of(f"Function.{function}", self._levels) <= logging.INFO:
            self._line(function, f"{what}  {self._paint('ok', 'ok')}  {_duration(milliseconds)}")

    def failed(self, invocation_id: str, what: str, milliseconds: float, message: str, trace: str) -> None:
        """An invocation that raised: its message and the app's own frames."""
        function = self._running.pop(invocation_id, "?")
        if level_of(f"Function.{function}", self._levels) > logging.ERROR:
            return
        failed = self._paint("failed", "failed")
        self._line(
            function,
            f"{what}  {failed}  {_duration(milliseconds)}  {printable_lines(message)}",
            details=own_frames(trace, self._folder),
        )

    def error(self, message: str, trace: str = "") -> None:
        """Why the host cannot go on."""
        self.plain(printable_lines(message), "failed")
        for frame in own_frames(trace, self._folder):
            self.plain(f"    {frame}")

    def attach(self) -> None:
        """Show what the app logs, by the levels of host.json."""
        root = logging.getLogger()
        root.addHandler(_AppLog(self, self._levels))
        root.setLevel(
            min(level_of("", self._levels), *(_LEVELS.get(v.lower(), 20) for v in self._levels.values()), 20)
        )
        for name in ("azure.core.pipeline.policies.http_logging_policy", "azure.identity", "asyncio"):
            logging.getLogger(name).setLevel(logging.WARNING)
        logging.getLogger("azure.eventhub").setLevel(logging.ERROR)  # what it warns of, the listener says

    def app_line(
        self, invocation_id: str | None, record: logging.LogRecord, levels: Mapping[str, str]
    ) -> None:
        if record.name == signals.log.name:
            return  # for machines, once a minute; what a person wants to know of it stands in other lines
        function = self._running.get(invocation_id or "", "")
        category = f"Function.{function}.User" if function else record.name
        if record.levelno < level_of(category, levels):
            return
        text = printable_lines(record.getMessage())
        style = ""
        if record.levelno >= logging.WARNING:
            style = "failed" if record.levelno >= logging.ERROR else "warning"
            text = f"{record.levelname.lower()}: {text}"
        details = []
        if record.exc_info and record.exc_info[0] is not None:
            trace = logging.Formatter().formatException(record.exc_info)
            details = [*own_frames(trace, self._folder), trace.splitlines()[-1]]
        self._line(function or record.name, text, style, details)

    def _line(self, who: str, text: str, style: str = "", details: list[str] | None = None) -> None:
        moment = f"{datetime.now(UTC):%H:%M:%S}"
        self.make_room_for(who)
        with self._lock:
            first, *rest = text.split("\n")
            head = f"{self._paint(moment, 'time')}  {self._paint(who.ljust(self._width), 'function')}"
            print(f"{head}  {self._paint(first, style)}", file=self._stream)
            for line in (*rest, *(printable_lines(detail) for detail in details or ())):
                print(" " * (12 + self._width) + line, file=self._stream)
            self._stream.flush()

    def _paint(self, text: str, style: str) -> str:
        return f"\x1b[{_COLOURS[style]}m{text}\x1b[0m" if self._colour and style else text


class _AppLog(logging.Handler):
    """Hands the app's log records to the console, with the invocation they belong to."""

    def __init__(self, console: Console, levels: Mapping[str, str]) -> None:
        super().__init__()
        self._console = console
        self._levels = levels

    def emit(self, record: logging.LogRecord) -> None:
        from azure_functions_runtime import invocation_id_cv

        if record.name == _WORKER_LOGGER and record.levelno != logging.WARNING:
            return  # the worker's own: the host reports invocations and failures itself
        self._console.app_line(invocation_id_cv.get(), record, self._levels)


def _duration(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds < 10_000 else f"{milliseconds / 1000:.1f} s"
