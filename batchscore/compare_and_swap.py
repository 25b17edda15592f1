"""A blob as a small shared record: read with its ETag, written only when nobody else was quicker."""

from __future__ import annotations

import uuid

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.storage.blob import ContainerClient

from batchscore.storage import translated

CHANGE = "change"
"""The metadata of a blob that name the change that wrote it."""


def read(container: ContainerClient, name: str) -> tuple[bytes | None, str | None]:
    """What is in the blob and its ETag; None twice when there is none."""
    with translated(name):
        try:
            download = container.download_blob(name)
            return download.readall(), str(download.properties.etag)
        except ResourceNotFoundError:
            return None, None


def swap(container: ContainerClient, name: str, data: bytes, etag: str | None) -> bool:
    """Write the blob if it is still the one of this ETag, or still not there (None). Whether that was so; also when
    the answer to the write was lost and only its repetition found the blob changed."""
    mark = uuid.uuid4().hex
    with translated(name):
        try:
            if etag is None:
                container.upload_blob(name, data, overwrite=False, metadata={CHANGE: mark})
            else:
                container.upload_blob(
                    name,
                    data,
                    overwrite=True,
                    etag=etag,
                    match_condition=MatchConditions.IfNotModified,
                    metadata={CHANGE: mark},
                )
        except (ResourceExistsError, ResourceModifiedError, ResourceNotFoundError):
            return _last_change(container, name) == mark
    return True


def _last_change(container: ContainerClient, name: str) -> str | None:
    try:
        properties = container.get_blob_client(name).get_blob_properties()
    except ResourceNotFoundError:
        return None
    return (properties.metadata or {}).get(CHANGE)
