"""Which files of a folder are read: all of them, or exactly those of an hour's manifest."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from sensors.errors import ReadingsError
from sensors.readings_file import ReadingsFile


def files_of_folder(folder: Path) -> list[ReadingsFile]:
    """Every file below the folder, by name."""
    found = sorted(
        (path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file()
    )
    return [ReadingsFile(path, name) for name, path in found]


def files_of_manifest(manifest: Path, folder: Path, hour: str | None) -> list[ReadingsFile]:
    """The files that the manifest names, with the sizes and MD5s that they must have.

    What else lies in the folder came later and belongs to the hour's next version.
    """
    content = _read(manifest)
    if hour is not None and content.get("hour") != hour:
        raise ReadingsError(
            f"{manifest.name} is the manifest of hour {str(content.get('hour'))[:100]!r}; the run is of {hour}."
        )
    files = []
    for entry in content["blobs"]:
        try:
            name, size = str(entry["name"]), int(entry["size"])
            md5 = None if entry["md5"] is None else str(entry["md5"])  # whoever wrote the blob gave none
        except (KeyError, TypeError, ValueError):
            raise ReadingsError(
                f"{manifest.name} has the entry {str(entry)[:100]}; each has a name, a size and an md5."
            ) from None
        place = PurePosixPath(name)
        if not name or place.is_absolute() or ".." in place.parts:
            raise ReadingsError(
                f"{manifest.name} names {name[:100]!r}, which is not below the folder of readings."
            )
        files.append(ReadingsFile(folder / place, name, size, md5))
    return files


def _read(manifest: Path) -> dict[str, Any]:
    try:
        content = json.loads(manifest.read_bytes())
    except (OSError, ValueError) as error:
        raise ReadingsError(f"{manifest.name} cannot be read: {error}.") from None
    if not isinstance(content, dict) or not isinstance(content.get("blobs"), list):
        raise ReadingsError(f"{manifest.name} is no manifest: it has no list of blobs.")
    return content
