"""Rounds: work is given out, faults strike, everything is healed, and what must be true is checked."""

from __future__ import annotations

import random
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from batchscore.errors import RunConflictError
from batchscore.runs import Run, RunState
from tests.faults import checks
from tests.faults.deeds import act
from tests.faults.errands import Errand, new_errand
from tests.faults.sequence import Fault, faults
from tests.faults.world import World

IN_FLIGHT = 4
"""How many runs are kept under way while faults strike."""
MOST_AT_ONCE = 8
"""How many faults may last at the same time."""
BOUND_S = 150.0
"""How long everything may take to finish by itself after the last fault is healed."""


@dataclass
class Score:
    """What happened in one world."""

    hits: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    attempts: int = 0
    retried: Counter[str] = field(default_factory=Counter)
    """Runs that ended without success as what was done to them asks for, and succeeded when retried, by reason."""
    missing: int = 0
    healed_s: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    broken: bool = False
    """The harness itself failed."""


class Play:
    """Plays a number of faults in rounds. `say` is told every event, with the seconds since the beginning."""

    def __init__(self, world: World, seed: int, number: int, say: Callable[[str], None]) -> None:
        self._world = world
        self._faults = faults(seed, number)
        self._draw = random.Random(f"work {seed}/{number}")
        self._tell = say
        self._began = time.monotonic()
        self._given = 0
        self._ended: set[str] = set()
        self.score = Score()

    def _say(self, text: str) -> None:
        self._tell(f"{time.monotonic() - self._began:8.2f} {text}")

    def rounds(self, count: int, per_round: int) -> Score:
        """Play until `count` faults have hit; a fault that finds nothing to hit does not count."""
        while (left := count - self.score.hits.total()) > 0 and not self.score.broken:
            self._round(min(left, per_round))
        return self.score

    def _round(self, count: int) -> None:
        world = self._world
        world.round.clear()
        world.start_host("a")
        self._give(IN_FLIGHT)
        done: list[tuple[Fault, Future[None]]] = []
        hit = self.score.hits.total()
        with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
            while not self.score.broken:
                lasting = [future for _, future in done if not future.done()]
                if self.score.hits.total() - hit + len(lasting) >= count:
                    if not lasting:
                        break
                    wait(lasting, return_when=FIRST_COMPLETED)  # one that finds nothing to hit is replaced
                    continue
                if len(lasting) >= MOST_AT_ONCE:
                    wait(lasting, return_when=FIRST_COMPLETED)
                fault = next(self._faults)
                time.sleep(fault.after_s)
                self._say(str(fault))
                done.append((fault, pool.submit(self._strike, fault)))
                self._keep_busy()
        self._heal()

    def _strike(self, fault: Fault) -> None:
        try:
            hit = act(self._world, fault)
        except Exception:
            self.score.broken = True
            self.score.problems.append(f"the harness broke at {fault}: {traceback.format_exc()}")
            self._say(f"#{fault.number} BROKE: {traceback.format_exc()}")
            return
        (self.score.hits if hit else self.score.missed)[fault.kind] += 1
        self._say(f"#{fault.number} {fault.kind}: {hit or 'nothing to hit'}")

    def _over(self, errand: Errand) -> bool:
        if errand.run_id not in self._ended:
            run = self._world.run_of(errand)
            if run is not None and run.state.ended:
                self._ended.add(errand.run_id)
        return errand.run_id in self._ended

    def _give(self, count: int) -> None:
        for _ in range(count):
            errand = new_errand(self._given, self._draw, self._world.folder)
            self._given += 1
            self._world.drop(errand)
            self._say(
                f"run {errand.run_id} by {errand.trigger}: {len(errand.versions)} inputs, {errand.seconds} s"
            )

    def _keep_busy(self) -> None:
        under_way = sum(not self._over(errand) for errand in list(self._world.round))
        self._give(max(0, IN_FLIGHT - under_way))

    def _heal(self) -> None:
        """Undo what lasts, wait until all runs are over, retry those that a person would retry, and check."""
        world = self._world
        errands = list(world.round)
        world.heal()
        world.start_host("a")
        for errand in errands:  # what was deleted is there again for those who are asked to try again
            for name in sorted(errand.deleted) if errand.is_film else ():
                world.upload(name, errand.versions[name][-1])
        self._say("healed")
        began = time.monotonic()
        runs = self._wait(errands)
        self.score.healed_s.append(time.monotonic() - began)
        self._say(f"all over after {self.score.healed_s[-1]:.1f} s")
        again = [errand for errand in errands if self._retry(errand, runs.get(errand.run_id))]
        if again:
            runs |= self._wait(again)
        for problem in self._problems(errands, runs):
            self.score.problems.append(problem)
            self._say(f"WRONG: {problem}")

    def _wait(self, errands: list[Errand]) -> dict[str, Run]:
        deadline = time.monotonic() + BOUND_S
        runs: dict[str, Run] = {}
        while True:
            for errand in errands:
                run = runs.get(errand.run_id)
                if run is None or not run.state.ended:
                    found = self._world.run_of(errand)
                    if found is not None:
                        runs[errand.run_id] = found
            open_ones = [
                errand
                for errand in errands
                if not (errand.run_id in runs and runs[errand.run_id].state.ended)
                and not (errand.may_be_missing and errand.run_id not in runs)
            ]
            if not open_ones or time.monotonic() > deadline:
                return runs
            time.sleep(0.2)

    def _retry(self, errand: Errand, run: Run | None) -> bool:
        if run is None or not run.state.ended or run.state is RunState.SUCCEEDED:
            return False
        if not checks.legitimate_end(errand, run):
            return False
        self._say(f"run {run.id} is {run.state} ({run.reason}): retried")
        self.score.retried[f"{run.state}: {_kind_of(run.reason)}"] += 1
        try:
            with self._world.storage() as application:
                application.retry(run.id)
        except RunConflictError as error:
            self.score.problems.append(str(error))
            return False
        return True

    def _problems(self, errands: list[Errand], runs: dict[str, Run]) -> Iterator[str]:
        for errand in errands:
            run = runs.get(errand.run_id)
            if run is None:
                self.score.missing += errand.may_be_missing
                if not errand.may_be_missing:
                    yield f"run {errand.run_id} ({errand.trigger}) was never recorded"
                continue
            self.score.runs += 1
            self.score.attempts += len(run.attempts)
            for problem in checks.of_run(self._world, errand, run):
                told = f" [{', '.join(errand.told)}]" if errand.told else ""
                yield f"run {run.id} ({errand.trigger}){told} {problem}"
        most, allowed = checks.most_at_once(runs.values()), self._world.settings.max_active_runs
        if most > allowed:
            yield f"{most} runs were active at once, more than MAX_ACTIVE_RUNS {allowed}"
        yield from checks.of_world(self._world)


def _kind_of(reason: str) -> str:
    for words in (
        "canceled",
        "got no further",
        "SIGKILL",
        "no blob",
        "changed or went away",
        "nothing below",
    ):
        if words in reason:
            return words
    return reason[:60]
