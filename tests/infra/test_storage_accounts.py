"""The two accounts: who gets in, what protects them, and what goes by itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

pytest.importorskip("tree_sitter_bicep", reason="make infra-check installs it")

from batchscore import paths
from batchscore.compute.base import Location
from batchscore.settings import Settings
from tests.infra.deployments import CHOICES, app_settings, deployed, deployment

RUN = "0123456789abcdef0123"
HOUR = datetime(2026, 2, 28, 9, tzinfo=UTC)
SETTINGS = Settings.from_environment(app_settings(deployment()))


def account(which: str, **parameters: Any) -> dict[str, Any]:
    found: dict[str, Any] = deployed(**parameters).module("storage").module(which).resource("account")
    return found


def kept_days(account: str, container: str, blob: str) -> int | None:
    """After how many days a rule deletes this blob; None is never."""
    rules = (
        deployment().module("storage").module(account).resource("lifecycle")["properties"]["policy"]["rules"]
    )
    days = [
        rule["definition"]["actions"]["baseBlob"]["delete"]["daysAfterModificationGreaterThan"]
        for rule in rules
        if any(
            f"{container}/{blob}".startswith(prefix)
            for prefix in rule["definition"]["filters"]["prefixMatch"]
        )
    ]
    return min(days, default=None)


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("which", ["data", "system"])
def test_nobody_opens_an_account_with_a_key_or_without_a_name(which: str, choice: str) -> None:
    properties = account(which, **CHOICES[choice])["properties"]
    assert properties["allowSharedKeyAccess"] is False
    assert properties["allowBlobPublicAccess"] is False
    assert properties["supportsHttpsTrafficOnly"] is True
    assert properties["minimumTlsVersion"] == "TLS1_2"


def test_the_containers_are_those_that_the_app_uses() -> None:
    storage = deployment().module("storage")
    data, system = (storage.module(which).parameters["containers"] for which in ("data", "system"))
    assert set(data) == {SETTINGS.trigger_container, SETTINGS.data_container}
    assert {paths.RUNS, paths.MODELS, paths.LOGS} < set(system)
    assert not set(data) & set(system)


def kept_place(place: Location) -> int | None:
    return kept_days(place.account, place.container, f"{place.path}/part")


def test_what_steps_hand_to_each_other_goes_and_results_stay() -> None:
    assert kept_place(paths.output_location(SETTINGS, RUN, "between")) is None
    for place in (
        paths.output_location(SETTINGS, RUN, "frames", intermediate=True),
        paths.between_location(SETTINGS, RUN),
    ):
        assert kept_place(place) == 30


def test_receipts_and_logs_of_a_run_go_together() -> None:
    places = [paths.output_location(SETTINGS, RUN, paths.RECEIPTS_OUTPUT), paths.logs_location(RUN, 1)]
    days = {kept_place(place) for place in places}
    days.add(kept_days("system", "azureml", "ExperimentRun/dcid.job/user_logs/std_log.txt"))
    assert days == {365}


def test_what_cannot_be_made_again_stays() -> None:
    predictions = paths.predictions_location(SETTINGS, "2026-02-28T09", "v1")
    model = paths.model_location("sensors", "1")
    for where, container, blob in [
        ("data", SETTINGS.data_container, paths.readings_blob(HOUR, "part.json")),
        ("data", SETTINGS.data_container, f"{predictions.path}/part"),
        ("data", SETTINGS.data_container, "inbox/style_transfer/video/udnie/clip.mp4"),
        ("data", SETTINGS.data_container, "videos/clip.mp4"),
        ("system", model.container, f"{model.path}/model.onnx"),
        ("system", paths.RUNS, paths.record_blob(RUN)),
        ("system", "app-package", "released-package.zip"),
        ("system", "azureml-blobstore-0", "LocalUpload/code.py"),
    ]:
        assert kept_days(where, container, blob) is None, blob


def test_dead_letters_and_old_trigger_files_go() -> None:
    assert kept_days("data", SETTINGS.data_container, paths.dead_letter_blob(HOUR, "part.json"))
    assert kept_days("data", SETTINGS.trigger_container, "made/by/hand.json")
    assert kept_days("system", "eventgrid-dead-letter", "topic/event.json")


def test_what_is_deleted_comes_back_within_a_week() -> None:
    for which in ("data", "system"):
        properties = deployment().module("storage").module(which).resource("blobService")["properties"]
        for policy in ("deleteRetentionPolicy", "containerDeleteRetentionPolicy"):
            assert properties[policy] == {"enabled": True, "days": 7}


@pytest.mark.parametrize(
    ("parameters", "access", "action", "addresses"),
    [
        ({}, "Enabled", "Allow", []),
        ({"allowedAddresses": "203.0.113.7"}, "Enabled", "Allow", []),
        ({"vnetEnabled": True}, "Disabled", "Deny", []),
        (CHOICES["in a private network"], "Enabled", "Deny", ["203.0.113.7", "198.51.100.0/24"]),
        ({"vnetEnabled": True, "allowedAddresses": "203.0.113.7/32"}, "Enabled", "Deny", ["203.0.113.7"]),
    ],
)
@pytest.mark.parametrize("which", ["data", "system"])
def test_with_the_private_network_only_named_addresses_come_in(
    which: str, parameters: dict[str, Any], access: str, action: str, addresses: list[str]
) -> None:
    properties = account(which, **parameters)["properties"]
    assert properties["publicNetworkAccess"] == access
    assert properties["networkAcls"]["defaultAction"] == action
    assert [rule["value"] for rule in properties["networkAcls"]["ipRules"]] == addresses
    assert properties["networkAcls"]["bypass"] == "AzureServices"


@pytest.mark.parametrize(
    ("uri", "version"),
    [
        ("https://mine.vault.azure.net/keys/storage", ""),
        ("https://mine.vault.azure.net/keys/storage/0123456789abcdef", "0123456789abcdef"),
    ],
)
def test_a_key_of_ones_own_encrypts_both_accounts(uri: str, version: str) -> None:
    identity = (
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/keys"
    )
    for which in ("data", "system"):
        found = account(which, encryptionKeyUri=uri, encryptionIdentityId=identity)
        encryption = found["properties"]["encryption"]
        assert encryption["keySource"] == "Microsoft.Keyvault"
        assert encryption["keyvaultproperties"] == {
            "keyvaulturi": "https://mine.vault.azure.net",
            "keyname": "storage",
            "keyversion": version,
        }
        assert encryption["identity"] == {"userAssignedIdentity": identity}
        assert found["identity"] == {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}}


@pytest.mark.parametrize("enabled", [False, True])
def test_who_used_a_link_is_logged_where_that_is_asked_for(enabled: bool) -> None:
    """Of the data account alone: what the nodes read of the system account would be logged for nobody."""

    def logged(which: str) -> set[str]:
        setting = deployed(accessLogEnabled=enabled).module("storage").module(which).resource("log")
        return {log["category"] for log in setting["properties"]["logs"] if log["enabled"]}

    assert logged("data") == {"StorageDelete", *(["StorageRead", "StorageWrite"] if enabled else [])}
    assert logged("system") == {"StorageDelete"}
