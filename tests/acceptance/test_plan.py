"""`batchscore plan`, and what runs teach it, on Azurite and the local compute."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from batchscore.application import Application
from batchscore.catalog import StorageCatalog
from batchscore.cli import app
from batchscore.cli.outcome import Exit
from batchscore.compute.base import Location
from batchscore.holdings import Amount
from batchscore.settings import Settings
from batchscore.storage import Storage
from tests.acceptance.test_cli import wait_until

SHIPPED = Path(__file__).parents[2] / "scoring"
WORKLOADS = Path(__file__).parent / "workloads"
Cli = Callable[..., Result]


@pytest.fixture
def environment(azurite: str, tmp_path: Path) -> dict[str, str]:
    return {
        "AzureWebJobsStorage": azurite,
        "DATA_STORAGE": azurite,
        "WORKLOADS_FOLDER": str(SHIPPED),
        "LOCAL_WORK_FOLDER": str(tmp_path / "work"),
        "COLUMNS": "100",
    }


@pytest.fixture
def cli(environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments, **more: CliRunner(env={**environment, **more}).invoke(
        app, [str(argument) for argument in arguments]
    )


@pytest.fixture
def control(environment: dict[str, str]) -> Iterator[Application]:
    application = Application(Settings.from_environment({**environment, "WORKLOADS_FOLDER": str(WORKLOADS)}))
    application.storage.container("data", application.settings.data_container, create=True)
    yield application
    application.close()


def trigger(folder: Path, workload: str = "digits/classify", **more: Any) -> Path:
    file = folder / "trigger.json"
    file.write_text(json.dumps({"workload": workload, "inputs": {"images": "pictures"}, **more}))
    return file


def pictures(folder: Path, count: int) -> None:
    (folder / "pictures").mkdir()
    for number in range(count):
        (folder / "pictures" / f"{number}.png").write_bytes(b"x" * 1_000)


def test_a_person_reads_minutes_node_hours_money_choices_and_what_they_rest_on(
    cli: Cli, tmp_path: Path
) -> None:
    pictures(tmp_path, 30)
    answer = cli("plan", trigger(tmp_path), "--compute", "azureml")
    assert answer.exit_code == Exit.OK, answer.output
    first = answer.stdout.splitlines()[0]
    assert first.startswith("digits/classify on Azure ML: about ")
    assert "node-hours, cost 0." in first
    assert first.endswith("USD.")
    for said in (
        "Choice",
        "Redo",
        "chosen",
        "little to redo",
        "least start-up",
        "Standard_D16ads_v5",
        "classify: 30 items, counted in images",
        "declared",
        "prices of 2026-11-21 in USD",
        "a node that is not there takes 240 s, assumed",
    ):
        assert said in answer.stdout, said
    assert max(len(line) for line in answer.stdout.splitlines()[1:4]) <= 100


def test_on_this_machine_money_is_0_and_that_is_said(cli: Cli, tmp_path: Path) -> None:
    pictures(tmp_path, 30)
    answer = cli("plan", trigger(tmp_path, max_cost=0))
    assert answer.exit_code == Exit.OK, answer.output
    assert "this machine costs nothing" in answer.stdout.splitlines()[0]
    assert "USD" not in answer.stdout.splitlines()[0]


def test_a_program_reads_the_same(cli: Cli, tmp_path: Path) -> None:
    pictures(tmp_path, 30)
    answer = json.loads(cli("plan", trigger(tmp_path, nodes=2), "--compute", "azureml", "--json").stdout)
    assert answer["compute"] == "azureml"
    assert answer["chosen"]["nodes"] == 2
    assert answer["chosen"]["cost"] > 0
    assert {each["name"] for each in answer["alternatives"]} >= {
        "cheapest",
        "fastest",
        "little to redo",
        "least start-up",
    }


def test_what_costs_too_much_is_shown_and_refused(cli: Cli, tmp_path: Path) -> None:
    pictures(tmp_path, 30)
    answer = cli("plan", trigger(tmp_path, max_cost=0.0001), "--compute", "azureml")
    assert answer.exit_code == Exit.USAGE
    assert "chosen" in answer.stdout
    assert "max_cost is 0.0001" in answer.stderr


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            {"workload": "digits/classify", "inputs": {"images": "nowhere"}},
            "there is nothing below 'nowhere/'",
        ),
        ({"workload": "digits/classified"}, "Did you mean 'digits/classify'?"),
    ],
)
def test_what_could_not_be_run_is_not_planned(
    cli: Cli, tmp_path: Path, body: dict[str, Any], words: str
) -> None:
    file = tmp_path / "trigger.json"
    file.write_text(json.dumps(body))
    answer = cli("plan", file)
    assert answer.exit_code == Exit.USAGE
    assert words in " ".join(answer.stderr.split())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"nodes": 40}, "40 nodes"),
        ({"compute": "cpu-clutser"}, "Did you mean 'cpu-cluster'?"),
    ],
)
def test_what_its_clusters_could_not_run_is_not_planned(
    cli: Cli, tmp_path: Path, more: dict[str, Any], words: str
) -> None:
    pictures(tmp_path, 3)
    answer = cli("plan", trigger(tmp_path, **more), "--compute", "azureml")
    assert answer.exit_code == Exit.USAGE
    assert answer.stdout == ""
    assert words in " ".join(answer.stderr.split())


def test_a_compute_that_there_is_not_is_refused(cli: Cli, tmp_path: Path) -> None:
    answer = cli("plan", trigger(tmp_path), "--compute", "batchai")
    assert answer.exit_code == Exit.USAGE
    assert "must be one of local, azureml" in answer.stderr


def test_storage_counts_files_and_bytes_and_what_is_not_there_is_nothing(storage: Storage) -> None:
    container = storage.container("data", "counted", create=True)
    for name in ("a/1", "a/2", "a/b/3", "ab"):
        container.upload_blob(name, b"12345", overwrite=True)
    catalog = StorageCatalog(storage, SHIPPED / "models")
    assert catalog.amount(Location("data", "counted", "a"), "uri_folder") == Amount(3, 15)
    assert catalog.amount(Location("data", "counted", "ab"), "uri_file") == Amount(1, 5)
    assert catalog.amount(Location("data", "counted", "c"), "uri_file") == Amount()
    assert catalog.amount(Location("data", "counted", "c"), "uri_folder") == Amount()


def test_a_run_on_this_machine_says_what_it_took_and_the_next_estimate_rests_on_it(
    cli: Cli, control: Application, tmp_path: Path
) -> None:
    (tmp_path / "papers").mkdir()
    for number in range(6):
        (tmp_path / "papers" / f"{number}.txt").write_text("text")
    workloads = {"WORKLOADS_FOLDER": str(WORKLOADS)}
    file = tmp_path / "trigger.json"
    file.write_text(
        json.dumps(
            {
                "workload": "copying/folder",
                "inputs": {"documents": "papers"},
                "mini_batch_size": {"min": 2, "max": 3},
                "max_cost": 0,
            }
        )
    )
    before = cli("plan", file, **workloads)
    assert "a guess: nothing is declared" in before.stdout
    started = cli("submit", file, "--json", **workloads)
    assert started.exit_code == Exit.OK, started.output
    run_id = json.loads(started.stdout)["id"]

    def over() -> bool:
        control.reconciler.tick()
        return control.store.get(run_id).state.ended

    wait_until(over)
    run = control.store.get(run_id)
    assert run.estimate is not None
    assert run.job is not None
    assert run.took is not None
    assert run.job.overrides.mini_batch_size in (2, 3)
    assert run.took.seconds > 0
    assert run.took.node_seconds > 0
    assert run.took.cost == 0
    shown = cli("show", run_id, **workloads).stdout
    assert "this machine costs nothing" in shown
    assert "mini_batch_size = 2 to 3" in shown
    assert "the planner chose mini-batches of" in shown
    after = cli("plan", file, **workloads)
    assert "measured in 1 run with the same options" in after.stdout
