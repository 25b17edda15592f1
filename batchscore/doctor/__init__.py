"""Is everything there that a run needs? Checks that work when nothing works; each says what to do.

findings.py   a line of the report
machine.py    Python, packages, Node and Azurite, disk, port, GPU
product.py    workloads, shipped models, the interpreters of LOCAL_PYTHON
accounts.py   the two storage accounts: reachable, allowed, containers, queues, clock
azureml.py    the Azure ML workspace: does it answer, clusters, datastores, what is deployed
event_hub.py  the event hub: does it answer, is what it holds being landed
hours.py      hours that failed or wait
runs.py       runs that nobody takes up, messages that went wrong
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from batchscore.doctor.findings import Finding, Unsettled, guarded
from batchscore.settings import Settings

__all__ = ["Finding", "examine"]


def examine(settings: Settings | Exception, source: str, checkout: Path) -> Iterator[Finding]:
    """Every finding, as soon as it is known. `settings` may be the error that reading them ended with; `source` says
    where they come from."""
    from batchscore.doctor import accounts, azureml, event_hub, hours, machine, product, runs

    yield from guarded("Python", machine.python)
    yield from guarded("packages", machine.packages)
    if isinstance(settings, Exception):
        yield Finding.fail("settings", str(settings), "docs/settings.md explains every setting")
    else:
        yield Finding.ok("settings", f"{source}; COMPUTE is {settings.compute}")
    known = settings if isinstance(settings, Settings) else Unsettled()
    yield from guarded("workloads", lambda: product.workloads(known.workloads_folder or checkout / "scoring"))
    yield from guarded("models", lambda: product.shipped_models(checkout / "scoring" / "models"))
    yield from guarded("disk", lambda: machine.disk(known.local_work_folder or Path.cwd()))
    yield from guarded("GPU", machine.gpu)
    yield from guarded("Azurite", lambda: machine.azurite(checkout))
    yield from guarded("host", lambda: machine.host((Path.cwd(), checkout)))
    if not isinstance(settings, Settings):
        yield Finding.warn(
            "storage", "not looked at: the settings do not say where it is", "mend the settings"
        )
        return
    if settings.compute == "local":
        yield from guarded("LOCAL_PYTHON", lambda: product.interpreters(settings.local_python))
    reached = True
    for account in ("system", "data"):
        for finding in guarded(f"{account} account", lambda name=account: accounts.account(settings, name)):  # type: ignore[misc]
            reached = reached and not finding.failed
            yield finding
    if reached:
        yield from guarded("Azure ML", lambda: azureml.read(settings))
        yield from guarded("event hub", lambda: event_hub.read(settings))
        yield from guarded("runs", lambda: runs.waiting(settings))
        yield from guarded("hours", lambda: hours.scored(settings))
