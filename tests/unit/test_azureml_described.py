"""A job as ARM describes it, and its steps as the run history does."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from batchscore.compute.azureml.described import StepDescription, described, place_of, step_runs
from batchscore.compute.base import Location
from tests.needed import shared

DATA = "azureml://datastores/batchscore_data/paths"
JOB: dict[str, Any] = {
    "name": "0123456789abcdef0123-1",
    "properties": {
        "status": "Running",
        "tags": {"batchscore_run": "0123456789abcdef0123"},
        "services": {"Studio": {"endpoint": "https://ml.azure.com/runs/x"}, "Tracking": None},
        "inputs": {
            "video": {"jobInputType": "uri_file", "uri": f"{DATA}/videos/a.mp4"},
            "frames": {"jobInputType": "uri_folder", "uri": f"{DATA}/frames/"},
            "strength": {"jobInputType": "literal", "value": "1.0"},
        },
        "outputs": {
            "segments": {"uri": f"{DATA}/runs/x/segments"},
            "receipts": {"uri": "azureml://datastores/batchscore_logs/paths/x/receipts"},
        },
        "jobs": {
            "split": {
                "type": "command",
                "computeId": "/subscriptions/1/workspaces/w/computes/cpu",
                "outputs": {"segments": {"value": "${{parent.outputs.segments}}", "type": "literal"}},
            },
            "part__stylize": {
                "type": "parallel",
                "display_name": "part/stylize",
                "computeId": "/subscriptions/1/workspaces/w/computes/gpu",
                "resources": {"instance_count": 4},
                "input_data": "${{inputs.segments}}",
                "inputs": {
                    "segments": {
                        "job_input_type": "literal",
                        "value": "${{parent.jobs.split.outputs.segments}}",
                        "mode": "ReadOnlyMount",
                    }
                },
                "outputs": {"receipts": {"value": "${{parent.outputs.receipts}}", "type": "literal"}},
            },
            "score": {
                "type": "parallel",
                "input_data": "${{inputs.pictures}}",
                "inputs": {"pictures": {"job_input_type": "literal", "value": "${{parent.inputs.frames}}"}},
                "outputs": {"receipts": {"job_output_type": "uri_folder", "uri": f"{DATA}/between/receipts"}},
            },
        },
    },
}


def test_the_steps_of_a_job_with_what_they_split_and_where_their_receipts_are() -> None:
    job = described(JOB, "data", "batchscore_run")
    assert (job.state, job.link, job.run_id) == (
        "Running",
        "https://ml.azure.com/runs/x",
        "0123456789abcdef0123",
    )
    assert job.steps == (
        StepDescription("split", "split", cluster="cpu"),
        StepDescription(
            "part__stylize",
            "part/stylize",
            nodes=4,
            cluster="gpu",
            items=Location("data", "data", "runs/x/segments"),
            items_from="split",
            receipts=Location("system", "logs", "x/receipts"),
        ),
        StepDescription(
            "score",
            "score",
            items=Location("data", "data", "frames"),
            receipts=Location("data", "data", "between/receipts"),
        ),
    )


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        (f"{DATA}/a b/c.txt", Location("data", "data", "a b/c.txt")),
        (
            "azureml://subscriptions/1/resourcegroups/g/workspaces/w/datastores/batchscore_in_put/paths/x/",
            Location("data", "in-put", "x"),
        ),
        ("azureml://datastores/batchscore_models/paths/m/1", Location("system", "models", "m/1")),
        ("azureml://datastores/workspaceblobstore/paths/x", None),
        ("azureml:data:1", None),
        ("", None),
    ],
)
def test_a_datastores_path_is_a_place_of_ours_or_none(uri: str, place: Location | None) -> None:
    assert place_of(uri, "data") == place


def test_a_data_container_that_is_called_logs_is_still_the_data_container() -> None:
    assert place_of("azureml://datastores/batchscore_logs/paths/x", "logs") == Location("data", "logs", "x")


@pytest.mark.parametrize(
    ("said", "nodes"), [(3, 3), ("3", 3), ("", 1), (0, 1), (True, 1), (None, 1), ("three", 1), (-2, 1)]
)
def test_a_number_of_nodes_may_come_as_text(said: object, nodes: int) -> None:
    job = described({"properties": {"jobs": {"a": {"resources": {"instance_count": said}}}}}, "data", "run")
    assert job.steps == (StepDescription("a", "a", nodes=nodes),)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"properties": None},
        {"properties": {"jobs": None, "services": None, "status": None}},
        {"properties": {"jobs": {"a": None, "b": {"inputs": [], "input_data": 5, "resources": {}}}}},
        {"properties": {"jobs": {"a": {"input_data": "${{inputs.x}}", "inputs": {"x": {"value": None}}}}}},
    ],
)
def test_what_the_service_leaves_out_is_taken_for_not_said(document: dict[str, Any]) -> None:
    job = described(document, "data", "batchscore_run")
    assert job.state == ""
    assert all(step.items is None and step.nodes == 1 for step in job.steps)


def test_a_recorded_answer_of_the_service_is_understood() -> None:
    file = shared("azureml", "recordings", "parallel_job_PUT_response_201_head.json")
    decoder = json.JSONDecoder()
    text = file.read_text()
    text = text[: text.index('"jobs": {')] + '"jobs": {"node1": {"type": "parallel"}}}}'
    job = described(decoder.decode(text), "data", "batchscore_run")
    assert job.state == "Preparing"
    assert job.link.startswith("https://ml.azure.com/runs/")
    assert [step.node for step in job.steps] == ["node1"]


def _child(name: str, state: str, **more: object) -> dict[str, Any]:
    return {"runId": f"run-{name}-{state}", "displayName": name, "status": state, **more}


def test_runs_find_their_steps_by_either_name_and_the_newest_counts() -> None:
    steps = described(JOB, "data", "batchscore_run").steps
    runs = step_runs(
        [
            _child("part/stylize", "Running", createdUtc="2026-11-21T12:00:02Z"),
            _child("part/stylize", "Failed", createdUtc="2026-11-21T12:00:01Z"),
            _child(
                "split",
                "Completed",
                startTimeUtc="2026-11-21T12:00:00.5+00:00",
                endTimeUtc="2026-11-21T12:01:00.0+00:00",
            ),
            _child("another", "Running"),
            {"status": 5},
        ],
        steps,
    )
    assert set(runs) == {"split", "part__stylize"}
    assert runs["part__stylize"].state == "Running"
    assert runs["split"].seconds == 59.5
    assert runs["split"].ended_at == datetime(2026, 11, 21, 12, 1, tzinfo=UTC)
    assert runs["part__stylize"].seconds == 0
