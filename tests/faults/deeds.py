"""What each kind of fault does. A deed says what it hit, or None where there was nothing to hit."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobLeaseClient

from batchscore import paths
from batchscore.errors import RunConflictError, RunNotFoundError
from batchscore.runs import RunState
from tests.faults import processes
from tests.faults.errands import Errand, film, new_errand, text
from tests.faults.processes import Found
from tests.faults.proxy import Cut
from tests.faults.sequence import CUTS, Fault
from tests.faults.world import World

PATIENCE_S = 8.0
"""How long a deed waits for something that it can hit."""
Deed = Callable[[World, Fault], str | None]


def act(world: World, fault: Fault) -> str | None:
    """Do it, and undo it after its time."""
    if fault.kind in CUTS:
        mode = Cut(fault.kind.removeprefix("storage "))
        with world.cut(mode):
            time.sleep(fault.lasts_s)
        return f"for {fault.lasts_s:.1f} s"
    return DEEDS[fault.kind](world, fault)


def _target(world: World, fault: Fault, role: str) -> Found | None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = world.processes(role)
        if found:
            return found[int(fault.target * len(found))]
        if time.monotonic() > deadline:
            return None
        time.sleep(0.05)


def _active(world: World, fault: Fault, *states: RunState) -> Errand | None:
    """An errand whose run is in one of these states."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = []
        for errand in list(world.round):
            run = world.run_of(errand)
            if run is not None and run.state in states:
                found.append(errand)
        if found:
            return found[int(fault.target * len(found))]
        if time.monotonic() > deadline:
            return None
        time.sleep(0.3)


def kill(role: str) -> Deed:
    def deed(world: World, fault: Fault) -> str | None:
        found = _target(world, fault, role)
        if found is None or not processes.send(found.pid, signal.SIGKILL):
            return None
        _note_killed_attempt(world, found.job)
        return f"{role} {found.pid} {found.job}".rstrip()

    return deed


def _note_killed_attempt(world: World, job: str) -> None:
    for errand in world.errands:
        if errand.run_id and job.startswith(errand.run_id):
            errand.killed_attempts += 1


def kill_watchdog_and_attempt(world: World, fault: Fault) -> str | None:
    """Whoever would clear up after an attempt dies before it."""
    watchdog = _target(world, fault, "watchdog")
    if watchdog is None:
        return None
    attempts = [each for each in world.processes("attempt") if each.pid == watchdog.parent]
    if not attempts:
        return None
    for pid in (watchdog.pid, attempts[0].pid):
        processes.send(pid, signal.SIGKILL)
    _note_killed_attempt(world, attempts[0].job)
    return f"attempt {attempts[0].pid} {attempts[0].job} and its watchdog"


