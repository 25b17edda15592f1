"""HourStore: the records of hours, their frozen manifests, the pointers that readers follow, and what has landed."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress

import msgspec
from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError

from batchscore import hours, paths
from batchscore.compare_and_swap import read, swap
from batchscore.compute.base import Location
from batchscore.errors import HourUnreadableError, RequestError, StorageUnavailableError
from batchscore.hours import Blob, Hour, HourRecord, Manifest
from batchscore.printable import printable
from batchscore.settings import Settings
from batchscore.storage import LIST_PAGE, Storage, translated

MOST_TRIES = 20
_RECORD = msgspec.json.Decoder(HourRecord)  # at import, as in run_store
_MANIFEST = msgspec.json.Decoder(Manifest)


class HourStore:
    """What is kept of hours.

    System account, container `runs`: `hours/<yyyy>/<mm>/<dd>/<hh>.json` is the record and the only arbiter, changed by
    compare-and-swap; `hours/<yyyy>/<mm>/<dd>/<hh>/<sha256>.json` are manifests by their content, so that two hosts
    never write different bytes to one name; `hours-begun/<hour>` says that a version may not have its run yet.
    Data container: the copy of a manifest that the run reads, and the pointer, both made of the record alone.
    """

    def __init__(self, storage: Storage, settings: Settings) -> None:
        self._system = storage.container("system", paths.RUNS, create=True)
        self._data = storage.container("data", settings.data_container)

    def record(self, hour: Hour) -> tuple[HourRecord | None, str | None]:
        """The record and its ETag; None twice while there is none. HourUnreadableError when it is none of ours."""
        data, etag = read(self._system, paths.hour_record_blob(hour.start))
        return (None if data is None else _decoded(hour, data)), etag

    def replace(self, hour: Hour, record: HourRecord, etag: str | None) -> bool:
        """Write the record if nobody else was quicker; whether that was so."""
        return swap(self._system, paths.hour_record_blob(hour.start), msgspec.json.encode(record), etag)

    def update(self, hour: Hour, change: Callable[[HourRecord], HourRecord]) -> HourRecord:
        """Change the record by a pure function, tried again when somebody else was quicker. What the function raises
        passes through; when it gives back the same object, nothing is written. RequestError without a record."""
        for _ in range(MOST_TRIES):
            record, etag = self.record(hour)
            if record is None:
                raise RequestError(f"there is no record of hour {hour}: it was removed.")
            after = change(record)
            if after is record or self.replace(hour, after, etag):
                return after
        raise StorageUnavailableError(
            f"hour {hour} was changed by others {MOST_TRIES} times in a row. Try again."
        )

    def readings(self, hour: Hour) -> tuple[Blob, ...]:
        """What has landed for an hour, in order of names; blobs without content hold no reading."""
        prefix = f"{paths.readings_prefix(hour.start)}/"
        found = []
        with (
            translated(f"the readings of hour {hour}"),
            suppress(ResourceNotFoundError),  # there is no data container yet
        ):
            for blob in self._data.list_blobs(name_starts_with=prefix, results_per_page=LIST_PAGE):
                md5 = blob.content_settings.content_md5
                if blob.size and paths.is_blob_name(blob.name):
                    found.append(Blob(blob.name.removeprefix(prefix), blob.size, _base64(md5)))
        return tuple(sorted(found, key=lambda blob: blob.name))

    def freeze(self, hour: Hour, manifest: bytes) -> None:
        """Keep a manifest under the name that its content gives it."""
        name = paths.frozen_manifest_blob(hour.start, hours.digest_of(manifest))
        with translated(f"the manifest of hour {hour}"), suppress(ResourceExistsError):
            self._system.upload_blob(name, manifest, overwrite=False)

    def frozen(self, hour: Hour, digest: str) -> bytes:
        """A manifest that was kept; HourUnreadableError when it is gone or was changed."""
        name = paths.frozen_manifest_blob(hour.start, digest)
        data, _ = read(self._system, name)
        if data is None or hours.digest_of(data) != digest:
            wrong = "is gone" if data is None else "was changed"
            raise HourUnreadableError(
                f"the manifest {paths.RUNS}/{name} of hour {hour} {wrong} (system account). "
                f"'batchscore hours rescore {hour}' makes a new version."
            )
        return data

    def blobs(self, hour: Hour, digest: str) -> tuple[Blob, ...]:
        """What a manifest that was kept lists."""
        return _MANIFEST.decode(self.frozen(hour, digest)).blobs

    def hand_over(self, hour: Hour, version: int, manifest: bytes) -> str:
        """Put a manifest where the run reads it; gives its path in the data container."""
        path = paths.manifest_path(hour.name, version)
        with translated(path):
            self._data.upload_blob(path, manifest, overwrite=True)
        return path

    def begun(self) -> dict[Hour, str]:
        """The hours of which a version may lack its run, each with the ETag of the note."""
        found = {}
        with translated("the hours that were begun"):
            notes = self._system.list_blobs(name_starts_with=paths.HOURS_BEGUN, results_per_page=LIST_PAGE)
            for blob in notes:
                with suppress(RequestError):
                    hour = hours.hour_named(blob.name.removeprefix(paths.HOURS_BEGUN))
                    found[hour] = f'"{paths.normal_etag(str(blob.etag))}"'  # lists leave the quotes out
        return found

    def begin(self, hour: Hour) -> str:
        """Note that a version is about to be recorded; gives the note's ETag."""
        with translated(f"the note on hour {hour}"):
            blob = self._system.get_blob_client(paths.hour_begun_blob(hour.name))
            return str(blob.upload_blob(b"", overwrite=True)["etag"])

    def done(self, hour: Hour, note: str) -> None:
        """Remove the note, unless somebody wrote it anew."""
        with (
            translated(f"the note on hour {hour}"),
            suppress(ResourceNotFoundError, ResourceModifiedError),
        ):
            self._system.delete_blob(
                paths.hour_begun_blob(hour.name), etag=note, match_condition=MatchConditions.IfNotModified
            )

    def point(self, hour: Hour) -> None:
        """Make the pointer say what the record says. The pointer is read before the record, so that a write that
        succeeds never replaces what a newer record has made of it."""
        path = paths.pointer_path(hour.name)
        for _ in range(MOST_TRIES):
            there, etag = read(self._data, path)
            record, _ = self.record(hour)
            pointer = hours.pointer_of(record) if record else None
            if pointer is None:
                return
            wanted = msgspec.json.encode(pointer)
            if there == wanted or swap(self._data, path, wanted, etag):
                return
        raise StorageUnavailableError(f"{path} was changed by others {MOST_TRIES} times in a row. Try again.")

    def holds(self, location: Location) -> bool:
        """Whether anything is at or below a place of the data container."""
        with translated(str(location)):
            for name in self._data.list_blob_names(name_starts_with=location.path, results_per_page=2):
                if name == location.path or name.startswith(f"{location.path}/"):
                    return True
        return False


def _decoded(hour: Hour, data: bytes) -> HourRecord:
    try:
        record = _RECORD.decode(data)
        wrong = "" if record.hour == hour.name else f"it is that of {printable(record.hour, 40)}"
        numbers = [version.number for version in record.versions]
        if numbers != sorted({number for number in numbers if number > 0}):
            wrong = wrong or "its versions are not in the order of their numbers"
        if record.published not in (0, *numbers):
            wrong = wrong or f"v{record.published} is published and not among its versions"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        wrong = printable(str(error))
    if wrong:
        raise HourUnreadableError(
            f"the record of hour {hour} cannot be read: {wrong}. Another version wrote it, or it was changed by hand: "
            f"look at {paths.RUNS}/{paths.hour_record_blob(hour.start)} in the system account."
        )
    return record


def _base64(md5: bytes | bytearray | None) -> str | None:
    return base64.b64encode(md5).decode() if md5 else None
