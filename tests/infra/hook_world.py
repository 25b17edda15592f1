"""A checkout in which azd's hooks run for real, while `az`, `azd`, `make` and the project's programs are stubs that
record how they are called."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUBSCRIPTION = "1b2c3d4e-0000-4000-8000-000000000000"
STUB = """#!{python} -IS
import json, os, sys
from pathlib import Path
world, name = Path({world!r}), Path(sys.argv[0]).name
calls = world / "calls.jsonl"
line = " ".join([name, *sys.argv[1:]])
rules = json.loads((world / "answers.json").read_text())
for number, (part, answers) in enumerate(rules):
    if part in line:
        break
else:
    number, answers = -1, [["", "", 0]]
before = [json.loads(each) for each in calls.read_text().splitlines()]
told, complaint, code = answers[min(sum(each["rule"] == number for each in before), len(answers) - 1)]
with calls.open("a") as stream:
    stream.write(json.dumps({{"rule": number, "argv": [name, *sys.argv[1:]]}}) + "\\n")
sys.stdout.write(told)
sys.stderr.write(complaint)
sys.exit(code)
"""
OUTPUTS = {
    "AZURE_ENV_NAME": "trial",
    "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
    "AZURE_LOCATION": "eastus",
    "AZURE_RESOURCE_GROUP": "rg-scoring",
    "AZUREML_WORKSPACE_NAME": "mlw-scoring",
    "FUNCTION_APP_NAME": "func-scoring",
    "SYSTEM_TOPIC_NAME": "evgt-scoring",
    "SYSTEM_STORAGE_ACCOUNT_NAME": "stscoringsystem",
    "STREAM_ANALYTICS_JOB_NAME": "",
    "AzureWebJobsStorage__blobServiceUri": "https://stscoringsystem.blob.core.windows.net/",
    "DATA_STORAGE__blobServiceUri": "https://stscoringdata.blob.core.windows.net/",
}
Answer = tuple[str, str, int]


def says(text: str = "") -> Answer:
    return text, "", 0


def fails(complaint: str, code: int = 1) -> Answer:
    return "", complaint, code


@dataclass
class Ended:
    """How a hook ended: its exit code, and everything it said."""

    code: int
    said: str


@dataclass
class HookWorld:
    """The first rule whose text is in a call answers it, its answers in their order and the last for good; a call
    that no rule knows succeeds in silence."""

    folder: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(OUTPUTS))
    rules: list[tuple[str, tuple[Answer, ...]]] = field(default_factory=list)

    @property
    def checkout(self) -> Path:
        return self.folder / "a check out"

    def build(self) -> HookWorld:
        self.checkout.mkdir(parents=True)
        shutil.copytree(ROOT / "infra" / "hooks", self.checkout / "infra" / "hooks")
        shutil.copy(ROOT / "requirements.txt", self.checkout)
        (self.folder / "calls.jsonl").touch()
        for program in ("stubs/az", "stubs/azd", "stubs/make"):
            self.stub(self.folder / program)
        for program in ("batchscore", "python"):
            self.stub(self.checkout / ".venv" / "bin" / program)
        return self

    def stub(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(STUB.format(python=sys.executable, world=str(self.folder)))
        file.chmod(0o755)

    def answer(self, part: str, *answers: Answer) -> None:
        """Calls that hold this text are answered so from now on; a later rule goes before an earlier one."""
        self.rules.insert(0, (part, answers))

    def run(self, hook: str, **environment: str) -> Ended:
        """Run the hook as azd does: in the checkout, with azd's values as variables."""
        (self.folder / "answers.json").write_text(json.dumps(self.rules))
        (self.folder / "calls.jsonl").write_text("")
        done = subprocess.run(
            ["sh", f"infra/hooks/{hook}.sh"],
            cwd=self.checkout,
            env={
                "PATH": f"{self.folder / 'stubs'}:/usr/bin:/bin",
                "HOOK_PAUSE_S": "0",
                "HOOK_PATIENCE_S": "3",
                **self.environment,
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        return Ended(done.returncode, done.stdout)

    @property
    def calls(self) -> list[str]:
        """The calls of the last hook, each as a line."""
        return [" ".join(argv) for argv in self.arguments]

    @property
    def arguments(self) -> list[list[str]]:
        lines = (self.folder / "calls.jsonl").read_text().splitlines()
        return [json.loads(line)["argv"] for line in lines]

    def called(self, part: str) -> int:
        """How often a call of the last hook held this text."""
        return sum(part in call for call in self.calls)
