"""`batchscore doctor`: every line says what is the matter and what to do, also when nothing works."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from batchscore import paths
from batchscore.cli import app, environment
from batchscore.cli.outcome import Exit
from batchscore.doctor import accounts, machine, product
from batchscore.doctor.findings import Finding, Verdict, guarded
from batchscore.settings import Connection, Settings
from batchscore.storage import Storage
from tests.azurite import blob_names, settings_for

ROOT = Path(__file__).parents[2]


def doctor(variables: dict[str, str], *options: str) -> Result:
    return CliRunner(env=variables).invoke(app, ["doctor", *options])


def findings(result: Result) -> dict[str, list[dict[str, Any]]]:
    """What `--json` says, by what was looked at."""
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in json.loads(result.stdout)["findings"]:
        found.setdefault(finding["what"], []).append(finding)
    return found


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which no dev host runs and nothing says where storage is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "host_environment", lambda _: None)
    for name in ("AzureWebJobsStorage", "DATA_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def variables(azurite: str, nowhere: Path, storage: Storage, settings: Settings) -> dict[str, str]:
    """An environment in which everything is there."""
    return {
        "AzureWebJobsStorage": azurite,
        "DATA_STORAGE": azurite,
        "TRIGGER_CONTAINER": settings.trigger_container,
        "DATA_CONTAINER": settings.data_container,
        "LOCAL_WORK_FOLDER": str(nowhere),
    }


def test_where_everything_is_there_the_exit_code_is_0(
    variables: dict[str, str], storage: Storage, settings: Settings
) -> None:
    result = doctor(variables)
    assert result.exit_code == Exit.OK, result.output
    assert "runs can work" in result.stdout
    assert f"container '{settings.data_container}': written, read, removed a blob" in result.stdout
    assert "fail  " not in result.stdout
    assert blob_names(storage, "data", settings.data_container) == []  # the probe is gone
    assert blob_names(storage, "system", paths.RUNS, accounts.PROBE) == []


def test_when_nothing_works_every_line_still_comes_with_its_remedy(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No settings, no packages, no programs, a broken workload."""
    (nowhere / "bin").mkdir()
    monkeypatch.setenv("PATH", str(nowhere / "bin"))
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(machine, "PYTHON", (3, 99))
    (nowhere / "local.settings.json").write_text("{")
    result = doctor({}, "--json")
    assert result.exit_code == Exit.FAILED
    assert "Traceback" not in result.output
    found = findings(result)
    for what in ("Python", "packages", "settings"):
        assert found[what][0]["verdict"] == "fail"
    assert "local.settings.json cannot be read" in found["settings"][0]["found"]
    for what in ("Azurite", "host", "storage"):
        assert found[what][0]["verdict"] == "warn"
    assert all(line["remedy"] for lines in found.values() for line in lines if line["verdict"] != "ok")
    assert json.loads(result.stdout)["ok"] is False


def test_storage_that_does_not_listen_is_named_with_its_address(variables: dict[str, str]) -> None:
    closed = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=YQ==;BlobEndpoint=http://127.0.0.1:1/a;"
    found = findings(doctor({**variables, "DATA_STORAGE": closed}, "--json"))
    (finding,) = found["data account"]
    assert finding["found"].startswith("nothing answers at 127.0.0.1:1")
    assert finding["remedy"] == "'make start' starts it"
    assert {line["verdict"] for line in found["system account"]} == {"ok"}


def test_a_wrong_key_is_told_from_a_dead_account_and_never_printed(
    variables: dict[str, str], azurite: str
) -> None:
    key = next(part for part in azurite.split(";") if part.startswith("AccountKey="))
    wrong = "c2VjcmV0LXRoYXQtaXMtd3Jvbmc="
    result = doctor({**variables, "DATA_STORAGE": azurite.replace(key, f"AccountKey={wrong}")}, "--json")
    (finding,) = findings(result)["data account"]
    assert "refuses: 403" in finding["found"]
    assert finding["remedy"] == "correct the account key in the connection string"
    assert wrong not in result.output
    assert key not in result.output


def test_a_text_that_is_no_connection_string_is_a_finding(variables: dict[str, str]) -> None:
    result = doctor({**variables, "AzureWebJobsStorage": "nonsense"}, "--json")
    (finding,) = findings(result)["system account"]
    assert finding["verdict"] == "fail"
    assert "correct AzureWebJobsStorage" in finding["remedy"]


def test_containers_that_the_host_makes_are_a_warning(variables: dict[str, str]) -> None:
    result = doctor({**variables, "DATA_CONTAINER": "not-there-yet"}, "--json")
    assert result.exit_code == Exit.OK
    lines = findings(result)["data account"]
    assert [line["remedy"] for line in lines if line["verdict"] == "warn"] == [
        "the host makes it when it starts ('make start')"
    ]


