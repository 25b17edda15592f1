"""Where data is: local paths, checked to be there, and addresses that Azure ML knows."""

from __future__ import annotations

import re
from pathlib import Path

from batchscore.definitions.local_files import Place
from batchscore.definitions.mltable import read_table
from batchscore.definitions.model import is_remote
from batchscore.definitions.yamlnodes import Node, Problems

_ASSET = re.compile(r"azureml:[\w.-]+(:[\w.-]+|@[\w.-]+)(?!/)")


_DATASTORE = re.compile(
    r"azureml://(?:subscriptions/[^/]+/resource[gG]roups/[^/]+/(?:providers/[^/]+/)?workspaces/[^/]+/)?"
    r"datastores/[\w${}.-]+/paths/.*"
)


_REGISTRY = re.compile(r"azureml://registries/[^/]+/(data|models)/[^/]+/(versions|labels)/[^/]+")


_SCHEMES = ("azureml", "https", "http", "wasbs", "abfss", "adl")


def input_path(
    path: str, node: Node, where: Place, kind: str | None, what: str, problems: Problems
) -> str | None:
    """The absolute path of data, or its address as written where nothing here stands for it; None after a problem."""
    if is_remote(path):
        check_address(path, node, what, problems)
        found = where.files.find(path)
        if found is None:
            return path
        if not found.exists():
            problems.add(node, f"{what}: {path} stands for {found}, which is not there. Correct the map.")
            return None
        if kind is not None:
            check_kind(str(found), kind, node, what, problems)
        return str(found)
    if "${{" in path:
        return None
    if not path.removeprefix("file:").strip():
        problems.add(node, f"{what}: path is empty. Say where the file or folder is.")
        return None
    place = where.folder / path.removeprefix("file:")
    if not place.exists():
        problems.add(node, f"{what}: path {path!r} is not there (looked for {place}). Correct it.")
        return None
    if kind is not None:
        check_kind(str(place), kind, node, what, problems)
    return str(place.resolve())


def check_kind(path: str, kind: str, node: Node, what: str, problems: Problems) -> None:
    """A uri_file is a file; tables and models are folders like a uri_folder, only a custom model may be either."""
    is_folder = Path(path).is_dir()
    if kind == "mltable":
        _mltable(path, is_folder, node, what, problems)
    elif kind not in ("uri_file", "custom_model") and not is_folder:
        problems.add(node, f"{what}: path {path} is a file, and the type is {kind}. Use uri_file.")
    if kind == "uri_file" and is_folder:
        problems.add(node, f"{what}: path {path} is a folder, and the type is uri_file. Use uri_folder.")


def _mltable(path: str, is_folder: bool, node: Node, what: str, problems: Problems) -> None:
    if is_folder:
        read_table(Path(path), problems)
    else:
        problems.add(
            node,
            f"{what}: path {path} is a file, and the type is mltable. Name the folder of the MLTable file.",
        )


def check_address(path: str, node: Node, what: str, problems: Problems) -> None:
    """Refuse an address that Azure ML cannot follow."""
    scheme = path.partition(":")[0]
    if scheme not in _SCHEMES:
        problems.add(
            node, f"{what}: path {path!r} begins with {scheme!r}; it must be one of {', '.join(_SCHEMES)}."
        )
    elif scheme == "azureml" and not any(
        pattern.fullmatch(path) for pattern in (_ASSET, _DATASTORE, _REGISTRY)
    ):
        problems.add(
            node,
            f"{what}: path {path!r} is no address that Azure ML knows. Write azureml:<name>:<version> or "
            "azureml://datastores/<name>/paths/<path>.",
        )
