"""Errors of azure-core, azure-identity and azure-ai-ml, translated where they come in.

what the service answered                                  becomes
the job is there already (also with changed content)       `is_already_there`: not an error, look at the job
the job is not known (404 of the job, body or none)        `is_unknown`: not an error, the job is lost
no answer, cut off, not whole, 408, 429, 5xx               ComputeUnavailableError: tried again, for as long as it lasts
401, 403, no identity, no such workspace                   ComputeUnavailableError: waits for the mistake to be mended
409 of another kind                                        ComputeUnavailableError: something else was just doing this
any other 4xx; what the SDK finds wrong with the job       JobRefusedError: final
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)

from batchscore.compute.azureml.faults import fault_of, said_by
from batchscore.errors import BatchscoreError, ComputeError, ComputeUnavailableError, JobRefusedError
from batchscore.printable import printable, unsigned

SERVICE = "Azure Machine Learning"
_THERE = re.compile(
    r"already exists|(?:inputs?|propert\w+|definition)\b.{0,200}\b(?:cannot|can't|can not) be (?:changed|modified|updated)",
    re.IGNORECASE | re.DOTALL,
)
_NO_WORKSPACE = frozenset(
    {
        "invalidsubscriptionid",
        "subscriptionnotfound",
        "resourcegroupnotfound",
        "workspacenotfound",
        "parentresourcenotfound",
    }
)
_WORKSPACE_PATH = re.compile(r"/workspaces/[^/?]+/?(?:\?|$)", re.IGNORECASE)
_WORKSPACE_NAMED = re.compile(r"Resource '[^']*/workspaces/[^/']+' under resource group", re.IGNORECASE)
"""What Azure Resource Manager says of any address in a workspace that there is not, with the code ResourceNotFound."""


class NoAnswerError(ComputeUnavailableError):
    """The service could not be reached, or its answer did not come whole."""


def is_already_there(error: BaseException) -> bool:
    """Whether a PUT was refused because a job of this name is there, be it with other inputs: an earlier try made it."""
    answer = _answer(error)
    if answer is None:
        return False
    return (
        answer.status_code in (400, 409, 412) and _THERE.search(_body(answer) or answer.message) is not None
    )


def is_unknown(error: BaseException) -> bool:
    """Whether the workspace answered that it has no such job. That there is no such workspace is another matter."""
    answer = _answer(error)
    return answer is not None and answer.status_code == 404 and not _workspace_missing(answer)


def token_refused(error: BaseException) -> bool:
    """Whether the service took the token for expired or wrong: a new one may help, which is worth one more try."""
    answer = _answer(error)
    return answer is not None and answer.status_code == 401


@contextmanager
def service(doing: str) -> Iterator[None]:
    """Around a call of the SDK: what it raises comes out as a ComputeError. `doing` completes "cannot …"."""
    try:
        yield
    except BatchscoreError:  # storage's, say: told already
        raise
    except Exception as error:
        known = translated(error, doing)
        if known is None:
            raise
        raise known from error


def translated(error: Exception, doing: str) -> ComputeError | None:
    """The error in the product's words; None for one that is neither the service's nor the SDK's nor the network's."""
    for each in _chain(error):
        if isinstance(each, ComputeError):
            return each
        if isinstance(each, ClientAuthenticationError) and each.status_code != 401:
            return ComputeUnavailableError(
                f"cannot {doing}: no identity to log in to {SERVICE} with ({_tried(str(each))}). On Azure give the "
                "app a managed identity; on a workstation run 'az login'. The run waits."
            )
        if isinstance(each, HttpResponseError) and each.status_code is not None:
            return _answered(each, doing)
        if _no_answer(each):
            said = f"{type(each).__name__}: {_first_line(str(each))}"
            return NoAnswerError(f"cannot {doing}: {SERVICE} did not answer ({said}). It is tried again.")
    if isinstance(error, AzureError):
        told = f"cannot {doing}: {_first_line(str(error), 1_000)}"
        if getattr(error, "error_category", "") == "SystemError":
            return ComputeUnavailableError(f"{told} It is tried again.")
        return JobRefusedError(told)
    return None


def _answered(error: HttpResponseError, doing: str) -> ComputeError:
    status = error.status_code
    assert status is not None
    said = _said(error)
    told = f"cannot {doing}: {SERVICE} answered {status}{f', {said}' if said else ''}"
    told = told if told.endswith((".", "!", "?", "…")) else f"{told}."
    if status == 401:
        return ComputeUnavailableError(
            f"{told} Its token has expired or is for another tenant; a new one is asked for."
        )
    if status == 403:
        return ComputeUnavailableError(
            f"{told} Give the app's identity the role 'AzureML Data Scientist' on the workspace; the run waits."
        )
    if status == 404 and _workspace_missing(error):
        return ComputeUnavailableError(
            f"{told} Look at AZURE_SUBSCRIPTION_ID, AZURE_RESOURCE_GROUP and AZUREML_WORKSPACE_NAME; the run waits."
        )
    if status == 404:
        return JobRefusedError(
            f"{told} Something that the job names is not in the workspace: 'batchscore deploy' registers it, "
            "'batchscore retry' tries again."
        )
    if status == 429:
        return ComputeUnavailableError(f"{told} Too many requests; it is tried again.")
    if status in (408, 409) or status >= 500 or status < 400:
        return ComputeUnavailableError(f"{told} It is tried again.")
    return JobRefusedError(told)


def answer_to(error: BaseException) -> tuple[int, str] | None:
    """The status and the words of the service's answer that an error is about; None where there was none."""
    answer = _answer(error)
    return None if answer is None or answer.status_code is None else (answer.status_code, _said(answer))


