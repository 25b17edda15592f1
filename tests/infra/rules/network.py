"""The private network: subnets with their delegations, and an endpoint with a name in it for each service."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from tests.infra.deployment import Deployment
from tests.infra.rules.roles import place
from tests.infra.scenarios import SCENARIOS, Infra

# The part of a service that an endpoint leads to -> the zones in which its names are.
_ZONES = {
    "blob": {"privatelink.blob.core.windows.net"},
    "queue": {"privatelink.queue.core.windows.net"},
    "table": {"privatelink.table.core.windows.net"},
    "file": {"privatelink.file.core.windows.net"},
    "vault": {"privatelink.vaultcore.azure.net"},
    "registry": {"privatelink.azurecr.io"},
    "amlworkspace": {"privatelink.api.azureml.ms", "privatelink.notebooks.azure.net"},
    "namespace": {"privatelink.servicebus.windows.net"},
}
_ENDPOINTS = {
    ("data account", "blob"),
    ("data account", "queue"),
    ("system account", "blob"),
    ("system account", "queue"),
    ("system account", "table"),
    ("system account", "file"),
    ("key vault", "vault"),
    ("registry", "registry"),
    ("workspace", "amlworkspace"),
}
_DELEGATIONS = {"functions": ["Microsoft.App/environments"], "clusters": [], "endpoints": []}


def network_is_there_when_chosen(infra: Infra) -> Iterator[str]:
    for name, deployment in infra.deployments.items():
        for kind in ("virtualNetworks", "privateEndpoints", "privateDnsZones"):
            made = bool(deployment.of(f"Microsoft.Network/{kind}"))
            if made != _private(name):
                yield f"{name}: {kind} {'are there' if made else 'are not there'}"


def subnets_are_delegated_rightly(infra: Infra) -> Iterator[str]:
    """Flex Consumption wants Microsoft.App/environments; nodes and endpoints bear no delegation. None overlaps."""
    for name, deployment in _networks(infra):
        network = deployment.one("Microsoft.Network/virtualNetworks")
        subnets = {each["name"]: each["properties"] for each in network.properties["subnets"]}
        if subnets.keys() != _DELEGATIONS.keys():
            yield f"{name}: the subnets are {', '.join(subnets)}"
        for subnet, properties in subnets.items():
            made = [each["properties"]["serviceName"] for each in properties.get("delegations") or []]
            if made != _DELEGATIONS.get(subnet):
                yield f"{name}: the subnet {subnet} is delegated to {made}"
            if not properties.get("networkSecurityGroup"):
                yield f"{name}: the subnet {subnet} has no security group"
        ranges = [ipaddress.ip_network(each["addressPrefix"]) for each in subnets.values()]
        for number, one in enumerate(ranges):
            if any(one.overlaps(other) for other in ranges[:number]):
                yield f"{name}: the subnet {one} overlaps another"
            if one.overlaps(ipaddress.ip_network("172.17.0.0/16")):
                yield f"{name}: {one} is what containers on nodes take for themselves"


def parts_are_in_their_subnets(infra: Infra) -> Iterator[str]:
    """The app goes out through its subnet, the nodes are in theirs without public addresses, endpoints in theirs."""
    for name, deployment in infra.deployments.items():
        wanted = (
            deployment.one("Microsoft.Network/virtualNetworks").id + "/subnets/" if _private(name) else ""
        )
        app = deployment.one("Microsoft.Web/sites").properties.get("virtualNetworkSubnetId")
        if app != (f"{wanted}functions" if wanted else None):
            yield f"{name}: the app goes out through {app}"
        for cluster in deployment.of("Microsoft.MachineLearningServices/workspaces/computes"):
            properties = cluster.properties["properties"]
            subnet = (properties.get("subnet") or {}).get("id")
            if subnet != (f"{wanted}clusters" if wanted else None):
                yield f"{name}: nodes of {cluster.name} are in {subnet}"
            if properties.get("enableNodePublicIp") is not (not wanted):
                yield f"{name}: nodes of {cluster.name}: enableNodePublicIp is {properties.get('enableNodePublicIp')}"
        for endpoint in deployment.of("Microsoft.Network/privateEndpoints"):
            if endpoint.properties["subnet"]["id"] != f"{wanted}endpoints":
                yield f"{name}: the endpoint {endpoint.name} is in {endpoint.properties['subnet']['id']}"


def every_service_has_an_endpoint(infra: Infra) -> Iterator[str]:
    for name, deployment in _networks(infra):
        wanted = set(_ENDPOINTS)
        if deployment.of("Microsoft.EventHub/namespaces"):
            wanted.add(("namespace", "namespace"))
        made = set()
        for endpoint in deployment.of("Microsoft.Network/privateEndpoints"):
            for connection in endpoint.properties["privateLinkServiceConnections"]:
                target = str(connection["properties"]["privateLinkServiceId"])
                where = "namespace" if "/Microsoft.EventHub/" in target else place(deployment, target)
                made |= {(where, group) for group in connection["properties"]["groupIds"]}
        for where, group in sorted(wanted - made):
            yield f"{name}: no endpoint leads to {group} of {where}"
        for where, group in sorted(made - wanted):
            yield f"{name}: an endpoint leads to {group} of {where}"


def names_lead_to_endpoints(infra: Infra) -> Iterator[str]:
    """An endpoint's names are in the zones of its service, and the zones are known in the network."""
    for name, deployment in _networks(infra):
        network = deployment.one("Microsoft.Network/virtualNetworks").id
        linked = {
            each.id.split("/")[8]
            for each in deployment.of("Microsoft.Network/privateDnsZones/virtualNetworkLinks")
            if each.properties["virtualNetwork"]["id"] == network
            and each.properties["registrationEnabled"] is False
        }
        groups = {
            each.id.split("/")[8]: each
            for each in deployment.of("Microsoft.Network/privateEndpoints/privateDnsZoneGroups")
        }
        used: set[str] = set()
        for endpoint in deployment.of("Microsoft.Network/privateEndpoints"):
            group = groups.get(endpoint.name)
            zones = {
                each["properties"]["privateDnsZoneId"].rsplit("/", 1)[-1]
                for each in (group.properties["privateDnsZoneConfigs"] if group else [])
            }
            used |= zones
            parts = {
                part
                for each in endpoint.properties["privateLinkServiceConnections"]
                for part in each["properties"]["groupIds"]
            }
            wanted = {zone for part in parts for zone in _ZONES.get(part, {f"a zone for {part}"})}
            if zones != wanted:
                yield f"{name}: {endpoint.name} is known in {sorted(zones)} and not in {sorted(wanted)}"
            yield from (f"{name}: the network does not know {zone}" for zone in sorted(zones - linked))
        for zone in deployment.of("Microsoft.Network/privateDnsZones"):
            if zone.name not in used and not (
                zone.name == "privatelink.servicebus.windows.net" and not _sensors(name)
            ):
                yield f"{name}: nothing is in the zone {zone.name}"


