"""Pipeline components inside pipelines: one graph of steps, every reference followed to its end, circles refused."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from batchscore.compute.base import JobState
from batchscore.compute.local.engine import Engine
from batchscore.definitions import (
    Literal,
    ParentInput,
    Pipeline,
    StepOutput,
    intermediates,
    load_pipeline,
    resolve_inputs,
)
from batchscore.errors import DefinitionError, RequestError

ECHO = """
    type: command
    inputs:
      text: {type: string}
      before: {type: uri_folder, optional: true}
      times: {type: integer, default: 1, min: 1, max: 9}
    outputs:
      said: {type: uri_folder}
    environment: azureml:any@latest
    command: >-
      $[[cat ${{inputs.before}}/said.txt >> ${{outputs.said}}/said.txt;]]
      for i in $(seq ${{inputs.times}}); do echo ${{inputs.text}} >> ${{outputs.said}}/said.txt; done
    """

TWICE = """
    $schema: https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json
    type: pipeline
    inputs:
      text: {type: string}
      before: {type: uri_folder, optional: true}
      times: {type: integer, default: 2, max: 3}
    outputs:
      both: {type: uri_folder, mode: upload}
      first: {type: uri_folder}
    jobs:
      one:
        type: command
        component: ../echo.yml
        inputs:
          text: ${{parent.inputs.text}}
          before: ${{parent.inputs.before}}
          times: ${{parent.inputs.times}}
        outputs: {said: "${{parent.outputs.first}}"}
      two:
        type: command
        component: ../echo.yml
        inputs:
          text: ${{parent.inputs.text}}
          before: ${{parent.jobs.one.outputs.said}}
        outputs: {said: "${{parent.outputs.both}}"}
    """

JOB = """
    $schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
    type: pipeline
    inputs: {word: hello}
    outputs: {result: {type: uri_folder}}
    jobs:
      inside:
        type: pipeline
        component: ./parts/outer.yml
        inputs: {text: "${{parent.inputs.word}}"}
        outputs: {whole: "${{parent.outputs.result}}"}
      after:
        type: command
        component: ./echo.yml
        inputs:
          text: end
          before: ${{parent.jobs.inside.outputs.beginning}}
    """

OUTER = """
    type: pipeline
    inputs:
      text: {type: string}
    outputs:
      whole: {type: uri_folder}
      beginning: {type: uri_folder}
    jobs:
      twice:
        type: pipeline
        component: twice.yml
        inputs: {text: "${{parent.inputs.text}}", times: 3}
        outputs:
          first: ${{parent.outputs.beginning}}
      again:
        type: pipeline
        component: twice.yml
        inputs: {text: bye, before: "${{parent.jobs.twice.outputs.both}}"}
        outputs:
          both: ${{parent.outputs.whole}}
    """


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put(tmp_path, "echo.yml", ECHO)
    put(tmp_path, "parts/twice.yml", TWICE)
    put(tmp_path, "parts/outer.yml", OUTER)
    put(tmp_path, "job.yml", JOB)
    return tmp_path


def put(folder: Path, name: str, text: str) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(textwrap.dedent(text))
    return folder / name


def problems_of(path: Path) -> list[tuple[str, int, str]]:
    with pytest.raises(DefinitionError) as caught:
        load_pipeline(path)
    return [(Path(each.file).name, each.line, each.message) for each in caught.value.problems]


def run(pipeline: Pipeline, folder: Path) -> dict[str, str]:
    """What the pipeline's outputs hold after a run, by output name."""
    outputs = {name: folder / "out" / name for name in pipeline.outputs}
    status = Engine(pipeline, {}, outputs, folder / "work", folder / "logs").run()
    assert status.state is JobState.SUCCEEDED, status.message
    return {name: (path / "said.txt").read_text() for name, path in outputs.items()}


def test_the_steps_of_a_component_stand_among_the_pipelines_at_any_depth(folder: Path) -> None:
    pipeline = load_pipeline(folder / "job.yml")
    assert [step.name for step in pipeline.steps] == [
        "inside/twice/one",
        "inside/twice/two",
        "inside/again/one",
        "inside/again/two",
        "after",
    ]
    assert [(each.name, each.file.name, each.line) for each in pipeline.nested] == [
        ("inside", "outer.yml", 7),
        ("inside/twice", "twice.yml", 9),
        ("inside/again", "twice.yml", 15),
    ]


def test_what_goes_in_and_out_of_a_component_is_followed_to_the_steps_that_read_and_write_it(
    folder: Path,
) -> None:
    pipeline = load_pipeline(folder / "job.yml")
    assert pipeline.step("inside/twice/one").bindings == {
        "text": ParentInput("word"),
        "times": Literal(3),
    }
    assert pipeline.step("inside/again/one").bindings == {
        "text": Literal("bye"),
        "before": StepOutput("inside/twice/two", "said"),
        "times": Literal(2),
    }
    assert pipeline.step("after").bindings["before"] == StepOutput("inside/twice/one", "said")
    assert pipeline.step("inside/again/two").output_bindings == {"said": "result"}
    assert pipeline.step("inside/twice/two").output_bindings == {}
    assert pipeline.step("inside/again/two").outputs["said"].mode == "upload"
    assert intermediates(pipeline) == frozenset()


