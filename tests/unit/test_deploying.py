"""What a deployment would bring: snapshots, environments, components, each with a version; and what is to be done."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from batchscore.definitions import load_pipeline
from batchscore.definitions.compute_targets import ComputeTarget
from batchscore.deploying.changes import Action, Change, changes
from batchscore.deploying.components import WorkloadComponents, components_of
from batchscore.deploying.environments import build_context, read_environments
from batchscore.deploying.found import Found, FoundCluster, FoundDatastore, found_cluster, found_datastore
from batchscore.deploying.snapshots import Snapshot, code_snapshot
from batchscore.deploying.wanted import Datastore, Model, Wanted, kind_of, wanted
from batchscore.errors import DefinitionError
from batchscore.storage import Storage
from batchscore.workloads import Workloads
from tests.azureml_jobs import SETTINGS
from tests.needed import shared
from tests.unit.workload_folder import COPY, LIST, PIPELINE, write_workloads

ROOT = Path(__file__).parents[2]
SCORING = ROOT / "scoring"
CLUSTERS = {"cpu-cluster": "batch-cpu", "gpu-cluster": "gpu-cluster"}
ENVIRONMENT = "name: demo\nbuild:\n  path: .\n  dockerfile_path: demo.Dockerfile\n"
DOCKERFILE = "FROM scratch\nCOPY demo.txt common.txt /tmp/\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the workload demo/copy, whose steps use the environment demo."""
    folder = write_workloads(tmp_path)
    (folder / "environments").mkdir()
    for name, text in (
        ("demo.yml", ENVIRONMENT),
        ("demo.Dockerfile", DOCKERFILE),
        ("demo.txt", "numpy\n"),
        ("common.txt", "pillow\n"),
    ):
        (folder / "environments" / name).write_text(text)
    for name, text in (("copy", COPY), ("list", LIST)):
        (folder / "demo" / f"{name}.yml").write_text(text.replace("azureml:any:1", "azureml:demo@latest"))
    return folder


def of(folder: Path, workload: str = "demo/copy") -> WorkloadComponents:
    pipeline = Workloads(folder).pipeline(workload)
    return components_of(workload, pipeline, read_environments(folder), CLUSTERS)


def versions(folder: Path) -> dict[str, str]:
    return {component.name: component.version for component in of(folder).components}


def test_what_would_fail_when_it_runs_is_not_deployed(folder: Path) -> None:
    file = folder / "demo" / "copy.yml"
    file.write_text(file.read_text().replace("instance_count: 1", "instance_count: 40"))
    settings = replace(SETTINGS, workloads_folder=folder)
    with (
        closing(Storage(settings)) as storage,
        pytest.raises(DefinitionError, match=r"copy\.yml:\d+: step 'copy' asks for 40 nodes"),
    ):
        wanted(settings, storage, Workloads(folder), bring_models=False)


