"""The short way to many small blobs: listings, and one GET or PUT each, over connections that stay open.

The SDK spends three milliseconds of CPU time on a blob and a third of one to list it, which is more than an emulator or
a near account takes to answer; with thousands of frames that decides how fast they come and go. Everything else stays
with the SDK: large blobs, properties, and how to get in.
"""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import quote, unquote, urlencode, urlsplit
from xml.etree import ElementTree

import certifi
import urllib3

from batchscore.errors import StorageUnavailableError
from batchscore.storage import BLOB_API_VERSION, Storage, check_inside

RETRIES = urllib3.Retry(
    total=6,
    backoff_factor=0.8,  # 0, 1.6, 3.2 … s: in all longer than storage is usually away for
    backoff_max=15,
    allowed_methods=None,  # a PUT of a whole blob may be said twice
    status_forcelist=(408, 429, 500, 502, 503, 504),
    raise_on_status=False,
)
TIMEOUT = urllib3.Timeout(connect=5, read=30)


@dataclass(frozen=True, slots=True)
class BlobVersion:
    """A blob as it is at one moment: its name in the container, its size in bytes, its ETag, when it was last changed,
    in whole seconds since 1970, and its Content-MD5 in base64, where it has one."""

    name: str
    size: int
    etag: str
    changed_s: int
    md5: str = ""

    def holds_the_same_as(self, other: BlobVersion) -> bool:
        """Whether both are known to have the same content: one that was written again as it was has another ETag."""
        return self.md5 != "" and (self.size, self.md5) == (other.size, other.md5)


class BlobChangedError(Exception):
    """The blob is gone, or is no longer the one that was meant."""


class Wire:
    """Lists blobs; GETs and PUTs whole small ones. Thread-safe; `connections` are kept open at most."""

    def __init__(self, storage: Storage, connections: int) -> None:
        self._storage = storage
        self._most = connections
        self._pools: dict[str, urllib3.HTTPConnectionPool] = {}

    def listed(self, account: str, container: str, prefix: str, page: int) -> Iterator[BlobVersion]:
        """The blobs whose names begin so, in the order of their names, in pages of at most so many. Marks of folders
        are left out. None where there is no such container."""
        query = {
            "restype": "container",
            "comp": "list",
            "prefix": prefix,
            "include": "metadata",
            "maxresults": str(page),
        }
        marker: str | None = ""
        while marker is not None:
            answer = self._said(
                "GET", account, container, "", {}, query=query | ({"marker": marker} if marker else {})
            )
            if answer.status == 404:
                return
            try:
                blobs, marker = _page(self._content(answer, container, prefix))
            except ElementTree.ParseError as error:
                raise StorageUnavailableError(
                    f"storage listed {container}/{prefix} in a way that cannot be read: {error}"
                ) from error
            yield from blobs

    def read(self, account: str, container: str, name: str, etag: str) -> bytes:
        """The content of the blob's version `etag`; BlobChangedError when that is no longer there."""
        answer = self._said("GET", account, container, name, {"If-Match": etag})
        if answer.status in (404, 412):
            raise BlobChangedError(f"{container}/{name}")
        return self._content(answer, container, name)

    def write(self, account: str, container: str, name: str, data: bytes) -> None:
        """Make the blob hold this."""
        answer = self._said("PUT", account, container, name, {"x-ms-blob-type": "BlockBlob"}, data)
        self._content(answer, container, name)

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()

    def _said(
        self,
        method: str,
        account: str,
        container: str,
        name: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
    ) -> urllib3.BaseHTTPResponse:
        access = self._storage.access(account)
        path = f"{urlsplit(access.endpoint).path}/{container}"
        if name:
            path += f"/{quote(name, safe='/~')}"
        check_inside(path)
        asked = "&".join(filter(None, (urlencode(query or {}, quote_via=quote), access.query)))
        try:
            return self._pool(access.endpoint).urlopen(
                method,
                f"{path}?{asked}",
                body=body,
                headers={"x-ms-version": BLOB_API_VERSION, **access.headers, **headers},
                retries=RETRIES,
                timeout=TIMEOUT,
                redirect=False,
            )
        except urllib3.exceptions.HTTPError as error:
            why = getattr(error, "reason", None) or error  # the last of its tries
            raise StorageUnavailableError(
                f"storage did not answer for blob {container}/{name}: {type(why).__name__}"
            ) from None  # its own text holds the address with the signature

    def _content(self, answer: urllib3.BaseHTTPResponse, container: str, name: str) -> bytes:
        if answer.status in (200, 201):
            return answer.data
        code = answer.headers.get("x-ms-error-code", "no code")
        raise StorageUnavailableError(
            f"storage refused blob {container}/{name}: {answer.status} {answer.reason} ({code})"
        )

    def _pool(self, endpoint: str) -> urllib3.HTTPConnectionPool:
        if endpoint not in self._pools:
            self._pools[endpoint] = _connections(endpoint, self._most)
        return self._pools[endpoint]


def _page(document: bytes) -> tuple[list[BlobVersion], str | None]:
    """One page of a listing, and the marker of the next one, if there is one."""
    root = ElementTree.fromstring(document)  # noqa: S314 - the account's own answer
    found = []
    for blob in root.iterfind("Blobs/Blob"):
        name, properties = blob.find("Name"), blob.find("Properties")
        if name is None or properties is None or (blob.findtext("Metadata/hdi_isfolder") == "true"):
            continue
        text = name.text or ""
        if name.get("Encoded") == "true":  # it holds characters that XML cannot
            text = unquote(text)
        if not text.endswith("/"):
            size, etag = int(properties.findtext("Content-Length", "0")), properties.findtext("Etag", "")
            changed = parsedate_to_datetime(properties.findtext("Last-Modified", ""))
            md5 = properties.findtext("Content-MD5") or ""
            found.append(BlobVersion(text, size, etag, int(changed.timestamp()), md5))
    return found, root.findtext("NextMarker") or None


def _connections(endpoint: str, most: int) -> urllib3.HTTPConnectionPool:
    """Connections to an endpoint, with the certificates and through the proxy that the SDK would use.

    Plain HTTP is an emulator near by, which no proxy leads to.
    """
    certificates = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or certifi.where()
    parts = urlsplit(endpoint)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and parts.scheme == "https" and not urllib.request.proxy_bypass(parts.netloc):
        manager: urllib3.PoolManager = urllib3.ProxyManager(proxy, maxsize=most, ca_certs=certificates)
    else:
        manager = urllib3.PoolManager(maxsize=most, ca_certs=certificates)
    return manager.connection_from_url(endpoint)
