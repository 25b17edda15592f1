"""The inbox: which file, dropped where, is a trigger by itself, and what it asks for. Rules are a setting."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from batchscore.errors import RequestError, SettingsError

INBOX = "inbox/"
"""The prefix of the data container that rules live below, so that nobody lists or watches more than it."""

OF_THE_FILE = ("path", "folder", "file", "stem")
_KEYS = ("start", "ignore", "trigger")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_SIDECARS = [
    "*.srt",
    "*.vtt",
    "*.ass",
    "*.sub",
    "*.txt",
    "*.md",
    "*.nfo",
    "*.json",
    "*.xml",
    "*.csv",
    "*.log",
]
_SIDECARS += ["*.jpg", "*.jpeg", "*.png", "*.part", "*.tmp", "*.crdownload", ".*", "*/.*", "thumbs.db"]

SHIPPED_RULES: dict[str, Any] = {
    "inbox/style_transfer/video/{style}/": {
        "start": ["*.mp4", "*.mov", "*.m4v", "*.mkv", "*.webm", "*.avi", "*.ts", "*.m2ts", "*.mpg", "*.mpeg"],
        "ignore": _SIDECARS,
        "trigger": {"workload": "style_transfer/video", "inputs": {"video": "{path}", "style": "{style}"}},
    },
    "inbox/style_transfer/frames/{style}/": {
        "start": ["*.ready"],
        "ignore": ["*/*", ".*", "thumbs.db"],
        "trigger": {
            "workload": "style_transfer/frames",
            "inputs": {"frames": "{folder}/{stem}", "style": "{style}"},
        },
    },
}


@dataclass(frozen=True)
class Ignored:
    """The file is none that starts a run."""

    reason: str


@dataclass(frozen=True)
class Rule:
    """What happens with files below a prefix such as `inbox/style_transfer/video/{style}/`.

    A placeholder stands for one part of the path. `start` and `ignore` are patterns (`*`, `?`, `[…]`, small letters)
    for the rest of the name, in which `*` goes across folders; `trigger` is a trigger file in which `{style}` is that
    part, `{path}` the whole name, `{folder}` the prefix, `{file}` the rest and `{stem}` the rest without its ending.
    """

    prefix: str
    start: tuple[str, ...]
    ignore: tuple[str, ...]
    trigger: Mapping[str, Any]

    def values(self, name: str) -> dict[str, str] | None:
        """What the placeholders stand for in a blob's name; None when the name is not below the prefix."""
        parts = (re.escape(part) for part in _PLACEHOLDER.split(self.prefix)[::2])
        names = _PLACEHOLDER.findall(self.prefix)
        expression = next(parts) + "".join(
            f"(?P<{name}>[^/]+){part}" for name, part in zip(names, parts, strict=True)
        )
        found = re.match(expression, name, re.DOTALL)
        if found is None or found.end() == len(name):
            return None
        file = name[found.end() :]
        folder, _, last = file.rpartition("/")
        stem = last.rpartition(".")[0] or last
        return {
            **found.groupdict(),
            "path": name,
            "folder": found.group().rstrip("/"),
            "file": file,
            "stem": f"{folder}/{stem}" if folder else stem,
        }

    @property
    def takes_the_file(self) -> bool:
        """Whether the file itself is an input, so that an empty one makes no sense."""
        text = json.dumps(self.trigger)
        return "{path}" in text or "{file}" in text


def read_rules(text: str, workloads_folder: Path) -> tuple[Rule, ...]:
    """The rules that a setting's JSON makes; SettingsError names the rule and what is wrong with it."""
    try:
        document = json.loads(text, object_pairs_hook=_no_duplicates)
    except ValueError as error:
        raise SettingsError(f"INBOX_RULES is not JSON: {error}.") from error
    if not isinstance(document, dict):
        raise SettingsError("INBOX_RULES must be a JSON object of rules by prefix; {} is no rule.")
    return tuple(_rule(prefix, value, workloads_folder) for prefix, value in document.items())


def shipped_rules(workloads_folder: Path) -> tuple[Rule, ...]:
    """The rules without the setting: those whose workload is there."""
    return tuple(
        _rule(prefix, value, workloads_folder)
        for prefix, value in SHIPPED_RULES.items()
        if _is_workload(value["trigger"]["workload"], workloads_folder)
    )


