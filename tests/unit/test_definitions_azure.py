"""What Azure ML would refuse, or run wrongly, is refused before anything is deployed or sent: with file, line and remedy.

Each row puts one mistake into a workload that is right, and says whether azure-ai-ml's own validation, without a
workspace, lets it pass. That column is measured by the last test, so it says what the check is there for.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest

from batchscore.definitions import load_pipeline
from batchscore.definitions.compute_targets import load_targets
from batchscore.definitions.placement import environments
from batchscore.definitions.suitability import as_asked, unsuitable
from batchscore.errors import DefinitionError, Problem
from batchscore.workloads import Workloads
from tests.painting_workload import JOB, C, P, S, T, workload_in

SHIPPED = Path(__file__).parents[2] / "scoring"

PASSES, STOPS = True, False


@dataclass(frozen=True)
class Row:
    """One edit of one file; the message holds `said`, and points at a line that holds `at`."""

    file: str
    old: str
    new: str
    said: str
    at: str
    sdk: bool
    """Whether azure-ai-ml's validation lets it pass."""


# fmt: off
ROWS = [
    # keys that nobody knows
    Row(P, "display_name:", "displayname:", "Did you mean 'display_name'?", "displayname", PASSES),
    Row(P, "    mini_batch_size:", "    mini_batchsize:", "Did you mean 'mini_batch_size'?", "mini_batchsize", PASSES),
    Row(P, "    retry_settings:\n      max_retries: 1", "    retry_settings:\n      max_retry: 1", "Did you mean 'max_retries'?", "max_retry", PASSES),
    Row(T, "  timeout: 60", "  tiemout: 60", "Did you mean 'timeout'?", "tiemout", PASSES),
    Row(T, "  entry_script:", "  entryscript:", "Did you mean 'entry_script'?", "entryscript", PASSES),
    Row(T, "  instance_count: 1", "  instance_cuont: 1", "Did you mean 'instance_count'?", "instance_cuont", PASSES),
    Row(T, "error_threshold: 5\nmini", "error_treshold: 5\nmini", "Did you mean 'error_threshold'?", "error_treshold", PASSES),
    Row(C, "    max: 9\n", "    max: 9\n    max: 10\n", "'max' appears twice", "max: 10", PASSES),
    Row(P, "      job_tier: standard", "      job_teir: standard", "Did you mean 'job_tier'?", "job_teir", STOPS),
    Row(C, "  process_count_per_instance: 1", "  process_count_per_instanc: 1", "Did you mean 'process_count_per_instance'?", "process_count_per_instanc", PASSES),
    # numbers out of their range
    Row(T, "\nerror_threshold: 5", "\nerror_threshold: -5", "error_threshold is -5; it must be a whole number from -1", "error_threshold: -5", PASSES),
    Row(T, "\nerror_threshold: 5", "\nerror_threshold: 1.5", "error_threshold is 1.5", "error_threshold: 1.5", PASSES),
    Row(T, "mini_batch_error_threshold: 2", "mini_batch_error_threshold: -2", "from -1", "mini_batch_error_threshold", PASSES),
    Row(P, '"4"', '"0"', "mini_batch_size is '0'; it must be a whole number from 1", "mini_batch_size", PASSES),
    Row(P, '"4"', '"4 files"', "it must be a whole number", "mini_batch_size", STOPS),
    Row(P, '"4"', "4", 'Write "4".', "mini_batch_size", STOPS),
    Row(P, '"4"', '"1mb"', "a size of tables, and the items are files", "mini_batch_size", PASSES),
    Row(T, "max_concurrency_per_instance: 2", "max_concurrency_per_instance: 0", "from 1", "max_concurrency", PASSES),
    Row(T, "max_concurrency_per_instance: 2", "max_concurrency_per_instance: -3", "from 1", "max_concurrency", PASSES),
    Row(T, "  timeout: 60", "  timeout: -1", "timeout is -1; it must be a whole number from 1 to 259200", "timeout: -1", PASSES),
    Row(T, "  timeout: 60", "  timeout: 300000", "timeout is 300000", "timeout: 300000", PASSES),
    Row(T, "  max_retries: 2", "  max_retries: -1", "max_retries is -1", "max_retries: -1", PASSES),
    Row(T, "  instance_count: 1", "  instance_count: 0", "instance_count is 0; it must be a whole number from 1", "instance_count", PASSES),
    Row(T, "  instance_count: 1", "  instance_count: -2", "instance_count is -2", "instance_count", PASSES),
    Row(T, "  shm_size: 2g", "  shm_size: 2 gigabytes", "it must be a number and b, k, m or g", "shm_size", PASSES),
    Row(P, "      timeout: 600", "      timeout: 0", "timeout is 0; it must be a whole number from 1", "timeout: 0", PASSES),
    Row(C, "  process_count_per_instance: 1", "  process_count_per_instance: 0", "it must be a whole number from 1", "process_count", PASSES),
    # words that are none
    Row(C, "  type: pytorch", "  type: pytorc", "Did you mean 'pytorch'?", "pytorc", STOPS),
    Row(P, "      type: user_identity", "      type: user_identty", "Did you mean 'user_identity'?", "user_identty", STOPS),
    Row(P, "      job_tier: standard", "      job_tier: cheap", "job_tier is 'cheap'; it must be one of spot", "job_tier", STOPS),
    Row(T, "logging_level: INFO", "logging_level: Info", "did you mean 'INFO'?", "logging_level", STOPS),
    # scripts and files
    Row(T, "entry/paint.py", "entry/pain.py", "Did you mean 'entry/paint.py'?", "entry_script", PASSES),
    Row(T, "entry/paint.py", "paint.py", "Did you mean 'entry/paint.py'?", "entry_script", PASSES),
    Row(T, "  entry_script: entry/paint.py\n", "", "has no entry_script", "task:", PASSES),
    Row(S, "def run(", "def rum(", "has no function run(mini_batch)", "def init", PASSES),
    Row(S, "    return mini_batch", "    return mini_batch)", "the entry script 'entry/paint.py' is not Python: unmatched ')'", "mini_batch)", PASSES),
    Row(T, "  code: ./code", "  code: ./cod", "code './cod' is not there", "code: ./cod", STOPS),
    Row(T, "input_data: ${{inputs.items}}\n", "input_data: ${{inputs.items}}\nadditional_includes: [./pictures]\n", "is dropped by Azure ML for a parallel step", "additional_includes", PASSES),
    Row(C, "python prepare.py", "python prepair.py", "'prepair.py', which is not in the code folder", "command:", PASSES),
    Row(C, "code: ./code\n", "", "runs 'prepare.py', and there is no code", "command:", PASSES),
    Row(P, "component: ./prepare.yml", "component: ./prepair.yml", "'./prepair.yml' is not there", "prepair.yml", STOPS),
    # references that lead nowhere
    Row(T, "input_data: ${{inputs.items}}", "input_data: ${{inputs.item}}", "Did you mean 'items'?", "input_data", PASSES),
    Row(T, "input_data: ${{inputs.items}}", "input_data: items", "it must be ${{inputs.<name>}}", "input_data", PASSES),
    Row(T, "append_row_to: ${{outputs.rows}}", "append_row_to: ${{outputs.row}}", "Did you mean 'rows'?", "append_row_to", PASSES),
    Row(T, "--strength ${{inputs.strength}}", "--strength ${{inputs.strengh}}", "Did you mean 'strength'?", "program_arguments", PASSES),
    Row(T, "$[[--style ${{inputs.style}}]]", "--style ${{inputs.style}}", "Write $[[--style ${{inputs.style}}]]", "program_arguments", PASSES),
    Row(C, "--seed ${{inputs.seed}}", "--seed ${{inputs.sead}}", "Did you mean 'seed'?", "command:", STOPS),
    Row(P, "${{parent.inputs.seed}}", "${{parent.inputs.sed}}", "no such input. Did you mean 'seed'?", "seed: ${{", PASSES),
    Row(P, "parent.jobs.prepare.outputs.prepared", "parent.jobs.prepair.outputs.prepared", "there is no step 'prepair'. Did you mean 'prepare'?", "items:", PASSES),
    Row(P, "parent.jobs.prepare.outputs.prepared", "parent.jobs.prepare.outputs.done", "step 'prepare' has no such output", "items:", PASSES),
    Row(P, "${{parent.outputs.painted}}", "${{parent.outputs.panted}}", "no such output. Did you mean 'painted'?", "panted", PASSES),
    Row(P, "      strength: ${{parent.inputs.strength}}\n", "", "gives no 'strength', which the component needs", "paint:", STOPS),
    Row(P, "${{parent.inputs.pictures}}", "${{parent.jobs.paint.outputs.painted}}", "prepare → paint → prepare", "prepare:", PASSES),
    # types and values
    Row(P, "  pictures:\n    type: uri_folder", "  pictures:\n    type: uri_file", "must be of type uri_folder, and ${{parent.inputs.pictures}} is of type uri_file", "source:", PASSES),
    Row(P, "source: ${{parent.inputs.pictures}}", "source: {type: uri_folder, path: ./pictures/a.jpg}", "is a file, and the type is uri_folder", "a.jpg", PASSES),
    Row(P, "    default: 0.8", "    default: 1.5", "default is 1.5; it must be at most 1.", "default: 1.5", PASSES),
    Row(P, "    default: 3\n", "    default: 3.5\n", "it must be a whole number", "default: 3.5", PASSES),
    Row(P, "seed: ${{parent.inputs.seed}}", "seed: 12", "input 'seed' is 12; it must be at most 9.", "seed: 12", PASSES),
    Row(P, "    default: 3\n", "    default: 3\n    enum: [1, 2, 3]\n", "it must be text (quote it)", "enum", STOPS),
    # where data is, and how it travels
    Row(P, "source: ${{parent.inputs.pictures}}", "source: {type: uri_folder, path: 'azureml://datastores/files/path/y'}", "is no address that Azure ML knows", "source:", PASSES),
    Row(P, "source: ${{parent.inputs.pictures}}", "source: {type: uri_folder, path: 'azurem://datastores/files/paths/y'}", "begins with 'azurem'", "source:", PASSES),
    Row(P, "source: ${{parent.inputs.pictures}}", "source: {type: uri_folder, path: ./pictures}", "a path of this machine, which the nodes of Azure ML do not have", "prepare:", PASSES),
    Row(T, "    mode: ro_mount", "    mode: rw_mount", "mode is 'rw_mount'; it must be one of ro_mount", "rw_mount", PASSES),
    Row(T, "    mode: ro_mount", "    mode: upload", "mode is 'upload'; it must be one of ro_mount", "upload", PASSES),
    Row(T, "    mode: ro_mount", "    mode: eval_mount", "'eval_mount' is not supported yet", "eval_mount", PASSES),
    Row(P, "  painted:\n    type: uri_folder\n    mode: rw_mount", "  painted:\n    type: uri_folder\n    mode: download", "mode is 'download'; it must be one of rw_mount, upload", "download", STOPS),
    Row(P, "  receipts:\n    type: uri_folder\n    mode: rw_mount", "  receipts:\n    type: uri_folder\n    mode: upload", "it is read while its step runs", "receipts:", PASSES),
    # the driver of parallel steps
    Row(T, "--progress_update_timeout 600", "--progres_update_timeout 600", "Did you mean --progress_update_timeout?", "program_arguments", PASSES),
    Row(T, "--progress_update_timeout 600", "--progress-update-timeout 600", "Did you mean --progress_update_timeout?", "program_arguments", PASSES),
    Row(T, "--progress_update_timeout 600", "--progress_update_timeout 0", "it must be a number from 1", "program_arguments", PASSES),
    Row(T, "--progress_update_timeout 600", "--allowed_failed_percent 120", "from 0 to 100", "program_arguments", PASSES),
    Row(T, "--progress_update_timeout 600", "--copy_logs_to_parent yes", "it must be True or False", "program_arguments", PASSES),
    Row(T, "--progress_update_timeout 600", "--error_threshold 7", "says --error_threshold 7, and error_threshold is 5", "program_arguments", PASSES),
    # clusters and environments
    Row(P, "azureml:cpu-cluster", "azurml:cpu-cluster", "it must be azureml:<name>, the name of a cluster", "compute:", PASSES),
    Row(P, "azureml:cpu-cluster", "azureml:cpu-cluster:1", "a cluster without a version", "compute:", PASSES),
    Row(P, "azureml:cpu-cluster", "azureml:cpu-clustr", "step 'prepare' is to run on 'cpu-clustr', and there is no such cluster. Did you mean 'cpu-cluster'?", "compute:", PASSES),
    Row(P, "azureml:gpu-cluster", "azureml:cpu-cluster", "step 'paint' needs a GPU (its environment azureml:painting-gpu@latest has the tag accelerator: gpu), and cluster 'cpu-cluster' has machines of size Standard_D16ads_v5, without one.", "compute:", PASSES),
    Row(T, "  instance_count: 1", "  instance_count: 9", "asks for 9 nodes, and cluster 'gpu-cluster' has at most 4", "instance_count", PASSES),
    Row(P, '    mini_batch_size: "4"', '    mini_batch_size: "4"\n    resources: {instance_count: 5}', "asks for 5 nodes, and cluster 'gpu-cluster' has at most 4", "instance_count", PASSES),
    Row(C, "azureml:painting@latest", "azureml:painting", "it must be azureml:<name>:<version>", "environment:", PASSES),
    Row(C, "azureml:painting@latest", "azureml:painting@lates", "it must be azureml:<name>:<version>, azureml:<name>@latest", "environment:", PASSES),
    Row(C, "azureml:painting@latest", "azureml:paintng@latest", "there is no environment 'paintng' to deploy. Did you mean 'painting'?", "environment:", PASSES),
    # names
    Row(P, "  prepare:\n    type", "  Prepare:\n    type", "Use lower-case letters, digits and _", "Prepare:", STOPS),
    Row(T, "name: paint_picture", "name: Paint-Picture", "registers a component by lower-case letters", "name: Paint-Picture", STOPS),
    Row(T, "name: paint_picture\n", "", "has no name. Azure ML registers components by their names.", "$schema", STOPS),
    Row(P, "  team: painters", "  team: 7", "tags.team is 7; it must be text (quote it)", "team: 7", STOPS),
    Row(P, "  seed:\n    type: integer", "  Style:\n    type: string\n    optional: true\n  seed:\n    type: integer", "input 'Style' is 'style' for Azure ML", "Style:", STOPS),
]
# fmt: on


