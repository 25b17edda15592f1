"""Each fault that somebody might make is found, by the rule or checker that is named for it and by no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.infra import checkers
from tests.infra.mutations import CHECKOV_FAULTS, FAULTS, Fault, planted
from tests.infra.rules import RULES, problems
from tests.infra.scenarios import Infra


def findings(fault: Fault, folder: Path) -> dict[str, list[str]]:
    """What the rules and the quick checkers say, by their names."""
    files = planted([fault])
    infra = Infra(files)
    found = {name: problems(name, infra) for name in RULES}
    found["schemas"] = checkers.schemas(files)
    if fault.path.startswith("infra/") and fault.path.endswith((".bicep", ".json")):
        found["bicepcheck"] = checkers.bicepcheck(files, folder)
    if fault.path.endswith(".kql"):
        found["kql"] = checkers.kql({fault.path: files[fault.path]})
    return {name: said for name, said in found.items() if said}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_found(fault: Fault, tmp_path: Path) -> None:
    found = findings(fault, tmp_path)
    assert set(found) == set(fault.caught_by), found


@pytest.mark.parametrize("fault", CHECKOV_FAULTS, ids=lambda fault: fault.name)
def test_what_is_left_to_checkov_is_found_by_nothing_else(fault: Fault, tmp_path: Path) -> None:
    assert findings(fault, tmp_path) == {}


def test_every_fault_has_a_name_of_its_own() -> None:
    names = [fault.name for fault in (*FAULTS, *CHECKOV_FAULTS)]
    assert len(set(names)) == len(names)
    assert len(FAULTS) > 25
