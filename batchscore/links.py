"""Links for people outside: each opens one blob of the data account, for one deed, until a time.

A signature (SAS) on an account without a hierarchical namespace, as ours is, opens one blob or a whole container; there
is none for a prefix. So a prefix becomes one link for each blob below it, and nothing ever opens the container. On Azure
a link is signed by a key that Microsoft Entra gives the person who shares (a user-delegation key): it can do nothing that
this person may not, lives seven days at most, and is revoked without anybody's account key.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobSasPermissions, BlobServiceClient, generate_blob_sas

from batchscore import paths
from batchscore.errors import RequestError, StorageUnavailableError
from batchscore.inbox import INBOX, request_of
from batchscore.printable import quoted
from batchscore.settings import Connection, Settings
from batchscore.storage import LIST_PAGE, Storage, translated

if TYPE_CHECKING:
    from azure.storage.blob import BlobProperties, ContainerClient, UserDelegationKey

MOST_LINKS = 1_000
"""More are no longer a thing to hand to a person."""
LONGEST = timedelta(days=7)
"""A user-delegation key lives no longer."""
BEFORE = timedelta(minutes=15)
"""How long ago a link begins to be good, so that a clock that is behind does not refuse it."""
MOST_BYTES_AT_ONCE = 5_000 * 1_048_576
"""What one Put Blob brings; blocks, which bring more, need the right to overwrite."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")

_LIFETIME = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


class Deed(StrEnum):
    """What a link is good for."""

    READ = "read"
    CREATE = "create"
    """Bring a file that is not there yet, once."""
    REPLACE = "replace"
    """Bring a file, also over one that is there, as often as one likes."""


_PERMISSIONS = {
    Deed.READ: BlobSasPermissions(read=True),
    Deed.CREATE: BlobSasPermissions(create=True),
    Deed.REPLACE: BlobSasPermissions(create=True, write=True),
}


@dataclass(frozen=True)
class Period:
    """From when until when links are good."""

    start: datetime
    end: datetime


@dataclass(frozen=True)
class Link:
    """The address of a blob with a signature: whoever has it needs nothing else."""

    blob: str
    url: str = field(repr=False)
    size_bytes: int | None = None
    """None of a file that is still to come."""


@dataclass(frozen=True)
class Share:
    """Links made together, and what there is to know of them."""

    account: str
    deed: Deed
    period: Period
    links: tuple[Link, ...]
    signed_by: str | None
    """Who signed, by object id; None is the key of the emulator, which nobody can revoke."""
    starts_runs: bool = False


def period(lifetime: str, now: datetime) -> Period:
    """The period that begins a little before now; RequestError where the lifetime is none, or longer than a key's."""
    match = _LIFETIME.fullmatch(lifetime)
    if match is None:
        raise RequestError(
            f"--for is {quoted(lifetime)}; it must be a number with m, h or d, such as 30m, 12h or 7d."
        )
    length = int(match[1]) * _UNITS[match[2]]
    if length > LONGEST:
        raise RequestError(
            f"--for is {lifetime}, and a link lives {LONGEST.days} days at most: so long does the key live that signs it. "
            "Share again when it has ended."
        )
    start = (now - BEFORE).replace(microsecond=0)
    return Period(start, min(now.replace(microsecond=0) + length, start + LONGEST))


def addresses(text: str) -> str:
    """An IPv4 address, or a range `first-last`, as a signature takes it; RequestError for anything else."""
    try:
        ends = [ipaddress.IPv4Address(end.strip()) for end in text.split("-")]
    except ValueError:
        ends = []
    if len(ends) not in (1, 2) or ends[0] > ends[-1]:
        raise RequestError(
            f"--ip is {quoted(text)}; it must be an IPv4 address, or two of them, the lower one first, such as "
            "203.0.113.7 or 203.0.113.0-203.0.113.255. A signature knows no IPv6."
        )
    return "-".join(str(end) for end in ends)


