"""Two accounts, which nobody opens with a key: data, where outsiders may get in, and system, where they may not."""

from __future__ import annotations

from collections.abc import Iterator

from batchscore import paths
from batchscore.settings import Connection, Settings
from tests.infra.deployment import Deployment, Resource
from tests.infra.rules.roles import account
from tests.infra.scenarios import SCENARIOS, Infra

_DEFAULTS = Settings(system=Connection("AzureWebJobsStorage"), data=Connection("DATA_STORAGE"))
CONTAINERS = {
    "data account": {_DEFAULTS.trigger_container, _DEFAULTS.data_container},
    "system account": {paths.RUNS, paths.MODELS, paths.LOGS, "app-package", "eventgrid-dead-letter"},
}
_KEPT = {"data account": "data", "system account": "runs"}
_MUST = {
    "allowSharedKeyAccess": False,
    "allowBlobPublicAccess": False,
    "allowCrossTenantReplication": False,
    "isLocalUserEnabled": False,
    "supportsHttpsTrafficOnly": True,
    "minimumTlsVersion": "TLS1_2",
    "defaultToOAuthAuthentication": True,
}


def there_are_two_accounts(infra: Infra) -> Iterator[str]:
    for name, deployment in infra.deployments.items():
        names = sorted(account(each.name) for each in accounts(deployment))
        if names != ["data account", "system account"]:
            yield f"{name}: the storage accounts are {', '.join(names)}"


def accounts_are_closed(infra: Infra) -> Iterator[str]:
    """Both accounts: no shared keys, no public blobs, HTTPS with TLS 1.2 alone, no SFTP users."""
    for name, deployment in infra.deployments.items():
        for each in accounts(deployment):
            for key, value in _MUST.items():
                if (type(each.properties.get(key)), each.properties.get(key)) != (type(value), value):
                    yield f"{name}: {account(each.name)}: {key} is {each.properties.get(key)!r}"
        for container in _containers(deployment):
            if container.properties.get("publicAccess") != "None":
                yield f"{name}: the container {container.name} is public"


def firewalls_follow_the_network(infra: Infra) -> Iterator[str]:
    """With the private network only named addresses and trusted services get in; without it whoever has a role."""
    for name, deployment in infra.deployments.items():
        private = SCENARIOS[name].get("VNET_ENABLED") == "true"
        people = [
            address.strip() for address in SCENARIOS[name].get("ALLOWED_ADDRESSES", "").split(",") if address
        ]
        for each in accounts(deployment):
            rules = each.properties["networkAcls"]
            if rules["defaultAction"] != ("Deny" if private else "Allow"):
                yield f"{name}: {account(each.name)} lets everybody's network in, or nobody's: {rules['defaultAction']}"
            if [rule["value"] for rule in rules["ipRules"]] != people:
                yield f"{name}: {account(each.name)} lets in {rules['ipRules']}"
            if "AzureServices" not in rules["bypass"]:
                yield f"{name}: {account(each.name)} keeps Event Grid's dead letters out"
            wanted = "Enabled" if people or not private else "Disabled"
            if each.properties["publicNetworkAccess"] != wanted:
                yield f"{name}: {account(each.name)}: publicNetworkAccess is not {wanted}"


def containers_are_those_of_the_app(infra: Infra) -> Iterator[str]:
    """Each account has the containers that batchscore uses in it, and those of the host."""
    for name, deployment in infra.deployments.items():
        made: dict[str, set[str]] = {"data account": set(), "system account": set()}
        for container in _containers(deployment):
            made.setdefault(account(container.id.split("/")[8]), set()).add(container.name)
        for where, wanted in CONTAINERS.items():
            for container_name in sorted(wanted - made[where]):
                yield f"{name}: the {where} has no container {container_name}"
            for container_name in sorted(made[where] - wanted):
                yield f"{name}: the {where} has a container {container_name}, which nothing uses"


def what_was_deleted_comes_back(infra: Infra) -> Iterator[str]:
    """Blobs and containers of both accounts, for a week at least."""
    for name, deployment in infra.deployments.items():
        services = deployment.of("Microsoft.Storage/storageAccounts/blobServices")
        if len(services) != 2:
            yield f"{name}: {len(services)} of two accounts say what is kept"
        for service in services:
            for key in ("deleteRetentionPolicy", "containerDeleteRetentionPolicy"):
                policy = service.properties.get(key, {})
                if policy.get("enabled") is not True or policy.get("days", 0) < 7:
                    yield f"{name}: {account(service.id.split('/')[8])}: {key} is {policy}"


