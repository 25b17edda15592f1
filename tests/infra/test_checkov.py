"""checkov's security rules: what it finds is in the lists below, each with its reason, and nothing is there in vain.

It reads the Bicep files, and what two scenarios come to as ARM templates. One run reads the infrastructure and a copy with
planted faults, for starting it takes most of the time.
"""

from __future__ import annotations

import pytest

from tests.infra import checkers
from tests.infra.bicep import Files
from tests.infra.checkers import Failure
from tests.infra.mutations import CHECKOV_FAULTS, planted
from tests.infra.scenarios import ROOT, Infra

# Not done, with and without the private network.
NOT_DONE = {
    "CKV_AZURE_206": "one region: a region that is away makes runs wait, and copies in two regions double the price of storage",
    "CKV_AZURE_166": "quarantine of images is in Premium alone and needs somebody who lets them out; images are made of our environments",
    "CKV_AZURE_163": "scanning is Defender for Containers, which belongs to a subscription and not to a deployment",
    "CKV_AZURE_243": "looks for the endpoint in the workspace itself; ours is a resource of its own, which a rule looks for",
    "CKV_AZURE_225": "Flex Consumption: a zone that is away makes runs wait; what was missed is taken up by the next look",
    "CKV_AZURE_78": "Flex Consumption has no FTP, and refuses a site that names it; publishing passwords are off, which a rule looks for",
    "CKV_AZURE_222": "Event Grid calls the app over its public address; with the network only Event Grid and people come in",
    "CKV_AZURE_17": "Event Grid shows no client certificate, but the key of its webhook",
    "CKV_AZURE_212": "Flex Consumption goes to no instance and costs nothing then",
    "CKV_AZURE_213": "Flex Consumption replaces instances by itself; the alert app-silent tells when none works",
}
# Open to who has a role, where nobody chose the private network: VNET_ENABLED closes each.
WITHOUT_NETWORK = {
    "CKV_AZURE_59": "storage: no keys and no public blobs, so whoever comes needs a role",
    "CKV_AZURE_35": "storage: nodes and app have no fixed addresses without a network",
    "CKV_AZURE_109": "key vault: nothing of ours is in it, and whoever comes needs a role",
    "CKV_AZURE_189": "key vault: the same",
    "CKV_AZURE_139": "registry: endpoints are in Premium alone, some 50 USD a month",
    "CKV2_AZURE_49": "workspace: whoever comes needs a role",
}
PRIVATE = "private-network.json"


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> list[Failure]:
    folder = tmp_path_factory.mktemp("checkov")
    checkers.for_checkov(Infra(Files(ROOT)), folder / "sound")
    checkers.for_checkov(Infra(planted(CHECKOV_FAULTS)), folder / "faulty")
    return checkers.checkov(folder)


def test_checkov_finds_nothing_that_is_not_explained(failures: list[Failure]) -> None:
    allowed = NOT_DONE.keys() | WITHOUT_NETWORK.keys()
    assert [each for each in failures if each.folder == "sound" and each.check not in allowed] == []


def test_nothing_is_open_in_the_private_network(failures: list[Failure]) -> None:
    assert [
        each
        for each in failures
        if (each.folder, each.file) == ("sound", PRIVATE) and each.check not in NOT_DONE
    ] == []


def test_every_explanation_explains_something(failures: list[Failure]) -> None:
    found = {each.check for each in failures if each.folder == "sound"}
    assert (NOT_DONE.keys() | WITHOUT_NETWORK.keys()) - found == set()


@pytest.mark.parametrize("fault", CHECKOV_FAULTS, ids=lambda fault: fault.name)
def test_checkov_finds_the_planted_fault(fault: object, failures: list[Failure]) -> None:
    (check,) = fault.caught_by  # type: ignore[attr-defined]
    assert [each for each in failures if each.folder == "faulty" and each.check == check]
    assert not [each for each in failures if each.folder == "sound" and each.check == check]
