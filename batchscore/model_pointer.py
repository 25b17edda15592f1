"""The pointer `<name>/current.json` of the models container: which version of a model its name means, once somebody
has promoted one. It is switched by compare-and-swap, so that no switch is lost unseen."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec
from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.storage.blob import ContainerClient

from batchscore import paths
from batchscore.errors import RequestError
from batchscore.storage import translated


class Pointer(msgspec.Struct, frozen=True):
    """What the pointer says."""

    model: str
    version: int
    promoted_at: datetime
    before: int
    """The version that was current before."""
    mark: str
    """Tells one switch from another."""


_POINTER = msgspec.json.Decoder(Pointer)


def read_pointer(container: ContainerClient, name: str) -> Pointer | None:
    """The pointer; None where the newest version is the current one."""
    return _read(container, name)[0]


def switch_pointer(container: ContainerClient, name: str, version: int | None, newest: int) -> Pointer | None:
    """Point to a version, or with None to the newest, whichever that is; RequestError when somebody else switched
    meanwhile."""
    before, etag = _read(container, name)
    blob = container.get_blob_client(_blob(name))
    unchanged: dict[str, Any] = (
        {"etag": etag, "match_condition": MatchConditions.IfNotModified} if before is not None else {}
    )
    after = None
    if version is not None:
        current = before.version if before else newest
        after = Pointer(name, version, datetime.now(UTC), current, uuid.uuid4().hex)
    try:
        with translated(f"model {name!r}"):
            if after is not None:
                blob.upload_blob(msgspec.json.encode(after), overwrite=before is not None, **unchanged)
            elif before is not None:
                blob.delete_blob(**unchanged)
    except (ResourceModifiedError, ResourceExistsError, ResourceNotFoundError):
        now = read_pointer(container, name)
        if now != after:  # else it was this one, whose answer was lost
            means = f"{name}:{now.version} is current now" if now else "its newest version is current now"
            raise RequestError(
                f"somebody else switched {name!r} meanwhile: {means}. Look at 'batchscore models show {name}', and "
                "promote again if it is to be another."
            ) from None
    return after


def _read(container: ContainerClient, name: str) -> tuple[Pointer | None, str | None]:
    with translated(f"model {name!r}"):
        try:
            stream = container.download_blob(_blob(name))
            return _POINTER.decode(stream.readall()), stream.properties.etag
        except ResourceNotFoundError:
            return None, None
        except msgspec.DecodeError as error:
            raise RequestError(
                f"the blob {paths.MODELS}/{_blob(name)} cannot be read ({error}). Remove it: the newest version of "
                f"{name!r} is current then, and 'batchscore models promote' writes it anew."
            ) from None


def _blob(name: str) -> str:
    return f"{name}/current.json"