def found_in(folder: Path) -> tuple[Problem, ...]:
    try:
        pipeline = load_pipeline(folder / P)
    except DefinitionError as error:
        return error.problems
    return unsuitable(pipeline, load_targets(folder, {}), environments(folder))


def test_the_workload_that_the_rows_edit_is_right(tmp_path: Path) -> None:
    workload_in(tmp_path)
    assert found_in(tmp_path) == ()


@pytest.mark.parametrize("row", ROWS, ids=[f"{i}-{row.said[:50]}" for i, row in enumerate(ROWS)])
def test_a_mistake_is_refused_with_its_file_line_and_remedy(tmp_path: Path, row: Row) -> None:
    workload_in(tmp_path, row.file, row.old, row.new)

    found = found_in(tmp_path)

    matching = [problem for problem in found if row.said in problem.message]
    assert matching, found
    texts = {problem: Path(problem.file).read_text().splitlines()[problem.line - 1] for problem in matching}
    assert any(row.at in text for text in texts.values()), texts
    assert len({problem.message for problem in found}) <= 3, "one mistake is not told in many ways"
    assert all(problem.message.endswith((".", "?", "}")) for problem in found), found


@pytest.mark.parametrize("name", Workloads(SHIPPED).names())
def test_every_workload_that_ships_suits_the_clusters_that_ship(name: str) -> None:
    pipeline = Workloads(SHIPPED).pipeline(name)
    assert unsuitable(pipeline, load_targets(SHIPPED, {}), environments(SHIPPED)) == ()