def kill_command(world: World, fault: Fault) -> str | None:
    """A command step is not tried again, as on Azure ML: its run fails and says so."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        attempts = {each.pid: each.job for each in world.processes("attempt")}
        found = [each for each in world.processes(processes.OTHER) if each.parent in attempts]
        if found:
            command = found[int(fault.target * len(found))]
            job = attempts[command.parent]
            for errand in world.errands:
                if errand.run_id and job.startswith(errand.run_id):
                    errand.killed_commands += 1
            return f"command {command.pid} of {job}" if processes.send(command.pid, signal.SIGKILL) else None
        time.sleep(0.01)
    return None


def kill_host(world: World, fault: Fault) -> str | None:
    names = sorted(world.hosts)
    if not names:
        return None
    name = names[int(fault.target * len(names))]
    if not world.end_host(name, kill=True):
        return None
    time.sleep(fault.lasts_s)
    if name == "a" or not world.hosts:
        world.start_host("a")
    return f"host {name}, away for {fault.lasts_s:.1f} s"


def kill_storage(world: World, fault: Fault) -> str | None:
    world.kill_azurite()
    return "Azurite, after its flush"


def fill_disk(world: World, fault: Fault) -> str | None:
    world.disk.fill()
    time.sleep(fault.lasts_s)
    world.disk.free()
    return f"for {fault.lasts_s:.1f} s"


def fill_storage_disk(world: World, fault: Fault) -> str | None:
    """Azurite answers 500 to whatever it should keep."""
    with world.storage():  # not while Azurite is being killed: it could not save
        world.storage_disk.fill()
    time.sleep(fault.lasts_s)
    world.storage_disk.free()
    return f"for {fault.lasts_s:.1f} s"


def duplicate_event(world: World, fault: Fault) -> str | None:
    """The event of one trigger file, some times more: at once, and late."""
    if not world.errands:
        return None
    draw = random.Random(fault.seed)
    errand = world.errands[int(fault.target * len(world.errands))]
    with world.storage():
        for delay_s in (0, 0, 0, draw.randint(0, 8)):
            world.send_event(errand, delay_s)
    return f"{errand.trigger}, four times"


def reorder_events(world: World, fault: Fault) -> str | None:
    """The events of all trigger files of late, in another order, some of them late."""
    if not world.errands:
        return None
    draw = random.Random(fault.seed)
    errands = world.errands[-8:]
    draw.shuffle(errands)
    with world.storage():
        for errand in errands:
            world.send_event(errand, draw.choice((0, 0, 2, 5)))
    return f"{len(errands)} events"


def duplicate_kick(world: World, fault: Fault) -> str | None:
    with world.storage() as application:
        for delay_s in (0, 0, 0, 1, 1, 3):
            application.kick(delay_s)
    return "six more"


def lose_kicks(world: World, fault: Fault) -> str | None:
    with world.storage(), suppress(ResourceNotFoundError):
        world.queue(paths.RECONCILE_QUEUE).clear_messages()
        return "all messages deleted"
    return None


def delete_kick_queue(world: World, fault: Fault) -> str | None:
    with world.storage(), suppress(ResourceNotFoundError):
        world.queue(paths.RECONCILE_QUEUE).delete_queue()
        return "the queue is deleted"
    return None


def second_host(world: World, fault: Fault) -> str | None:
    """It comes, and stays until it is killed or another of these sends it away."""
    if "b" in world.hosts:
        world.end_host("b", kill=fault.target < 0.5)
        return "host b is gone" if fault.target >= 0.5 else "host b is killed"
    world.start_host("b")
    return "host b is there"


def _lease_blob(world: World) -> BlobLeaseClient:
    container = world.application.storage.container("system", paths.RUNS)
    return BlobLeaseClient(container.get_blob_client(paths.LEASE_BLOB))


def _break_while_held(world: World) -> bool:
    """Break the reconciler's lease in the middle of a pass; whether there was one."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            with world.storage():
                _lease_blob(world).break_lease(0)
            return True
        except HttpResponseError:  # nobody holds it
            time.sleep(0.03)
    return False


def break_lease(world: World, fault: Fault) -> str | None:
    return "in the middle of a pass" if _break_while_held(world) else None


def steal_lease(world: World, fault: Fault) -> str | None:
    if not _break_while_held(world):
        return None
    lease = _lease_blob(world)
    with world.storage():
        try:
            lease.acquire(15)
        except HttpResponseError:
            return "broken; another one was quicker"
    time.sleep(fault.lasts_s)
    with world.storage(), suppress(HttpResponseError):
        lease.release()
    return f"held by a stranger for {fault.lasts_s:.1f} s"


def freeze_lease_holder(world: World, fault: Fault) -> str | None:
    """It sleeps in the middle of a pass; its lease goes to another; it wakes, and must not move any run."""
    world.start_host("b")
    deadline = time.monotonic() + PATIENCE_S
    names = ["a", "b"] if fault.target < 0.5 else ["b", "a"]
    while time.monotonic() < deadline:
        for name in names:
            host = world.hosts.get(name)
            if host is None or host.exit_code is not None:
                continue
            pid = host.pid
            world.freeze(pid)
            try:
                with world.storage():
                    _lease_blob(world).break_lease(0)
            except HttpResponseError:
                world.thaw(pid)
                time.sleep(0.02)
                continue
            time.sleep(fault.lasts_s)
            world.thaw(pid)
            return f"host {name} for {fault.lasts_s:.1f} s, its lease broken meanwhile"
    return None


def freeze(role: str) -> Deed:
    def deed(world: World, fault: Fault) -> str | None:
        found = _target(world, fault, role)
        if found is None or not world.freeze(found.pid):
            return None
        time.sleep(fault.lasts_s)
        world.thaw(found.pid)
        return f"{role} {found.pid} for {fault.lasts_s:.1f} s"

    return deed


