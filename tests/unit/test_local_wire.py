"""The short way to small blobs: the same bytes as by the SDK, and what it does when storage is away or has changed."""

from __future__ import annotations

import base64
import socket
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import urllib3
from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

from batchscore.compute.local import wire
from batchscore.compute.local.wire import BlobChangedError, BlobVersion, Wire
from batchscore.errors import StorageUnavailableError
from batchscore.settings import Connection, Settings
from batchscore.storage import Storage

NAMES = ("plain.jpg", "in/a folder/frame 1.jpg", "ä#%?&+~'\".txt", "100%25.txt", "日本/写真.png")


@pytest.fixture
def wired(storage: Storage) -> Iterator[Wire]:
    wired = Wire(storage, 2)
    yield wired
    wired.close()


def test_what_is_written_is_what_the_sdk_reads_and_the_other_way(
    wired: Wire, storage: Storage, settings: Settings
) -> None:
    container = storage.container("data", settings.data_container)
    for name in NAMES:
        wired.write("data", settings.data_container, name, name.encode())
        assert container.download_blob(name).readall() == name.encode()
        etag = container.get_blob_client(name).get_blob_properties().etag
        assert wired.read("data", settings.data_container, name, etag) == name.encode()
    assert sorted(container.list_blob_names()) == sorted(NAMES)


def test_it_lists_what_the_sdk_lists_page_by_page_without_marks_of_folders(
    wired: Wire, storage: Storage, settings: Settings
) -> None:
    container = storage.container("data", settings.data_container)
    for name in NAMES:
        container.upload_blob(f"in/{name}", name.encode())
    container.upload_blob("elsewhere.txt", b"")
    container.upload_blob("in/a mark", b"", metadata={"hdi_isfolder": "true"})
    container.upload_blob("in/ends with a slash/", b"")
    listed = list(wired.listed("data", settings.data_container, "in/", page=2))
    by_sdk = {blob.name: blob for blob in container.list_blobs(name_starts_with="in/")}
    assert [blob.name for blob in listed] == sorted(f"in/{name}" for name in NAMES)
    for blob in listed:
        other = by_sdk[blob.name]
        assert (blob.size, blob.etag, blob.changed_s, blob.md5) == (
            other.size,
            other.etag,
            int(other.last_modified.timestamp()),
            base64.b64encode(other.content_settings.content_md5).decode(),
        )
        assert wired.read("data", settings.data_container, blob.name, blob.etag)


def test_nothing_is_listed_of_a_container_that_is_not_there(wired: Wire) -> None:
    assert list(wired.listed("data", "nowhere", "", page=10)) == []


def test_a_name_that_xml_cannot_hold_comes_encoded() -> None:
    blobs, marker = wire._page(
        b"<EnumerationResults><Blobs><Blob><Name Encoded='true'>a%01%C3%A4.txt</Name><Properties>"
        b"<Last-Modified>Sat, 21 Nov 2026 18:00:00 GMT</Last-Modified><Etag>0x1</Etag><Content-Length>7</Content-Length>"
        b"</Properties></Blob></Blobs><NextMarker>there</NextMarker></EnumerationResults>"
    )
    assert blobs == [BlobVersion("a\x01ä.txt", 7, "0x1", 1_795_284_000)]
    assert marker == "there"


def test_a_listing_that_cannot_be_read_is_the_storage_s_fault(
    wired: Wire, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wired, "_content", lambda *_: b"<EnumerationResults>")
    with pytest.raises(StorageUnavailableError, match=f"listed {settings.data_container}/in/ in a way"):
        list(wired.listed("data", settings.data_container, "in/", page=10))


def test_a_blob_that_has_changed_or_gone_is_told(wired: Wire, storage: Storage, settings: Settings) -> None:
    blob = storage.container("data", settings.data_container).get_blob_client("a")
    blob.upload_blob(b"first")
    etag = blob.get_blob_properties().etag
    blob.upload_blob(b"second", overwrite=True)
    with pytest.raises(BlobChangedError):
        wired.read("data", settings.data_container, "a", etag)
    blob.delete_blob()
    with pytest.raises(BlobChangedError):
        wired.read("data", settings.data_container, "a", etag)


