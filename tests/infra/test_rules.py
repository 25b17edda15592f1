"""What must hold of the infrastructure: each rule by its name, on the repository as it is."""

from __future__ import annotations

import pytest

from tests.infra.bicep import Files
from tests.infra.rules import RULES, problems
from tests.infra.scenarios import ROOT, Infra


@pytest.fixture(scope="module")
def infra() -> Infra:
    return Infra(Files(ROOT))


@pytest.mark.parametrize("rule", RULES)
def test_the_infrastructure_keeps_the_rule(rule: str, infra: Infra) -> None:
    assert not problems(rule, infra)


def test_every_rule_says_what_it_wants() -> None:
    assert all((rule.__doc__ or rule.__name__).strip() for rule in RULES.values())