def _answer(error: BaseException) -> HttpResponseError | None:
    """The answer of the service that an error is about: the SDK wraps some in its own."""
    for each in _chain(error):
        if isinstance(each, HttpResponseError) and each.status_code is not None:
            return each
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was made from: the SDK wraps answers, and broken connections, in errors of its own."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        inner = getattr(each, "inner_exception", None)
        wraps = type(each).__module__.startswith("azure.ai.ml")
        each = (
            each.__cause__
            or (inner if isinstance(inner, BaseException) else None)
            or (each.__context__ if wraps else None)
        )


def _no_answer(error: BaseException) -> bool:
    """Nothing, or not all of an answer, came. HttpResponseError without a status is a body that broke off."""
    if isinstance(error, (ServiceRequestError, ServiceResponseError, ConnectionError, TimeoutError)):
        return True
    if isinstance(error, HttpResponseError):
        return error.status_code is None
    return type(error).__module__.partition(".")[0] in ("requests", "urllib3", "ssl", "socket")


def _workspace_missing(error: HttpResponseError) -> bool:
    fault = fault_of(_body(error))
    codes = {code.lower() for code in fault.codes} if fault else set()
    request = getattr(error.response, "request", None)
    address = str(getattr(request, "url", "") or "")
    named = fault is not None and _WORKSPACE_NAMED.search(fault.message)
    return bool(codes & _NO_WORKSPACE or named or _WORKSPACE_PATH.search(address))


def _said(error: HttpResponseError) -> str:
    """The service's own code and words."""
    fault = fault_of(_body(error))
    if fault is None:
        return _first_line(error.reason or "")
    code = fault.codes[-1] if fault.codes else ""
    words = said_by(fault)
    return f"{code}: {words}" if code and words and code not in words else words or code


def _body(error: HttpResponseError) -> str:
    response = error.response
    try:
        text = response.text() if response is not None else ""
    except Exception:  # of a body that did not come whole
        text = ""
    return text


def _tried(text: str) -> str:
    """Why there is no token: of the many ways that azure-identity tries, the two that people use."""
    lines = [line.strip() for line in text.splitlines()]
    told = [line for line in lines if line.startswith(("ManagedIdentityCredential:", "AzureCliCredential:"))]
    return "; ".join(_first_line(line).rstrip(".") for line in told) or _first_line(text)


def _first_line(text: str, longest: int = 300) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return printable(unsigned(lines[0] if lines else ""), longest)