def test_a_container_that_is_gone_is_the_storage_s_fault(wired: Wire) -> None:
    with pytest.raises(StorageUnavailableError, match=r"blob nowhere/a: 404 .*ContainerNotFound"):
        wired.write("data", "nowhere", "a", b"x")


def test_a_shared_access_signature_opens_storage_too(settings: Settings, storage: Storage) -> None:
    service = storage.service("data")
    signature = generate_account_sas(
        str(service.account_name),
        service.credential.account_key,
        ResourceTypes(object=True, container=True),
        AccountSasPermissions(read=True, write=True, create=True, list=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    text = f"BlobEndpoint={service.url};SharedAccessSignature={signature}"
    shared = Storage(replace(settings, data=Connection("DATA_STORAGE", connection_string=text)))
    Wire(shared, 1).write("data", settings.data_container, "by-signature", b"x")
    container = storage.container("data", settings.data_container)
    assert container.download_blob("by-signature").readall() == b"x"
    shared.close()


def test_secrets_are_in_no_text_of_an_access(storage: Storage) -> None:
    assert "sig" not in repr(storage.access("data"))


def answers(*raw: bytes) -> Iterator[tuple[socket.socket, list[bytes]]]:
    """A server that gives these answers, one for each connection; an empty one cuts the connection."""
    server = socket.create_server(("127.0.0.1", 0))
    asked: list[bytes] = []

    def serve() -> None:
        for answer in raw:
            peer, _ = server.accept()
            with peer:
                asked.append(peer.recv(65536))
                peer.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server, asked
    finally:
        server.close()
        thread.join()


serving = contextmanager(answers)


def away(settings: Settings, server: socket.socket) -> Storage:
    host, port = server.getsockname()
    text = f"BlobEndpoint=http://{host}:{port}/acc;SharedAccessSignature=sv=1&sig={SECRET}"
    return Storage(replace(settings, data=Connection("DATA_STORAGE", connection_string=text)))


SECRET = "c2VjcmV0%3D"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "RETRIES", wire.RETRIES.new(total=2, backoff_factor=0))


CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\nx-ms-error-code: ServerBusy\r\n\r\n"


def test_a_cut_connection_and_a_busy_service_are_asked_again(settings: Settings) -> None:
    with serving(b"", BUSY, CREATED) as (server, asked):
        Wire(away(settings, server), 1).write("data", "c", "a", b"content")
    assert [request.split(b" ")[0] for request in asked] == [b"PUT"] * 3


def test_a_service_that_stays_busy_is_named(settings: Settings) -> None:
    with (
        serving(BUSY, BUSY, BUSY) as (server, _),
        pytest.raises(StorageUnavailableError, match=r"refused blob c/a: 503 .*ServerBusy"),
    ):
        Wire(away(settings, server), 1).write("data", "c", "a", b"content")


def test_half_an_answer_is_never_taken_for_whole(settings: Settings) -> None:
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
    with (
        serving(half, half, half) as (server, _),
        pytest.raises(StorageUnavailableError, match="did not answer for blob c/a"),
    ):
        Wire(away(settings, server), 1).read("data", "c", "a", '"etag"')


def test_the_signature_is_in_no_log_and_no_trace_when_storage_is_away(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with serving(b"", b"", b"") as (server, asked), pytest.raises(StorageUnavailableError) as caught:
        Wire(away(settings, server), 1).write("data", "c", "a", b"content")
    assert SECRET.encode() in asked[0]
    assert "ProtocolError" in str(caught.value)
    told = caplog.text + "".join(traceback.format_exception(caught.value))
    assert "after connection broken" in told
    assert "sig=…" in told
    assert SECRET not in told


def test_the_way_leads_through_a_proxy_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert wire._connections("https://a.blob.example/x", 1).proxy == urllib3.util.parse_url(
        "http://127.0.0.1:3128"
    )
    assert wire._connections("https://inside.example/x", 1).proxy is None
    assert wire._connections("http://127.0.0.1:10000/x", 1).proxy is None