def test_what_a_run_asks_for_counts_instead_of_what_its_files_say(tmp_path: Path) -> None:
    pipeline = load_pipeline(workload_in(tmp_path))
    targets, known = load_targets(tmp_path, {}), environments(tmp_path)

    assert unsuitable(as_asked(pipeline, nodes=4), targets, known) == ()
    (many,) = unsuitable(as_asked(pipeline, nodes=5), targets, known)
    assert "asks for 5 nodes, and cluster 'gpu-cluster' has at most 4" in many.message
    assert "setting AML_GPU_COMPUTE_CLUSTER_MAX_NODES" in many.message
    (no_gpu,) = unsuitable(as_asked(pipeline, compute={"paint": "cpu-cluster"}), targets, known)
    assert "needs a GPU" in no_gpu.message
    assert unsuitable(as_asked(pipeline, compute="gpu-cluster"), targets, known) == ()


def test_a_setting_that_makes_a_cluster_larger_allows_more_nodes(tmp_path: Path) -> None:
    pipeline = as_asked(load_pipeline(workload_in(tmp_path)), nodes=9)
    targets = load_targets(tmp_path, {"AML_GPU_COMPUTE_CLUSTER_MAX_NODES": "9"})
    assert unsuitable(pipeline, targets, environments(tmp_path)) == ()


