"""Who may do what where: exactly the grants that are listed here, and nothing of the subscription."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from tests.infra.deployment import Deployment, Resource, later
from tests.infra.rules.templates import needs
from tests.infra.scenarios import PRINCIPAL, SCENARIOS, Infra

# Microsoft's built-in roles, written down from their documentation and not from infra/roles.json.
_BUILT_IN = {
    "AcrPull": "7f951dda-4ed3-4680-a7ca-43fe172d538d",
    "AcrPush": "8311e382-0749-4cb8-b61a-304f252e45ec",
    "Azure Event Hubs Data Receiver": "a638d3c7-ab3a-418d-83e6-5f17a39d4fde",
    "Azure Event Hubs Data Sender": "2b629674-e913-4c01-ae53-ef4638d8f975",
    "AzureML Compute Operator": "e503ece1-11d0-4e8e-8e2c-7a6c3bf38815",
    "AzureML Data Scientist": "f6c7c914-8db3-469d-8ca1-694a8f32e121",
    "Contributor": "b24988ac-6180-42a0-ab88-20f7382dd24c",
    "Key Vault Administrator": "00482a5a-887f-4fb3-b363-3b7fe8e74483",
    "Key Vault Secrets User": "4633458b-17de-408a-b874-0445c86b69e6",
    "Monitoring Metrics Publisher": "3913510d-42f4-4e42-8a64-420c390055eb",
    "Reader": "acdd72a7-3385-48ef-bd42-f606fba81ae7",
    "Storage Blob Data Contributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "Storage Blob Data Owner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "Storage Blob Data Reader": "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
    "Storage File Data Privileged Contributor": "69566ab7-960f-475b-8e7c-b3118f30c6bd",
    "Storage Queue Data Contributor": "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
    "Storage Table Data Contributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
}
_JOB_SUBMITTER = {
    "read",
    "*/read",
    "jobs/*",
    "environments/write",
    "environments/build/action",
    "environments/readSecrets/action",
    "metadata/artifacts/write",
}
# What nodes do with blobs, queues and tables of the workspace's own account: no deleting of containers, no keys.
_CLUSTER_NODES = {
    "blobServices/containers/read",
    "blobServices/containers/write",
    "blobServices/generateUserDelegationKey/action",
    "queueServices/queues/read",
    "queueServices/queues/write",
    "queueServices/queues/delete",
    "tableServices/tables/read",
    "tableServices/tables/write",
    "tableServices/tables/delete",
}
_CLUSTER_NODES_DATA = {
    f"{kind}/{action}"
    for kind, actions in {
        "blobServices/containers/blobs": ("read", "write", "add/action", "delete"),
        "queueServices/queues/messages": ("read", "write", "add/action", "process/action", "delete"),
        "tableServices/tables/entities": ("read", "write", "add/action", "update/action", "delete"),
    }.items()
    for action in actions
}
_CLOSED_CONTAINERS = ("runs", "models", "logs", "app-package", "eventgrid-dead-letter")
_CLOSED_PREFIX = "azure-webjobs-"

Grant = tuple[str, str, str]
"""Who, which role, on what."""

_ALWAYS: set[Grant] = {
    ("functions", "Storage Blob Data Owner", "system account"),
    ("functions", "Storage Queue Data Contributor", "system account"),
    ("functions", "Storage Table Data Contributor", "system account"),
    ("functions", "Storage Blob Data Owner", "data account/triggers"),
    ("functions", "Storage Blob Data Owner", "data account/data"),
    ("functions", "Storage Queue Data Contributor", "data account"),
    ("functions", "batchscore job submitter", "workspace"),
    ("functions", "Monitoring Metrics Publisher", "application insights"),
    ("clusters", "Storage Blob Data Contributor", "data account/data"),
    ("clusters", "Storage Blob Data Contributor", "system account/logs"),
    ("clusters", "Storage Blob Data Reader", "system account/models"),
    ("clusters", "batchscore cluster nodes", "system account"),
    ("clusters", "AcrPull", "registry"),
    ("workspace", "Contributor", "system account"),
    ("workspace", "Storage Blob Data Contributor", "system account"),
    ("workspace", "Contributor", "registry"),
    ("workspace", "Contributor", "key vault"),
    ("workspace", "Key Vault Administrator", "key vault"),
    ("workspace", "Contributor", "application insights"),
    ("workspace", "Contributor", "workspace"),
    ("event grid", "Storage Blob Data Contributor", "system account/eventgrid-dead-letter"),
}
_OF_DEPLOYER: set[Grant] = {
    ("deployer", "Storage Blob Data Contributor", "system account"),
    ("deployer", "Storage Queue Data Contributor", "system account"),
    ("deployer", "Storage Blob Data Contributor", "data account"),
    ("deployer", "Storage Queue Data Contributor", "data account"),
    ("deployer", "AzureML Data Scientist", "workspace"),
}


def expected(environment: dict[str, str]) -> set[Grant]:
    """The grants that a deployment with these variables makes."""
    grants = set(_ALWAYS)
    sensors = environment.get("SENSORS_ENABLED") != "false"
    stream = environment.get("STREAM_ANALYTICS_ENABLED") == "true"
    deployer = environment.get("AZURE_PRINCIPAL_ID", PRINCIPAL) != ""
    if deployer:
        grants |= _OF_DEPLOYER
    if sensors and deployer:
        grants.add(("deployer", "Azure Event Hubs Data Sender", "event hub"))
        grants.add(("deployer", "Azure Event Hubs Data Receiver", "event hub"))
    if sensors and not stream:
        grants.add(("functions", "Azure Event Hubs Data Receiver", "event hub"))
    if stream:
        grants.add(("stream analytics", "Azure Event Hubs Data Receiver", "event hub"))
        grants.add(("stream analytics", "Storage Blob Data Contributor", "data account/data"))
    if environment.get("VNET_ENABLED") == "true":
        grants.add(("clusters", "AcrPush", "registry"))
    return grants


def role_ids_are_right(infra: Infra) -> Iterator[str]:
    """infra/roles.json has the GUIDs of the built-in roles under their right names, and only those that are used."""
    for name, guid in json.loads(infra.files["infra/roles.json"]).items():
        if _BUILT_IN.get(name) != guid:
            yield f"{name} is {_BUILT_IN.get(name, 'not known')}, not {guid}"
        if not any(
            re.search(rf"roles(\.{name}|\['{name}'\])", infra.files[each.path])
            for each in infra.files.templates()
        ):
            yield f"nothing uses the role {name}"
    for template in infra.files.templates():
        for guid in re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", infra.files[template.path]):
            yield f"{template.path} names {guid}: roles are called by their names in infra/roles.json"


def grants_are_complete(infra: Infra) -> Iterator[str]:
    """Each identity has each role that it needs on the account, container or other thing it needs it on; none more."""
    for name, deployment in infra.deployments.items():
        wanted = expected(SCENARIOS[name])
        made = {_grant(deployment, each) for each in _assignments(deployment)}
        for who, role, where in sorted(wanted - made):
            yield f"{name}: {who} has not the role {role} on {where}"
        for who, role, where in sorted(made - wanted):
            yield f"{name}: {who} has the role {role} on {where}"


def nothing_is_granted_on_the_subscription(infra: Infra) -> Iterator[str]:
    """Neither on the subscription nor on the whole resource group; roles of our own are for the resource group."""
    for name, deployment in infra.deployments.items():
        for each in _assignments(deployment):
            if "/providers/" not in each.scope:
                yield f"{name}: {each} is on {each.scope}"
        for role in deployment.of("Microsoft.Authorization/roleDefinitions"):
            for scope in role.properties["assignableScopes"]:
                if not re.fullmatch(r"/subscriptions/[^/]+/resourceGroups/[^/]+", scope):
                    yield f"{name}: {role} can be given on {scope}"


def names_of_grants_stay(infra: Infra) -> Iterator[str]:
    """The name of a grant is made of what it is on, whom it is for and its role: the same in every deployment, and
    another one for an identity that was made anew."""
    for name, deployment in infra.deployments.items():
        for each in _assignments(deployment):
            role = str(each.properties["roleDefinitionId"]).rsplit("/", 1)[-1]
            parts = deployment.guids.get(each.name, ())
            right = (
                len(parts) == 3
                and parts[0] == each.scope
                and parts[1] == each.properties["principalId"]
                and parts[2].rsplit("/", 1)[-1] == role
            )
            if not right:
                yield f"{name}: the name of {each} is made of {parts}"


def principals_are_of_their_type(infra: Infra) -> Iterator[str]:
    """Without its type a principal that was made a second ago is looked up in vain."""
    for name, deployment in infra.deployments.items():
        for each in _assignments(deployment):
            person = each.properties["principalId"] == PRINCIPAL
            if each.properties.get("principalType") != ("User" if person else "ServicePrincipal"):
                yield f"{name}: {each} is for a {each.properties.get('principalType')}"


def grants_come_first(infra: Infra) -> Iterator[str]:
    """Who needs a role when it is made is made after the grants: workspace, nodes and app."""
    for module in ("machineLearning", "clusters", "functions"):
        if "roleAssignments" not in needs(infra.main, module):
            yield f"{module} does not wait for roleAssignments"


def own_roles_allow_no_more(infra: Infra) -> Iterator[str]:
    """The two roles of our own hold the actions that are listed here and no other."""
    for deployment in infra.deployments.values():
        roles = {_role_name(role): role.properties["permissions"] for role in _definitions(deployment)}
        if roles.keys() != {"batchscore job submitter", "batchscore cluster nodes"}:
            yield f"the roles of our own are {', '.join(sorted(roles))}"
            continue
        for permission in roles["batchscore job submitter"]:
            yield from _compared(
                "the job submitter",
                permission,
                "actions",
                "Microsoft.MachineLearningServices/workspaces",
                _JOB_SUBMITTER,
            )
            if permission.get("dataActions"):
                yield "the job submitter has actions on data"
        for permission in roles["batchscore cluster nodes"]:
            yield from _compared(
                "nodes", permission, "actions", "Microsoft.Storage/storageAccounts", _CLUSTER_NODES
            )
            yield from _compared(
                "nodes", permission, "dataActions", "Microsoft.Storage/storageAccounts", _CLUSTER_NODES_DATA
            )


def nodes_stay_out_of_records(infra: Infra) -> Iterator[str]:
    """The nodes' role on the whole system account has a condition that shuts out our containers and the host's."""
    for name, deployment in infra.deployments.items():
        for each in _assignments(deployment):
            if _grant(deployment, each)[:2] != ("clusters", "batchscore cluster nodes"):
                if each.properties.get("condition"):
                    yield f"{name}: {each} has a condition that nobody asked for"
                continue
            condition = each.properties.get("condition") or ""
            if each.properties.get("conditionVersion") != "2.0":
                yield f"{name}: the condition of {each} has no version 2.0"
            yield from (f"{name}: {problem}" for problem in _condition_problems(condition))


def _condition_problems(condition: str) -> Iterator[str]:
    if condition.count("(") != condition.count(")") or condition.count("{") != condition.count("}"):
        yield "the condition's brackets do not match"
    blobs = [f"blobServices/containers/blobs/{each}" for each in ("read", "write", "add/action", "delete")]
    messages = [
        f"queueServices/queues/messages/{each}"
        for each in ("read", "write", "add/action", "process/action", "delete")
    ]
    actions = set(
        re.findall(r"!\(ActionMatches\{'Microsoft\.Storage/storageAccounts/([^']+)'\}\)", condition)
    )
    for action in (*blobs, *messages):
        if action not in actions:
            yield f"the condition lets {action} through"
    closed = re.search(
        r"containers:name\]\s+ForAllOfAllValues:StringNotEquals(?:IgnoreCase)?\s+\{([^}]*)\}", condition
    )
    names = re.findall(r"'([^']*)'", closed[1]) if closed else []
    for container in _CLOSED_CONTAINERS:
        if container not in names:
            yield f"the condition lets nodes into the container {container}"
    for kind in ("containers", "queues"):
        pattern = rf"{kind}:name\]\s+StringNotStartsWith(?:IgnoreCase)?\s+'{_CLOSED_PREFIX}'"
        if not re.search(pattern, condition):
            yield f"the condition lets nodes into {kind} of the host"
    if not re.search(r"queues:name\]\s+StringNotEquals(?:IgnoreCase)?\s+'reconcile'", condition):
        yield "the condition lets nodes kick the reconciler"


def _compared(
    what: str, permission: dict[str, list[str]], kind: str, provider: str, wanted: set[str]
) -> Iterator[str]:
    made = {action.removeprefix(f"{provider}/") for action in permission.get(kind, [])}
    for action in sorted(wanted - made):
        yield f"{what} cannot {action}"
    for action in sorted(made - wanted):
        yield f"{what} can {action}"


def _assignments(deployment: Deployment) -> list[Resource]:
    return deployment.of("Microsoft.Authorization/roleAssignments")


def _definitions(deployment: Deployment) -> list[Resource]:
    return deployment.of("Microsoft.Authorization/roleDefinitions")


def _role_name(role: Resource) -> str:
    return str(role.properties["roleName"]).split(" (")[0]


def _grant(deployment: Deployment, assignment: Resource) -> Grant:
    properties = assignment.properties
    role = str(properties["roleDefinitionId"]).rsplit("/", 1)[-1]
    roles = {guid: name for name, guid in _BUILT_IN.items()}
    roles |= {each.name: _role_name(each) for each in _definitions(deployment)}
    return (
        _principals(deployment).get(str(properties["principalId"]), str(properties["principalId"])),
        roles.get(role, role),
        place(deployment, assignment.scope),
    )


def _principals(deployment: Deployment) -> dict[str, str]:
    found = {PRINCIPAL: "deployer"}
    for identity in deployment.of("Microsoft.ManagedIdentity/userAssignedIdentities"):
        found[later(identity.id, "properties", "principalId")] = identity.name.split("-")[1]
    kinds = {
        "Microsoft.EventGrid/systemTopics": "event grid",
        "Microsoft.StreamAnalytics/streamingjobs": "stream analytics",
    }
    for kind, name in kinds.items():
        for each in deployment.of(kind):
            found[later(each.id, "identity", "principalId")] = name
    return found


_PLACES = {
    "Microsoft.MachineLearningServices/workspaces": "workspace",
    "Microsoft.ContainerRegistry/registries": "registry",
    "Microsoft.KeyVault/vaults": "key vault",
    "Microsoft.Insights/components": "application insights",
    "Microsoft.EventHub/namespaces/eventhubs": "event hub",
}


def place(deployment: Deployment, scope: str) -> str:
    """What a grant is on, in words; the id itself where that is nothing of the deployment."""
    found = next((each for each in deployment.resources if each.id == scope), None)
    if found is None:
        return scope
    if found.type == "Microsoft.Storage/storageAccounts":
        return account(found.name)
    if found.type.endswith("/containers"):
        return f"{account(scope.split('/')[8])}/{found.name}"
    return _PLACES.get(found.type, scope)


def account(name: str) -> str:
    """`system account` or `data account`, of an account's name."""
    return f"{'system' if 'system' in name else 'data' if 'data' in name else name} account"
