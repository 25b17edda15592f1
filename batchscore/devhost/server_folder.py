"""What the stand-ins of cloud services have in common as programs: a folder of their own, a port that stays, an end."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path

from batchscore.errors import BatchscoreError, SettingsError

FOLDER_TIMEOUT_S = 10.0
_PORT_FILE = "port"
_PORT_WAIT_S = 3.0


def served(serve: Coroutine[None, None, None]) -> int:
    """Serve until it ends; the exit code. What keeps it from serving is told in one sentence."""
    try:
        asyncio.run(serve)
    except BatchscoreError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    return 0


def lock_folder(folder: Path, name: str) -> int:
    """A descriptor that holds a folder for this process: two servers on one folder would tear each other's files.
    SettingsError where another one of this name has it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_WRONLY | os.O_CREAT, 0o600)
    deadline = time.monotonic() + FOLDER_TIMEOUT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(lock)
                raise SettingsError(
                    f"Another {name} uses the folder {folder}. Stop it, or name another folder."
                ) from None
            time.sleep(0.1)


async def listen_again(folder: Path | None, asked: int, listen: Callable[[int], Awaitable[int]]) -> None:
    """Listen at the port asked for; else at that of last time; else at any. A port may be held for a moment.

    `listen` takes a port (0 for any), raises SettingsError where it is taken, and returns the one it listens at.
    """
    file = folder and folder / _PORT_FILE
    wanted = asked
    if file is not None and not asked:
        with suppress(OSError, ValueError):
            earlier = int(file.read_text(encoding="utf-8"))
            wanted = earlier if 0 < earlier < 65536 else 0
    deadline = time.monotonic() + _PORT_WAIT_S
    while True:
        try:
            port = await listen(wanted)
            break
        except SettingsError:
            if time.monotonic() > deadline:
                if asked or not wanted:
                    raise
                wanted = 0
            await asyncio.sleep(0.1)
    if file is not None:
        file.write_text(str(port), encoding="utf-8")


def stop_asked(*, with_stdin: bool) -> asyncio.Event:
    """Set when the process is told to stop, and, where so wanted, when its standard input ends: its owner is gone."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    if with_stdin:
        threading.Thread(target=_wait_for_the_owner, args=(loop, stop), daemon=True).start()
    return stop


def _wait_for_the_owner(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(0, 1024):
        pass
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(stop.set)