class TestSnapshots:
    def test_a_snapshot_is_its_names_and_contents(self, tmp_path: Path) -> None:
        one, other = tmp_path / "one", tmp_path / "other"
        for place in (one, other):
            (place / "part").mkdir(parents=True)
            (place / "a.py").write_text("a")
            (place / "part" / "b.py").write_text("b")
        assert code_snapshot(one).version == code_snapshot(other).version
        (other / "part" / "b.py").rename(other / "b.py")
        assert code_snapshot(one).version != code_snapshot(other).version

    def test_caches_and_what_the_ignore_file_names_stay_here(self, tmp_path: Path) -> None:
        for name in (
            "a.py",
            "__pycache__/a.pyc",
            ".git/config",
            "notes/n.md",
            "data/big.bin",
            "data/keep.bin",
        ):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(name)
        (tmp_path / ".amlignore").write_text("*.md\ndata/*\n!data/keep.bin\n.amlignore\n")
        (tmp_path / ".gitignore").write_text("a.py\n")
        assert set(code_snapshot(tmp_path).files) == {"a.py", "data/keep.bin", ".gitignore"}

    def test_a_copy_holds_exactly_the_files(self, tmp_path: Path) -> None:
        (tmp_path / "code" / "part").mkdir(parents=True)
        (tmp_path / "code" / "part" / "b.py").write_text("b")
        copied = code_snapshot(tmp_path / "code").copy_to(tmp_path / "copy")
        assert {path.relative_to(copied).as_posix() for path in copied.rglob("*.*")} == {"part/b.py"}

    def test_what_a_command_wants_beside_its_code_is_in_it(self, tmp_path: Path) -> None:
        for name in ("code/a.py", "shared/util.py", "labels.txt"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(name)
        found = code_snapshot(tmp_path / "code", [tmp_path / "shared", tmp_path / "labels.txt"])
        assert set(found.files) == {"a.py", "shared/util.py", "labels.txt"}

    def test_an_empty_code_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DefinitionError, match="holds no files"):
            code_snapshot(tmp_path)

    def test_the_shipped_code_holds_what_steps_run_and_no_pictures(self) -> None:
        found = code_snapshot(SCORING)
        pipelines = Workloads(SCORING)
        scripts = {
            step.entry_script
            for name in pipelines.names()
            for step in pipelines.pipeline(name).steps
            if hasattr(step, "entry_script")
        }
        assert scripts <= set(found.files)
        assert {"models/arbitrary/predictor.onnx", "models/digits/model.onnx", "common/receipts.py"} <= set(
            found.files
        )
        assert not [name for name in found.files if name.endswith((".jpg", ".yml", ".pyc"))]
        assert found.size_bytes < 8_000_000


class TestEnvironments:
    def test_an_image_is_built_from_its_dockerfile_and_what_that_copies(self, folder: Path) -> None:
        found = read_environments(folder)["demo"]
        assert found.context is not None
        assert set(found.context.files) == {"demo.Dockerfile", "demo.txt", "common.txt"}
        assert found.dockerfile == "demo.Dockerfile"

    def test_a_change_of_another_file_builds_no_new_image(self, folder: Path) -> None:
        before = read_environments(folder)["demo"].version
        (folder / "environments" / "other.txt").write_text("torch\n")
        assert read_environments(folder)["demo"].version == before
        (folder / "environments" / "common.txt").write_text("pillow==13\n")
        assert read_environments(folder)["demo"].version != before

    @pytest.mark.parametrize(
        "copied",
        ["COPY . /app", "COPY *.txt /tmp/", "ADD demo.txt nowhere.txt /tmp/", "COPY --chown=1:1 part /tmp/"],
    )
    def test_where_a_dockerfile_copies_folders_or_patterns_the_whole_folder_goes(
        self, folder: Path, copied: str
    ) -> None:
        place = folder / "environments"
        (place / "part").mkdir()
        (place / "part" / "x.txt").write_text("x")
        (place / "demo.Dockerfile").write_text(f"FROM scratch\n{copied}\n")
        assert {"demo.txt", "common.txt", "part/x.txt"} <= set(build_context(place, "demo.Dockerfile").files)

    def test_a_copy_over_two_lines_and_one_from_another_stage_are_read(self, folder: Path) -> None:
        place = folder / "environments"
        text = "FROM scratch\nCOPY demo.txt \\\n  common.txt /tmp/\nCOPY --from=build /out /out\n"
        (place / "demo.Dockerfile").write_text(text)
        assert set(build_context(place, "demo.Dockerfile").files) == {
            "demo.Dockerfile",
            "demo.txt",
            "common.txt",
        }

    def test_an_environment_of_an_image_and_a_conda_file_has_a_version_of_both(self, folder: Path) -> None:
        place = folder / "environments"
        (place / "packages.conda").write_text("dependencies: [python=3.12]\n")
        (place / "demo.yml").write_text("name: demo\nimage: ubuntu\nconda_file: packages.conda\n")
        before = read_environments(folder)["demo"].version
        (place / "packages.conda").write_bytes(b"dependencies: [python=3.12]\r\n")
        assert read_environments(folder)["demo"].version == before
        (place / "packages.conda").write_text("dependencies: [python=3.11]\n")
        assert read_environments(folder)["demo"].version != before

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("image: ubuntu\n", "has no name"),
            ("name: demo\n", "has no image"),
            (
                "name: demo\nbuild: {path: ., dockerfile_path: none.Dockerfile}\n",
                "none.Dockerfile, which is not there",
            ),
            ("name: demo\nimage: ubuntu\nconda_file: none.yml\n", "'none.yml', which is not there"),
            ("name: demo\nimages: ubuntu\n", "'images' is not a key"),
        ],
    )
    def test_a_mistake_is_told_with_its_file_and_line(self, folder: Path, text: str, said: str) -> None:
        (folder / "environments" / "demo.yml").write_text(text)
        with pytest.raises(DefinitionError) as caught:
            read_environments(folder)
        assert "demo.yml:" in str(caught.value)
        assert said in str(caught.value)

    def test_two_files_cannot_have_one_name(self, folder: Path) -> None:
        shutil.copy(folder / "environments" / "demo.yml", folder / "environments" / "again.yml")
        with pytest.raises(DefinitionError, match="another file has the name 'demo', too"):
            read_environments(folder)


