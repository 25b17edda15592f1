"""What the SDK raises, in the product's words: which is tried again, which is final, which is none."""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Mapping

import pytest
import requests
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    IncompleteReadError,
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceRequestTimeoutError,
    ServiceResponseError,
    ServiceResponseTimeoutError,
)
from azure.identity import CredentialUnavailableError

from batchscore.compute.azureml.errors import (
    is_already_there,
    is_unknown,
    service,
    token_refused,
    translated,
)
from batchscore.credentials import credential_of
from batchscore.errors import ComputeUnavailableError, JobRefusedError, StorageUnavailableError

WORKSPACE = (
    "https://management.azure.com/subscriptions/0/resourceGroups/g/providers/"
    "Microsoft.MachineLearningServices/workspaces/w"
)


class Request:
    def __init__(self, url: str) -> None:
        self.url = url


class Answer:
    """What azure-core makes an HttpResponseError of."""

    def __init__(self, status: int, body: str, url: str, headers: Mapping[str, str]) -> None:
        self.status_code, self.reason, self.headers = status, {404: "Not Found"}.get(status, "Told"), headers
        self.content_type, self._body, self.request = "application/json", body, Request(url)

    def text(self, encoding: str | None = None) -> str:
        return self._body


def answered(
    status: int,
    code: str = "",
    message: str = "",
    *,
    body: str | None = None,
    url: str = f"{WORKSPACE}/jobs/j-1?api-version=2024-01-01-preview",
    kind: type[HttpResponseError] = HttpResponseError,
    headers: Mapping[str, str] | None = None,
) -> HttpResponseError:
    text = json.dumps({"error": {"code": code, "message": message}}) if body is None else body
    return kind(response=Answer(status, text, url, headers or {}))


@pytest.mark.parametrize(
    ("status", "code", "message", "kind", "told"),
    [
        (429, "TooManyRequests", "slow down", ComputeUnavailableError, "Too many requests"),
        (408, "", "", ComputeUnavailableError, "tried again"),
        (500, "InternalServerError", "oops", ComputeUnavailableError, "oops. It is tried again."),
        (502, "", "", ComputeUnavailableError, "tried again"),
        (503, "ServiceUnavailable", "", ComputeUnavailableError, "tried again"),
        (504, "GatewayTimeout", "", ComputeUnavailableError, "tried again"),
        (409, "Conflict", "another operation is under way", ComputeUnavailableError, "tried again"),
        (401, "ExpiredAuthenticationToken", "expired", ComputeUnavailableError, "token has expired"),
        (403, "AuthorizationFailed", "no right", ComputeUnavailableError, "'AzureML Data Scientist'"),
        (404, "ResourceGroupNotFound", "no g", ComputeUnavailableError, "AZURE_RESOURCE_GROUP"),
        (404, "SubscriptionNotFound", "no s", ComputeUnavailableError, "AZURE_SUBSCRIPTION_ID"),
        (404, "UserError", "no component score:1", JobRefusedError, "'batchscore deploy' registers it"),
        (400, "UserError", "bad compute", JobRefusedError, "answered 400, UserError: bad compute."),
        (413, "RequestTooLarge", "", JobRefusedError, "413"),
        (422, "Invalid", "no", JobRefusedError, "422"),
    ],
)
def test_the_status_decides_whether_it_is_tried_again(
    status: int, code: str, message: str, kind: type[Exception], told: str
) -> None:
    error = translated(answered(status, code, message), "submit job 'j-1'")
    assert type(error) is kind
    assert str(error).startswith(f"cannot submit job 'j-1': Azure Machine Learning answered {status}")
    assert told in str(error)
    assert str(error).endswith(".")


@pytest.mark.parametrize(
    "error",
    [
        answered(404, "ResourceNotFound", "not found", url=f"{WORKSPACE}?api-version=1"),
        answered(
            404,
            "ResourceNotFound",
            "The Resource 'Microsoft.MachineLearningServices/workspaces/w' under resource group 'g' was not found. For more "
            "details please go to https://aka.ms/ARMResourceNotFoundFix",
        ),
    ],
    ids=["of the workspace", "of a job"],
)
def test_a_missing_workspace_is_a_setting_to_mend_and_no_unknown_job(error: HttpResponseError) -> None:
    assert not is_unknown(error)
    known = translated(error, "submit a job")
    assert isinstance(known, ComputeUnavailableError)
    assert "AZUREML_WORKSPACE_NAME" in str(known)


@pytest.mark.parametrize("body", ["", None, "<html>nothing here</html>"])
def test_a_job_that_is_not_there_is_known_by_its_status_alone(body: str | None) -> None:
    """The service answers some 404s with an empty body."""
    error = answered(404, "UserError", "no such run", body=body, kind=ResourceNotFoundError)
    assert is_unknown(error)
    assert not is_already_there(error)
    known = translated(error, "look at a job")
    assert isinstance(known, JobRefusedError)
    assert "404" in str(known)


@pytest.mark.parametrize(
    ("status", "message", "there"),
    [
        (409, "A job with this name already exists", True),
        (
            400,
            "A job with this name already exists. If you are trying to create a new job, use a different name. If you "
            "are trying to update an existing job, the existing job's inputs, outputs cannot be changed.",
            True,
        ),
        (400, "The existing job's inputs cannot be changed", True),
        (409, "Blob already exists", True),
        (400, "compute 'c' cannot be found", False),
        (409, "another operation is under way", False),
        (404, "the job already exists elsewhere", False),
        (500, "already exists", False),
        (403, "already exists", False),
    ],
)
def test_a_job_that_is_there_already_is_told_apart(status: int, message: str, there: bool) -> None:
    kind = ResourceExistsError if status == 409 else HttpResponseError
    assert is_already_there(answered(status, "UserError", message, kind=kind)) is there


