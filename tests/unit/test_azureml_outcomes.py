"""What a job on Azure Machine Learning becomes, by the service's words: the decisions, as tables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchscore.compute.azureml.faults import Fault, fault_of
from batchscore.compute.azureml.outcomes import Outcome, Reported, outcome, state_of, vanished
from batchscore.compute.azureml.waiting import waiting_for
from batchscore.compute.base import JobState

QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELED, LOST = JobState
LINK = "https://ml.azure.com/runs/abc-1?wsid=/subscriptions/0"
PREEMPTED = (
    "AzureMLCompute job failed.\nPreemptionError: Nodes of this job got pre-empted. Check if the run has failed or "
    "restarted.\n\tReason: Received pre-emption warning signal"
)


@pytest.mark.parametrize(
    ("service", "ours"),
    [
        ("NotStarted", QUEUED),
        ("Starting", QUEUED),
        ("Provisioning", QUEUED),
        ("Preparing", QUEUED),
        ("Queued", QUEUED),
        ("Scheduled", QUEUED),
        ("Paused", QUEUED),
        ("Pausing", QUEUED),
        ("Unapproved", QUEUED),
        ("Running", RUNNING),
        ("NotResponding", RUNNING),
        ("CancelRequested", RUNNING),
        ("Finalizing", RUNNING),
        ("Completed", SUCCEEDED),
        ("Finished", SUCCEEDED),
        ("Failed", FAILED),
        ("Canceled", CANCELED),
        ("Unknown", RUNNING),
        ("Dreaming", RUNNING),
        ("", RUNNING),
        ("cancel_requested", RUNNING),
        ("COMPLETED", SUCCEEDED),
    ],
)
def test_every_state_of_the_service_has_one_of_ours_and_only_an_end_ends(
    service: str, ours: JobState
) -> None:
    assert state_of(Reported(service)) is ours
    assert outcome(Reported(service), {}).state is ours


def test_every_state_that_the_sdk_knows_is_in_the_table() -> None:
    from azure.ai.ml._restclient.arm_ml_service.models import JobStatus
    from azure.ai.ml._restclient.runhistory.models import SpanStatus

    from batchscore.compute.azureml.outcomes import STATES

    known = {each.value.lower() for each in (*JobStatus, *SpanStatus)} - {"unknown"}
    assert known <= STATES.keys()


@pytest.mark.parametrize("state", ["Dreaming", "Unknown"])
def test_a_state_that_nobody_knows_is_under_way_until_it_has_an_end(state: str) -> None:
    assert outcome(Reported(state), {}).message == (
        f"Azure Machine Learning says {state!r}, which is no state that is known: taken as running."
    )
    over = outcome(Reported(state, ended=True), {}, LINK)
    assert over == Outcome(
        LOST,
        f"Azure Machine Learning ended the job as {state!r}, which is no state that is known. In the studio: {LINK}",
    )


@pytest.mark.parametrize(
    ("codes", "message", "state", "blameless", "told"),
    [
        (("UserError",), PREEMPTED, LOST, True, "Azure took its nodes back"),
        (("ServiceError", "NodePreempted"), "", LOST, True, "Azure took its nodes back"),
        (("ServiceError",), "AzureMLCompute job failed.\nJobNodeLost: gone", LOST, True, "nodes were lost"),
        (("ServiceError", "NodeUnhealthy"), "x", LOST, True, "nodes were lost"),
        (("UserError", "HeartbeatLost"), "x", LOST, True, "nodes were lost"),
        (("AllocationFailed",), "no room", LOST, True, "no machine of this size"),
        (("ClusterCoreQuotaReached",), "limit 0", FAILED, False, "Ask for more quota"),
        (
            ("UserError",),
            "AzureMLCompute job failed.\nDiskFullError: full",
            LOST,
            False,
            "a node's disk is full",
        ),
        (("UserError",), "OSError: [Errno 28] No space left on device", LOST, False, "disk is full"),
        (
            ("UserError",),
            "the container failed with status code `137`",
            FAILED,
            False,
            "a node had too little memory",
        ),
        (("ImageBuildFailure",), "x", FAILED, False, "image could not be built or fetched"),
        (
            ("ServiceError",),
            "AzureMLCompute job failed.\nAcrRefreshTokenRetrievalError: x",
            FAILED,
            False,
            "image could not be",
        ),
        (
            ("ServiceError",),
            "AzureMLCompute job failed.\nAggregatedUnauthorizedAccessError: Failed to pull Docker image x",
            FAILED,
            False,
            "image could not be",
        ),
        (("UserError", "UnauthorizedAccess"), "x", FAILED, False, "not allowed to reach its data"),
        (
            ("UserError",),
            "AzureMLCompute job failed.\nBlobMountError: x",
            LOST,
            False,
            "storage could not be reached",
        ),
        (("AzureStorageError",), "x", LOST, False, "storage could not be reached"),
        (("TransientError",), "x", LOST, True, "too busy"),
        (("RequestThrottled",), "x", LOST, True, "too busy"),
        (("RequestTimedOut",), "x", LOST, True, "too busy"),
        (("UserError", "JobTimedOut"), "x", FAILED, False, "it took longer than it may"),
        (("MaxRunDurationExceeded",), "x", FAILED, False, "Raise limits.timeout"),
        (
            ("ServiceError",),
            "AzureMLCompute job failed.\nOrchestrateJobError: x",
            LOST,
            False,
            "Azure Machine Learning itself failed",
        ),
        (("UserError",), "Execution failed. SystemExit: 42", FAILED, False, "SystemExit: 42"),
        (("ValidationError",), "no such column", FAILED, False, "no such column"),
        (("SomethingNew",), "told later", FAILED, False, "told later"),
    ],
)
def test_the_fault_of_a_failed_step_decides_what_becomes_of_the_job(
    codes: tuple[str, ...], message: str, state: JobState, blameless: bool, told: str
) -> None:
    steps = {"split": Reported("Completed"), "stylize": Reported("Failed", Fault(codes, message))}
    after = outcome(Reported("Failed"), steps, LINK)
    assert (after.state, after.blameless) == (state, blameless)
    assert after.message.startswith("step 'stylize' failed: ")
    assert told in after.message
    assert after.message.endswith(f". In the studio: {LINK}")


@pytest.mark.parametrize(
    "words", ["PreemptionError: in my own code", "quota", "the mount of Everest: MountError", "ServiceError"]
)
def test_words_of_the_program_that_failed_decide_nothing(words: str) -> None:
    step = Reported("Failed", Fault(("UserError",), f"Execution failed. Details: {words}"), cause=words)
    after = outcome(Reported("Failed"), {"score": step})
    assert after == Outcome(FAILED, f"step 'score' failed: {words}.")


def test_the_steps_own_words_are_told_rather_than_those_of_the_service() -> None:
    fault = Fault(("UserError",), "Execution failed. User process '/bin/python' exited with status code 42.")
    step = Reported("Failed", fault, cause="ValueError: cannot read 'a.png'")
    assert outcome(Reported("Failed"), {"score": step}).message == (
        "step 'score' failed: ValueError: cannot read 'a.png'."
    )


@pytest.mark.parametrize(
    ("faults", "decides", "state", "blameless"),
    [
        ({"a": ("PreemptionError",), "b": ("UserError",)}, "b", FAILED, False),
        ({"a": ("PreemptionError",), "b": ("ServiceError",)}, "b", LOST, False),
        ({"a": ("ServiceError",), "b": ("DiskFullError",), "c": ("UserError",)}, "c", FAILED, False),
        ({"a": ("PreemptionError",), "b": ("NodeLost",)}, "a", LOST, True),
    ],
)
def test_of_several_failed_steps_the_one_that_another_attempt_would_not_mend_decides(
    faults: dict[str, tuple[str, ...]], decides: str, state: JobState, blameless: bool
) -> None:
    steps = {name: Reported("Failed", Fault(codes, "x")) for name, codes in faults.items()}
    after = outcome(Reported("Failed"), steps)
    assert after.message.startswith(f"step {decides!r} failed")
    assert (after.state, after.blameless) == (state, blameless)


def test_a_failed_job_without_steps_or_words_still_says_what_is_known() -> None:
    assert outcome(Reported("Failed"), {}) == Outcome(FAILED, "the job failed.")
    assert outcome(Reported("Failed", Fault(("UserError",), "no compute")), {}) == Outcome(
        FAILED, "the job failed: no compute."
    )
    job = Reported("Failed", Fault(("UserError",), PREEMPTED))
    assert outcome(job, {"score": Reported("Failed")}).blameless
    assert outcome(Reported("Completed"), {}) == Outcome(SUCCEEDED)


def test_who_canceled_is_told_apart_from_nodes_that_were_taken_away() -> None:
    steps = {"score": Reported("Canceled")}
    assert outcome(Reported("Canceled"), steps) == Outcome(CANCELED, "canceled in Azure Machine Learning.")
    preempted = {"score": Reported("Canceled", Fault((), PREEMPTED))}
    assert outcome(Reported("Canceled"), preempted).state is LOST


@pytest.mark.parametrize(
    ("job", "steps", "state"),
    [
        ("Running", [], RUNNING),
        ("Running", ["Queued", "NotStarted"], QUEUED),
        ("Running", ["Preparing", "NotStarted"], QUEUED),
        ("Running", ["Completed", "Queued"], QUEUED),
        ("Running", ["Running", "Queued"], RUNNING),
        ("Running", ["Completed", "Completed"], RUNNING),
        ("Preparing", ["NotStarted"], QUEUED),
        ("Preparing", ["Running"], RUNNING),
        ("Running", ["NotResponding"], RUNNING),
        ("Finalizing", ["Completed"], RUNNING),
        ("CancelRequested", ["Queued"], RUNNING),
    ],
)
def test_a_pipeline_that_runs_while_its_steps_wait_for_nodes_waits(
    job: str, steps: list[str], state: JobState
) -> None:
    reported = {str(number): Reported(each) for number, each in enumerate(steps)}
    after = outcome(Reported(job), reported, waits_for="waits for nodes.")
    assert after.state is state
    assert (after.message == "waits for nodes.") == (state is QUEUED)


@pytest.mark.parametrize("state", ["NotResponding", "Paused", "Unapproved", "CancelRequested"])
def test_an_unusual_state_is_told_in_words(state: str) -> None:
    said = outcome(Reported(state), {}).message
    assert said.endswith(".")
    assert said != ""
    step = outcome(Reported("Running"), {"score": Reported(state)}).message
    assert step == f"step 'score': {said}"


def test_a_job_that_vanished_is_lost_and_counts() -> None:
    after = vanished("abc-1", LINK)
    assert (after.state, after.blameless) == (LOST, False)
    assert "knows no job 'abc-1'" in after.message


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ({"error": {"code": "UserError", "message": "no"}}, Fault(("UserError",), "no")),
        (
            {
                "error": {
                    "code": "A",
                    "innerError": {"code": "B", "innerError": {"code": "C"}},
                    "message": "m",
                }
            },
            Fault(("A", "B", "C"), "m"),
        ),
        (
            {"code": "A", "details": [{"code": "B"}, {"code": "A"}], "message": " m "},
            Fault(("A", "B"), "m"),
        ),
        ({"Error": {"Code": "ServiceError", "Message": "m"}}, Fault(("ServiceError",), "m")),
        ({"error": {"code": "A", "reference_code": "B"}}, Fault(("A", "B"), "")),
        (json.dumps({"error": {"code": "A", "message": "m"}}), Fault(("A",), "m")),
        ("it broke", Fault((), "it broke")),
        ('"it broke"', Fault((), '"it broke"')),
        ({"error": {}}, None),
        ({"error": None}, None),
        ({"error": {"code": 5, "message": ["x"], "details": "x"}}, None),
        ("", None),
        (None, None),
        ([], None),
        ("[" * 100_000, Fault((), "[" * 100_000)),
    ],
)
def test_a_fault_is_read_from_whatever_the_service_sends(document: object, fault: Fault | None) -> None:
    assert fault_of(document) == fault


def test_what_the_service_says_is_shown_on_one_line_bounded_and_without_signatures() -> None:
    said = "failed at\n\thttps://a.blob.core.windows.net/c/b?sv=1&sig=SECRET%3D\x1b[31m " + "x" * 5_000
    message = outcome(Reported("Failed", Fault(("UserError",), said)), {}).message
    assert "SECRET" not in message
    assert "\n" not in message
    assert "\x1b" not in message
    assert len(message) < 700


def cluster(**changed: Any) -> dict[str, Any]:
    inner = {
        "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 4},
        "currentNodeCount": 0,
        "targetNodeCount": 0,
        "errors": None,
    }
    return {
        "name": "gpu-cluster",
        "properties": {"provisioningErrors": None, "properties": {**inner, **changed}},
    }


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (cluster(targetNodeCount=3, currentNodeCount=1), "1 of 3 are there, the others are being started"),
        (cluster(currentNodeCount=4, targetNodeCount=4), "all 4 are busy with other jobs"),
        (
            cluster(),
            "none is there, and none is being started yet. When this lasts, look at the cluster's quota",
        ),
        (
            cluster(currentNodeCount=1, targetNodeCount=1),
            "to begin: 1 node is there; other jobs have them, or",
        ),
        (
            cluster(currentNodeCount=2, targetNodeCount=2),
            "to begin: 2 nodes are there; other jobs have them, or",
        ),
        (
            cluster(errors=[{"error": {"code": "ClusterCoreQuotaReached", "message": "Limit 0, needed 6"}}]),
            "the quota of the subscription has no room for its nodes: Limit 0, needed 6. Ask for more quota",
        ),
        (
            cluster(errors=[{"error": {"code": "NewlyMade", "message": "odd"}}]),
            "waits for nodes of 'gpu-cluster': odd.",
        ),
        ({"name": "serverless", "properties": {}}, "waits for nodes of 'serverless'."),
        ({"name": "odd", "properties": {"properties": []}}, "waits for nodes of 'odd'."),
        ({}, ""),
        (None, ""),
    ],
)
def test_why_a_job_waits_is_told_from_its_cluster(document: object, told: str) -> None:
    said = waiting_for(document)
    assert told in said
    assert bool(said) == bool(document)