class TestComponents:
    def test_steps_come_before_the_pipeline_that_names_their_versions(self, folder: Path) -> None:
        found = of(folder)
        assert [kind_of(component) for component in found.components] == [
            "component",
            "component",
            "pipeline",
        ]
        assert found.components[-1] is found.pipeline
        assert set(found.steps) == {"copy", "list"}
        for step, label in found.steps.items():
            assert found.pipeline.document["jobs"][step]["component"] == f"azureml:{label}"

    def test_environments_are_named_by_version_and_clusters_by_their_real_names(self, folder: Path) -> None:
        text = PIPELINE.replace(
            "component: ./list.yml", "component: ./list.yml\n    compute: azureml:cpu-cluster"
        )
        (folder / "demo" / "copy.pipeline.yml").write_text(text)
        found = of(folder)
        copy, listing, pipeline = found.components
        version = read_environments(folder)["demo"].version
        assert copy.document["task"]["environment"] == f"azureml:demo:{version}"
        assert listing.document["environment"] == f"azureml:demo:{version}"
        assert pipeline.document["jobs"]["list"]["compute"] == "azureml:batch-cpu"
        assert "compute" not in pipeline.document["jobs"]["copy"]

    def test_the_code_is_put_where_each_kind_has_it(self, folder: Path) -> None:
        copy, listing, pipeline = of(folder).components
        assert copy.document_with(Path("/code"))["task"]["code"] == "/code"
        assert listing.document_with(Path("/code"))["code"] == "/code"
        assert pipeline.document_with(None)["version"] == pipeline.version
        assert copy.code is not None
        assert "copy_files.py" in copy.code.files

    def test_unchanged_files_keep_every_version(self, folder: Path) -> None:
        before = versions(folder)
        (folder / "demo" / "copy.yml").write_text(
            (folder / "demo" / "copy.yml").read_text() + "# a comment\n"
        )
        (folder / "demo" / "__pycache__").mkdir()
        (folder / "demo" / "__pycache__" / "copy_files.pyc").write_bytes(b"x")
        after = versions(folder)
        assert (
            after["list_files"] != before["list_files"]
        )  # the file with the comment is in the code, which no .amlignore thins
        (folder / "demo" / ".amlignore").write_text("*.yml\n.amlignore\n")
        before = versions(folder)
        (folder / "demo" / "copy.yml").write_text((folder / "demo" / "copy.yml").read_text() + "# another\n")
        assert versions(folder) == before

    def test_a_changed_entry_script_gives_new_versions_of_its_components_and_of_the_pipeline(
        self, folder: Path
    ) -> None:
        (folder / "other").mkdir()
        (folder / "other" / "run.py").write_text("print('other')\n")
        listing = (folder / "demo" / "list.yml").read_text().replace("code: .", "code: ../other")
        (folder / "demo" / "list.yml").write_text(listing)
        before = versions(folder)
        (folder / "demo" / "copy_files.py").write_text(
            "def init(): ...\ndef run(mini_batch): return mini_batch\n"
        )
        after = versions(folder)
        assert after["copy_files"] != before["copy_files"]
        assert after["copy"] != before["copy"]
        assert after["list_files"] == before["list_files"]

    def test_a_changed_requirement_gives_new_versions_all_the_way_up(self, folder: Path) -> None:
        before = versions(folder)
        (folder / "environments" / "demo.txt").write_text("numpy==2\n")
        after = versions(folder)
        assert [name for name in after if after[name] == before[name]] == []

    def test_a_step_inside_a_pipeline_component_is_named_by_both(self, folder: Path) -> None:
        outer = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json