def services_close_with_the_network(infra: Infra) -> Iterator[str]:
    """In the private network no service is open to all; outside of it each can be reached."""
    for name, deployment in infra.deployments.items():
        people = "ALLOWED_ADDRESSES" in SCENARIOS[name]
        vault = deployment.one("Microsoft.KeyVault/vaults").properties
        if (vault["networkAcls"]["defaultAction"] == "Deny") != _private(name):
            yield f"{name}: the key vault is {vault['networkAcls']['defaultAction']}"
        registry = deployment.one("Microsoft.ContainerRegistry/registries")
        if registry.properties["publicNetworkAccess"] != ("Disabled" if _private(name) else "Enabled"):
            yield f"{name}: the registry is {registry.properties['publicNetworkAccess']}"
        if registry.body["sku"]["name"] != ("Premium" if _private(name) else "Basic"):
            yield f"{name}: the registry is {registry.body['sku']['name']}"
        workspace = deployment.one("Microsoft.MachineLearningServices/workspaces").properties
        if workspace["publicNetworkAccess"] != ("Disabled" if _private(name) and not people else "Enabled"):
            yield f"{name}: the workspace is {workspace['publicNetworkAccess']}"
        for rules in deployment.of("Microsoft.EventHub/namespaces/networkRuleSets"):
            namespace = deployment.one("Microsoft.EventHub/namespaces")
            closed = "Disabled" if _private(name) and not people else "Enabled"
            for each in (rules, namespace):
                if each.properties["publicNetworkAccess"] != closed:
                    yield f"{name}: the public address of the event hub is {each.properties['publicNetworkAccess']}"
            # 'Deny' with an empty list is none: Azure lets everybody in then.
            if (rules.properties["defaultAction"] == "Deny") != (_private(name) and people):
                yield f"{name}: the event hub's firewall is {rules.properties['defaultAction']}"
        for site in deployment.of("Microsoft.Web/sites"):
            yield from (f"{name}: {problem}" for problem in _inbound(site.properties["siteConfig"], name))


def something_leads_out(infra: Infra) -> Iterator[str]:
    """Through the user's NAT gateway where there is one, else over addresses that Azure lends."""
    for name, deployment in _networks(infra):
        gateway = SCENARIOS[name].get("NAT_GATEWAY_ID")
        for subnet in deployment.one("Microsoft.Network/virtualNetworks").properties["subnets"]:
            if subnet["name"] == "endpoints":
                continue
            properties = subnet["properties"]
            if ((properties.get("natGateway") or {}).get("id")) != gateway:
                yield f"{name}: {subnet['name']} goes out through {properties.get('natGateway')}"
            if properties.get("defaultOutboundAccess") is not (gateway is None):
                yield f"{name}: {subnet['name']}: defaultOutboundAccess is {properties.get('defaultOutboundAccess')}"


def _inbound(site: dict[str, Any], name: str) -> Iterator[str]:
    rules = site.get("ipSecurityRestrictions") or []
    if not _private(name):
        if site["ipSecurityRestrictionsDefaultAction"] != "Allow" or rules:
            yield "the app's address is closed"
        return
    if (
        site["ipSecurityRestrictionsDefaultAction"] != "Deny"
        or site["scmIpSecurityRestrictionsDefaultAction"] != "Deny"
    ):
        yield "the app's address is open to all"
    tags = [rule["ipAddress"] for rule in rules if rule.get("tag") == "ServiceTag"]
    if tags != ["AzureEventGrid"]:
        yield f"the app lets in {tags}; Event Grid has to reach it, and nobody else"
    people = SCENARIOS[name].get("ALLOWED_ADDRESSES", "")
    if len(rules) - len(tags) != len([address for address in people.split(",") if address]):
        yield f"the app lets in {[rule['ipAddress'] for rule in rules]}"


def _private(name: str) -> bool:
    return SCENARIOS[name].get("VNET_ENABLED") == "true"


def _sensors(name: str) -> bool:
    return SCENARIOS[name].get("SENSORS_ENABLED") != "false"


def _networks(infra: Infra) -> Iterator[tuple[str, Deployment]]:
    yield from ((name, each) for name, each in infra.deployments.items() if _private(name))
