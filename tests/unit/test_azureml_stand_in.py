"""The parts of the Azure ML stand-in that decide: addresses, schemas, nodes for jobs, jobs as files of the engine."""

from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from batchscore.compute.base import Location
from batchscore.definitions import load_pipeline
from batchscore.definitions.model import CommandStep, ParallelStep
from batchscore.devhost.azureml.address import DEVELOPMENT, Operations
from batchscore.devhost.azureml.answers import ServiceError
from batchscore.devhost.azureml.faults import Fault, Faults
from batchscore.devhost.azureml.resources import as_texts
from batchscore.devhost.azureml.runner import Runner
from batchscore.devhost.azureml.scheduling import admitted, too_many
from batchscore.devhost.azureml.schemas import Schemas
from batchscore.devhost.azureml.store import Store
from batchscore.devhost.azureml.translation import JOB_FILE, Step, Translation, translated
from batchscore.errors import RequestError, SettingsError

PREFIX = DEVELOPMENT.arm_id


class NoRoom:
    """Jobs on a disk that is full for a moment."""

    def __init__(self) -> None:
        self.asked, self.twice = 0, threading.Event()

    def active(self) -> dict[str, dict[str, Any]]:
        self.asked += 1
        if self.asked == 1:
            raise OSError(28, "No space left on device")
        self.twice.set()
        return {}


def test_a_fault_of_this_machine_does_not_end_what_moves_jobs_on(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = NoRoom()
    nothing: Any = SimpleNamespace(most_nodes=dict)
    runner = Runner(cast("Any", jobs), nothing, nothing, nothing, nothing, threading.RLock())
    runner.start()
    assert jobs.twice.wait(timeout=30)
    runner.stop()
    assert "No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        (PREFIX, ()),
        (f"{PREFIX}/jobs/a%20b", ("jobs", "a b")),
        (PREFIX.upper() + "/codes/x/versions/1", ("codes", "x", "versions", "1")),
        ("/somewhere/else", None),
    ],
)
def test_an_address_below_the_workspace_is_taken_apart(path: str, parts: tuple[str, ...] | None) -> None:
    assert DEVELOPMENT.parts(path) == parts


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (PREFIX.replace("0000", "1111"), "SubscriptionNotFound"),
        (PREFIX.replace("resourceGroups/development", "resourceGroups/other"), "ResourceGroupNotFound"),
        (PREFIX.removesuffix("development") + "other/jobs", "ResourceNotFound"),
    ],
)
def test_another_place_is_not_found(path: str, code: str) -> None:
    with pytest.raises(ServiceError) as error:
        DEVELOPMENT.parts(path)
    assert (error.value.status, error.value.code) == (404, code)


def test_without_a_list_of_operations_everything_passes() -> None:
    Operations().check("BREW", "/coffee", {})


def test_operations_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "arm_operations.json").write_text("[1]")
    with pytest.raises(SettingsError, match="list of operations"):
        Operations.read(tmp_path)


def schema_folder(folder: Path, *versions: str) -> Path:
    base = {"additionalProperties": False, "properties": {"kind": {"enum": ["big", "small"]}}}
    heir = {"properties": {"size": {"type": "integer"}, "kind": {"enum": ["big"]}}, "required": ["size"]}
    document = {
        "id": "https://example.org/schema#",
        "resourceDefinitions": {
            "workspaces_jobs": {
                "properties": {"properties": {"$ref": "#/definitions/Base"}, "apiVersion": {"type": "string"}}
            }
        },
        "definitions": {
            "Base": {
                "allOf": [
                    base,
                    {
                        "oneOf": [
                            heir,
                            {
                                "$ref": "https://schema.management.azure.com/schemas/common/definitions.json#/definitions/expression"
                            },
                        ]
                    },
                ]
            }
        },
    }
    (folder / "schemas").mkdir()
    for version in versions:
        (folder / "schemas" / f"{version}.json.gz").write_bytes(gzip.compress(json.dumps(document).encode()))
    common = {"definitions": {"expression": {"type": "string", "pattern": "^\\["}}}
    (folder / "schemas" / "common-definitions.json").write_text(json.dumps(common))
    return folder


def test_a_base_schema_does_not_refuse_what_its_heirs_declare(tmp_path: Path) -> None:
    schemas = Schemas(schema_folder(tmp_path, "2023-01-01"))
    schemas.check("jobs", "x", "2023-01-01", {"properties": {"kind": "big", "size": 3, "colour": None}})
    with pytest.raises(ServiceError, match="properties/size: 'three' is not of type 'integer'"):
        schemas.check("jobs", "x", "2023-01-01", {"properties": {"kind": "big", "size": "three"}})


@pytest.mark.parametrize(
    ("asked", "used"),
    [
        ("2022-01-01", "2023-01-01"),
        ("2023-06-01", "2024-01-01-preview"),
        ("2030-01-01", "2024-01-01-preview"),
    ],
)
def test_a_version_without_a_schema_has_that_of_the_next_one(asked: str, used: str, tmp_path: Path) -> None:
    assert Schemas(schema_folder(tmp_path, "2023-01-01", "2024-01-01-preview")).standing_for(asked) == used