def test_a_cluster_or_an_environment_that_changes_is_seen(tmp_path: Path) -> None:
    workload_in(tmp_path, T, "  instance_count: 1", "  instance_count: 9")
    assert len(found_in(tmp_path)) == 1
    cluster = tmp_path / "computes" / "gpu.yml"
    cluster.write_text(cluster.read_text().replace("max_instances: 4", "max_instances: 12"))
    assert found_in(tmp_path) == ()
    environment = tmp_path / "environments" / "cpu.yml"
    environment.write_text(environment.read_text() + "tags: {accelerator: gpu}\n")
    assert ["needs a GPU" in problem.message for problem in found_in(tmp_path)] == [True]


def test_a_step_of_a_gpu_environment_that_names_no_cluster_goes_to_the_one_with_gpus(tmp_path: Path) -> None:
    workload_in(tmp_path, P, "    compute: azureml:gpu-cluster\n", "")
    assert found_in(tmp_path) == ()


def test_a_script_that_knows_an_argument_may_have_one_like_the_drivers(tmp_path: Path) -> None:
    workload_in(tmp_path, T, "--progress_update_timeout", "--progress_update_timeouts")
    assert found_in(tmp_path)
    (tmp_path / "demo/code/arguments.py").write_text('parser.add_argument("--progress_update_timeouts")\n')
    assert found_in(tmp_path) == ()