def test_a_nested_pipeline_runs_to_the_same_result_as_its_steps_would(folder: Path) -> None:
    results = run(load_pipeline(folder / "job.yml"), folder)
    assert results == {"result": "hello\n" * 4 + "bye\n" * 3}
    logs = sorted(
        path.parent.relative_to(folder / "logs").as_posix() for path in folder.glob("logs/**/std_*")
    )
    assert logs == ["after", "inside/again/one", "inside/again/two", "inside/twice/one", "inside/twice/two"]


def test_a_second_run_leaves_the_steps_of_a_component_out(folder: Path) -> None:
    pipeline = load_pipeline(folder / "job.yml")
    assert run(pipeline, folder) == run(pipeline, folder)
    assert (folder / "logs" / "engine.txt").read_text().count("left out") == 5


def test_a_component_in_place_is_taken_and_the_notice_says_what_azure_mls_tools_want(folder: Path) -> None:
    put(
        folder,
        "job.yml",
        """
        $schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
        type: pipeline
        outputs: {result: }
        jobs:
          part:
            type: pipeline
            component:
              type: pipeline
              inputs: {text: {type: string, default: hm}}
              outputs: {said: {type: uri_folder}}
              jobs:
                say:
                  component: ./echo.yml
                  inputs: {text: "${{parent.inputs.text}}"}
                  outputs: {said: "${{parent.outputs.said}}"}
            outputs: {said: "${{parent.outputs.result}}"}
        """,
    )
    pipeline = load_pipeline(folder / "job.yml")
    assert run(pipeline, folder) == {"result": "hm\n"}
    assert any("'part'" in notice and "a file of its own" in notice for notice in pipeline.notices)


def test_an_outer_value_that_is_left_unset_leaves_the_components_default(folder: Path) -> None:
    put(
        folder,
        "component.yml",
        """
        type: pipeline
        inputs: {times: {type: integer, optional: true}}
        outputs: {both: {type: uri_folder}}
        jobs:
          twice:
            type: pipeline
            component: parts/twice.yml
            inputs: {text: x, times: "${{parent.inputs.times}}"}
            outputs: {both: "${{parent.outputs.both}}"}
        """,
    )
    assert run(load_pipeline(folder / "component.yml"), folder) == {"both": "x\n" * 3}


def test_a_runs_value_must_fit_every_component_on_its_way(folder: Path) -> None:
    path = put(
        folder,
        "component.yml",
        """
        type: pipeline
        inputs: {times: {type: integer}}
        jobs:
          twice:
            type: pipeline
            component: parts/twice.yml
            inputs: {text: x, times: "${{parent.inputs.times}}"}
        """,
    )
    with pytest.raises(RequestError, match=r"is 4; it must be at most 3 \(input 'times' of step 'twice'\)"):
        resolve_inputs(load_pipeline(path), {"times": 4})


def test_a_pipeline_that_contains_itself_is_refused_with_the_circle(folder: Path) -> None:
    put(
        folder,
        "parts/twice.yml",
        TWICE.replace(
            "type: command\n        component: ../echo.yml", "type: pipeline\n        component: outer.yml", 1
        ),
    )
    found = problems_of(folder / "job.yml")
    assert (
        "twice.yml",
        14,
        "step 'one': component contains itself: outer.yml → twice.yml → outer.yml. Break the circle.",
    ) in found


def test_small_files_that_would_make_millions_of_steps_are_refused(folder: Path) -> None:
    for level in range(40):
        below = "echo.yml" if level == 0 else f"level{level - 1}.yml"
        kind, text = ("command", "inputs: {text: x}") if level == 0 else ("pipeline", "inputs: {}")
        steps = "".join(f"  {name}: {{type: {kind}, component: {below}, {text}}}\n" for name in ("a", "b"))
        (folder / f"level{level}.yml").write_text(f"type: pipeline\njobs:\n{steps}")
    found = problems_of(folder / "level39.yml")
    assert any("More than 1,000 cannot run" in message for _, _, message in found)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("text: \"${{parent.inputs.word}}\"", "txt: x", "the component has no input 'txt'. Did you mean 'text'?"),
        ("text: \"${{parent.inputs.word}}\"", "", "gives no 'text', which the component needs"),
        ("whole: \"${{", "all: \"${{", "the component has no output 'all'"),
        ("outputs.beginning", "outputs.begining", "step 'inside' has no such output. Did you mean 'beginning'?"),
        ("component: ./parts/outer.yml", "component: ./echo.yml", "type is 'command'; it must be pipeline"),
        ("component: ./parts/outer.yml", "jobs: {}", "has no component. Name the file of a pipeline component"),
    ],
)  # fmt: skip
def test_a_component_is_used_as_it_declares(folder: Path, old: str, new: str, message: str) -> None:
    assert old in JOB
    put(folder, "job.yml", JOB.replace(old, new, 1))
    assert any(message in said for _, _, said in problems_of(folder / "job.yml"))


def test_a_mistake_in_a_component_is_told_once_with_its_own_file_and_line(folder: Path) -> None:
    put(folder, "echo.yml", ECHO.replace("type: integer", "type: intger"))
    found = [each for each in problems_of(folder / "job.yml") if "input 'times': type is 'intger'" in each[2]]
    assert [(file, line) for file, line, _ in found] == [("echo.yml", 6)]
