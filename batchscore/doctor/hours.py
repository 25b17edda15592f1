"""Hours that wait, failed, or whose record is torn."""

from __future__ import annotations

from collections.abc import Iterator

from batchscore.doctor.findings import Finding
from batchscore.settings import Settings

LOOKED_AT = 24


def scored(settings: Settings) -> Iterator[Finding]:
    """How the last hours were scored, where the hourly timer is there."""
    if not settings.scores_hours:
        return
    from batchscore.application import Application
    from batchscore.hour_accounts import HourState

    application = Application(settings)
    try:
        found = application.hour_accounts.last(LOOKED_AT)
    finally:
        application.close()
    bad = {
        HourState.FAILED: "'batchscore hours' names its run, 'batchscore show RUN' says why; retry it",
        HourState.UNREADABLE: "look at the blob that 'batchscore hours' names",
        HourState.WAITING: "mend what 'batchscore hours' names; the timer then scores it",
    }
    for state, remedy in bad.items():
        those = [each for each in found if each.state is state]
        if those:
            reason = (those[0].reason.splitlines() or [""])[0]
            more = f" and {len(those) - 1} more" if len(those) > 1 else ""
            said = f"{those[0].hour}{more}: {state}" + (f" ({reason[:200]})" if reason else "")
            yield Finding.warn("hours", said, remedy)
    if not any(each.state in bad for each in found):
        count = sum(each.published != "" for each in found)
        yield Finding.ok("hours", f"{count} of the last {LOOKED_AT} are published, none failed or waits")
