"""What Azure ML knows by name and this machine has as a file: found by a map, refused by name without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchscore.compute.base import JobState
from batchscore.compute.local.engine import Engine
from batchscore.definitions import LocalPath, Pipeline, load_pipeline
from batchscore.definitions.local_files import LocalFiles
from batchscore.errors import DefinitionError

JOB = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
inputs:
  model: {type: mlflow_model, path: "azureml://registries/azureml/models/net/versions/3"}
jobs:
  count:
    type: command
    component: azureml:count@latest
    inputs:
      table: {type: uri_file, path: "https://example.org/demo/people.csv?sig=a=b"}
      folder: {path: "azureml://datastores/workspaceblobstore/paths/in/photos"}
      model: ${{parent.inputs.model}}
    outputs:
      found: {type: uri_file}
"""

COUNT = """\
type: command
inputs:
  table: {type: uri_file}
  folder: {type: uri_folder}
  model: {type: mlflow_model}
outputs:
  found: {type: uri_file}
environment: azureml:any:1
command: >-
  cat ${{inputs.table}} ${{inputs.folder}}/one.txt ${{inputs.model}}/MLmodel > ${{outputs.found}}
"""

MAP = """\
azureml:count: parts/count.yml
https://example.org/demo/people.csv?sig=a=b: data/people.csv
azureml://datastores/workspaceblobstore/paths/: data/
azureml://registries/azureml/models/net: net
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {
        "job.yml": JOB,
        "parts/count.yml": COUNT,
        "data/people.csv": "people ",
        "data/in/photos/one.txt": "photo ",
        "net/MLmodel": "model",
        "azureml-local.yml": MAP,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def problems_of(path: Path, **given: object) -> list[tuple[str, int, str]]:
    with pytest.raises(DefinitionError) as caught:
        load_pipeline(path, **given)  # type: ignore[arg-type]
    return [(Path(each.file).name, each.line, each.message) for each in caught.value.problems]


def found(pipeline: Pipeline, folder: Path) -> str:
    status = Engine(pipeline, {}, {}, folder / "work", folder / "logs").run()
    assert status.state is JobState.SUCCEEDED, status.message
    return (folder / "work" / "steps" / "count" / "found").read_text()


def test_a_map_beside_the_pipeline_stands_for_components_data_models_and_addresses(folder: Path) -> None:
    pipeline = load_pipeline(folder / "job.yml")
    photos = "azureml://datastores/workspaceblobstore/paths/in/photos"
    assert pipeline.step("count").bindings["folder"] == LocalPath(
        str(folder / "data" / "in" / "photos"), photos
    )
    assert not pipeline.inputs["model"].is_remote
    assert found(pipeline, folder) == "people photo model"


def test_a_map_of_the_settings_is_before_the_one_beside_and_the_command_line_before_both(
    folder: Path,
) -> None:
    other, third = folder / "elsewhere" / "machine.yml", folder / "third.csv"
    other.parent.mkdir()
    (folder / "elsewhere" / "mine.csv").write_text("mine ")
    other.write_text("https://example.org/demo/people.csv?sig=a=b: mine.csv\n")
    third.write_text("third ")
    assert found(load_pipeline(folder / "job.yml", other), folder) == "mine photo model"
    given = {"https://example.org/demo/people.csv?sig=a=b": third}
    assert found(load_pipeline(folder / "job.yml", other, given), folder) == "third photo model"


@pytest.mark.parametrize(
    ("line", "reference", "at"),
    [
        ("azureml:count: parts/count.yml\n", "azureml:count@latest", 8),
        (
            "https://example.org/demo/people.csv?sig=a=b: data/people.csv\n",
            "https://example.org/demo/people.csv?sig=a=b",
            10,
        ),
        (
            "azureml://datastores/workspaceblobstore/paths/: data/\n",
            "azureml://datastores/workspaceblobstore/paths/in/photos",
            11,
        ),
    ],
)
def test_what_a_step_names_and_no_map_has_is_refused_with_its_line_and_the_remedy(
    folder: Path, line: str, reference: str, at: int
) -> None:
    (folder / "azureml-local.yml").write_text(MAP.replace(line, ""))
    ((file, number, message),) = problems_of(folder / "job.yml")
    assert (file, number) == ("job.yml", at)
    assert f"--map {reference}=PATH, or a line {reference}: PATH in azureml-local.yml beside" in message


def test_a_pipelines_own_input_may_also_be_given_by_the_run(folder: Path) -> None:
    (folder / "azureml-local.yml").write_text(
        MAP.replace("azureml://registries/azureml/models/net: net\n", "")
    )
    pipeline = load_pipeline(folder / "job.yml")
    assert pipeline.inputs["model"].is_remote
    assert any("--input model=PATH or --map azureml://reg" in notice for notice in pipeline.notices)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("azureml:count: parts/cont.yml\n", 1, "'parts/cont.yml', which is not there"),
        ("\nazureml:count:\n", 2, "'azureml:count' has no path"),
        ("- azureml:count\n", 1, "the map of local files is a list; it must be a mapping"),
    ],
)
def test_a_mistake_in_the_map_is_refused_where_it_is(
    folder: Path, text: str, line: int, message: str
) -> None:
    (folder / "azureml-local.yml").write_text(text)
    assert any(
        (file, number) == ("azureml-local.yml", line) and message in said
        for file, number, said in problems_of(folder / "job.yml")
    )


def test_what_stands_for_data_must_be_of_its_type(folder: Path) -> None:
    (folder / "azureml-local.yml").write_text(MAP.replace("data/people.csv", "data"))
    assert any(
        "is a folder, and the type is uri_file" in said for _, _, said in problems_of(folder / "job.yml")
    )


@pytest.mark.parametrize(
    ("key", "reference", "path"),
    [
        ("azureml:a:1", "azureml:a:1", "here"),
        ("azureml:a", "azureml:a:1", "here"),
        ("azureml:a", "azureml:a@latest", "here"),
        ("azureml:a", "azureml:ab:1", None),
        ("azureml:a:2", "azureml:a:1", None),
        ("azureml://registries/r/models/m", "azureml://registries/r/models/m/labels/latest", "here"),
        ("azureml://datastores/d/paths/", "azureml://datastores/d/paths/x/y.csv", "here/x/y.csv"),
        ("azureml://datastores/d/paths/", "azureml://datastores/d/paths/../y.csv", None),
        ("https://example.org/a", "https://example.org/ab", None),
    ],
)
def test_a_key_stands_for_itself_every_version_or_everything_below(
    key: str, reference: str, path: str | None
) -> None:
    assert LocalFiles({key: Path("here")}).find(reference) == (None if path is None else Path(path))


def test_a_job_may_be_a_component_with_values(folder: Path) -> None:
    (folder / "whole.yml").write_text(
        "type: pipeline\n"
        "inputs:\n  text: {type: string}\n  times: {type: integer, max: 3}\n"
        "outputs:\n  out: {type: uri_folder}\n"
        "jobs:\n  say:\n    type: command\n    environment: azureml:any:1\n"
        "    inputs: {text: '${{parent.inputs.text}}', times: '${{parent.inputs.times}}'}\n"
        "    outputs: {out: '${{parent.outputs.out}}'}\n"
        "    command: echo ${{inputs.text}} ${{inputs.times}} > ${{outputs.out}}/said\n"
    )
    job = "type: pipeline\ncomponent: ./whole.yml\ninputs:\n  text: hello\n  times: 2\noutputs:\n  out: {mode: upload}\n"
    (folder / "run.yml").write_text(job)
    pipeline = load_pipeline(folder / "run.yml")
    status = Engine(pipeline, {}, {"out": folder / "out"}, folder / "work", folder / "logs").run()
    assert status.state is JobState.SUCCEEDED, status.message
    assert (folder / "out" / "said").read_text() == "hello 2\n"
    assert pipeline.outputs["out"].mode == "upload"
    for wrong, line, message in [
        (job.replace("times: 2", "times: 4"), 5, "input 'times' is 4; it must be at most 3."),
        (job.replace("text:", "txt:"), 4, "the component has no input 'txt'. Did you mean 'text'?"),
        (job.replace("out: {", "ut: {"), 1, "the component has no output 'ut'. Did you mean 'out'?"),
        (
            job.replace("text: hello", "text: {type: uri_folder, path: .}"),
            4,
            "input 'text' must be of type string",
        ),
    ]:
        (folder / "run.yml").write_text(wrong)
        assert any(number == line and message in said for _, number, said in problems_of(folder / "run.yml"))


def test_what_azure_ml_takes_and_a_local_run_does_not_use_is_said(folder: Path) -> None:
    (folder / "job.yml").write_text(
        JOB.replace("type: pipeline\n", "type: pipeline\nsettings: {default_datestore: azureml:x}\n").replace(
            "found: {type: uri_file}",
            "found: {type: uri_file, mode: upload, name: finds, version: 2, "
            'path: "azureml://datastores/${{default_datastore}}/paths/${{name}}/${{output_name}}/x.csv"}\n'
            "    resources: {instance_count: 2, instance_type: STANDARD_D2, shm_size: 2g}\n"
            "    identity: {type: user_identity}\n    compute: azureml:cpu-cluster",
        )
    )
    notices = "\n".join(load_pipeline(folder / "job.yml").notices)
    assert "settings.default_datestore is no key that Azure ML knows" in notices
    assert "Did you mean 'default_datastore'?" in notices
    assert "The path of output 'found' of step 'count' is not used" in notices
    assert "Output 'found' of step 'count' is not registered as 'finds'" in notices
    assert "Step 'count' asks for 2 nodes and runs once" in notices
    assert "identity of count is not used" in notices
    assert notices.count("compute of count is not used") == 1


def test_includes_come_from_the_file_and_from_the_list_beside_it(folder: Path) -> None:
    (folder / "parts" / "src").mkdir()
    (folder / "parts" / "src" / "main.py").write_text(
        "import helper, shared.words, zipfile\n"
        "print(helper.WORD, shared.words.WORD, sorted(zipfile.ZipFile('tools.zip').namelist()), file=open('said', 'w'))\n"
        "import shutil, sys; shutil.copy('said', sys.argv[1])\n"
    )
    (folder / "helper.py").write_text("WORD = 'helped'\n")
    for name in ("shared", "tools"):
        (folder / name).mkdir()
        (folder / name / "words.py").write_text(f"WORD = {name!r}\n")
    (folder / "parts" / "main.yml").write_text(
        "type: command\noutputs: {said: {type: uri_file}}\ncode: ./src\nenvironment: azureml:any:1\n"
        "additional_includes: [../helper.py, ../tools.zip]\ncommand: python main.py ${{outputs.said}}\n"
    )
    (folder / "parts" / "main.additional_includes").write_text("../shared\n")
    (folder / "job.yml").write_text(
        "type: pipeline\nexperiment_name: x\njobs:\n  main: {type: command, component: parts/main.yml}\n"
    )
    status = Engine(load_pipeline(folder / "job.yml"), {}, {}, folder / "work", folder / "logs").run()
    assert status.state is JobState.SUCCEEDED, status.message
    said = (folder / "work" / "steps" / "main" / "said").read_text()
    assert said == "helped shared ['tools/words.py']\n"
    assert [path.name for path in (folder / "parts" / "src").iterdir()] == ["main.py"], (
        "nothing was put there"
    )


def test_what_is_given_decides_where_it_differs_from_the_component(folder: Path) -> None:
    """On Azure ML a step finds what the job hands it, whatever its component declares; that it differs is said."""
    (folder / "parts" / "count.yml").write_text(
        COUNT.replace("table: {type: uri_file}", "table: {type: uri_folder}")
    )
    pipeline = load_pipeline(folder / "job.yml")
    assert found(pipeline, folder) == "people photo model"
    assert any(
        "given as uri_file, and the component says uri_folder" in notice for notice in pipeline.notices
    )
