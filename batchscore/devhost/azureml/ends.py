"""What the service says when a job or a step of it has failed."""

from __future__ import annotations

from typing import Final

from batchscore.devhost.azureml.answers import Document

PREEMPTED: Final = "Preempted: one or more nodes of this job got pre-empted"
LOST: Final = "NodeLost: the node on which this job ran is lost"


def of_step(said: str, code: str = "UserError") -> Document:
    """The error of a step."""
    message = f"AzureMLCompute job failed.\n{said}"
    return {"error": {"code": code, "message": message, "details": []}}


def of_job(step: str) -> Document:
    """The error of a job that failed with a step; it names the step and nothing more."""
    message = (
        f"Pipeline has failed child jobs. Failed nodes: /{step}. For more details and logs, please go to the job detail "
        "page and check the child jobs."
    )
    error = {
        "code": "UserError",
        "message": message,
        "referenceCode": "PipelineHasStepJobFailed",
        "details": [],
    }
    return {"error": error}


def exit_of(message: str) -> str:
    """What is said of a program that failed, with its own words at the end."""
    return (
        "ExecutionFailed: User process 'python' exited with status code 1. Please check log file "
        f"'user_logs/std_log.txt' for error details. Error: {message}"
    )