def what_is_old_goes(infra: Infra) -> Iterator[str]:
    """Lifecycle rules for intermediates, logs and dead letters, and for nothing that must stay."""
    wanted = {
        "data account": {
            f"{_DEFAULTS.data_container}/{paths.between_path('')}",
            f"{_DEFAULTS.data_container}/{paths.DEAD_LETTERS}",
        },
        "system account": {f"{paths.LOGS}/", "eventgrid-dead-letter/"},
    }
    stays = {
        "data account": {
            f"{_DEFAULTS.data_container}/runs/x",
            f"{_DEFAULTS.data_container}/{paths.READINGS}x",
            f"{_DEFAULTS.data_container}/{paths.PREDICTIONS}/x",
            f"{_DEFAULTS.data_container}/inbox/x",
        },
        "system account": {
            f"{paths.RUNS}/{paths.RECORDS}x",
            f"{paths.MODELS}/x",
            "app-package/x",
            "azure-webjobs-hosts/x",
        },
    }
    for name, deployment in infra.deployments.items():
        missing = dict(wanted)
        for policy in deployment.of("Microsoft.Storage/storageAccounts/managementPolicies"):
            where = account(policy.id.split("/")[8])
            rules = policy.properties["policy"]["rules"]
            prefixes = [
                prefix for rule in rules for prefix in rule["definition"]["filters"].get("prefixMatch", [""])
            ]
            for prefix in sorted(missing.pop(where, set()) - set(prefixes)):
                yield f"{name}: {where}: nothing deletes what is old in {prefix}"
            for prefix in prefixes:
                if any(path.startswith(prefix) for path in stays[where]):
                    yield f"{name}: {where}: what begins with {prefix!r} is deleted"
            for rule in rules:
                if (
                    rule["enabled"] is not True
                    or "blockBlob" not in rule["definition"]["filters"]["blobTypes"]
                ):
                    yield f"{name}: {where}: the rule {rule['name']} does nothing"
        for where in missing:
            yield f"{name}: the {where} has no lifecycle"


def access_is_logged_where_asked_for(infra: Infra) -> Iterator[str]:
    """Deletions always, reads and writes of the data account with ACCESS_LOG_ENABLED: they tell who used a link."""
    for name, deployment in infra.deployments.items():
        logged: dict[str, set[str]] = {"data account": set(), "system account": set()}
        for setting in deployment.of("Microsoft.Insights/diagnosticSettings"):
            if "/blobServices/" in setting.id:
                logged[account(setting.id.split("/")[8])] |= {
                    log["category"] for log in setting.properties["logs"] if log["enabled"] is True
                }
        access = SCENARIOS[name].get("ACCESS_LOG_ENABLED") == "true"
        wanted = {"StorageDelete", *(("StorageRead", "StorageWrite") if access else ())}
        if logged != {"data account": wanted, "system account": {"StorageDelete"}}:
            yield f"{name}: what is logged of blobs: {logged}"


def own_key_encrypts_both(infra: Infra) -> Iterator[str]:
    """A key of one's own is used by both accounts, as the identity that may; without one Microsoft's."""
    for name, deployment in infra.deployments.items():
        own = "ENCRYPTION_KEY_URI" in SCENARIOS[name]
        for each in accounts(deployment):
            encryption = each.properties["encryption"]
            if encryption["keySource"] != ("Microsoft.Keyvault" if own else "Microsoft.Storage"):
                yield f"{name}: {account(each.name)} is encrypted by {encryption['keySource']}"
            if not own:
                continue
            identity = SCENARIOS[name]["ENCRYPTION_IDENTITY_ID"]
            key = encryption["keyvaultproperties"]
            if (key["keyvaulturi"], key["keyname"]) != ("https://theirs.vault.azure.net", "theirs"):
                yield f"{name}: {account(each.name)} takes the key {key}"
            if encryption["identity"]["userAssignedIdentity"] != identity:
                yield f"{name}: {account(each.name)} fetches its key as {encryption['identity']}"
            if list(each.body["identity"]["userAssignedIdentities"]) != [identity]:
                yield f"{name}: {account(each.name)} is not {identity}"


def accounts(deployment: Deployment) -> list[Resource]:
    return deployment.of("Microsoft.Storage/storageAccounts")


def _containers(deployment: Deployment) -> list[Resource]:
    return deployment.of("Microsoft.Storage/storageAccounts/blobServices/containers")
