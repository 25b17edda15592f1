"""The arguments that are for Azure ML's driver and not for the entry script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from batchscore.definitions.schema import DRIVER_ARGUMENTS
from batchscore.printable import quoted

INIT_TIMEOUT_S = 600.0
LONGEST_NAME = 255
ROWS_NAME = "parallel_run_step.txt"
"""What Azure ML calls the file of returned rows."""

ACTED_UPON = (
    "first_task_creation_timeout",
    "allowed_failed_percent",
    "error_threshold",
    "append_row_dataframe_header",
    "append_row_file_name",
)


@dataclass(frozen=True)
class DriverArguments:
    """What the driver is told in a step's arguments, and the entry script's own arguments that remain."""

    script: tuple[str, ...]
    values: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, arguments: Sequence[tuple[str, bool]]) -> DriverArguments:
        """Take the driver's arguments (`--name value` or `--name=value`) out; all others pass through. Each argument
        comes with whether it begins with a run's value, which may look like an option and is none."""
        script: list[str] = []
        values: dict[str, str] = {}
        rest = list(arguments)
        while rest:
            word, is_value = rest.pop(0)
            name, equals, value = word.removeprefix("--").partition("=")
            if is_value or not word.startswith("--") or name not in DRIVER_ARGUMENTS:
                script.append(word)
            elif equals:
                values[name] = value
            else:
                has_value = rest and (rest[0][1] or not rest[0][0].startswith("--"))
                values[name] = rest.pop(0)[0] if has_value else ""
        return cls(tuple(script), values)

    @property
    def init_timeout_s(self) -> float:
        """How long `init()` may take."""
        return self._number("first_task_creation_timeout", INIT_TIMEOUT_S)

    @property
    def allowed_failed_percent(self) -> float | None:
        """How many of 100 mini-batches may fail; None when nothing is said."""
        if "allowed_failed_percent" not in self.values:
            return None
        return self._number("allowed_failed_percent", 0)

    def error_threshold(self, default: int) -> int:
        return int(self._number("error_threshold", default))

    @property
    def rows_name(self) -> str:
        """What the file of returned rows is called in a folder; Azure ML's driver makes it lower case. ValueError when
        the name leads elsewhere."""
        name = self.values.get("append_row_file_name", "").lower() or ROWS_NAME
        if name in (".", "..") or set("/\\\0") & set(name) or len(name.encode()) > LONGEST_NAME:
            raise ValueError(f"--append_row_file_name is {quoted(name)}; it must be the name of a file")
        return name

    @property
    def rows_header(self) -> bool:
        """Whether the file of returned rows begins with the names of a data frame's columns."""
        return self.values.get("append_row_dataframe_header", "").lower() == "true"

    @property
    def without_effect(self) -> tuple[str, ...]:
        """Those that a local run accepts and has no use for."""
        return tuple(f"--{name}" for name in self.values if name not in ACTED_UPON)

    def _number(self, name: str, default: float) -> float:
        text = self.values.get(name)
        try:
            number = default if text is None else float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"--{name} is {quoted(text or '')}; it must be a number")
        return number