def request_of(name: str, rules: tuple[Rule, ...]) -> tuple[Rule, bytes] | Ignored:
    """What a file of this name asks for, as the bytes of a trigger file; RequestError when it belongs to no rule."""
    if name.endswith("/"):
        return Ignored("it is a folder")
    for rule in rules:
        values = rule.values(name)
        if values is None:
            continue
        file = values["file"].lower()
        if any(fnmatchcase(file, pattern) for pattern in rule.start):
            return rule, json.dumps(_filled(rule.trigger, values), ensure_ascii=False).encode()
        for pattern in rule.ignore:
            if fnmatchcase(file, pattern):
                return Ignored(f"the rule {rule.prefix!r} leaves out {pattern}")
        raise RequestError(
            f"{name!r} is of no kind that the rule {rule.prefix!r} takes: {', '.join(rule.start)}. Drop one of those, "
            "or change the setting INBOX_RULES."
        )
    places = ", ".join(repr(rule.prefix) for rule in rules)
    raise RequestError(f"{name!r} lies in no place that starts a run. The places are: {places}.")


def body_of(name: str, rules: tuple[Rule, ...], *, empty: bool) -> bytes:
    """The bytes of the trigger file that a dropped file stands for; RequestError when it stands for none."""
    wanted = request_of(name, rules)
    if isinstance(wanted, Ignored):
        raise RequestError(f"{name!r} starts no run: {wanted.reason}.")
    rule, body = wanted
    if empty and rule.takes_the_file:
        raise RequestError(f"{name!r} is empty. Upload it again, whole.")
    return body


def _rule(prefix: str, value: object, workloads_folder: Path) -> Rule:
    said = f"INBOX_RULES, rule {prefix[:200]!r}"
    if not prefix.startswith(INBOX) or not prefix.endswith("/"):
        raise SettingsError(f"{said}: a prefix begins with {INBOX!r} and ends with '/'.")
    if any(part in ("", ".", "..") for part in prefix.removesuffix("/").split("/")):
        raise SettingsError(f"{said}: a prefix has no empty parts, no '.' and no '..'.")
    names = _PLACEHOLDER.findall(prefix)
    for name in names:
        if not _NAME.fullmatch(name) or name in OF_THE_FILE or names.count(name) > 1:
            raise SettingsError(
                f"{said}: {{{name}}} must be a name of small letters, given once, and none of {', '.join(OF_THE_FILE)}."
            )
    if "{" in _PLACEHOLDER.sub("", prefix) or "}" in _PLACEHOLDER.sub("", prefix):
        raise SettingsError(f"{said}: a brace stands alone. Write a placeholder as {{style}}.")
    if not isinstance(value, dict) or not {"start", "trigger"} <= set(value) <= set(_KEYS):
        raise SettingsError(
            f"{said} must be an object with start, trigger and perhaps ignore, and nothing else."
        )
    trigger = value["trigger"]
    if not isinstance(trigger, dict) or not _is_workload(trigger.get("workload"), workloads_folder):
        raise SettingsError(
            f"{said}: trigger must be what a trigger file holds, with a workload that is there."
        )
    for used in _PLACEHOLDER.findall(json.dumps(list(_texts(trigger)), ensure_ascii=False)):
        if used not in (*names, *OF_THE_FILE):
            known = ", ".join(f"{{{name}}}" for name in (*names, *OF_THE_FILE))
            raise SettingsError(f"{said}: {{{used}}} in trigger is not known. There are: {known}.")
    return Rule(
        prefix,
        _patterns(said, "start", value["start"]),
        _patterns(said, "ignore", value.get("ignore", [])),
        trigger,
    )


def _patterns(said: str, key: str, value: object) -> tuple[str, ...]:
    texts = value if isinstance(value, list) else None
    if (
        texts is None
        or not all(isinstance(text, str) and text for text in texts)
        or (key == "start" and not texts)
    ):
        raise SettingsError(f'{said}: {key} must be a list of patterns, such as ["*.mp4"].')
    return tuple(text.lower() for text in texts)


def _is_workload(name: object, folder: Path) -> bool:
    return isinstance(name, str) and ".." not in name and (folder / f"{name}.pipeline.yml").is_file()


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a key appears twice; keep one of them")
    return result


def _texts(value: object) -> list[str]:
    """Every text in a template, which is where placeholders are filled in."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), value)
    return value