@pytest.mark.parametrize(
    "error",
    [
        ServiceRequestError("Failed to resolve 'management.azure.com'"),
        ServiceRequestTimeoutError("timed out"),
        ServiceResponseError("Connection aborted"),
        ServiceResponseTimeoutError("timed out"),
        IncompleteReadError("cut off"),
        ConnectionResetError("reset"),
        TimeoutError("timed out"),
        ssl.SSLError("handshake"),
        requests.ConnectionError("refused"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_answer_that_did_not_come_or_not_whole_is_tried_again(error: Exception) -> None:
    known = translated(error, "submit a job")
    assert isinstance(known, ComputeUnavailableError)
    assert "did not answer" in str(known)
    assert not is_already_there(error)
    assert not is_unknown(error)


@pytest.mark.parametrize(
    "error",
    [
        CredentialUnavailableError("DefaultAzureCredential failed to retrieve a token\nAttempted: …"),
        ClientAuthenticationError("no identity"),
        ClientAuthenticationError(
            response=Answer(400, '{"error": "invalid_request"}', "http://169.254.169.254/", {})
        ),
    ],
    ids=["none", "refused", "answered"],
)
def test_without_an_identity_the_run_waits_and_the_remedy_is_told(error: Exception) -> None:
    known = translated(error, "submit a job")
    assert isinstance(known, ComputeUnavailableError)
    assert "az login" in str(known)
    assert "\n" not in str(known)


def test_of_all_that_was_tried_to_log_in_the_ways_that_people_use_are_told() -> None:
    said = (
        "DefaultAzureCredential failed to retrieve a token.\nAttempted credentials:\n"
        "\tEnvironmentCredential: not configured.\n\tManagedIdentityCredential: unavailable.\n"
        "\tAzureCliCredential: AADSTS70043: the refresh token has expired.\n\tBrokerCredential: none."
    )
    told = "with (ManagedIdentityCredential: unavailable; AzureCliCredential: AADSTS70043: the refresh token has expired). On"
    assert told in str(translated(CredentialUnavailableError(said), "submit a job"))


def test_azure_identity_does_not_log_what_it_raises() -> None:
    """Ten ways and their links, at every try, over the one sentence that is told."""
    credential_of.cache_clear()
    credential_of(None)
    assert not logging.getLogger("azure.identity._credentials.chained").isEnabledFor(logging.WARNING)


def test_a_token_that_the_service_refuses_is_told_apart() -> None:
    expired = answered(401, "ExpiredAuthenticationToken", "expired", kind=ClientAuthenticationError)
    assert token_refused(expired)
    assert isinstance(translated(expired, "x"), ComputeUnavailableError)
    assert not token_refused(answered(403))
    assert not token_refused(ClientAuthenticationError("no identity"))


def wrapped(inner: Exception, outer: Exception) -> Exception:
    """`outer` as it is when it was raised while `inner` was handled, without a `from`."""
    outer.__context__ = inner
    return outer


def test_what_the_sdk_wraps_in_errors_of_its_own_is_found() -> None:
    from azure.ai.ml.exceptions import ValidationException

    def invalid() -> ValidationException:
        return ValidationException("cannot resolve", no_personal_data_message="cannot resolve")

    reset = wrapped(ServiceResponseError("Connection aborted"), invalid())
    assert isinstance(translated(reset, "submit a job"), ComputeUnavailableError)
    busy = wrapped(answered(503), invalid())
    assert isinstance(translated(busy, "submit a job"), ComputeUnavailableError)
    there = wrapped(answered(409, "UserError", "already exists"), invalid())
    assert is_already_there(there)
    known = ComputeUnavailableError("a pause")
    assert translated(wrapped(known, invalid()), "submit a job") is known
    alone = translated(invalid(), "submit a job")
    assert isinstance(alone, JobRefusedError)
    assert "cannot resolve" in str(alone)


def test_an_earlier_answer_that_was_being_handled_is_not_taken_for_this_one() -> None:
    later = wrapped(answered(409, "UserError", "already exists"), ServiceResponseError("reset"))
    assert not is_already_there(later)
    assert isinstance(translated(later, "x"), ComputeUnavailableError)


def test_what_is_neither_the_services_nor_the_networks_passes() -> None:
    assert translated(KeyError("x"), "submit a job") is None
    with pytest.raises(KeyError), service("submit a job"):
        raise KeyError("x")
    with pytest.raises(JobRefusedError, match="as it was"), service("submit a job"):
        raise JobRefusedError("as it was")
    with pytest.raises(StorageUnavailableError), service("copy logs"):
        raise StorageUnavailableError("down") from ServiceResponseError("reset")
    with (
        pytest.raises(ComputeUnavailableError, match=r"cannot cancel job 'a': .* 503"),
        service("cancel job 'a'"),
    ):
        raise answered(503)
    with pytest.raises(JobRefusedError, match="odd"), service("submit a job"):
        raise AzureError("odd")


def test_what_the_service_says_is_shown_without_signatures_and_control_characters() -> None:
    error = translated(answered(400, "UserError", "bad https://x/?sig=SECRET\n\x1b[31mred"), "submit a job")
    assert "SECRET" not in str(error)
    assert "\x1b" not in str(error)
