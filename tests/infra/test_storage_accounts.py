"""What storage keeps and for how long, by the names that batchscore gives; and the forms of a key of one's own."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest

from batchscore import paths
from batchscore.compute.base import Location
from batchscore.settings import Settings
from tests.infra.bicep import Files
from tests.infra.deployment import Deployment, deploy
from tests.infra.rules.functions import app_settings
from tests.infra.rules.roles import account
from tests.infra.rules.storage import accounts
from tests.infra.scenarios import ASKED, MAIN, ROOT, SCENARIOS, Infra

RUN = "0123456789abcdef0123"
HOUR = datetime(2026, 2, 28, 9, tzinfo=UTC)


@cache
def usual() -> Deployment:
    return Infra(Files(ROOT)).deployments["as it comes"]


@cache
def settings() -> Settings:
    return Settings.from_environment(app_settings(usual()))


def kept_days(which: str, container: str, blob: str) -> int | None:
    """After how many days a rule deletes this blob; None is never."""
    days: list[int] = []
    for policy in usual().of("Microsoft.Storage/storageAccounts/managementPolicies"):
        if account(policy.id.split("/")[8]) != f"{which} account":
            continue
        for rule in policy.properties["policy"]["rules"]:
            definition: dict[str, Any] = rule["definition"]
            if f"{container}/{blob}".startswith(tuple(definition["filters"]["prefixMatch"])):
                days.append(definition["actions"]["baseBlob"]["delete"]["daysAfterModificationGreaterThan"])
    return min(days, default=None)


def kept(place: Location) -> int | None:
    return kept_days(place.account, place.container, f"{place.path}/part")


def test_what_steps_hand_to_each_other_goes_and_results_stay() -> None:
    assert kept(paths.output_location(settings(), RUN, "between")) is None
    assert kept(paths.output_location(settings(), RUN, "frames", intermediate=True)) == 30
    assert kept(paths.between_location(settings(), RUN)) == 30


def test_receipts_logs_and_consoles_of_a_run_go_together() -> None:
    assert kept(paths.output_location(settings(), RUN, paths.RECEIPTS_OUTPUT)) == 365
    assert kept(paths.logs_location(RUN, 1)) == 365
    assert kept_days("system", "azureml", "ExperimentRun/dcid.job/user_logs/std_log.txt") == 365


def test_dead_letters_and_old_trigger_files_go() -> None:
    assert kept_days("data", settings().data_container, paths.dead_letter_blob(HOUR, "part.json")) == 30
    assert kept_days("data", settings().trigger_container, "made/by/hand.json") == 90
    assert kept_days("system", "eventgrid-dead-letter", "topic/event.json") == 30


def test_what_cannot_be_made_again_stays() -> None:
    predictions = paths.predictions_location(settings(), "2026-02-28T09", "v1")
    data = settings().data_container
    assert kept(predictions) is None
    assert kept(paths.model_location("sensors", "1")) is None
    assert kept_days("data", data, paths.readings_blob(HOUR, "part.json")) is None
    assert kept_days("data", data, "inbox/style_transfer/video/udnie/clip.mp4") is None
    assert kept_days("data", data, "videos/clip.mp4") is None
    assert kept_days("system", paths.RUNS, paths.record_blob(RUN)) is None
    assert kept_days("system", "azureml-blobstore-0", "LocalUpload/code.py") is None


@pytest.mark.parametrize("version", ["", "0123456789abcdef"])
def test_a_key_of_ones_own_is_followed_when_it_rotates_unless_its_version_is_said(version: str) -> None:
    own = SCENARIOS["a key of one's own"]
    uri = f"{own['ENCRYPTION_KEY_URI']}/{version}".rstrip("/")
    infra = Infra(Files(ROOT))
    given = infra.parameters({**ASKED, **own, "ENCRYPTION_KEY_URI": uri})
    for each in accounts(deploy(infra.files, MAIN, given)):
        assert each.properties["encryption"]["keyvaultproperties"] == {
            "keyvaulturi": "https://theirs.vault.azure.net",
            "keyname": "theirs",
            "keyversion": version,
        }


def test_a_single_address_may_have_its_suffix_and_the_list_may_end_in_a_comma() -> None:
    """Storage takes single addresses without `/32` alone, the Function app with it."""
    infra = Infra(Files(ROOT))
    given = infra.parameters(
        {**ASKED, "VNET_ENABLED": "true", "ALLOWED_ADDRESSES": "203.0.113.7/32, 198.51.100.0/24,"}
    )
    deployment = deploy(infra.files, MAIN, given)
    for each in accounts(deployment):
        rules = each.properties["networkAcls"]["ipRules"]
        assert [rule["value"] for rule in rules] == ["203.0.113.7", "198.51.100.0/24"]
    config = deployment.one("Microsoft.Web/sites").properties["siteConfig"]
    assert [rule["ipAddress"] for rule in config["scmIpSecurityRestrictions"]] == [
        "203.0.113.7/32",
        "198.51.100.0/24",
    ]
