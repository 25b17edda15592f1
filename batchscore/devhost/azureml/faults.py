"""Faults on demand: requests that are refused, cut off or not answered, and jobs that meet with misfortune."""

from __future__ import annotations

import re
from dataclasses import dataclass

KINDS = ("refuse", "timeout", "reset", "lose_answer")


@dataclass
class Fault:
    """What happens to the next `times` requests that fit: whose method is `method` (any when empty) and in whose path
    the regular expression `path` is found. 0 times is for ever.

    `refuse` answers with `status`, an error's `code` and `message`, and `Retry-After` where it is not 0. `timeout`
    never answers. `reset` cuts the connection before anything is done, `lose_answer` after it was done.
    """

    kind: str = "refuse"
    method: str = ""
    path: str = ""
    times: int = 1
    status: int = 500
    code: str = ""
    message: str = ""
    retry_after_s: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}; it must be one of {', '.join(KINDS)}")
        if not 400 <= self.status <= 599:
            raise ValueError(f"status is {self.status!r}; it must be from 400 to 599")
        if self.times < 0:
            raise ValueError(f"times is {self.times!r}; it must be 0 or more")
        try:
            re.compile(self.path)
        except re.error as error:
            raise ValueError(f"path is {self.path!r}, which is no regular expression: {error}") from error

    def fits(self, method: str, path: str) -> bool:
        return self.method in ("", method) and re.search(self.path, path) is not None


@dataclass
class Switches:
    """How jobs fare, from when it is set on. Where a number of jobs is counted, it goes down with each one.

    `provisioning_s`: how long nodes take to come. `queued_s`: how long a job waits for quota before that.
    `finalizing_s`: how long outputs take at the end. `preempt_jobs`: so many jobs lose their nodes once
    `preempt_after` mini-batches are done. `fail_jobs`: so many jobs fail at the step `fail_step` (the first one when
    empty) before it has done anything. `vanish_jobs`: so many of the next jobs that are asked about are not known any
    more. `state`: what every job that has not ended says of itself instead of its state (NotResponding, Paused, …).
    `pretend`: 1 executes nothing; every job succeeds after `pretend_s`. `expire_tokens`: tokens that have been used so far are refused from now on, once each.
    """

    provisioning_s: float = 0
    queued_s: float = 0
    finalizing_s: float = 0
    preempt_jobs: int = 0
    preempt_after: int = 1
    fail_jobs: int = 0
    fail_step: str = ""
    fail_code: str = "UserError"
    fail_message: str = ""
    vanish_jobs: int = 0
    state: str = ""
    pretend: int = 0
    pretend_s: float = 0
    expire_tokens: int = 0


class Faults:
    """The faults that wait for a request."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self._faults.append(fault)

    def clear(self) -> None:
        self._faults.clear()

    def next(self, method: str, path: str) -> Fault | None:
        """The fault that meets a request, used up once; None for a request that goes well."""
        for fault in self._faults:
            if fault.fits(method, path):
                if fault.times:
                    fault.times -= 1
                    if not fault.times:
                        self._faults.remove(fault)
                return fault
        return None
