"""The pointer `<name>/current.json` of the models container: which version of a model its name means, once somebody
has promoted one. It is switched by compare-and-swap, so that no switch is lost unseen."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from azure.storage.blob import ContainerClient

from batchscore import compare_and_swap, paths
from batchscore.errors import RequestError


class Pointer(msgspec.Struct, frozen=True):
    """What the pointer says."""

    model: str
    version: int | None
    """None: the newest, whichever that is."""
    promoted_at: datetime
    before: int
    """The version that was current before."""
    why: str = ""
    """Why it was not a person who promoted it."""


_POINTER = msgspec.json.Decoder(Pointer)


def read_pointer(container: ContainerClient, name: str) -> Pointer | None:
    """The pointer; None where the newest version is the current one."""
    return _read(container, name)[0]


def switch_pointer(
    container: ContainerClient, name: str, version: int | None, newest: int, why: str = ""
) -> Pointer | None:
    """Point to a version, or with None to the newest, whichever that is; RequestError when somebody else switched
    meanwhile."""
    before, etag = _read(container, name)
    if before is None and version is None:
        return None
    current = before.version if before and before.version else newest
    after = Pointer(name, version, datetime.now(UTC), current, why)
    if not compare_and_swap.swap(container, _blob(name), msgspec.json.encode(after), etag):
        now = read_pointer(container, name)
        means = f"{name}:{now.version} is current now" if now else "its newest version is current now"
        raise RequestError(
            f"somebody else switched {name!r} meanwhile: {means}. Look at 'batchscore models show {name}', and "
            "promote again if it is to be another."
        )
    return after if version is not None else None


def _read(container: ContainerClient, name: str) -> tuple[Pointer | None, str | None]:
    data, etag = compare_and_swap.read(container, _blob(name))
    if data is None:
        return None, None
    try:
        pointer = _POINTER.decode(data)
    except (ValueError, RecursionError) as error:  # msgspec's, and that of bytes which are no UTF-8
        raise RequestError(
            f"the blob {paths.MODELS}/{_blob(name)} cannot be read ({error}). Remove it: the newest version of "
            f"{name!r} is current then, and 'batchscore models promote' writes it anew."
        ) from None
    return (pointer if pointer.version is not None else None), etag


def _blob(name: str) -> str:
    return f"{name}/current.json"