def test_a_folder_without_schemas_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="holds no schemas"):
        Schemas(tmp_path)


@pytest.mark.parametrize(
    ("waiting", "held", "expected"),
    [
        ([("a", {"cpu": 2}), ("b", {"cpu": 2})], [], ["a", "b"]),
        ([("a", {"cpu": 3}), ("b", {"cpu": 2}), ("c", {"gpu": 1})], [], ["a", "c"]),
        ([("large", {"cpu": 4}), ("small", {"cpu": 1})], [{"cpu": 1}], []),
        ([("both", {"cpu": 1, "gpu": 1}), ("c", {"cpu": 1})], [{"gpu": 1}], []),
        ([("a", {"cpu": 1})], [{"cpu": 4}], []),
    ],
)
def test_jobs_get_nodes_in_their_order(
    waiting: list[tuple[str, dict[str, int]]], held: list[dict[str, int]], expected: list[str]
) -> None:
    assert admitted(waiting, {"cpu": 4, "gpu": 1}, held) == expected


def test_more_nodes_than_there_can_be_are_told() -> None:
    assert too_many({"cpu": 4}, {"cpu": 4}) is None
    assert "Requested 5 nodes" in str(too_many({"cpu": 5}, {"cpu": 4}))
    assert "'gone' only has 0" in str(too_many({"gone": 1}, {"cpu": 4}))


def test_scalars_of_a_component_come_back_as_texts() -> None:
    given = {"a": True, "b": [5, None], "c": {"d": 0.5, "e": "text"}}
    assert as_texts(given) == {"a": "True", "b": ["5", None], "c": {"d": "0.5", "e": "text"}}


def test_documents_come_back_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number, name in enumerate(("b", "../a", "c.d")):
        made: dict[str, Any] = {"systemData": {"createdAt": f"2026-01-0{number + 1}"}}
        store.put("codes", name, "1.2", document=made)
        store.put("jobs", name, document=made)
    store.remove("jobs", "b")
    again = Store(tmp_path)
    assert list(again.below("JOBS")) == ["../a", "c.d"]
    assert again.get("codes", "c.d", "1.2") is not None
    assert len(again.versions_of_all("codes")) == 3
    assert {file.resolve().is_relative_to(tmp_path) for file in tmp_path.rglob("*")} == {True}


def test_a_fault_meets_only_what_fits_and_as_often_as_it_should() -> None:
    faults = Faults()
    faults.add(Fault("refuse", method="PUT", path="/jobs/", times=2))
    faults.add(Fault("reset", path="/jobs/x$", times=0))
    assert [faults.next("GET", "/codes/x"), faults.next("PUT", "/codes/x")] == [None, None]
    kinds = [getattr(faults.next("PUT", "/jobs/x"), "kind", None) for _ in range(4)]
    assert kinds == ["refuse", "refuse", "reset", "reset"]


@pytest.mark.parametrize("wrong", [{"kind": "explode"}, {"status": 200}, {"times": -1}, {"path": "("}])
def test_a_fault_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Fault(**wrong)


ARM = f"azureml:{PREFIX}"
COMMAND_SPEC = {
    "type": "command",
    "name": "list_them",
    "version": "3",
    "command": "ls ${{inputs.folder}} --most ${{inputs.most}} $[[--deep ${{inputs.deep}}]] > ${{outputs.list}}/list",
    "environment": f"{ARM}/environments/demo/versions/7",
    "code": f"{ARM}/codes/c/versions/1",
    "inputs": {
        "folder": {"type": "uri_folder"},
        "most": {"type": "integer", "default": "5", "optional": "False"},
        "deep": {"type": "boolean", "optional": "True"},
    },
    "outputs": {"list": {"type": "uri_folder"}},
    "_source": "YAML.COMPONENT",
}
PARALLEL_SPEC = {
    "type": "parallel",
    "inputs": {"items": {"type": "uri_folder"}},
    "outputs": {"results": {"type": "uri_folder", "mode": "rw_mount"}, "rows": {"type": "uri_file"}},
    "input_data": "${{inputs.items}}",
    "mini_batch_size": 10,
    "mini_batch_error_threshold": 5,
    "error_threshold": "5",
    "retry_settings": {"max_retries": "3", "timeout": "60"},
    "environment_variables": {"A": "component", "B": "component"},
    "task": {
        "type": "run_function",
        "code": f"{ARM}/codes/c/versions/1",
        "entry_script": "entry.py",
        "environment": f"{ARM}/environments/demo/versions/7",
        "program_arguments": "--results ${{outputs.results}}",
        "append_row_to": "${{outputs.rows}}",
    },
}
PROPERTIES = {
    "jobType": "Pipeline",
    "inputs": {
        "folder": {
            "jobInputType": "uri_folder",
            "uri": "azureml://datastores/d/paths/in",
            "mode": "Download",
        },
        "most": {"jobInputType": "literal", "value": "7"},
        "deep": {"jobInputType": "literal", "value": "True"},
    },
    "outputs": {"results": {"jobOutputType": "uri_folder", "mode": "ReadWriteMount"}},
    "settings": {"continue_on_step_failure": True},
}
COMMAND_NODE = {
    "type": "command",
    "inputs": {
        "folder": {
            "value": "${{parent.inputs.folder}}",
            "job_input_type": "literal",
            "mode": "ReadOnlyMount",
        },
        "most": {"value": "${{parent.inputs.most}}", "job_input_type": "literal"},
        "deep": {"value": "${{parent.inputs.deep}}", "job_input_type": "literal"},
    },
    "outputs": {"list": {"uri": "azureml://datastores/d/paths/between/list", "mode": "Upload"}},
    "limits": {"timeout": "PT1M30S", "job_limits_type": "Command"},
}
PARALLEL_NODE = {
    "type": "parallel",
    "inputs": {"items": {"value": "${{parent.jobs.first.outputs.list}}", "job_input_type": "literal"}},
    "outputs": {
        "results": {"value": "${{parent.outputs.results}}", "type": "literal", "mode": "ReadWriteMount"}
    },
    "resources": {"instance_count": 2},
    "mini_batch_size": 1,
    "mini_batch_error_threshold": 0,
    "environment_variables": {"B": "step"},
    "_source": "REMOTE.WORKSPACE.COMPONENT",
}


