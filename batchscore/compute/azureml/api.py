"""What is asked about jobs: Azure Resource Manager and the run history, by plain requests.

Microsoft's SDK takes seconds and 140 MB to load and gives part of what the service says, so it is kept for what only it
can do, which is to submit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from azure.core import PipelineClient
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RequestIdPolicy, RetryPolicy
from azure.core.rest import HttpRequest

from batchscore.compute.azureml.client import credential_for, transport_for
from batchscore.compute.azureml.patience import LONGEST_WAIT_S

if TYPE_CHECKING:
    from batchscore.settings import Workspace

ARM = "https://management.azure.com"
API_VERSION = "2024-01-01-preview"
"""That with which the SDK submits."""
HISTORY_VERSION = "v1.0"
MOST_PAGES = 50

Document = Mapping[str, Any]


class WorkspaceApi:
    """Requests to one workspace. Every call raises what azure-core does."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._history_address = ""
        self._base = (workspace.endpoint or ARM).rstrip("/")
        signing_in = BearerTokenCredentialPolicy(credential_for(workspace), f"{ARM}/.default")
        self._signed_in = _client(workspace, self._base, signing_in)
        """The run history takes the tokens of ARM, which are those that the SDK sends there, too."""
        self._anonymous = _client(workspace, self._base)
        """For addresses that open by themselves: no token of ours goes there."""

    def job(self, name: str) -> Document:
        """The job as ARM describes it."""
        return self._arm("GET", f"/jobs/{quote(name, safe='')}")

    def cancel(self, name: str) -> None:
        self._arm("POST", f"/jobs/{quote(name, safe='')}/cancel")

    def workspace(self) -> Document:
        """The workspace itself."""
        return self._arm("GET", "")

    def compute(self, name: str) -> Document:
        """A cluster as ARM describes it."""
        return self._arm("GET", f"/computes/{quote(name, safe='')}")

    def datastore(self, name: str) -> Document:
        return self._arm("GET", f"/datastores/{quote(name, safe='')}")

    def version(self, kind: str, name: str, version: str) -> Document:
        """A version of an asset; `kind` is `environments`, `components` or `models`."""
        return self._arm("GET", f"/{kind}/{quote(name, safe='')}/versions/{quote(version, safe='')}")

    def run(self, job: str) -> Document:
        """A job as the run history describes it, with its error and its end."""
        return self._history(f"/runs/{quote(job, safe='')}")

    def children(self, job: str) -> Iterator[Document]:
        """The runs of a job's steps, as the run history describes them."""
        token = ""
        for _ in range(MOST_PAGES):
            query = f"&$continuationtoken={quote(token, safe='')}" if token else ""
            page = self._history(f"/runs/{quote(job, safe='')}/children", query)
            yield from page.get("value") or ()
            token = str(page.get("continuationToken") or "")
            if not token:
                return

    def logs(self, run: str) -> dict[str, str]:
        """The addresses of a run's logs by their names; they are signed and open by themselves."""
        details = self._history(f"/runs/{quote(run, safe='')}/details")
        return {str(name): str(address) for name, address in (details.get("logFiles") or {}).items()}

    def part(self, address: str, start: int, most_bytes: int) -> tuple[bytes, int]:
        """Bytes of what lies at a signed address, and how many there are in all."""
        headers = {"Range": f"bytes={start}-{start + most_bytes - 1}"}
        response = self._anonymous.send_request(HttpRequest("GET", address, headers=headers))
        if response.status_code == 416:
            return b"", 0
        response.raise_for_status()
        content: bytes = response.read()
        whole = str(response.headers.get("Content-Range", "")).rpartition("/")[2]
        return content, int(whole) if whole.isdecimal() else len(content)

    def close(self) -> None:
        self._signed_in.close()
        self._anonymous.close()

    def _arm(self, method: str, path: str) -> Document:
        address = f"{self._base}{self._workspace.resource_id}{path}?api-version={API_VERSION}"
        return _document(self._signed_in.send_request(HttpRequest(method, address)))

    def _history(self, path: str, query: str = "") -> Document:
        scope = f"/history/v1.0{self._workspace.resource_id}"
        address = f"{self._history_base()}{scope}{path}?api-version={HISTORY_VERSION}{query}"
        return _document(self._signed_in.send_request(HttpRequest("GET", address)))

    def _history_base(self) -> str:
        """Where the workspace's region keeps the history of runs; asked for once."""
        if not self._history_address:
            properties = self.workspace().get("properties") or {}
            found = _document(self._anonymous.send_request(HttpRequest("GET", properties["discoveryUrl"])))
            self._history_address = str(found["api"]).rstrip("/")
        return self._history_address


def _client(workspace: Workspace, base: str, *policies: Any) -> PipelineClient[Any, Any]:
    retries = RetryPolicy(retry_total=3, retry_backoff_factor=0.5, retry_backoff_max=LONGEST_WAIT_S)
    return PipelineClient(
        base, policies=[RequestIdPolicy(), retries, *policies], transport=transport_for(workspace)
    )


def _document(response: Any) -> Document:
    """The JSON object of an answer, empty where there is none."""
    response.raise_for_status()
    if not response.content:
        return {}
    document = response.json()
    return document if isinstance(document, Mapping) else {}
