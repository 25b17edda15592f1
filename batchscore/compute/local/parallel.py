"""A parallel step: its mini-batches handed to a pool of workers, retried, and counted against its thresholds."""

from __future__ import annotations

import json
import selectors
import signal
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchscore.compute.base import JobState
from batchscore.compute.local.minibatches import MiniBatch
from batchscore.compute.local.pool import PoolWorker, Task, WorkerSetup, describe_exit
from batchscore.compute.local.site import Outcome, Site
from batchscore.compute.local.thresholds import Result, Tally, Thresholds, again, judge

TICK_S = 0.2
SHUTDOWN_TIMEOUT_S = 30.0
MOST_KILLED = 3
"""How often a place in the pool is filled anew when its worker was killed while it had nothing to do."""
RESULTS_NAME = "mini_batches.jsonl"


@dataclass(frozen=True)
class ParallelPlan:
    """A parallel step with everything resolved."""

    name: str
    setup: WorkerSetup
    batches: Sequence[MiniBatch]
    workers: int
    max_retries: int
    thresholds: Thresholds
    rows_file: Path | None
    """Where returned rows are appended, in the order in which mini-batches are completed."""
    rows_header: bool = False
    """Whether the names of the first returned data frame's columns go before its rows."""


class ParallelRun:
    """One run of a parallel step. A single thread waits for whatever comes first: an answer, a death, a deadline."""

    def __init__(self, plan: ParallelPlan, site: Site) -> None:
        self._plan = plan
        self._site = site
        self._waiting = deque(Task(batch) for batch in plan.batches)
        self._tally = Tally(sum(batch.size for batch in plan.batches), len(plan.batches))
        self._workers: dict[int, PoolWorker] = {}
        self._unready: list[str] = []
        self._killed: Counter[int] = Counter()
        self._selector = selectors.DefaultSelector()

    def run(self) -> Outcome:
        plan, site = self._plan, self._site
        if plan.rows_file is not None:
            plan.rows_file.write_bytes(b"")
        site.log(
            f"{self._tally.items_total} items in {len(plan.batches)} mini-batches for {plan.workers} workers "
            f"(timeout {plan.setup.timeout_s:g} s, {plan.max_retries} retries)"
        )
        self._report()
        try:
            outcome = self._work()
            if outcome.state is JobState.SUCCEEDED:
                self._shut_down()
        finally:
            for worker in list(self._workers.values()):
                self._end(worker)
            self._selector.close()
        site.log(outcome.message or "done")
        return outcome

    def _work(self) -> Outcome:
        for index in range(self._plan.workers):
            self._open(index)
        while not self._tally.finished:
            if self._site.cancelled.is_set():
                return Outcome(JobState.CANCELED, f"step {self._plan.name!r} was cancelled")
            failure = self._tally.excess(self._plan.thresholds) or self._without_workers()
            if failure:
                return self._failed(failure)
            self._hand_out()
            self._listen()
        failure = self._tally.excess(self._plan.thresholds)
        return self._failed(failure) if failure else Outcome(JobState.SUCCEEDED, "", self._tally.items_failed)

    def _failed(self, why: str) -> Outcome:
        return Outcome(JobState.FAILED, f"step {self._plan.name!r}: {why}", self._tally.items_failed)

    def _without_workers(self) -> str | None:
        if self._workers:
            return None
        return f"init() failed in every worker; first causes: {' | '.join(list(dict.fromkeys(self._unready))[:3])}"

    def _hand_out(self) -> None:
        for worker in self._workers.values():
            if self._waiting and worker.idle:
                worker.hand(self._waiting.popleft())

    def _listen(self) -> None:
        for key, _ in self._selector.select(TICK_S):
            worker: PoolWorker = key.data
            for message in worker.messages():
                self._hear(worker, message)
        for worker in list(self._workers.values()):
            if worker.ended:
                for message in worker.messages():
                    self._hear(worker, message)
                if self._workers.get(worker.index) is worker:
                    code = self._end(worker)
                    self._lost(worker, f"the worker {describe_exit(code)}", killed=code == -signal.SIGKILL)
            elif worker.overdue:
                self._end(worker)
                self._lost(worker, self._lateness(worker))

    def _lateness(self, worker: PoolWorker) -> str:
        setup = self._plan.setup
        if worker.ready:
            return f"run() took longer than {setup.timeout_s:g} s (retry_settings.timeout)"
        return f"init() took longer than {setup.init_timeout_s:g} s (--first_task_creation_timeout)"

    def _hear(self, worker: PoolWorker, message: dict[str, Any]) -> None:
        if "ready" in message:
            worker.became_ready()
        elif "unready" in message:
            self._unready.append(message["unready"])
            self._site.log(f"worker {worker.index} could not start: {message['unready']}")
            self._end(worker)
        elif worker.task is not None:
            result = Result(message.get("count", 0), message.get("failed", ""))
            if "size" in message:
                before = worker.task.size
                worker.task.rows = message["size"]
                self._tally = self._tally.resized(worker.task.size - before)
            self._tried(worker, result, message.get("text", ""), message.get("header", ""))

    def _lost(self, worker: PoolWorker, reason: str, *, killed: bool = False) -> None:
        """A worker that has ended is replaced when it was at work. One that was starting or idle gives up its place,
        unless it was killed, which it need not have deserved: then it is replaced a few times."""
        if not worker.ready or worker.task is None:
            self._unready.append(reason)
            self._site.log(f"worker {worker.index} is gone: {reason}")
            if killed and self._killed[worker.index] < MOST_KILLED and not self._tally.finished:
                self._killed[worker.index] += 1
                self._open(worker.index)
            return
        self._tried(worker, Result(error=reason), "")
        if not self._tally.finished:
            self._open(worker.index)

    def _tried(self, worker: PoolWorker, result: Result, text: str, header: str = "") -> None:
        task = worker.take()
        verdict = judge(task.size, result)
        if verdict.error:
            self._site.log(f"mini-batch {task.batch.id}, try {task.tries}: {verdict.error}")
            if again(task.tries, self._plan.max_retries):
                self._waiting.append(task)
                return
        if text and self._plan.rows_file is not None:
            with self._plan.rows_file.open("a", encoding="utf-8", newline="") as stream:
                if self._plan.rows_header and stream.tell() == 0:
                    stream.write(header)
                stream.write(text)
        self._tally = self._tally.settled(verdict, task.batch.items)
        line = {
            "id": task.batch.id,
            "items": task.batch.items,
            "items_failed": verdict.items_failed,
            "status": "failed" if verdict.error else "ok",
            "tries": task.tries,
            "seconds": round(task.seconds, 3),
            "error": verdict.error or None,
            "worker": f"{worker.index}:{worker.pid}",
        }
        with (self._site.logs / RESULTS_NAME).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        self._report()

    def _report(self) -> None:
        self._site.on_items(self._tally.items_done, self._tally.items_failed, self._tally.items_total)

    def _open(self, index: int) -> None:
        log = self._site.logs / f"worker-{index:02d}.txt"
        worker = PoolWorker(index, self._plan.setup, self._site.processes, log)
        self._workers[index] = worker
        self._selector.register(worker.replies, selectors.EVENT_READ, worker)

    def _end(self, worker: PoolWorker) -> int:
        self._selector.unregister(worker.replies)
        del self._workers[worker.index]
        return worker.end()

    def _shut_down(self) -> None:
        """Let the workers run `shutdown()`; what it does no longer changes the outcome."""
        waiting = [worker for worker in self._workers.values() if worker.idle]
        for worker in waiting:
            worker.stop()
        deadline = time.monotonic() + SHUTDOWN_TIMEOUT_S
        while waiting and time.monotonic() < deadline and not self._site.cancelled.is_set():
            waiting = [worker for worker in waiting if not worker.exited(TICK_S)]
        for worker in waiting:
            self._site.log(f"worker {worker.index} did not end after shutdown() and was killed")
