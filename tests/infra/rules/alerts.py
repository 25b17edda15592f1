"""Alerts read what the app says: the same names on both sides, and somebody is told."""

from __future__ import annotations

import re
from collections.abc import Iterator

from batchscore import signals
from tests.infra.scenarios import SCENARIOS, Infra

_WANTED = {"poison-messages", "failed-runs", "oldest-trigger", "app-silent"}


def alerts_are_there(infra: Infra) -> Iterator[str]:
    """The alerts on what is wrong, with the one on hours where hours are scored; each calls the action group."""
    for name, deployment in infra.deployments.items():
        made = {
            each.name.removeprefix("batchscore-"): each
            for each in deployment.of("Microsoft.Insights/scheduledQueryRules")
        }
        wanted = set(_WANTED)
        if SCENARIOS[name].get("SENSORS_ENABLED") != "false":
            wanted.add("hours-unpublished")
        for alert in sorted(wanted ^ made.keys()):
            yield f"{name}: the alert {alert} is {'not ' if alert in wanted else ''}there"
        groups = [each.id for each in deployment.of("Microsoft.Insights/actionGroups")]
        if bool(groups) != ("ALERT_EMAIL" in SCENARIOS[name]):
            yield f"{name}: there are {len(groups)} action groups"
        for alert, rule in made.items():
            if rule.properties.get("enabled") is not True:
                yield f"{name}: {alert} is off"
            if rule.properties["actions"].get("actionGroups", []) != groups:
                yield f"{name}: {alert} calls {rule.properties['actions']}"
            if rule.properties["scopes"] != [deployment.one("Microsoft.OperationalInsights/workspaces").id]:
                yield f"{name}: {alert} looks at {rule.properties['scopes']}"


def alerts_know_the_signals(infra: Infra) -> Iterator[str]:
    """The names of signals in the queries are those of batchscore/signals.py, and what follows is cut off rightly."""
    known = {signal.value for signal in signals.Signal}
    for path in infra.files:
        if not path.endswith(".kql"):
            continue
        query = infra.files[path]
        named = set(re.findall(r'(?:\.signal\)|\bname)\s*==\s*"([^"]*)"', query))
        if not named:
            yield f"{path} asks for no signal"
        for name in sorted(named - known):
            yield f"{path} asks for the signal {name}, which nobody gives"
        if f'startswith "{signals.PREFIX}"' not in query:
            yield f"{path} does not ask for lines that begin with {signals.PREFIX!r}"
        if f"substring(Message, {len(signals.PREFIX)})" not in query:
            yield f"{path} does not cut off {signals.PREFIX!r}"