def reading(settings: Settings, storage: Storage, prefix: str, when: Period, ip: str | None = None) -> Share:
    """Links to read the blob of this name and every blob below it that is there now."""
    path = paths.user_path(prefix, "what is shared")
    container = _data_container(settings, storage)
    found = list(_blobs(container, path))
    if not found:
        raise RequestError(
            f"there is nothing at {quoted(path)} in the container {settings.data_container!r}. Give a blob or a folder "
            "that is there; for files that are still to come name each of them with --file."
        )
    return _share(settings, storage, Deed.READ, found, when, ip)


def bringing(
    settings: Settings,
    storage: Storage,
    prefix: str,
    files: Sequence[str],
    when: Period,
    *,
    replace: bool = False,
    starts_runs: bool = False,
    ip: str | None = None,
) -> Share:
    """Links to bring these files below a prefix: each once, or with `replace` again and again. A file in the inbox starts a
    run, which must be said to be meant."""
    folder = paths.user_path(prefix, "what is shared")
    blobs = [_named(folder, file) for file in files]
    for blob in blobs:
        if blobs.count(blob) > 1:
            raise RequestError(f"--file {quoted(blob)} is given twice. Keep one of them.")
        _may_come(settings, blob, replace=replace, starts_runs=starts_runs)
    if len(blobs) > MOST_LINKS:
        raise RequestError(f"{len(blobs):,} files are more than {MOST_LINKS:,}. Share them in parts.")
    container = _data_container(settings, storage)
    if not replace:
        _not_there(container, blobs)
    return _share(
        settings,
        storage,
        Deed.REPLACE if replace else Deed.CREATE,
        [(blob, None) for blob in blobs],
        when,
        ip,
        starts_runs=starts_runs and any(blob.startswith(INBOX) for blob in blobs),
    )


def _named(folder: str, file: str) -> str:
    """The blob of a named file below a folder."""
    if file.endswith("/"):
        raise RequestError(f"--file is {quoted(file)}, which names a folder. Name each file.")
    below = paths.user_path(file, "--file")
    return paths.user_path(f"{folder}/{below}", "--file")


def _may_come(settings: Settings, blob: str, *, replace: bool, starts_runs: bool) -> None:
    """RequestError where an outsider's file would be taken for the product's own, or would start runs that nobody meant."""
    first = blob.split("/")[0].lower() + "/"  # Runs/ and runs/ look alike to people
    if first in paths.WRITTEN_BY_RUNS:
        raise RequestError(
            f"{first} is written by the product alone: a file from outside would be taken for a result. Share another "
            "prefix, such as 'incoming'; what is there may be shared for reading."
        )
    if settings.data_container == settings.trigger_container:
        raise RequestError(
            "DATA_CONTAINER and TRIGGER_CONTAINER are the same: whoever brings a file could bring a trigger file, which "
            "decides what runs and what it costs. Give them a container each."
        )
    if first != INBOX:
        return
    request_of(blob, settings.inbox_rules)
    if not starts_runs:
        raise RequestError(
            f"a file at {quoted(blob)} starts a run, which costs money. Say --starts-runs if that is meant; each link then "
            "starts one run."
        )
    if replace:
        raise RequestError(
            f"a file below {INBOX} starts a run each time that it is brought. Leave out --replace: a link then starts one run."
        )


def _data_container(settings: Settings, storage: Storage) -> ContainerClient:
    """The data container of an account that outsiders may reach."""
    data, system = storage.service("data"), storage.service("system")
    local = _is_local(settings.data, data)
    if settings.data.connection_string is not None and not local:
        raise RequestError(
            "DATA_STORAGE is a connection string of an account on Azure. What its key signs can be revoked by nothing but a "
            "new key. Give DATA_STORAGE__blobServiceUri instead and sign in with 'az login'."
        )
    if not local and _place(data) == _place(system):
        raise RequestError(
            "DATA_STORAGE and AzureWebJobsStorage are one account: run records and models lie there, and outsiders get no "
            "link into it. Give data an account of its own."
        )
    return storage.container("data", settings.data_container)


def _is_local(connection: Connection, service: BlobServiceClient) -> bool:
    """Whether it is the emulator on this machine, by its key."""
    return connection.connection_string is not None and urlsplit(service.url).hostname in LOOPBACK