def place(uri: str) -> Location:
    return Location("system", "d", uri.removeprefix("azureml://datastores/d/paths/"))


def in_files(tmp_path: Path, first: dict[str, Any], second: dict[str, Any]) -> Translation:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "entry.py").write_text("def run(items):\n    return items\n")
    code = str(tmp_path / "code")
    found = translated(
        PROPERTIES,
        {"first": Step(first, COMMAND_SPEC, code), "second": Step(second, PARALLEL_SPEC, code)},
        place,
        lambda output: Location("system", "default", output),
    )
    for name, document in found.files.items():
        (tmp_path / name).write_text(yaml.safe_dump(document))
    return found


def test_a_job_becomes_files_that_the_engine_reads(tmp_path: Path) -> None:
    found = in_files(tmp_path, COMMAND_NODE, PARALLEL_NODE)
    assert found.inputs == {"folder": Location("system", "d", "in"), "most": 7, "deep": True}
    assert found.outputs == {
        "results": Location("system", "default", "results"),
        "first__list": Location("system", "d", "between/list"),
    }
    pipeline = load_pipeline(tmp_path / JOB_FILE)
    assert pipeline.continue_on_step_failure
    first, second = pipeline.steps
    assert isinstance(first, CommandStep)
    assert isinstance(second, ParallelStep)
    assert (first.environment, first.timeout_s) == ("azureml:demo:7", 90)
    assert first.inputs["folder"].mode == "ro_mount"
    assert first.outputs["list"].mode == "upload"
    assert first.output_bindings == {"list": "first__list"}
    assert (second.mini_batch_size, second.mini_batch_error_threshold, second.error_threshold) == (1, 0, 5)
    assert (second.retry.max_retries, second.retry.timeout_s) == (3, 60)
    assert second.environment_variables == {"A": "component", "B": "step"}
    assert second.instance_count == 2


def test_an_input_that_is_no_number_is_told(tmp_path: Path) -> None:
    node = {**COMMAND_NODE, "inputs": {**COMMAND_NODE["inputs"], "most": {"value": "many"}}}  # type: ignore[dict-item]
    with pytest.raises(RequestError, match="'most' is 'many'; it must be a whole number"):
        in_files(tmp_path, node, PARALLEL_NODE)


def test_an_address_of_a_steps_own_is_an_input_of_the_pipeline(tmp_path: Path) -> None:
    own = {"uri": "azureml://datastores/d/paths/own", "job_input_type": "uri_folder", "mode": "Download"}
    found = in_files(tmp_path, COMMAND_NODE, {**PARALLEL_NODE, "inputs": {"items": own}})
    assert found.inputs["second__items"] == Location("system", "d", "own")
    second = next(step for step in load_pipeline(tmp_path / JOB_FILE).steps if step.name == "second")
    assert second.inputs["items"].mode == "download"


@pytest.mark.parametrize(("limit", "seconds"), [(7, 7), ("PT1H", 3600), ("P1DT2M", 86_520), ("soon", None)])
def test_a_time_limit_is_a_number_or_a_duration(limit: object, seconds: int | None, tmp_path: Path) -> None:
    node = {**COMMAND_NODE, "limits": {"timeout": limit}}
    if seconds is None:
        with pytest.raises(RequestError, match="'soon', which is no duration"):
            in_files(tmp_path, node, PARALLEL_NODE)
        return
    in_files(tmp_path, node, PARALLEL_NODE)
    first = next(step for step in load_pipeline(tmp_path / JOB_FILE).steps if step.name == "first")
    assert isinstance(first, CommandStep)
    assert first.timeout_s == seconds