@pytest.mark.parametrize(
    ("ahead_s", "verdict"), [(0, None), (59, None), (90, "warn"), (-90, "warn"), (901, "fail")]
)
def test_a_clock_that_is_wrong_is_said(ahead_s: int, verdict: str | None) -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    there = (now - timedelta(seconds=ahead_s)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    found = list(accounts._clock("data account", there, now))
    assert [finding.verdict for finding in found] == ([verdict] if verdict else [])
    if verdict:
        assert f"{abs(ahead_s)} s {'ahead of' if ahead_s > 0 else 'behind'}" in found[0].found


def test_an_identity_that_there_is_none_of_says_how_to_get_one() -> None:
    from azure.core.exceptions import ClientAuthenticationError

    connection = Connection("DATA_STORAGE", blob_service_uri="https://x.blob.core.windows.net")
    finding = accounts._unreachable("data account", connection, ClientAuthenticationError("no token\nmore"))
    assert finding.found == "no identity could be used: no token"
    assert "az login" in finding.remedy
    assert "DATA_STORAGE__clientId" in finding.remedy


def test_a_model_that_is_not_what_its_card_says_is_named(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "scoring" / "models" / "digits", tmp_path / "digits")
    assert [finding.verdict for finding in product.shipped_models(tmp_path)] == ["ok"]
    (tmp_path / "digits" / "model.onnx").write_bytes(b"version https://git-lfs")
    (finding,) = product.shipped_models(tmp_path)
    assert "model.onnx is not what its card says" in finding.found
    (tmp_path / "digits" / "model.onnx").unlink()
    (finding,) = product.shipped_models(tmp_path)
    assert "model.onnx is missing" in finding.found


def test_a_broken_workload_is_named_with_its_line(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "scoring" / "digits", tmp_path / "digits")
    assert [finding.verdict for finding in product.workloads(tmp_path)] == ["ok"]
    file = tmp_path / "digits" / "classify.pipeline.yml"
    file.write_text(file.read_text().replace("type: parallel", "type: paralel"))
    (finding,) = product.workloads(tmp_path)
    assert finding.verdict == "fail"
    assert "classify.pipeline.yml:" in finding.found


def test_an_interpreter_that_cannot_be_started_is_named() -> None:
    (finding,) = product.interpreters({"onnx-gpu": "/nowhere/python"})
    assert finding.found == "/nowhere/python cannot be started: No such file or directory"


def test_a_checkout_without_the_environment_for_training_is_in_order(tmp_path: Path) -> None:
    """As the settings that ship name it, before `make torch`."""
    program = tmp_path / ".venv-torch" / "bin" / "python"
    (finding,) = product.interpreters({"batchscore-torch": str(program)})
    assert (finding.verdict, finding.remedy) == (Verdict.WARN, "'make torch' makes it")
    program.parent.mkdir(parents=True)
    program.touch()
    (broken,) = product.interpreters({"batchscore-torch": str(program)})
    assert broken.failed


@pytest.mark.parametrize(
    ("devices", "providers", "verdicts"),
    [
        (None, "CPUExecutionProvider", ["ok"]),
        (None, "CUDAExecutionProvider,CPUExecutionProvider", ["ok", "warn"]),
        ("H200, 141 GiB", "CUDAExecutionProvider,CPUExecutionProvider", ["ok"]),
        ("H200, 141 GiB", "CPUExecutionProvider", ["warn"]),
        ("H200, 141 GiB", None, ["fail"]),
    ],
)
def test_a_gpu_needs_the_driver_and_the_right_onnx_runtime(
    devices: str | None, providers: str | None, verdicts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        machine, "_said", lambda command: devices if command[0] == "nvidia-smi" else providers
    )
    assert [finding.verdict for finding in machine.gpu()] == verdicts


@pytest.mark.parametrize(("free", "verdict"), [(10**8, "fail"), (10**9, "warn"), (10**11, "ok")])
def test_a_disk_that_is_nearly_full_is_said(
    tmp_path: Path, free: int, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        def __init__(self) -> None:
            self.free = free

    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: Usage())
    (finding,) = machine.disk(tmp_path / "work" / "not-there-yet")
    assert finding.verdict == verdict


def test_a_check_that_breaks_is_a_finding_and_keeps_no_other_from_being_heard() -> None:
    def broken() -> list[Finding]:
        raise RuntimeError("out of luck\nand more")

    (finding,) = guarded("luck", broken)
    assert finding.failed
    assert finding.found == "cannot be looked at: RuntimeError: out of luck"


def test_runs_that_nobody_takes_up_are_said(azurite: str, tmp_path: Path) -> None:
    from batchscore import runs as run_states
    from batchscore.doctor import runs
    from batchscore.run_store import BlobRunStore
    from batchscore.runs import Cause
    from batchscore.triggers import RunRequest

    settings = settings_for(azurite, tmp_path)
    storage = Storage(settings)
    then = datetime.now(UTC) - timedelta(minutes=20)
    run = run_states.accepted(Cause("cli", str(tmp_path)), RunRequest("digits/classify", {}), then)
    store = BlobRunStore(storage)
    store.create(run)
    try:
        (finding,) = runs.waiting(settings)
    finally:
        store.update(run.id, lambda current: run_states.cancel(current, datetime.now(UTC)))
        storage.close()
    assert finding.verdict == "warn"
    assert "waiting, the first for 20 min, and none is under way" in finding.found
