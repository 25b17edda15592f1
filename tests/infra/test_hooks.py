"""The hooks of azd, run by a real shell against stubs of az, azd, make and the project's own programs."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from batchscore.definitions.vm_sizes import cores_of, is_vm_size
from tests.infra.hook_world import OUTPUTS, ROOT, HookWorld, fails, says

KEYS = "functionapp keys list"
SUBSCRIBING = "deployment group create"
DEPLOYING = "batchscore deploy"
USAGES = "/usages?"
ROOMY = """Clusters\t100\t0
Total Cluster Dedicated Regional vCPUs\t1000\t0
Total Cluster LowPriority Regional vCPUs\t100\t0
Standard DADSv5 Family Cluster Dedicated vCPUs\t100\t0
Standard NCASv3_T4 Family Cluster Dedicated vCPUs\t100\t0
"""
JOB = "streamingjobs/asa-scoring"


@pytest.fixture
def world(tmp_path: Path) -> HookWorld:
    """A deployment that goes well: quota, roles that count, a key that is there."""
    made = HookWorld(tmp_path / "with spaces").build()
    made.answer(KEYS, says("true\n"))
    made.answer("provider show", says("Registered\n"))
    made.answer(USAGES, says(ROOMY))
    return made


def usages(t4: str = "100\t0", dads: str = "100\t0") -> str:
    return ROOMY.replace(
        "T4 Family Cluster Dedicated vCPUs\t100\t0", f"T4 Family Cluster Dedicated vCPUs\t{t4}"
    ).replace(
        "DADSv5 Family Cluster Dedicated vCPUs\t100\t0", f"DADSv5 Family Cluster Dedicated vCPUs\t{dads}"
    )


class TestBeforeProvisioning:
    def test_everything_is_looked_at_and_the_start_of_the_budget_is_written(self, world: HookWorld) -> None:
        ended = world.run("preprovision")
        assert ended.code == 0, ended.said
        assert "the quota has room" in ended.said
        assert world.called(f"azd env set BUDGET_START {datetime.now(UTC):%Y-%m-01}") == 1
        assert world.called("provider register") == 0

        assert world.called("--environment trial") == 1

    @pytest.mark.parametrize("start", [f"{datetime.now(UTC):%Y-%m-01}", "2026-01-01"])
    def test_a_second_run_writes_nothing(self, world: HookWorld, start: str) -> None:
        assert world.run("preprovision", BUDGET_START=start).code == 0
        assert world.called("azd env set") == 0

    def test_within_the_first_month_nobody_is_asked_for_the_budget(self, world: HookWorld) -> None:
        world.run("preprovision", BUDGET_START=f"{datetime.now(UTC):%Y-%m-01}")
        assert world.called("budgets/") == 0

    def test_a_budget_that_is_gone_begins_anew(self, world: HookWorld) -> None:
        """Azure takes no new budget that begins in a month that is over."""
        world.answer(
            "budgets/batchscore",
            fails("(ResourceGroupNotFound) Resource group 'rg-trial' could not be found."),
        )
        assert world.run("preprovision", BUDGET_START="2026-01-01").code == 0
        assert world.called("azd env set BUDGET_START") == 1

    def test_a_budget_that_cannot_be_looked_at_is_left(self, world: HookWorld) -> None:
        world.answer("budgets/batchscore", fails("(AuthorizationFailed)"))
        assert world.run("preprovision", BUDGET_START="2026-01-01").code == 0
        assert world.called("azd env set") == 0

    def test_the_vault_of_an_environment_that_was_removed_is_told_of_before_it_is_in_the_way(
        self, world: HookWorld
    ) -> None:
        world.answer("keyvault list-deleted", says("kv-abc\t2026-11-29T10:00:00+00:00\n"))
        ended = world.run("preprovision")
        assert ended.code == 1
        assert "its vault kv-abc keeps its name until 2026-11-29" in ended.said
        assert "az keyvault recover --name kv-abc" in ended.said

    def test_a_region_without_flex_consumption_is_refused_with_those_that_have_it(
        self, world: HookWorld
    ) -> None:
        world.answer("list-flexconsumption-locations", says("westeurope\nSweden Central\n"))
        ended = world.run("preprovision")
        assert ended.code == 1
        assert "not to be had in eastus. Take one of: westeurope Sweden Central" in ended.said
        assert world.run("preprovision", AZURE_LOCATION="swedencentral").code == 0

    @pytest.mark.parametrize(
        ("call", "remedy"), [("azd auth login", "azd auth login"), ("az account show", "az login")]
    )
    def test_who_is_not_signed_in_is_told_how(self, world: HookWorld, call: str, remedy: str) -> None:
        world.answer(call, fails("not signed in"))
        ended = world.run("preprovision")
        assert ended.code == 1
        assert f"'{remedy}'" in ended.said
        assert world.called("env set") == 0

    @pytest.mark.parametrize("program", ["az", "azd"])
    def test_a_missing_program_is_named(self, world: HookWorld, program: str) -> None:
        (world.folder / "stubs" / program).unlink()
        ended = world.run("preprovision")
        assert ended.code == 1
        assert f"{program} was not found. Install it" in ended.said

    def test_too_little_quota_stops_with_what_is_there_what_is_needed_and_three_ways_out(
        self, world: HookWorld
    ) -> None:
        world.answer(USAGES, says(usages(t4="8\t0")))
        ended = world.run("preprovision")
        assert ended.code == 1
        assert "NCASv3_T4" in ended.said
        assert (
            "There are 8 cores, and 16 are needed: 4 nodes of Standard_NC4as_T4_v3 with 4 cores."
            in ended.said
        )
        assert "ask for 16 cores: https://portal.azure.com/" in ended.said
        assert "azd env set AML_GPU_COMPUTE_CLUSTER_MAX_NODES 2" in ended.said
        assert "azd env set GPU_ENABLED false" in ended.said

    def test_no_quota_at_all_leaves_out_fewer_nodes(self, world: HookWorld) -> None:
        world.answer(USAGES, says(usages(t4="0\t0")))
        ended = world.run("preprovision")
        assert ended.code == 1
        assert "fewer nodes" not in ended.said
        assert "GPU_ENABLED false" in ended.said

    def test_both_clusters_are_told_of_at_once(self, world: HookWorld) -> None:
        world.answer(USAGES, says(usages(t4="0\t0", dads="10\t0")))
        ended = world.run("preprovision")
        assert "no room for cpu-cluster" in ended.said
        assert "no room for gpu-cluster" in ended.said

    def test_without_gpus_their_quota_is_no_matter(self, world: HookWorld) -> None:
        world.answer(USAGES, says(usages(t4="0\t0")))
        assert world.run("preprovision", GPU_ENABLED="false").code == 0

    def test_size_and_nodes_are_those_of_the_settings(self, world: HookWorld) -> None:
        chosen = {"AML_COMPUTE_CLUSTER_SKU": "standard_d32ads_v5", "AML_COMPUTE_CLUSTER_MAX_NODES": "10"}
        ended = world.run("preprovision", **chosen)
        assert ended.code == 1
        assert "There are 100 cores, and 320 are needed" in ended.said
        assert "azd env set AML_COMPUTE_CLUSTER_MAX_NODES 3" in ended.said

    def test_low_priority_nodes_count_against_the_regions_quota(self, world: HookWorld) -> None:
        world.answer(USAGES, says(usages(t4="0\t0")))
        low = {"AML_GPU_COMPUTE_CLUSTER_TIER": "low_priority"}
        assert world.run("preprovision", **low).code == 0
        ended = world.run("preprovision", AML_GPU_COMPUTE_CLUSTER_MAX_NODES="26", **low)
        assert ended.code == 1
        assert "Total Cluster LowPriority Regional vCPUs" in ended.said

    def test_low_priority_nodes_count_against_their_familys_quota_where_it_has_one(
        self, world: HookWorld
    ) -> None:
        own = "Standard NCASv3_T4 Family Cluster LowPriority vCPUs\t4\t0\n"
        world.answer(USAGES, says(ROOMY + own))
        ended = world.run("preprovision", AML_GPU_COMPUTE_CLUSTER_TIER="low_priority")
        assert ended.code == 1
        assert "There are 4 cores" in ended.said

    def test_cores_in_use_only_warn_because_they_may_be_this_deployments_own(self, world: HookWorld) -> None:
        world.answer(USAGES, says(usages(t4="16\t16")))
        ended = world.run("preprovision")
        assert ended.code == 0
        assert "16 are taken" in ended.said

    @pytest.mark.parametrize("answer", [says(""), says(usages(t4="-1\t0")), says(usages(t4="None\tNone"))])
    def test_a_quota_that_is_not_told_stops_nothing(
        self, world: HookWorld, answer: tuple[str, str, int]
    ) -> None:
        world.answer(USAGES, answer)
        assert world.run("preprovision").code == 0

    def test_quotas_that_cannot_be_read_only_warn(self, world: HookWorld) -> None:
        world.answer(USAGES, fails("(AuthorizationFailed) no permission\nmore"))
        ended = world.run("preprovision")
        assert ended.code == 0
        assert "cannot be read ((AuthorizationFailed) no permission)" in ended.said

    def test_before_a_region_is_chosen_the_quota_is_left(self, world: HookWorld) -> None:
        ended = world.run("preprovision", AZURE_LOCATION="")
        assert ended.code == 0
        assert "not chosen yet" in ended.said
        assert world.called(USAGES) == 0

    def test_a_size_that_the_table_lacks_only_warns(self, world: HookWorld) -> None:
        ended = world.run("preprovision", AML_COMPUTE_CLUSTER_SKU="Standard_F4s_v2")
        assert ended.code == 0
        assert "Standard_F4s_v2 is not in infra/hooks/vm-sizes.txt" in ended.said

    def test_a_network_that_shuts_this_machine_out_is_told_beforehand(self, world: HookWorld) -> None:
        ended = world.run("preprovision", VNET_ENABLED="true")
        assert ended.code == 0
        assert "azd env set ALLOWED_ADDRESSES" in ended.said
        assert (
            "ALLOWED_ADDRESSES"
            not in world.run("preprovision", VNET_ENABLED="true", ALLOWED_ADDRESSES="1.2.3.4").said
        )

    def test_the_way_out_of_a_network_is_told(self, world: HookWorld) -> None:
        network = {"VNET_ENABLED": "true", "ALLOWED_ADDRESSES": "1.2.3.4"}
        assert "azd env set NAT_GATEWAY_ID" in world.run("preprovision", **network).said
        gateway = "/subscriptions/0/resourceGroups/net/providers/Microsoft.Network/natGateways/nat"
        assert "NAT_GATEWAY_ID" not in world.run("preprovision", **network, NAT_GATEWAY_ID=gateway).said
        assert "NAT_GATEWAY_ID" not in world.run("preprovision").said

    def test_a_provider_that_is_not_registered_is(self, world: HookWorld) -> None:
        world.answer("provider show", says("NotRegistered\n"))
        assert world.run("preprovision", VNET_ENABLED="true", ALLOWED_ADDRESSES="1.2.3.4").code == 0
        assert world.called("provider register") == 2

    def test_the_networks_provider_is_registered_for_a_network_alone(self, world: HookWorld) -> None:
        world.run("preprovision")
        assert world.called("Microsoft.App") == 0

    def test_a_stream_analytics_job_that_runs_is_stopped_for_it_cannot_be_changed(
        self, world: HookWorld
    ) -> None:
        world.answer("jobState", says("Running\n"), says("Stopping\n"), says("Stopped\n"))
        ended = world.run("preprovision", STREAM_ANALYTICS_JOB_NAME="asa-scoring")
        assert ended.code == 0, ended.said
        assert world.called(f"{JOB}/stop?") == 1
        assert world.called("jobState") == 3

    @pytest.mark.parametrize("answer", [says("Stopped\n"), says("Created\n"), fails("ResourceNotFound")])
    def test_any_other_job_is_left(self, world: HookWorld, answer: tuple[str, str, int]) -> None:
        world.answer("jobState", answer)
        assert world.run("preprovision", STREAM_ANALYTICS_JOB_NAME="asa-scoring").code == 0
        assert world.called("/stop?") == 0

    def test_nothing_is_stopped_where_the_quota_has_no_room(self, world: HookWorld) -> None:
        world.answer("jobState", says("Running\n"))
        world.answer(USAGES, says(usages(t4="0\t0")))
        assert world.run("preprovision", STREAM_ANALYTICS_JOB_NAME="asa-scoring").code == 1
        assert world.called("/stop?") == 0

    def test_stream_analytics_without_the_event_hub_is_refused(self, world: HookWorld) -> None:
        ended = world.run("preprovision", STREAM_ANALYTICS_ENABLED="true", SENSORS_ENABLED="false")
        assert ended.code == 1
        assert "azd env set SENSORS_ENABLED true" in ended.said

    @pytest.mark.parametrize(
        ("key", "identity", "named"),
        [
            ("https://vault.example/keys/ours", "", "azd env set ENCRYPTION_IDENTITY_ID"),
            ("", "/subscriptions/a/identity", "azd env set ENCRYPTION_KEY_URI"),
            ("vault.example/keys/ours", "/subscriptions/a/identity", "'vault.example/keys/ours', and not"),
            ("https://vault.example/secrets/ours", "/subscriptions/a/identity", "not the address of a key"),
        ],
    )
    def test_a_key_without_who_may_use_it_is_refused_and_the_other_way_round(
        self, world: HookWorld, key: str, identity: str, named: str
    ) -> None:
        ended = world.run("preprovision", ENCRYPTION_KEY_URI=key, ENCRYPTION_IDENTITY_ID=identity)
        assert ended.code == 1
        assert named in ended.said

    def test_a_key_and_who_may_use_it_are_taken(self, world: HookWorld) -> None:
        ended = world.run(
            "preprovision",
            ENCRYPTION_KEY_URI="https://vault.example/keys/ours/1",
            ENCRYPTION_IDENTITY_ID="/subscriptions/a/identity",
        )
        assert ended.code == 0

    def test_the_table_has_the_cores_that_the_product_counts(self) -> None:
        lines = [line.split() for line in sizes().splitlines() if line and not line.startswith("#")]
        assert len(lines) == len({size for size, _, _ in lines}) > 3
        for size, cores, _ in lines:
            assert is_vm_size(size)
            assert int(cores) == cores_of(size), size

    def test_the_table_has_the_sizes_that_may_be_chosen(self) -> None:
        bicep = (ROOT / "infra" / "main.bicep").read_text()
        lists = re.findall(r"@allowed\(\[([^\]]*)\]\)\nparam \w+ClusterSize string", bicep)
        assert len(lists) == 2
        assert {size for each in lists for size in re.findall(r"Standard_\w+", each)} == {
            line.split()[0] for line in sizes().splitlines() if not line.startswith("#")
        }


def sizes() -> str:
    return (ROOT / "infra" / "hooks" / "vm-sizes.txt").read_text()


class TestAfterProvisioning:
    @pytest.fixture
    def with_job(self, world: HookWorld) -> HookWorld:
        world.environment["STREAM_ANALYTICS_JOB_NAME"] = "asa-scoring"
        world.answer("lastOutputEventTime", says(""))
        return world

    def test_without_stream_analytics_nothing_is_called(self, world: HookWorld) -> None:
        ended = world.run("postprovision")
        assert (ended.code, ended.said, world.calls) == (0, "", [])

    @pytest.mark.parametrize("state", ["Created", "Stopped", "Failed"])
    def test_a_job_that_does_not_run_is_started(self, with_job: HookWorld, state: str) -> None:
        with_job.answer("jobState", says(f"{state}\n"), says("Starting\n"), says("Running\n"))
        assert with_job.run("postprovision").code == 0
        starting = [call for call in with_job.calls if f"{JOB}/start?" in call]
        assert len(starting) == 1
        assert '{"outputStartMode": "JobStartTime"}' in starting[0]

    def test_a_job_that_ran_before_goes_on_where_it_stopped(self, with_job: HookWorld) -> None:
        with_job.answer("jobState", says("Stopped\n"), says("Running\n"))
        with_job.answer("lastOutputEventTime", says("2026-11-21T10:00:00Z\n"))
        with_job.run("postprovision")
        assert with_job.called("LastOutputEventTime") == 1

    @pytest.mark.parametrize("state", ["Running", "Starting", "Degraded"])
    def test_a_job_that_runs_is_left(self, with_job: HookWorld, state: str) -> None:
        with_job.answer("jobState", says(f"{state}\n"))
        ended = with_job.run("postprovision")
        assert ended.code == 0
        assert f"runs already ({state})" in ended.said
        assert with_job.called("/start?") == 0

    def test_its_new_roles_are_waited_for(self, with_job: HookWorld) -> None:
        with_job.answer("jobState", says("Created\n"), says("Running\n"))
        with_job.answer("/start?", fails("Forbidden: no permission for the event hub"), says())
        assert with_job.run("postprovision").code == 0
        assert with_job.called("/start?") == 2

    def test_a_job_that_fails_while_it_starts_is_started_again(self, with_job: HookWorld) -> None:
        with_job.answer(
            "jobState", *map(says, ("Created\n", "Starting\n", "Failed\n", "Starting\n", "Running\n"))
        )
        assert with_job.run("postprovision").code == 0
        assert with_job.called("/start?") == 2

    def test_a_job_that_does_not_come_is_told(self, with_job: HookWorld) -> None:
        with_job.answer("jobState", says("Created\n"), says("Stopped\n"))
        ended = with_job.run("postprovision")
        assert ended.code == 1
        assert "The Stream Analytics job is Stopped." in ended.said
        assert with_job.called("/start?") == 1

    def test_a_job_that_cannot_be_looked_at_is_told(self, with_job: HookWorld) -> None:
        with_job.answer("jobState", fails("ResourceNotFound"))
        ended = with_job.run("postprovision")
        assert ended.code == 1
        assert "asa-scoring cannot be looked at: ResourceNotFound" in ended.said


class TestAfterDeploying:
    def test_everything_is_brought_in_order(self, world: HookWorld) -> None:
        ended = world.run("postdeploy")
        assert ended.code == 0, ended.said
        order = ["make", "batchscore deploy --compute-by-infra", KEYS, SUBSCRIBING, "batchscore doctor"]
        found = [part for call in world.calls for part in order if part in call]
        assert found == order
        assert "az storage blob upload --auth-mode login --account-name stscoringdata" in ended.said

    def test_a_second_run_does_the_same(self, world: HookWorld) -> None:
        world.run("postdeploy")
        first = world.arguments
        assert world.run("postdeploy").code == 0
        assert world.arguments == first

    def test_the_event_subscriptions_get_the_outputs_of_the_deployment(self, world: HookWorld) -> None:
        world.run("postdeploy")
        (call,) = [argv for argv in world.arguments if "create" in argv]
        given = call[call.index("--parameters") + 1 : call.index("--no-prompt")]
        assert given == [
            "functionAppName=func-scoring",
            "systemTopicName=evgt-scoring",
            "systemStorageAccountName=stscoringsystem",
        ]
        assert "rg-scoring" in call

    def test_without_rules_for_the_inbox_it_is_not_subscribed_to(self, world: HookWorld) -> None:
        world.answer("appsettings list", says("{ }\n"))
        world.run("postdeploy")
        assert world.called("inboxEnabled=false") == 1

    def test_the_event_subscriptions_know_every_parameter(self, world: HookWorld) -> None:
        world.answer("appsettings list", says("{}\n"))
        world.run("postdeploy", TRIGGER_CONTAINER="triggers", DATA_CONTAINER="data")
        (call,) = [argv for argv in world.arguments if "create" in argv]
        given = {
            each.partition("=")[0]
            for each in call[call.index("--parameters") + 1 : call.index("--no-prompt")]
        }
        bicep = (ROOT / "infra" / "event-subscriptions.bicep").read_text()
        declared = re.findall(r"^param (\w+) \w+(.*)$", bicep, re.MULTILINE)
        assert given == {name for name, _ in declared}
        required = {name for name, default in declared if not default}
        assert required == {"functionAppName", "systemTopicName", "systemStorageAccountName"}

    def test_names_with_spaces_stay_whole(self, world: HookWorld) -> None:
        world.run("postdeploy", TRIGGER_CONTAINER="my triggers", DATA_CONTAINER="my data")
        (call,) = [argv for argv in world.arguments if "create" in argv]
        assert {"triggerContainer=my triggers", "dataContainer=my data"} <= set(call)

    def test_a_role_that_does_not_count_yet_is_waited_for(self, world: HookWorld) -> None:
        refused = fails("storage refused the list: 403 Forbidden (AuthorizationPermissionMismatch)", 4)
        world.answer(DEPLOYING, refused, refused, says("Deployed 6 workloads\n"))
        ended = world.run("postdeploy")
        assert ended.code == 0
        assert world.called(DEPLOYING) == 3
        assert "waiting for new roles to count" in ended.said
        assert "Deployed 6 workloads" in ended.said

    def test_a_role_that_never_counts_ends_it_with_the_reason(self, world: HookWorld) -> None:
        world.answer(DEPLOYING, fails("storage refused the list: 403 Forbidden", 4))
        ended = world.run("postdeploy")
        assert ended.code == 1
        assert "gave up after" in ended.said
        assert "403 Forbidden" in ended.said
        assert "azd hooks run postdeploy" in ended.said
        assert world.called(SUBSCRIBING) == 0

    def test_what_waiting_cannot_mend_ends_it_at_once(self, world: HookWorld) -> None:
        world.answer(DEPLOYING, fails("scoring/digits/classify.yml:3: wrong", 2))
        ended = world.run("postdeploy")
        assert ended.code == 1
        assert world.called(DEPLOYING) == 1

    def test_behind_a_network_the_reason_may_be_the_network(self, world: HookWorld) -> None:
        world.answer(DEPLOYING, fails("storage did not answer", 4))
        ended = world.run("postdeploy", VNET_ENABLED="true")
        assert "in ALLOWED_ADDRESSES (empty now)" in ended.said

    def test_a_key_that_comes_late_is_waited_for(self, world: HookWorld) -> None:
        world.answer(KEYS, says("false\n"), fails("(BadGateway) host starts"), says("true\n"))
        ended = world.run("postdeploy")
        assert ended.code == 0
        assert world.called(KEYS) == 3
        assert world.called(SUBSCRIBING) == 1
        assert "is not there yet" in ended.said
        assert "blobs_extension is there could not be asked" in ended.said

    def test_a_key_that_never_comes_ends_it_before_the_subscriptions(self, world: HookWorld) -> None:
        world.answer(KEYS, says("false\n"))
        ended = world.run("postdeploy")
        assert ended.code == 1
        assert "func-scoring did not make the key blobs_extension" in ended.said
        assert world.called(SUBSCRIBING) == 0

    def test_only_whether_the_key_is_there_is_asked(self, world: HookWorld) -> None:
        world.run("postdeploy")
        (call,) = [argv for argv in world.arguments if "keys" in argv]
        assert call[call.index("--query") + 1] == "not_null(systemKeys.blobs_extension, '') != ''"

    def test_an_app_that_does_not_answer_event_grid_yet_is_waited_for(self, world: HookWorld) -> None:
        world.answer(SUBSCRIBING, fails("Webhook validation handshake failed"), says())
        assert world.run("postdeploy").code == 0
        assert world.called(SUBSCRIBING) == 2

    def test_another_fault_of_the_subscriptions_ends_it(self, world: HookWorld) -> None:
        world.answer(SUBSCRIBING, fails("InvalidTemplate"))
        ended = world.run("postdeploy")
        assert ended.code == 1
        assert "InvalidTemplate" in ended.said
        assert world.called(SUBSCRIBING) == 1

    def test_what_doctor_finds_is_told_and_undoes_nothing(self, world: HookWorld) -> None:
        world.answer("batchscore doctor", ("fail  event hub: 403\n", "", 1))
        ended = world.run("postdeploy")
        assert ended.code == 0
        assert "fail  event hub" in ended.said
        assert "'batchscore doctor' looks again" in ended.said

    @pytest.mark.parametrize(
        "name",
        [
            name
            for name in OUTPUTS
            if name not in ("AZURE_ENV_NAME", "AZURE_LOCATION", "STREAM_ANALYTICS_JOB_NAME")
        ],
    )
    def test_an_output_that_is_missing_is_named(self, world: HookWorld, name: str) -> None:
        world.environment[name] = ""
        world.answer("account show", says())
        ended = world.run("postdeploy")
        assert ended.code == 1
        assert f"{name} is not in the azd environment. Run 'azd provision'" in ended.said
        assert world.called(DEPLOYING) == 0


class TestBeforePackaging:
    @pytest.fixture
    def pip(self, world: HookWorld) -> HookWorld:
        """A pip that puts one package where it is told to."""
        world.stub(world.folder / "recorded")
        python = world.checkout / ".venv" / "bin" / "python"
        python.write_text(
            "#!/bin/sh\n"
            f"'{world.folder}/recorded' \"$@\" || exit 1\n"
            'while [ "$1" != --target ]; do shift; done\n'
            'mkdir -p "$2/azure" "$2/bin"\n'
        )
        return world

    def test_the_packages_are_brought_for_the_apps_system_by_their_hashes(self, pip: HookWorld) -> None:
        ended = pip.run("prepackage")
        assert ended.code == 0, ended.said
        made = pip.checkout / ".python_packages" / "lib" / "site-packages"
        assert [each.name for each in made.iterdir()] == ["azure"]
        (call,) = [argv for argv in pip.arguments if "install" in argv]
        for option in (
            "--require-hashes",
            "--only-binary=:all:",
            "manylinux_2_28_x86_64",
            "3.13",
            "requirements.txt",
        ):
            assert option in call

    def test_a_second_run_brings_nothing(self, pip: HookWorld) -> None:
        pip.run("prepackage")
        assert pip.run("prepackage").code == 0
        assert pip.calls == []

    def test_other_requirements_bring_them_anew(self, pip: HookWorld) -> None:
        pip.run("prepackage")
        (pip.checkout / "requirements.txt").write_text("azure-functions==2.3.1\n")
        pip.run("prepackage")
        assert pip.called("install") == 1

    def test_a_fault_leaves_what_was_there(self, pip: HookWorld) -> None:
        pip.run("prepackage")
        (pip.checkout / "requirements.txt").write_text("azure-functions==2.3.1\n")
        pip.answer("install", fails("hashes do not match"))
        ended = pip.run("prepackage")
        assert ended.code == 1
        assert "hashes do not match" in ended.said
        assert (pip.checkout / ".python_packages" / "lib" / "site-packages" / "azure").is_dir()
        assert pip.run("prepackage").code == 1


def test_every_hook_of_azure_yaml_is_there_and_every_script_is_used() -> None:
    document = yaml.safe_load((ROOT / "azure.yaml").read_text())
    hooks = [*document["hooks"].items(), *document["services"]["functions"]["hooks"].items()]
    named = {name: ROOT / hook["posix"]["run"] for name, hook in hooks}
    for name, file in named.items():
        assert file.stem == name
        assert file.stat().st_mode & 0o111
        assert file.read_text().startswith("#!/bin/sh\n")
    assert {*named.values(), ROOT / "infra/hooks/hook.sh"} == set((ROOT / "infra/hooks").glob("*.sh"))


def test_no_hook_shows_what_it_does_or_reads_a_key() -> None:
    for file in (ROOT / "infra" / "hooks").glob("*.sh"):
        text = file.read_text()
        for word in (
            "set -x",
            "-eux",
            "listKeys",
            "list-keys",
            "show-connection-string",
            "--debug",
            "--verbose",
        ):
            assert word not in text, file


def test_shellcheck_finds_nothing_in_any_shell_script() -> None:
    folders = ("infra", "scripts", "scoring", "samples", "tests")
    scripts = [ROOT / ".ci" / "run", *(file for folder in folders for file in (ROOT / folder).rglob("*.sh"))]
    assert {"run", "postdeploy.sh", "make-venv.sh"} <= {file.name for file in scripts}
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, "-x", *scripts], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
