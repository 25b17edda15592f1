"""The document of an Azure ML pipeline job that a run becomes, as the SDK reads it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from batchscore import planning
from batchscore.compute.azureml.job_document import node_names, uri
from batchscore.compute.base import Location, Overrides, Scalar
from batchscore.definitions import load_pipeline
from batchscore.definitions.model import LocalPath, ParallelStep, Pipeline
from batchscore.errors import NotDeployedError, RequestError
from batchscore.workloads import Workloads
from tests import azureml_jobs
from tests.azureml_jobs import RUN, SHIPPED, VERSION, documented, given, job_of
from tests.local_pipelines import write
from tests.local_workloads import write_workload
from tests.painting_workload import P, workload_in

WORKLOADS = Workloads(SHIPPED).names()


def read(
    workload: str,
    inputs: Mapping[str, Location | Scalar] | None = None,
    overrides: Overrides = Overrides(),  # noqa: B008 - frozen
    folder: Path = SHIPPED,
) -> dict[str, Any]:
    """The document of a run of the workload, as YAML reads it."""
    pipeline = load_pipeline(folder / f"{workload}.pipeline.yml")
    values = dict(given(pipeline) if inputs is None else inputs)
    document: dict[str, Any] = yaml.safe_load(
        documented(job_of(pipeline, workload, values, overrides), folder).document
    )
    return document


@pytest.mark.parametrize("workload", WORKLOADS)
def test_the_sdk_reads_every_workload_as_registered_components(workload: str) -> None:
    from azure.ai.ml import load_job

    pipeline = load_pipeline(SHIPPED / f"{workload}.pipeline.yml")
    job = documented(job_of(pipeline, workload, given(pipeline)))
    loaded = load_job(source=io.StringIO(job.document))
    assert loaded.name == f"{RUN}-1"
    assert {name: node.component for name, node in loaded.jobs.items()} == {
        step.name: f"{step.name}:{VERSION}" for step in pipeline.steps
    }
    for step in pipeline.steps:
        node = loaded.jobs[step.name]
        assert node.type == ("parallel" if isinstance(step, ParallelStep) else "command")
        assert node.compute in ("cpu-cluster", "gpu-cluster")
        assert set(node.inputs) <= set(step.inputs)
        assert set(node.outputs) == set(step.outputs)
    assert loaded.tags == {
        "batchscore_run": RUN,
        "batchscore_attempt": "1",
        "batchscore_workload": workload,
        "batchscore_component": f"{pipeline.name}:{VERSION}",
    }


@pytest.mark.parametrize("workload", WORKLOADS)
def test_everything_that_is_read_is_there(workload: str) -> None:
    document = read(workload)
    written = {
        f"parent.jobs.{name}.outputs.{port}"
        for name, node in document["jobs"].items()
        for port in node["outputs"]
    }
    there = written | {f"parent.inputs.{name}" for name in document["inputs"]}
    bound = {
        reference
        for node in document["jobs"].values()
        for value in node["inputs"].values()
        if (reference := _reference(value))
    }
    assert bound
    assert bound <= there


def _reference(value: object) -> str:
    text = value["path"] if isinstance(value, dict) else value
    return text[3:-2] if isinstance(text, str) and text.startswith("${{") else ""


def test_an_optional_input_that_is_unset_is_left_out_with_what_is_bound_to_it() -> None:
    document = read("style_transfer/video")
    assert "style" in document["inputs"]
    for name in ("style_image", "max_height"):
        assert name not in document["inputs"]
        assert all(name not in node["inputs"] for node in document["jobs"].values())


def test_inputs_and_outputs_are_places_in_datastores_with_their_modes() -> None:
    document = read("style_transfer/video")
    assert document["inputs"]["video"] == {
        "type": "uri_file",
        "path": "azureml://datastores/batchscore_in_put/paths/video/there",
    }
    assert document["inputs"]["style"] == {
        "type": "custom_model",
        "path": "azureml://datastores/batchscore_models/paths/style/1",
    }
    assert document["outputs"]["receipts"] == {
        "type": "uri_folder",
        "path": f"azureml://datastores/batchscore_logs/paths/{RUN}/receipts",
        "mode": "rw_mount",
    }
    assert document["outputs"]["result"]["mode"] == "upload"
    stitch = document["jobs"]["stitch"]
    assert stitch["outputs"]["result"] == {
        "type": "uri_folder",
        "path": "${{parent.outputs.result}}",
        "mode": "upload",
    }
    assert stitch["inputs"]["segments"] == {
        "type": "uri_folder",
        "path": "${{parent.jobs.split.outputs.segments}}",
        "mode": "ro_mount",
    }
    assert document["jobs"]["stylize"]["inputs"]["strength"] == "${{parent.inputs.strength}}"


def test_a_model_that_a_run_makes_is_written_as_one() -> None:
    document = read("sensors/train")
    assert document["outputs"]["models"]["type"] == "custom_model"
    assert document["outputs"]["models"]["mode"] == "upload"


def test_how_a_parallel_step_runs_is_said_in_full() -> None:
    node = read("digits/classify")["jobs"]["classify"]
    assert node["resources"] == {"instance_count": 1}
    assert node["input_data"] == "${{inputs.images}}"
    assert node["mini_batch_size"] == "100"
    assert node["max_concurrency_per_instance"] == 2
    assert node["error_threshold"] == -1
    assert node["mini_batch_error_threshold"] == -1
    assert node["retry_settings"] == {"max_retries": 2, "timeout": 300}
    assert node["logging_level"] == "INFO"
    assert node["compute"] == "azureml:cpu-cluster"


def test_what_a_run_asks_for_goes_before_the_definition_and_zero_counts() -> None:
    overrides = Overrides(
        nodes=3,
        mini_batch_size=7,
        max_concurrency_per_instance=5,
        error_threshold=0,
        mini_batch_error_threshold=0,
        timeout_s=90,
        max_retries=0,
        logging_level="DEBUG",
        environment_variables={"A": "1"},
    )
    jobs = read("digits/classify", overrides=overrides)["jobs"]
    node = jobs["classify"]
    assert node["resources"] == {"instance_count": 3}
    assert (node["mini_batch_size"], node["max_concurrency_per_instance"]) == ("7", 5)
    assert (node["error_threshold"], node["mini_batch_error_threshold"]) == (0, 0)
    assert node["retry_settings"] == {"max_retries": 0, "timeout": 90}
    assert node["logging_level"] == "DEBUG"
    assert [each["environment_variables"] for each in jobs.values()] == [
        {"OMP_NUM_THREADS": "3", "A": "1"},  # five workers share sixteen cores
        {"A": "1"},
    ]
    assert "resources" not in jobs["collect"]


def test_a_step_of_a_pipeline_component_is_a_node_of_its_own(tmp_path: Path) -> None:
    folder = write_workload(tmp_path)
    inputs: dict[str, Location | Scalar] = {"data": Location("data", "data", "in"), "mode": "ok"}
    jobs = read("sample/nested", inputs, folder=folder)["jobs"]
    assert list(jobs) == ["part__score", "part__collect"]
    assert jobs["part__score"]["display_name"] == "part/score"
    collect = jobs["part__collect"]
    assert collect["inputs"]["scored"]["path"] == "${{parent.jobs.part__score.outputs.scored}}"
    assert collect["outputs"]["result"]["path"] == "${{parent.outputs.result}}"
    assert "note" not in collect["inputs"]
    assert "gate" not in jobs["part__score"]["inputs"]


def test_two_steps_never_become_one_node() -> None:
    pipeline = _pipeline()
    step = pipeline.steps[0]
    names = ("a/b", "a__b", "a_/b", "a___b")
    several = replace(pipeline, steps=tuple(replace(step, name=name) for name in names))
    found = node_names(several)
    assert found["a__b"] == "a__b"
    assert len(set(found.values())) == len(names)


def _pipeline() -> Pipeline:
    return load_pipeline(SHIPPED / "digits" / "classify.pipeline.yml")


@pytest.mark.parametrize(
    "text",
    [
        "true",
        "5",
        "1e-5",
        "null",
        "azureml:x:1",
        "C:\\x",
        "a \"b\" 'c'",
        "a: b # c",
        "ä\u2028\x85\ufeff\x7f😀\n",
        " x ",
    ],
)
def test_a_text_stays_the_text_that_it_is(tmp_path: Path, text: str) -> None:
    from azure.ai.ml import load_job

    folder = write_workload(tmp_path)
    pipeline = load_pipeline(folder / "sample/score.pipeline.yml")
    inputs: dict[str, Location | Scalar] = {"data": Location("data", "data", "a #b"), "mode": text}
    loaded = load_job(
        source=io.StringIO(documented(job_of(pipeline, "sample/score", inputs), folder).document)
    )
    sent = loaded._to_rest_object().properties.inputs
    assert sent["mode"].value == text
    assert sent["data"].uri == "azureml://datastores/batchscore_data/paths/a #b"


def test_a_text_that_azure_ml_would_read_as_a_reference_is_refused(tmp_path: Path) -> None:
    folder = write_workload(tmp_path)
    inputs: dict[str, Location | Scalar] = {
        "data": Location("data", "data", "in"),
        "mode": "${{parent.inputs.gate}}",
    }
    with pytest.raises(RequestError, match=r"input 'mode' is '\$"):
        read("sample/score", inputs, folder=folder)


def test_an_empty_text_which_the_sdk_drops_is_unset_or_refused(tmp_path: Path) -> None:
    folder = write_workload(tmp_path)
    inputs: dict[str, Location | Scalar] = {
        "data": Location("data", "data", "in"),
        "mode": "ok",
        "gate": "",
    }
    document = read("sample/score", inputs, folder=folder)
    assert "gate" not in document["inputs"]
    assert "gate" not in document["jobs"]["score"]["inputs"]
    with pytest.raises(RequestError, match="input 'mode' is an empty text"):
        read("sample/score", {**inputs, "mode": ""}, folder=folder)


def test_an_output_that_is_none_of_the_pipelines_has_a_place_of_the_run(tmp_path: Path) -> None:
    folder = write_workload(tmp_path)
    file = folder / "sample" / "score.pipeline.yml"
    text = file.read_text()
    inside = text.replace("  scored: {type: uri_folder, mode: rw_mount}\n", "", 1)
    file.write_text(inside.replace("      scored: ${{parent.outputs.scored}}\n", ""))
    inputs: dict[str, Location | Scalar] = {"data": Location("data", "data", "in"), "mode": "ok"}
    document = read("sample/score", inputs, folder=folder)
    assert document["jobs"]["score"]["outputs"]["scored"] == {
        "type": "uri_folder",
        "path": f"azureml://datastores/batchscore_data/paths/between/{RUN}/score.scored",
        "mode": "rw_mount",
    }


def test_a_path_of_this_machine_in_a_pipeline_is_refused(tmp_path: Path) -> None:
    folder = write_workload(tmp_path)
    pipeline = load_pipeline(folder / "sample/score.pipeline.yml")
    [score, collect] = pipeline.steps
    local = replace(collect, bindings={**collect.bindings, "note": LocalPath("/here/note.txt")})
    job = job_of(pipeline, "sample/score", {"data": Location("data", "data", "in"), "mode": "ok"})
    with pytest.raises(RequestError, match=r"input 'note' of step 'collect' is /here/note\.txt"):
        _document(job, replace(pipeline, steps=(score, local)))


def _document(job: Any, pipeline: Pipeline) -> str:
    from batchscore.compute.azureml.job_document import job_document

    clusters = {step.name: "cpu-cluster" for step in pipeline.steps}
    place = Location("data", "data", "between")
    return job_document(job, pipeline, azureml_jobs.deployed(pipeline), clusters, place)


def test_what_a_step_says_to_azure_ml_alone_goes_there_as_it_is(tmp_path: Path) -> None:
    from azure.ai.ml import load_job

    workload_in(tmp_path)
    document = read("demo/paint", overrides=Overrides(nodes=3), folder=tmp_path)
    prepare, paint = document["jobs"]["prepare"], document["jobs"]["paint"]
    assert prepare["identity"] == {"type": "user_identity"}
    assert prepare["queue_settings"] == {"job_tier": "standard"}
    assert prepare["limits"] == {"timeout": 600}
    assert paint["resources"] == {"shm_size": "2g", "instance_count": 3}
    loaded = load_job(source=io.StringIO(yaml.safe_dump(document)))
    assert loaded.jobs["paint"].resources.shm_size == "2g"
    assert loaded.jobs["prepare"].identity.type == "user_identity"


def test_an_address_of_azure_ml_for_which_a_path_stands_here_is_handed_over_as_it_is(tmp_path: Path) -> None:
    address = "azureml://datastores/team_files/paths/labels/"
    source = "${{parent.inputs.pictures}}"
    workload_in(
        tmp_path, P, f"source: {source}", f"source: {{type: uri_folder, path: '{address}', mode: download}}"
    )
    (tmp_path / "demo/azureml-local.yml").write_text(f"{address}: pictures\n")
    document = read("demo/paint", folder=tmp_path)
    assert document["jobs"]["prepare"]["inputs"]["source"] == {
        "type": "uri_folder",
        "path": address,
        "mode": "download",
    }


def test_the_mode_that_a_run_asks_for_is_said_at_every_step_that_reads_or_writes_the_data() -> None:
    overrides = Overrides(modes={"video": "download", "result": "rw_mount", "stylized": "upload"})
    document = read("style_transfer/video", overrides=overrides)
    assert document["inputs"]["video"]["mode"] == "download"
    for step in ("split", "stylize", "stitch"):
        assert document["jobs"][step]["inputs"]["video"]["mode"] == "download"
    assert document["outputs"]["result"]["mode"] == "rw_mount"
    assert document["jobs"]["stitch"]["outputs"]["result"]["mode"] == "rw_mount"
    assert document["jobs"]["stylize"]["outputs"]["stylized"]["mode"] == "upload"
    sent = sent_by_sdk(document)
    assert sent.inputs["video"]["mode"] == "Download"
    assert sent.jobs["stylize"]["inputs"]["video"]["mode"] == "Download"
    assert sent.jobs["stitch"]["outputs"]["result"]["mode"] == "ReadWriteMount"


def test_variables_that_a_run_changes_are_said_at_every_step() -> None:
    overrides = Overrides(environment_variables={"OMP_NUM_THREADS": "2"})
    jobs = sent_by_sdk(read("style_transfer/video", overrides=overrides)).jobs
    assert [job["environment_variables"] for job in jobs.values()] == [{"OMP_NUM_THREADS": "2"}] * 3


def sent_by_sdk(document: dict[str, Any]) -> Any:
    """The properties of the job, as the SDK makes them for the wire."""
    from azure.ai.ml import load_job

    return load_job(io.StringIO(yaml.safe_dump(document)))._to_rest_object().properties


def test_a_step_that_is_not_deployed_is_named(tmp_path: Path) -> None:
    from batchscore.compute.azureml.job_document import job_document

    folder = write_workload(tmp_path)
    pipeline = load_pipeline(folder / "sample/score.pipeline.yml")
    job = job_of(pipeline, "sample/score", {"data": Location("data", "data", "in"), "mode": "ok"})
    half = replace(azureml_jobs.deployed(pipeline), steps={})
    with pytest.raises(NotDeployedError, match=r"step 'score' .* 'batchscore deploy'"):
        job_document(job, pipeline, half, {"score": "c", "collect": "c"}, Location("data", "data", "b"))


def test_a_container_has_the_same_datastore_everywhere() -> None:
    assert (
        uri(Location("data", "in-put", "a/b c.mp4"))
        == "azureml://datastores/batchscore_in_put/paths/a/b c.mp4"
    )


def test_a_table_is_handed_over_by_rows_of_so_many_bytes(tmp_path: Path) -> None:
    folder = write_workload(tmp_path)
    score = folder / "sample" / "score.yml"
    score.write_text(
        score.read_text()
        .replace("data: {type: uri_folder}", "data: {type: mltable}")
        .replace('mini_batch_size: "1"', "mini_batch_size: 10kb")
    )
    file = folder / "sample" / "score.pipeline.yml"
    file.write_text(file.read_text().replace("data: {type: uri_folder}", "data: {type: mltable}"))
    inputs: dict[str, Location | Scalar] = {"data": Location("data", "data", "in"), "mode": "ok"}
    node = read("sample/score", inputs, folder=folder)["jobs"]["score"]
    assert node["mini_batch_size"] == "10240"
    assert node["inputs"]["data"]["mode"] == "eval_mount"
    score.write_text(score.read_text().replace("mini_batch_size: 10kb", "partition_keys: [device, tag]"))
    node = read("sample/score", inputs, folder=folder)["jobs"]["score"]
    assert node["partition_keys"] == ["device", "tag"]
    assert "mini_batch_size" not in node


def test_a_step_goes_on_the_cluster_for_its_environment_or_the_one_it_names(tmp_path: Path) -> None:
    folder = write_workload(tmp_path)
    environment = "name: sample\nimage: any\ntags: {accelerator: gpu}\n"
    inputs: dict[str, Location | Scalar] = {"data": Location("data", "data", "in"), "mode": "ok"}
    assert _computes(read("sample/score", inputs, folder=folder)) == ["azureml:cpu-cluster"] * 2
    write(folder / "environments" / "sample.yml", environment)
    assert _computes(read("sample/score", inputs, folder=folder)) == ["azureml:gpu-cluster"] * 2


def _computes(document: dict[str, Any]) -> list[str]:
    return [node["compute"] for node in document["jobs"].values()]


def test_a_gpu_step_gets_a_worker_for_each_gpu_of_its_clusters_nodes() -> None:
    pipeline = load_pipeline(SHIPPED / "style_transfer" / "video.pipeline.yml")
    large = replace(azureml_jobs.SETTINGS, clusters={"AML_GPU_COMPUTE_CLUSTER_SKU": "Standard_NC64as_T4_v3"})
    job = job_of(pipeline, "style_transfer/video", given(pipeline))
    job = planning.documented(job, pipeline, azureml_jobs.deployed(pipeline), large)
    assert yaml.safe_load(job.document)["jobs"]["stylize"]["max_concurrency_per_instance"] == 4
