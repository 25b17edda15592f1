"""What must hold of the infrastructure and no checker of Bicep sees. A rule is a function that yields what is wrong."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from importlib import import_module

from tests.infra.scenarios import Infra
from tests.infra.syntax import BicepError

Rule = Callable[[Infra], Iterator[str]]
_MODULES = (
    "templates",
    "parameters",
    "roles",
    "storage",
    "network",
    "functions",
    "machine_learning",
    "events",
    "alerts",
    "hooks",
)


def _rules() -> dict[str, Rule]:
    found: dict[str, Rule] = {}
    for module in map(import_module, (f"{__name__}.{name}" for name in _MODULES)):
        for name, value in vars(module).items():
            of_it = inspect.isfunction(value) and value.__module__ == module.__name__
            if of_it and not name.startswith("_") and list(inspect.signature(value).parameters) == ["infra"]:
                assert name not in found, name
                found[name] = value
    return found


RULES = _rules()


def problems(name: str, infra: Infra) -> list[str]:
    """What a rule finds, each once; a rule that breaks on what it finds says so. What comes to nothing at all is for
    one rule alone to tell: works_out."""
    _ = infra.deployments, infra.subscriptions
    try:
        found = list(dict.fromkeys(RULES[name](infra)))
    except BicepError as error:
        return [] if infra.broken and name != "works_out" else [str(error)]
    except Exception as error:  # what is missing or of another shape is as wrong as what is said wrongly
        return [f"{type(error).__name__}: {error}"]
    return found