def _place(service: BlobServiceClient) -> tuple[str, str]:
    address = urlsplit(service.url)
    return address.netloc.lower(), address.path.strip("/").lower()


def _blobs(container: ContainerClient, path: str) -> Iterator[tuple[str, int]]:
    """The blob of this name and those below it, with their sizes; RequestError as soon as there are too many."""
    count = 0
    with translated(path):
        for blob in _there(container, path):
            if not paths.is_blob_name(blob.name):
                raise RequestError(
                    f"{quoted(blob.name)} has a part '.' or '..': its address would be that of another blob. Remove it."
                )
            count += 1
            if count > MOST_LINKS:
                raise RequestError(
                    f"there are more than {MOST_LINKS:,} blobs at {quoted(path)}, and each takes a link of its own. "
                    "Share a folder below it, or fetch them and hand over one archive."
                )
            yield blob.name, blob.size


def _there(container: ContainerClient, path: str) -> Iterator[BlobProperties]:
    """Only `path/` is listed, for names that begin alike may be any number."""
    with suppress(ResourceNotFoundError):
        yield container.get_blob_client(path).get_blob_properties()
    with suppress(ResourceNotFoundError):  # there is no container yet
        yield from container.list_blobs(name_starts_with=f"{path}/", results_per_page=LIST_PAGE)


def _not_there(container: ContainerClient, blobs: Sequence[str]) -> None:
    """RequestError for a file that is there already: its link could bring nothing."""
    for blob in blobs:
        with translated(blob):
            there = container.get_blob_client(blob).exists()
        if there:
            raise RequestError(
                f"{quoted(blob)} is there already, and a link to bring it would be refused. Name another file, or say "
                "--replace."
            )


def _share(
    settings: Settings,
    storage: Storage,
    deed: Deed,
    blobs: Sequence[tuple[str, int | None]],
    when: Period,
    ip: str | None,
    *,
    starts_runs: bool = False,
) -> Share:
    service = storage.service("data")
    local = _is_local(settings.data, service)
    account = _account_name(service)
    key = None if local else _delegation_key(service, account, when)
    endpoint = service.url.partition("?")[0].rstrip("/")

    def signed(blob: str) -> str:
        signature = generate_blob_sas(
            account,
            settings.data_container,
            blob,
            account_key=_emulator_key(service) if key is None else None,
            user_delegation_key=key,
            permission=_PERMISSIONS[deed],
            start=when.start,
            expiry=when.end,
            ip=ip,
            # the emulator speaks plain HTTP
            protocol="https,http" if key is None else "https",
        )
        return f"{endpoint}/{settings.data_container}/{quote(blob, safe='/~')}?{signature}"

    links = tuple(Link(blob, signed(blob), size) for blob, size in blobs)
    return Share(account, deed, when, links, key.signed_oid if key else None, starts_runs)


def _delegation_key(service: BlobServiceClient, account: str, when: Period) -> UserDelegationKey:
    try:
        with translated("a key to sign links with"):
            return service.get_user_delegation_key(when.start, when.end)
    except StorageUnavailableError as error:
        if getattr(error.__cause__, "status_code", None) == 403:
            raise StorageUnavailableError(
                f"{error}. Whoever shares needs the role 'Storage Blob Data Contributor' on the account {account} itself, a "
                "role on one of its containers does not do ('Storage Blob Delegator' on the account adds what is missing; "
                "a new role takes minutes to count), and an address that its firewall lets in."
            ) from error
        raise


def _account_name(service: BlobServiceClient) -> str:
    """The name of the account in the address, which a signature contains."""
    address = urlsplit(service.url)
    if address.hostname in LOOPBACK:
        return address.path.strip("/").split("/")[0]
    return (address.hostname or "").split(".")[0]


def _emulator_key(service: BlobServiceClient) -> str:
    key = getattr(service.credential, "account_key", None)
    if not isinstance(key, str):
        raise RequestError(
            "DATA_STORAGE holds a signature and no key, so nothing can be signed with it. Give the connection string of "
            "Azurite."
        )
    return key