def change_input(world: World, fault: Fault) -> str | None:
    errand = _active(world, fault, RunState.SUBMITTING, RunState.RUNNING)
    if errand is None:
        return None
    draw = random.Random(fault.seed)
    name = draw.choice(sorted(errand.versions))
    data = film(draw) if errand.is_film else text(draw) + f" {fault.number} {name}".encode()
    errand.versions[name].append(data)
    world.upload(name, data)
    errand.told.append(f"{name} changed")
    return f"{name} of run {errand.run_id}"


def delete_input(world: World, fault: Fault) -> str | None:
    errand = _active(world, fault, RunState.RUNNING)
    if errand is None:
        return None
    names = sorted(set(errand.versions) - errand.deleted)
    if not errand.is_film and len(names) < 2:
        return None
    name = random.Random(fault.seed).choice(names)
    errand.deleted.add(name)
    world.remove(name)
    errand.told.append(f"{name} deleted")
    return f"{name} of run {errand.run_id}"


def overwrite_trigger(world: World, fault: Fault) -> str | None:
    """Another file under the same name, while the run of the first is active: a run of its own."""
    old = _active(world, fault, RunState.ACCEPTED, RunState.SUBMITTING, RunState.RUNNING)
    if old is None:
        return None
    number = 10_000 + fault.number
    new = new_errand(number, random.Random(fault.seed), world.folder)
    new.trigger = old.trigger
    with world.storage():  # one overwriting at a time
        for errand in list(world.round):  # one that nobody has read so far never will be
            if errand.trigger == new.trigger and world.run_of(errand) is None:
                errand.may_be_missing = True
        world.drop(new)
    return f"{old.trigger}: run {new.run_id} beside {old.run_id}"


def delete_trigger(world: World, fault: Fault) -> str | None:
    """A trigger file that is gone again at once: its run is there, or never was."""
    errand = new_errand(20_000 + fault.number, random.Random(fault.seed), world.folder)
    errand.may_be_missing = True
    world.drop(errand)
    with world.storage() as application, suppress(ResourceNotFoundError):
        application.storage.container("data", world.settings.trigger_container).delete_blob(errand.trigger)
    return errand.trigger


def retry_midway(world: World, fault: Fault) -> str | None:
    """A retry of a run that is under way is refused, and changes nothing."""
    errand = _active(world, fault, RunState.ACCEPTED, RunState.SUBMITTING, RunState.RUNNING)
    if errand is None:
        return None
    with world.storage() as application:
        try:
            application.retry(errand.run_id)
        except (RunConflictError, RunNotFoundError):
            return f"run {errand.run_id}: refused"
    return f"run {errand.run_id}: it had just ended"


def cancel_midway(world: World, fault: Fault) -> str | None:
    errand = _active(world, fault, RunState.ACCEPTED, RunState.SUBMITTING, RunState.RUNNING)
    if errand is None:
        return None
    with world.storage() as application:
        errand.cancelled = True
        errand.told.append("cancelled")
        with suppress(RunConflictError):
            application.cancel(errand.run_id)
            return f"run {errand.run_id}"
    return None


DEEDS: dict[str, Deed] = {
    "worker killed": kill("worker"),
    "attempt killed": kill("attempt"),
    "watchdog killed": kill("watchdog"),
    "watchdog and attempt killed": kill_watchdog_and_attempt,
    "command killed": kill_command,
    "host killed": kill_host,
    "storage killed": kill_storage,
    "disk full": fill_disk,
    "storage disk full": fill_storage_disk,
    "event duplicated": duplicate_event,
    "event reordered": reorder_events,
    "kick duplicated": duplicate_kick,
    "kicks lost": lose_kicks,
    "kick queue deleted": delete_kick_queue,
    "second host": second_host,
    "lease broken": break_lease,
    "lease stolen": steal_lease,
    "lease holder frozen": freeze_lease_holder,
    "host frozen": freeze("host"),
    "attempt frozen": freeze("attempt"),
    "worker frozen": freeze("worker"),
    "input changed": change_input,
    "input deleted": delete_input,
    "trigger overwritten": overwrite_trigger,
    "trigger deleted": delete_trigger,
    "retry midway": retry_midway,
    "cancel midway": cancel_midway,
}