@pytest.mark.parametrize(
    "script",
    [
        "from entry.other import run\n",
        "from entry.other import *\n",
        "from entry.other import score as run\n",
        "run = lambda mini_batch: mini_batch\n",
        "try:\n    from entry.gpu import run\nexcept ImportError:\n    def run(mini_batch): ...\n",
        "if True:\n    pass\nelse:\n    def run(mini_batch, mini_batch_context): ...\n",
        "class run:\n    def __init__(self, mini_batch): ...\n",
    ],
)
def test_whatever_binds_run_makes_an_entry_script(tmp_path: Path, script: str) -> None:
    workload_in(tmp_path)
    (tmp_path / S).write_text(script)
    assert found_in(tmp_path) == ()


@pytest.mark.parametrize(
    "command",
    [
        "cd sub && python other.py",
        "git clone https://example.org/x . && python x.py",
        "echo 'print()' > made.py; python made.py",
        "python /opt/tool.py",
        "python -m package.tool",
        "python -c 'print()'",
    ],
)
def test_a_script_that_a_command_may_make_itself_is_left_to_the_run(tmp_path: Path, command: str) -> None:
    workload_in(tmp_path, C, "pip install paint && python prepare.py", command + " #")
    (tmp_path / C).write_text((tmp_path / C).read_text().split("command:")[0] + f"command: {command!r}\n")
    assert [problem for problem in found_in(tmp_path) if "command" in problem.message] == []


def test_what_only_azure_ml_acts_upon_is_kept_for_it(tmp_path: Path) -> None:
    prepare, paint = load_pipeline(workload_in(tmp_path)).steps
    assert prepare.passed_on == {
        "identity": {"type": "user_identity"},
        "queue_settings": {"job_tier": "standard"},
    }
    assert paint.passed_on == {"resources": {"shm_size": "2g"}}


@pytest.mark.slow
def test_the_sdks_own_validation_lets_pass_what_the_rows_say(tmp_path: Path) -> None:
    """Without a workspace. The figures stand in docs/pipelines.md."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert not _stopped_by_sdk(tmp_path / "right", Row(P, "demo", "demo", "", "", PASSES), edit=False)
        measured = [
            not _stopped_by_sdk(tmp_path / str(number), row, edit=True) for number, row in enumerate(ROWS)
        ]
    assert [row.said for row, passes in zip(ROWS, measured, strict=True) if passes is not row.sdk] == []
    told = f"Of {len(ROWS)} deliberate mistakes, one each in a workload that is right, {sum(measured)} pass"
    page = (SHIPPED.parent / "docs" / "pipelines.md").read_text()
    assert told in " ".join(page.split())


def _stopped_by_sdk(folder: Path, row: Row, *, edit: bool) -> bool:
    """Whether loading or validating the components, or a job of the pipeline, fails."""
    from azure.ai.ml import load_component, load_job

    workload_in(folder, *((row.file, row.old, row.new) if edit else ()))
    (folder / "demo" / "job.yml").write_text(JOB)
    logging.disable(logging.CRITICAL)
    try:
        loaded = [load_component(folder / name) for name in (C, T, P)]
        loaded.append(load_job(folder / "demo" / "job.yml"))
        return any(not each._validate(raise_error=False).passed for each in loaded)
    except Exception:  # each fault has its own kind of exception there
        return True
    finally:
        logging.disable(logging.NOTSET)
