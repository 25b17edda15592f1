"""What comes out of the SDK and of requests while something is deployed, in words for whoever deploys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from batchscore.compute.azureml.errors import answer_to, translated
from batchscore.errors import BatchscoreError

AGAIN = "Deploy again; what was registered stays."


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Around calls: what they raise comes out as a BatchscoreError. `what` completes "cannot …"."""
    try:
        yield
    except BatchscoreError:
        raise
    except Exception as error:
        known = translated(error, what)
        if known is None:
            raise
        answer = answer_to(error)
        if answer is None:
            told = str(known).removesuffix(" The run waits.").removesuffix(" It is tried again.")
            raise type(known)(f"{told} {AGAIN}") from error
        status, said = answer
        raise type(known)(f"cannot {what}: Azure ML answered {status}, {said}. {_remedy(status)}") from error


def _remedy(status: int) -> str:
    if status in (401, 403):
        return (
            "Log in with 'az login' as someone who has the roles 'AzureML Data Scientist' and, for clusters, 'AzureML Compute "
            f"Operator' on the workspace. {AGAIN}"
        )
    if status == 404:
        return "Look at AZURE_SUBSCRIPTION_ID, AZURE_RESOURCE_GROUP and AZUREML_WORKSPACE_NAME."
    if status in (408, 409, 429) or status >= 500:
        return AGAIN
    return f"Correct it. {AGAIN}"