type: pipeline
name: outer
inputs:
  files: {type: uri_folder}
outputs:
  list: {type: uri_folder}
jobs:
  inner:
    type: pipeline
    component: ./copy.pipeline.yml
    inputs: {files: "${{parent.inputs.files}}"}
    outputs: {list: "${{parent.outputs.list}}"}
"""
        (folder / "demo" / "outer.pipeline.yml").write_text(outer)
        found = of(folder, "demo/outer")
        assert set(found.steps) == {"inner/copy", "inner/list"}
        inner, whole = found.components[-2:]
        assert (inner.name, whole.name) == ("copy", "outer")
        assert whole.document["jobs"]["inner"]["component"] == inner.reference
        assert inner.label == of(folder).pipeline.label

    def test_a_step_written_in_place_becomes_a_component_of_its_own(self, folder: Path) -> None:
        text = (
            PIPELINE[: PIPELINE.index("  list:\n    type: command")]
            + """\
  list:
    type: command
    command: ls ${{inputs.copies}} > ${{outputs.list}}/list.txt
    code: .
    environment: azureml:demo@latest
    environment_variables: {MODE: fast}
    inputs:
      copies: ${{parent.jobs.copy.outputs.copies}}
    outputs:
      list: ${{parent.outputs.list}}
"""
        )
        (folder / "demo" / "copy.pipeline.yml").write_text(text)
        found = of(folder)
        listing = found.components[1]
        assert found.steps["list"] == listing.label
        assert listing.name == "copy_list"
        assert listing.document["inputs"] == {"copies": {"type": "uri_folder"}}
        assert listing.document["outputs"] == {"list": {"type": "uri_folder"}}
        node = found.pipeline.document["jobs"]["list"]
        assert "command" not in node
        assert "environment" not in node
        assert node["environment_variables"] == {"MODE": "fast"}
        assert node["inputs"] == {"copies": "${{parent.jobs.copy.outputs.copies}}"}

    def test_what_a_node_says_of_its_environment_is_registered_with_its_component(self, folder: Path) -> None:
        text = PIPELINE.replace(
            "component: ./list.yml", "component: ./list.yml\n    environment: azureml:other:7"
        )
        (folder / "demo" / "copy.pipeline.yml").write_text(text)
        found = of(folder)
        assert found.components[1].document["environment"] == "azureml:other:7"
        assert "environment" not in found.pipeline.document["jobs"]["list"]

    def test_an_environment_in_a_components_file_becomes_one_to_register(self, folder: Path) -> None:
        text = LIST.replace(
            "environment: azureml:any:1", "environment: {image: ubuntu, conda_file: {name: x}}"
        )
        (folder / "demo" / "list.yml").write_text(text)
        found = of(folder)
        assert [each.name for each in found.environments] == ["list_files-environment"]
        assert found.components[1].document["environment"] == found.environments[0].reference

    def test_a_registered_component_stays_as_it_is_named(self, folder: Path) -> None:
        text = PIPELINE.replace("component: ./list.yml", "component: azureml:list_files:3")
        (folder / "demo" / "copy.pipeline.yml").write_text(text)
        (folder / "demo" / "azureml-local.yml").write_text("azureml:list_files: ./list.yml\n")
        found = of(folder)
        assert found.steps["list"] == "list_files:3"
        assert [component.name for component in found.components] == ["copy_files", "copy"]

    def test_a_pipeline_job_is_refused(self, folder: Path) -> None:
        text = PIPELINE.replace("pipelineComponent", "pipelineJob").replace('version: "1"\n', "")
        job = text[: text.index("inputs:")] + "settings: {default_compute: azureml:cpu-cluster}\n"
        job += "inputs:\n  files: {type: uri_folder, path: .}\n  strength: 1.0\n  mode: fast\n"
        job += text[text.index("outputs:\n  copies") :]
        for name in ("table", "model"):
            job = job.replace(f"      {name}: ${{{{parent.inputs.{name}}}}}\n", "")
        file = folder / "demo" / "copy.pipeline.yml"
        file.write_text(job)
        pipeline = load_pipeline(file, local={"azureml:any:1": file})
        with pytest.raises(DefinitionError, match="is a pipeline job, of which no component can be made"):
            components_of("demo/copy", pipeline, {}, CLUSTERS)

    def test_every_shipped_workload_has_components_and_no_name_means_two_kinds(self) -> None:
        environments = read_environments(SCORING)
        workloads = Workloads(SCORING)
        kinds: dict[str, str] = {}
        for name in workloads.names():
            pipeline = workloads.pipeline(name)
            found = components_of(name, pipeline, environments, CLUSTERS)
            assert set(found.steps) == {step.name for step in pipeline.steps}
            for component in found.components:
                assert kinds.setdefault(component.name, component.kind) == component.kind


CPU = ComputeTarget("cpu-cluster", "Standard_D16ads_v5", 0, 4, 120)
THERE = FoundCluster("AmlCompute", "STANDARD_D16ADS_V5", 0, 4, 120)
DATA = Datastore("batchscore_data", "acc", "data", "core.windows.net")
MODEL = Model("digits", "1", "azureml://datastores/batchscore_models/paths/digits/1")


def planned(found: Found, *, by_infra: bool = False, **things: object) -> list[tuple[str, str, str]]:
    nothing = Wanted({}, (), (), (), (), {})
    plan = changes(replace(nothing, **things), found, computes_by_infra=by_infra)  # type: ignore[arg-type]
    return [(change.action.value, change.name, change.note) for change in plan]


class TestFound:
    def test_a_cluster_as_the_service_describes_it(self) -> None:
        recording = shared("azureml", "recordings", "amlcompute_GET_200_2022-10-01-preview.json")
        recorded = json.loads(recording.read_text())
        assert found_cluster(recorded) == FoundCluster(
            "AmlCompute", "STANDARD_DS3_V2", 0, 3, 120, False, "Succeeded"
        )

    @pytest.mark.parametrize(
        ("idle", "seconds"),
        [("PT120S", 120), ("PT2M", 120), ("PT1H30M", 5400), ("P1DT1S", 86_401), ("soon", 0)],
    )
    def test_idle_time_is_read_however_it_is_written(self, idle: str, seconds: int) -> None:
        inner = {"vmPriority": "LowPriority", "scaleSettings": {"nodeIdleTimeBeforeScaleDown": idle}}
        found = found_cluster({"properties": {"computeType": "AmlCompute", "properties": inner}})
        assert (found.idle_time_s, found.low_priority) == (seconds, True)

    def test_what_is_no_cluster_and_what_says_little_is_read_all_the_same(self) -> None:
        instance = {"properties": {"computeType": "ComputeInstance", "provisioningState": "Failed"}}
        assert found_cluster(instance) == FoundCluster("ComputeInstance", state="Failed")
        assert found_cluster({}) == FoundCluster("")
        assert found_datastore({"properties": {"datastoreType": "AzureFile"}}) == FoundDatastore("AzureFile")


class TestChanges:
    @pytest.mark.parametrize(
        ("there", "by_infra", "action", "said"),
        [
            (None, False, "create", "Standard_D16ads_v5, 0 to 4 nodes"),
            (None, True, "refused", "is not in the workspace. Let the infrastructure make it"),
            (THERE, False, "there", "0 to 4 nodes"),
            (THERE, True, "there", "the infrastructure's"),
            (replace(THERE, max_nodes=2), False, "change", "most nodes 2 → 4"),
            (
                replace(THERE, min_nodes=1, idle_time_s=600),
                False,
                "change",
                "least nodes 1 → 0, idle seconds 600 → 120",
            ),
            (replace(THERE, max_nodes=2), True, "there", "the infrastructure's; most nodes 2 → 4"),
            (replace(THERE, size="Standard_F4s_v2"), False, "refused", "which cannot be changed"),
            (replace(THERE, size="Standard_F4s_v2"), False, "refused", "AML_COMPUTE_CLUSTER_NAME"),
            (
                replace(THERE, low_priority=True),
                False,
                "refused",
                "low priority nodes and not dedicated ones",
            ),
            (replace(THERE, size="Standard_F4s_v2"), True, "there", "size Standard_F4s_v2 and not"),
            (replace(THERE, state="Failed"), False, "refused", "could not be provisioned"),
            (
                FoundCluster("ComputeInstance"),
                False,
                "refused",
                "is a compute of type ComputeInstance, no cluster",
            ),
        ],
    )
    def test_a_cluster(self, there: FoundCluster | None, by_infra: bool, action: str, said: str) -> None:
        found = Found(clusters={} if there is None else {"cpu-cluster": there})
        [(done, _, note)] = planned(found, clusters={"cpu-cluster": CPU}, by_infra=by_infra)
        assert done == action
        assert said in note

    @pytest.mark.parametrize(
        ("there", "action", "said"),
        [
            (None, "create", "container 'data' of account 'acc'"),
            (FoundDatastore("AzureBlob", "acc", "data"), "there", ""),
            (
                FoundDatastore("AzureBlob", "other", "data"),
                "refused",
                "another deployment uses the workspace",
            ),
            (FoundDatastore("AzureFile", "acc", "data"), "refused", "is of type AzureFile"),
        ],
    )
    def test_a_datastore(self, there: FoundDatastore | None, action: str, said: str) -> None:
        found = Found(datastores={} if there is None else {"batchscore_data": there})
        [(done, _, note)] = planned(found, datastores=(DATA,))
        assert done == action
        assert said in note

    @pytest.mark.parametrize(
        ("there", "action"),
        [
            (None, "register"),
            (MODEL.path, "there"),
            ("azureml://subscriptions/s/workspaces/w/datastores/batchscore_models/paths/digits/1", "there"),
            ("azureml://datastores/workspaceblobstore/paths/x", "left"),
        ],
    )
    def test_a_model(self, there: str | None, action: str) -> None:
        found = Found(models={} if there is None else {("digits", "1"): there})
        assert planned(found, models=(MODEL,))[0][0] == action

    def test_what_is_registered_in_its_version_is_not_registered_again(self, folder: Path) -> None:
        components = of(folder).components
        environments = tuple(read_environments(folder).values())
        nothing = planned(Found(), environments=environments, components=components)
        assert [action for action, _, _ in nothing] == ["register"] * 4
        registered = frozenset(
            [("environment", each.name, each.version) for each in environments]
            + [(kind_of(each), each.name, each.version) for each in components]
        )
        everything = planned(Found(registered=registered), environments=environments, components=components)
        assert [action for action, _, _ in everything] == ["there"] * 4
        others = frozenset((kind, name, "0" * 16) for kind, name, _ in registered)
        assert planned(Found(registered=others), environments=environments, components=components) == nothing

    def test_only_what_is_to_be_made_or_changed_is_due(self) -> None:
        due = {action for action in Action if Change(action, "model", "m", "1", "", MODEL).is_due}
        assert due == {Action.CREATE, Action.REGISTER, Action.CHANGE}


def test_a_snapshot_knows_its_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert Snapshot({"a": tmp_path / "a"}).size_bytes == 5
