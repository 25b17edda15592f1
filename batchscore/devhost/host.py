"""The dev host: Azurite, Event Hubs, Azure ML, the worker and the listeners put together, from start to a clean end."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from batchscore.devhost import address, banner, configuration
from batchscore.devhost.accesslog import BlobWritten, MessageSent, parse
from batchscore.devhost.address import RunningHost
from batchscore.devhost.azureml import AzureMLWorkspace
from batchscore.devhost.azurite import Azurite, Ports
from batchscore.devhost.configuration import HOST_STORAGE
from batchscore.devhost.console import Console
from batchscore.devhost.eventhubs import DEFAULT_GROUP, EventHubs, HubOptions
from batchscore.devhost.functions import BlobTrigger, EventHubTrigger, QueueTrigger
from batchscore.devhost.http import HttpFront
from batchscore.devhost.invocations import Invoker
from batchscore.devhost.keys import KEYS_FILE, Keys
from batchscore.devhost.listeners import Listeners
from batchscore.devhost.loading import AppFiles, environment_of, load_functions
from batchscore.devhost.reload import Changes, fault
from batchscore.devhost.server_process import ServerProcess
from batchscore.devhost.storage import HostStorage
from batchscore.devhost.worker import IndexingError, Worker
from batchscore.errors import BatchscoreError, SettingsError
from batchscore.process_mark import start_of

USUAL_PORT = 7071
EVENT_HUB_NAME_SETTING = "EVENT_HUB_NAME"
EVENT_HUB_GROUP_SETTING = "EVENT_HUB_CONSUMER_GROUP"
USUAL_EVENT_HUB = "readings"
GRACE_S = 10.0
FORCED = 130
"""The exit code of a host that left work unfinished."""

_ENDS_IN_A_MINUTE = 4
_LOOK_AFTER_SERVICES_EVERY_S = 0.5


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    app_folder: Path
    settings_file: Path | None = None
    azurite_folder: Path | None = None
    azurite_ports: Ports | None = None
    event_hub_folder: Path | None = None
    event_hub_port: int = 0
    event_hub_partitions: int = HubOptions.partitions
    compute: str | None = None
    azureml_folder: Path | None = None
    azureml_port: int = 0
    address_file: Path | None = None
    port: int | None = None
    keys: bool = False
    reload: bool = True
    stop_with_stdin: bool = False


class Host:
    """One dev host for one app. `await Host(options).run()` returns the exit code.

    When the app's files have changed, `reload_at` is the port at which a new process should take its place, with
    `environment`, what the environment was before the app's settings were put there.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._app = options.app_folder.resolve()
        self._files = AppFiles(self._app, options.settings_file)
        self.reload_at: int | None = None
        self.environment = dict(os.environ)
        self._address_file = options.address_file or self._app / address.ADDRESS_FILE
        self._began = time.monotonic()
        self._stop = asyncio.Event()
        self._force = asyncio.Event()
        self._exit_code = 0
        self._azurite: Azurite | None = None
        self._event_hubs: EventHubs | None = None
        self._workspace: AzureMLWorkspace | None = None
        self._worker = Worker()
        self._listeners: Listeners | None = None

    async def run(self) -> int:
        self._console = Console(self._app, {})
        try:
            self._take_signals()
            leaving = asyncio.create_task(self._leave_when_forced())
            await self._serve()
            leaving.cancel()
        except IndexingError as error:
            self._console.error(f"The function app cannot be loaded: {error}", error.trace)
            self._exit_code = 1
        except BatchscoreError as error:
            self._console.error(str(error))
            self._exit_code = 1
        finally:
            await self._stop_services()
        return self._exit_code

    async def _serve(self) -> None:
        running = address.read(self._address_file)
        if running is not None and running.pid != os.getpid():  # our own stays there over a reload
            raise SettingsError(
                f"A dev host for this app runs already at {running.url} (process {running.pid}). Stop that one first."
            )
        local = self._files.local_settings()
        settings = configuration.with_compute(
            configuration.merged(local.values, os.environ), self._options.compute
        )
        host_json = self._files.host_json(settings)
        self._console = Console(self._app, host_json.log_levels)
        listening = self._bind(local.port)
        port = listening.getsockname()[1]
        in_azurite, in_event_hubs = await asyncio.gather(
            self._start_azurite(settings), self._start_event_hubs(settings)
        )
        in_workspace = await self._start_workspace(settings)
        settings = environment_of(settings, port)
        os.environ.update(settings)
        os.chdir(self._app)
        self._console.attach()
        functions = await asyncio.to_thread(
            load_functions, self._worker, self._files, settings, host_json, self._console
        )
        changes = Changes(self._files)
        keys_file = self._address_file.with_name(KEYS_FILE)
        keys = Keys.kept(keys_file) if self._options.keys else None
        connections = {
            f.trigger.connection
            for f in functions
            if isinstance(f.trigger, BlobTrigger | QueueTrigger | EventHubTrigger)
        }
        names = {HOST_STORAGE, *local.values, *in_azurite, *in_event_hubs, *in_workspace, *connections}
        if self._options.compute is not None:
            names |= {configuration.COMPUTE_SETTING, configuration.WORKSPACE_SETTING}
        host = RunningHost(
            url=f"http://127.0.0.1:{port}",
            pid=os.getpid(),
            environment={name: settings[name] for name in sorted(names) if name in settings},
            function_key=keys.function if keys else None,
            started=start_of(os.getpid()),
        )
        storage = HostStorage(settings)
        host_id = host_identity(self._app, settings)
        invoker = Invoker(self._worker, storage, self._console, base64_messages=host_json.queues.base64)
        listeners = Listeners(functions, host_json, host_id, storage, invoker, self._console, self._on_fault)
        front = HttpFront(functions, host_id, invoker, keys, listeners.start_by_hand)
        runner = web.AppRunner(front.application(), access_log=None, shutdown_timeout=1)
        try:
            await runner.setup()
            site = web.SockSite(runner, listening)
            await site.start()
            await storage.check()
            self._listeners = listeners
            listeners.start()
            address.write(self._address_file, host)
            file = self._files.settings_file
            services = (self._azurite, self._event_hubs, self._workspace)
            banner.show(self._console, self._app, functions, host.url, services, file, keys, keys_file)
            seconds = time.monotonic() - self._began
            self._console.plain(f"Ready in {seconds:.1f} s at {host.url}. Ctrl-C stops.", "heading")
            caretakers = [
                asyncio.create_task(self._look_after("Azurite", self._azurite)),
                asyncio.create_task(self._look_after("Event Hubs", self._event_hubs)),
                asyncio.create_task(self._look_after("Azure ML", self._workspace)),
            ]
            if self._options.reload:
                caretakers.append(asyncio.create_task(self._reload_on_change(changes, port)))
            await self._stop.wait()
            for caretaker in caretakers:
                caretaker.cancel()
            await site.stop()
            await self._finish(listeners, invoker)
            await runner.cleanup()
        finally:
            if self.reload_at is None:
                self._address_file.unlink(missing_ok=True)
            await storage.close()
            self._worker.close()

    def _bind(self, settings_port: int | None) -> socket.socket:
        """The port asked for; else the usual one; else, where that is taken, any."""
        asked = self._options.port if self._options.port is not None else settings_port
        candidates = [asked] if asked is not None else [USUAL_PORT, 0]
        for candidate in candidates:
            listening = socket.socket()
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listening.bind(("127.0.0.1", candidate))
                listening.listen(128)
                return listening
            except OSError:
                listening.close()
        raise SettingsError(f"Port {asked} is in use. Name another with --port, or none to take a free one.")

    async def _start_azurite(self, settings: dict[str, str]) -> tuple[str, ...]:
        """Start Azurite where settings ask for it, put its addresses there, and return the names of those settings."""
        names = configuration.development_settings(settings)
        if not names:
            return names
        folder = self._options.azurite_folder or self._app / ".azurite"
        loop = asyncio.get_running_loop()

        def on_line(line: str) -> None:
            event = parse(line)
            if event is not None:
                with suppress(RuntimeError):  # the loop is closed: the host is at its end
                    loop.call_soon_threadsafe(self._notice, event)

        self._azurite = Azurite(folder, self._options.azurite_ports, on_line=on_line)
        await asyncio.to_thread(self._azurite.start)
        settings |= dict.fromkeys(names, self._azurite.connection_string)
        return names

    async def _start_event_hubs(self, settings: dict[str, str]) -> tuple[str, ...]:
        """The same for Event Hubs: the hub and the consumer group that the app's settings name."""
        names = configuration.development_event_hubs(settings)
        if not names:
            return names
        group = settings.get(EVENT_HUB_GROUP_SETTING) or DEFAULT_GROUP
        hub = HubOptions(
            settings.get(EVENT_HUB_NAME_SETTING) or USUAL_EVENT_HUB,
            self._options.event_hub_partitions,
            () if group == DEFAULT_GROUP else (group,),
        )
        folder = self._options.event_hub_folder or self._app / ".eventhubs"
        self._event_hubs = EventHubs([hub], folder=folder, port=self._options.event_hub_port)
        await asyncio.to_thread(self._event_hubs.start)
        settings |= dict.fromkeys(names, self._event_hubs.connection_string)
        return names

    async def _start_workspace(self, settings: dict[str, str]) -> tuple[str, ...]:
        """The same for an Azure ML workspace, whose storage is that of the host."""
        if not configuration.is_development_workspace(settings):
            return ()
        folder = self._options.azureml_folder or self._app / ".azureml"
        self._workspace = AzureMLWorkspace(
            folder=folder,
            storage=settings[HOST_STORAGE],
            port=self._options.azureml_port,
            environment=settings,
            working_folder=self._app,
        )
        await asyncio.to_thread(self._workspace.start)
        found = self._workspace.settings()
        settings |= found
        return tuple(found)

    async def _stop_services(self) -> None:
        services = [
            service for service in (self._workspace, self._azurite, self._event_hubs) if service is not None
        ]
        await asyncio.gather(*(asyncio.to_thread(service.stop) for service in services))

    def _notice(self, event: BlobWritten | MessageSent) -> None:
        if self._listeners is not None:
            self._listeners.notice(event)

    async def _look_after(self, name: str, service: ServerProcess | None) -> None:
        """Restart a service when it ends by itself; when it does so again and again give up."""
        ends: deque[float] = deque(maxlen=_ENDS_IN_A_MINUTE)
        while service is not None:
            await asyncio.sleep(_LOOK_AFTER_SERVICES_EVERY_S)
            if service.running:
                continue
            self._console.host(f"{name} ended. {service.last_words}".strip(), "failed")
            ends.append(time.monotonic())
            try:
                if len(ends) == _ENDS_IN_A_MINUTE and ends[-1] - ends[0] < 60:
                    raise SettingsError(f"{name} ended {len(ends)} times within a minute; the host gives up.")
                await asyncio.to_thread(service.start)
                self._console.host(f"{name} runs again, with what it had saved", "warning")
            except BatchscoreError as error:
                self._console.error(str(error))
                self._exit_code = 1
                self._stop.set()
                return

    async def _reload_on_change(self, changes: Changes, port: int) -> None:
        """Leave for a new process when the app's files have changed and it loads; else say why, and go on."""
        while True:
            names = await changes.wait()
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            wrong = await asyncio.to_thread(fault, self._files, self.environment)
            if not wrong:
                self._console.plain(f"{shown} changed: reloading.", "heading")
                self.reload_at = port
                self._stop.set()
                return
            self._console.error(f"{shown} changed, and the app cannot be loaded so; it goes on as it was.")
            self._console.plain(wrong, "failed")

    async def _finish(self, listeners: Listeners, invoker: Invoker) -> None:
        """Take no more work and wait for what runs; when that takes too long, leave without. A reload waits."""
        reloading = self.reload_at is not None
        if invoker.running:
            patience = "" if reloading else f"; at most {GRACE_S:.0f} s more"
            again = "Ctrl-C" if reloading else "Ctrl-C again"
            what = "Reloading" if reloading else "Stopping"
            self._console.plain(f"{what}: {invoker.running} running{patience}. {again} stops at once.")
        ending = asyncio.gather(listeners.finish(), invoker.wait_until_idle())
        done, _ = await asyncio.wait({ending}, timeout=None if reloading else GRACE_S)
        if not done:
            self._force.set()
            await asyncio.Future()  # the forced end ends the process
        if not reloading:
            self._console.plain("Stopped.")

    async def _leave_when_forced(self) -> None:
        """Give back unfinished work and end the process: a function on a thread cannot be ended otherwise."""
        await self._force.wait()
        self._console.plain("Stopped with work unfinished; it comes again with the next start.", "failed")
        self._address_file.unlink(missing_ok=True)
        if self._listeners is not None:
            await self._listeners.release()
        await self._stop_services()
        sys.stdout.flush()
        os._exit(FORCED)

    def _on_fault(self, error: BaseException) -> None:
        """A listener ended by itself: a fault of this host, so it ends and says so."""
        trace = "".join(traceback.format_exception(error))
        self._console.host(f"a listener ended: {type(error).__name__}: {error}\n{trace}", "failed")
        self._exit_code = 1
        self._stop.set()

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)
        if self._options.stop_with_stdin:

            def wait_for_the_owner() -> None:
                while os.read(0, 1024):
                    pass
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._on_signal)

            threading.Thread(target=wait_for_the_owner, name="owner", daemon=True).start()

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._force.set()
        self._stop.set()


def host_identity(app_folder: Path, settings: dict[str, str]) -> str:
    """The name under which receipts, locks and timer states are kept: machine and folder, at most 32 characters."""
    given = settings.get("AzureFunctionsWebHost__hostid")
    if given:
        return given.lower()[:32]
    machine = re.sub("[^a-z0-9]+", "-", socket.gethostname().lower()).strip("-")[:20].strip("-") or "host"
    return f"{machine}-{int(hashlib.sha256(str(app_folder).encode()).hexdigest()[:8], 16):010d}"
