"""A storage account: does it answer, who are we to it, may we read and write, are containers and queues there, is
its clock ours."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from batchscore import paths
from batchscore.doctor.findings import Finding
from batchscore.printable import unsigned
from batchscore.settings import Connection, Settings

if TYPE_CHECKING:
    from azure.storage.blob import BlobServiceClient
    from azure.storage.queue import QueueServiceClient

PROBE = "batchscore-doctor/"
CONNECT_TIMEOUT_S = 4
READ_TIMEOUT_S = 15
SKEW_S = 60
MOST_SKEW_S = 15 * 60
"""From here on the service refuses requests that are signed with a key."""
ROLES = "Storage Blob Data Contributor and Storage Queue Data Contributor"


def account(settings: Settings, name: str) -> Iterator[Finding]:
    """The account "system" or "data"."""
    connection = settings.system if name == "system" else settings.data
    what = f"{name} account"
    blobs: BlobServiceClient | None = None
    try:
        blobs = blob_service(connection)
        started = datetime.now(UTC)
        date = _time_there(blobs)
        yield Finding.ok(what, f"answers at {_host(blobs.url)}, by {_who(connection)}")
        yield from _clock(what, date, started)
        containers = (
            {paths.RUNS: True, paths.LOGS: True, paths.MODELS: True}
            if name == "system"
            else {settings.trigger_container: False, settings.data_container: False}
        )
        for container, made_when_needed in containers.items():
            yield _container(what, blobs, container, made_when_needed=made_when_needed)
        if name == "system":
            yield _queue(what, connection)
    except Exception as error:  # the SDK's errors share no base with those of its credentials and transports
        yield _unreachable(what, connection, error)
    finally:
        if blobs is not None:
            blobs.close()


def _time_there(blobs: BlobServiceClient) -> str:
    """Ask for one page of containers; what the service says the time is."""
    dates: list[str] = []

    def note(response: Any) -> None:
        dates.append(str(response.http_response.headers.get("Date", "")))

    next(blobs.list_containers(results_per_page=1, raw_response_hook=note).by_page(), None)
    return dates[0] if dates else ""


def _clock(what: str, date: str, started: datetime) -> Iterator[Finding]:
    """Nothing is said of a clock that agrees."""
    if not date:
        return
    skew_s = (parsedate_to_datetime(date) - started).total_seconds()
    words = f"this machine's clock is {abs(skew_s):.0f} s {'behind' if skew_s > 0 else 'ahead of'} storage"
    remedy = "set the clock: 'timedatectl set-ntp true', or in WSL 'sudo hwclock -s'"
    if abs(skew_s) >= MOST_SKEW_S:
        yield Finding.fail(what, words, remedy)
    elif abs(skew_s) >= SKEW_S:
        yield Finding.warn(what, words, remedy)


def _container(what: str, blobs: BlobServiceClient, name: str, *, made_when_needed: bool) -> Finding:
    """Whether it is there, and whether a blob can be written, read and removed in it."""
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

    client = blobs.get_container_client(name)
    probe = client.get_blob_client(f"{PROBE}{uuid.uuid4().hex}")
    content = b"batchscore doctor was here; this blob may be removed"
    try:
        if not client.exists():
            if made_when_needed:
                return Finding.ok(what, f"container {name!r} is not there yet; the first run makes it")
            return Finding.warn(
                what,
                f"container {name!r} is not there yet",
                "the host makes it when it starts ('make start')",
            )
        probe.upload_blob(content)
        try:
            if probe.download_blob().readall() != content:
                return Finding.fail(what, f"container {name!r} gives back other bytes", "look at the account")
        finally:
            with suppress(ResourceNotFoundError):
                probe.delete_blob()
    except HttpResponseError as error:
        return Finding.fail(
            what,
            f"container {name!r}: {_refusal(error)}",
            f"give this identity {ROLES} on the account, or look at its firewall",
        )
    return Finding.ok(what, f"container {name!r}: written, read, removed a blob")


def _queue(what: str, connection: Connection) -> Finding:
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

    with _queue_service(connection) as queues:
        try:
            waiting = queues.get_queue_client(paths.RECONCILE_QUEUE).get_queue_properties()
        except ResourceNotFoundError:
            return Finding.ok(
                what, f"queue {paths.RECONCILE_QUEUE!r} is not there yet; the first run makes it"
            )
        except HttpResponseError as error:
            return Finding.fail(
                what, f"queue {paths.RECONCILE_QUEUE!r}: {_refusal(error)}", f"give this identity {ROLES}"
            )
    count = waiting.approximate_message_count or 0
    return Finding.ok(what, f"queue {paths.RECONCILE_QUEUE!r}: about {count} messages")


def _unreachable(what: str, connection: Connection, error: Exception) -> Finding:
    """Why an account does not answer, and what to do: by the kind of the error."""
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceRequestError

    where = _host(connection.blob_service_uri or _endpoint(connection))
    if isinstance(error, HttpResponseError) and error.status_code is not None:
        remedy = (
            "correct the account key in the connection string"
            if connection.connection_string
            else f"give this identity {ROLES}, or look at the account's firewall"
        )
        return Finding.fail(what, f"{where} refuses: {_refusal(error)}", remedy)
    if isinstance(error, ClientAuthenticationError):
        return Finding.fail(
            what,
            f"no identity could be used: {_first_line(error)}",
            f"'az login' on a workstation; on Azure a managed identity ({connection.name}__clientId)",
        )
    if isinstance(error, ServiceRequestError):
        local = urlsplit(f"//{where}").hostname in ("127.0.0.1", "localhost", "::1")
        remedy = "'make start' starts it" if local else f"check {connection.name}, the network and DNS"
        return Finding.fail(what, f"nothing answers at {where}: {_first_line(error)}", remedy)
    return Finding.fail(
        what,
        f"{connection.name}: {_first_line(error)}",
        f"correct {connection.name}; docs/settings.md says how",
    )


def _refusal(error: Any) -> str:
    return f"{error.status_code} {getattr(error, 'error_code', None) or error.reason or ''}".strip()


def _first_line(error: Exception) -> str:
    return unsigned((str(error).strip().splitlines() or [type(error).__name__])[0])[:200]


def _who(connection: Connection) -> str:
    if connection.connection_string is not None:
        return "its connection string"
    return f"identity {connection.client_id}" if connection.client_id else "this machine's or user's identity"


def _host(url: str) -> str:
    return urlsplit(url).netloc or url.split("?")[0]


def _endpoint(connection: Connection) -> str:
    parts = dict(
        part.split("=", 1) for part in (connection.connection_string or "").split(";") if "=" in part
    )
    name = parts.get("AccountName", "")
    return parts.get("BlobEndpoint") or (
        f"https://{name}.blob.core.windows.net" if name else "127.0.0.1:10000"
    )


def _options() -> dict[str, Any]:
    from batchscore.storage import BLOB_API_VERSION

    return {
        "api_version": BLOB_API_VERSION,
        "retry_total": 0,
        "connection_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": READ_TIMEOUT_S,
    }


def blob_service(connection: Connection) -> BlobServiceClient:
    from azure.storage.blob import BlobServiceClient

    if connection.connection_string is not None:
        return BlobServiceClient.from_connection_string(connection.connection_string, **_options())
    return BlobServiceClient(
        str(connection.blob_service_uri), credential=_credential(connection), **_options()
    )


def _queue_service(connection: Connection) -> QueueServiceClient:
    from azure.storage.queue import QueueServiceClient

    if connection.connection_string is not None:
        return QueueServiceClient.from_connection_string(connection.connection_string, **_options())
    return QueueServiceClient(
        str(connection.queue_service_uri), credential=_credential(connection), **_options()
    )


def _credential(connection: Connection) -> Any:
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential(managed_identity_client_id=connection.client_id)
