"""Changed code: the files that a running app is made of, when they change, and whether the app still loads.

The worker's registries are global, so changed code needs a new process. A change is tried in a process of its own
first; when that cannot load the app, the reason is shown and the app as it was goes on.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from batchscore.devhost import configuration
from batchscore.devhost.console import Console
from batchscore.devhost.loading import (
    EXAMPLE_SETTINGS,
    HOST_JSON,
    LOCAL_SETTINGS,
    AppFiles,
    environment_of,
    load_functions,
)
from batchscore.devhost.worker import IndexingError, Worker
from batchscore.errors import BatchscoreError

POLL_S = 0.5
TRIAL_TIMEOUT_S = 60.0
_NOT_OWN = frozenset({"site-packages", "node_modules", ".venv", ".python_packages"})

Stamps = dict[Path, tuple[int, int]]


def own_folders(app: Path, module_files: Iterable[str]) -> frozenset[Path]:
    """The folders of the app in which code lies that was imported, and the app's own."""
    found = {app}
    for text in module_files:
        file = Path(text)
        if file.is_relative_to(app) and not _NOT_OWN & set(file.relative_to(app).parts):
            found.add(file.parent)
    return frozenset(found)


def stamps(app: AppFiles, folders: Iterable[Path]) -> Stamps:
    """When each file was changed that the app is made of: Python files beside loaded ones, host.json, settings."""
    candidates = [app.folder / name for name in (HOST_JSON, LOCAL_SETTINGS, EXAMPLE_SETTINGS)]
    candidates += [app.settings] if app.settings else []
    for folder in folders:
        candidates += folder.glob("*.py")
    found: Stamps = {}
    for file in candidates:
        try:
            stat = file.stat()
        except OSError:
            continue
        found[file] = (stat.st_mtime_ns, stat.st_size)
    return found


class Changes:
    """Waits for the app's files to change."""

    def __init__(self, app: AppFiles) -> None:
        self._app = app
        files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
        self._folders = own_folders(app.folder, files)
        self._seen = stamps(app, self._folders)

    async def wait(self) -> list[str]:
        """The names of the files that changed, once nothing has changed any more for a moment."""
        last, changed = self._seen, False
        while True:
            await asyncio.sleep(POLL_S)
            now = await asyncio.to_thread(stamps, self._app, self._folders)
            if now == last and changed:
                break
            changed = now != self._seen
            last = now
        names = {file for file in {*now, *self._seen} if now.get(file) != self._seen.get(file)}
        self._seen = now
        return sorted(os.path.relpath(file, self._app.folder) for file in names)


def fault(app: AppFiles, environment: Mapping[str, str]) -> str:
    """Why the app cannot be loaded as its files are now; "" when it can. Takes as long as importing it does."""
    command = [sys.executable, "-m", "batchscore.devhost.reload", str(app.folder), str(app.settings or "")]
    try:
        done = subprocess.run(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TRIAL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"It does not load within {TRIAL_TIMEOUT_S:.0f} s."
    if done.returncode == 0:
        return ""
    said = (done.stdout or done.stderr).decode("utf-8", "replace").strip()
    return said[-4_000:] or f"Its import ends the process (exit code {done.returncode})."


def _trial(folder: str, settings_file: str) -> int:
    """Load the app as the host would, in this process, and say what is wrong."""
    app = AppFiles(Path(folder), Path(settings_file) if settings_file else None)
    console = Console(app.folder, {})
    try:
        settings = environment_of(configuration.merged(app.local_settings().values, os.environ), 0)
        host_json = app.host_json(settings)
        os.environ.update(settings)
        os.chdir(app.folder)
        load_functions(Worker(), app, settings, host_json, console)
    except IndexingError as error:
        console.error(str(error), error.trace)
        return 1
    except BatchscoreError as error:
        console.error(str(error))
        return 1
    return 0


if __name__ == "__main__":
    code = _trial(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # whatever threads the app has started
