"""Faults that somebody might make, each as one exact change of a text, with what must find it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.infra.bicep import Files
from tests.infra.scenarios import ROOT

MAIN = "infra/main.bicep"
PARAMETERS = "infra/main.parameters.json"
SUBSCRIPTIONS = "infra/event-subscriptions.bicep"
ROLES = "infra/modules/role-assignments.bicep"
ACCOUNT = "infra/modules/storage-account.bicep"
STORAGE = "infra/modules/storage.bicep"
FUNCTIONS = "infra/modules/functions.bicep"
NETWORK = "infra/modules/network.bicep"
ENDPOINTS = "infra/modules/private-endpoints.bicep"
LEARNING = "infra/modules/machine-learning.bicep"
CLUSTERS = "infra/modules/clusters.bicep"
HUB = "infra/modules/event-hub.bicep"


@dataclass(frozen=True)
class Fault:
    name: str
    path: str
    old: str
    """Is in the file `times` times, else the fault is not the one that was meant."""
    new: str
    caught_by: tuple[str, ...]
    """The rules and checkers that find it: these, and no other."""
    times: int = 1


def planted(faults: Iterable[Fault]) -> Files:
    """The repository with these faults."""
    changed: dict[str, str] = {}
    whole = Files(ROOT)
    for fault in faults:
        text = changed.get(fault.path, whole[fault.path])
        assert text.count(fault.old) == fault.times, f"{fault.name}: {fault.path} has {text.count(fault.old)}"
        assert fault.old != fault.new
        changed[fault.path] = text.replace(fault.old, fault.new)
    return Files(ROOT, changed)


CHECKOV_FAULTS = [
    Fault(
        "the registry gives images to anybody",
        "infra/modules/container-registry.bicep",
        "anonymousPullEnabled: false",
        "anonymousPullEnabled: true",
        ("CKV_AZURE_138",),
    ),
    Fault(
        "the app can be debugged from outside",
        FUNCTIONS,
        "remoteDebuggingEnabled: false",
        "remoteDebuggingEnabled: true",
        ("CKV_AZURE_72",),
    ),
    Fault(
        "the app speaks old HTTP", FUNCTIONS, "http20Enabled: true", "http20Enabled: false", ("CKV_AZURE_18",)
    ),
    Fault(
        "what is deleted from the vault is gone",
        "infra/modules/key-vault.bicep",
        "enableSoftDelete: true",
        "enableSoftDelete: false",
        ("CKV_AZURE_111",),
    ),
]

FAULTS = [
    # Bicep
    Fault(
        "a property is misspelt",
        FUNCTIONS,
        "httpsOnly: true",
        "httpOnly: true",
        ("bicepcheck", "app_runs_on_flex"),
    ),
    Fault(
        "a value is none of the allowed", ACCOUNT, "accessTier: 'Hot'", "accessTier: 'Warm'", ("bicepcheck",)
    ),
    Fault(
        "an api-version there is not",
        LEARNING,
        "/workspaces@2025-06-01'",
        "/workspaces@2025-06-31'",
        ("bicepcheck",),
    ),
    Fault("a required property is missing", ACCOUNT, "  kind: 'StorageV2'\n", "", ("bicepcheck",)),
    Fault(
        "a bracket is missing",
        "infra/modules/identity.bicep",
        "  tags: tags\n}\n\nresource workspace",
        "  tags: tags\n\nresource workspace",
        ("bicepcheck", "works_out"),
    ),
    Fault(
        "a module is given a misspelt parameter",
        MAIN,
        "    planName: '",
        "    planNames: '",
        ("bicepcheck", "works_out"),
    ),
    Fault(
        "whether a module is made depends on what another one says",
        MAIN,
        "if (budgetAmount > 0 && !empty(budgetStart))",
        "if (budgetAmount > 0 && !empty(budgetStart) && !empty(monitoring.outputs.logAnalyticsId))",
        ("starts_are_known",),
    ),
    Fault(
        "a name depends on who an identity turns out to be",
        "infra/modules/event-grid.bicep",
        "  name: 'undelivered'\n",
        "  name: 'undelivered-${systemTopic.identity.principalId}'\n",
        ("starts_are_known",),
    ),
    Fault(
        "how many grants there are depends on what a resource says",
        ROLES,
        "for grant in onTelemetry: {",
        "for grant in (empty(applicationInsights.properties.AppId) ? [] : onTelemetry): {",
        ("starts_are_known",),
    ),
    Fault(
        "a module takes less than it may be given",
        "infra/modules/budget.bicep",
        "param amount int",
        "@minValue(1)\nparam amount int",
        ("modules_take_what_they_are_given",),
    ),
    Fault(
        "a parameter nobody uses",
        "infra/modules/budget.bicep",
        "param amount int",
        "param amount int\n\n@description('Nothing.')\nparam unit string = 'USD'",
        ("bicepcheck", "nothing_is_unused"),
    ),
    Fault(
        "a variable nobody uses",
        STORAGE,
        "var softDeleteDays = 7\n",
        "var softDeleteDays = 7\nvar hardDeleteDays = 30\n",
        ("bicepcheck", "nothing_is_unused"),
    ),
    Fault(
        "an output nobody uses",
        "infra/modules/key-vault.bicep",
        "output id string",
        "output uri string = keyVault.properties.vaultUri\n\n@description('Id.')\noutput id string",
        ("nothing_is_unused",),
    ),
    Fault(
        "an abbreviation nobody uses",
        "infra/abbreviations.json",
        '"actionGroup": "ag-",',
        '"actionGroup": "ag-",\n  "aksCluster": "aks-",',
        ("nothing_is_unused",),
    ),
    Fault(
        "modules wait for each other",
        MAIN,
        "    logAnalyticsName: '${abbreviations.logAnalytics}${token}'\n",
        "    logAnalyticsName: '${abbreviations.logAnalytics}${storage.outputs.dataAccountName}'\n",
        ("modules_wait_in_no_circle", "works_out"),
    ),
    Fault(
        "an output of what is not there",
        MAIN,
        "streamAnalyticsWrites ? streamAnalytics!.outputs.principalId : ''",
        "streamAnalytics!.outputs.principalId",
        ("works_out",),
    ),
    Fault(
        "a secret in an output",
        FUNCTIONS,
        "output functionAppName string = app.name",
        "output functionAppName string = app.name\n\n@description('Key.')\noutput hostKey string = app.listKeys().functionKeys.default",
        ("no_key_is_listed", "no_output_is_secret", "nothing_is_unused"),
    ),
    Fault(
        "a password as a plain parameter",
        "infra/modules/budget.bicep",
        "param amount int\n",
        "param amount int\n\n@description('Nothing.')\nparam adminPassword string = ''\n",
        ("secrets_are_marked", "nothing_is_unused", "bicepcheck"),
    ),
    Fault(
        "a time in what is deployed",
        MAIN,
        "param budgetStart string = ''",
        "param budgetStart string = utcNow('yyyy-MM-01')",
        ("second_deployment_changes_nothing",),
    ),
    Fault(
        "an id of something else",
        MAIN,
        "    dataAccountId: storage.outputs.dataAccountId\n",
        "    dataAccountId: '${resourceGroup.id}/providers/Microsoft.Storage/storageAccounts/stdata'\n",
        (
            "ids_are_those_of_resources",
            "every_service_has_an_endpoint",
            "nothing_is_unused",
            "topic_is_of_the_data_account",
        ),
        times=2,
    ),
    # parameters
    Fault(
        "a parameter is not filled in",
        PARAMETERS,
        '    "alertEmail": {\n      "value": "${ALERT_EMAIL}"\n    },\n',
        "",
        (
            "parameters_are_given",
            "alerts_are_there",
            "hooks_use_what_is_given",
            "scenarios_use_every_variable",
        ),
    ),
    Fault(
        "a variable is misspelt",
        PARAMETERS,
        "${NAT_GATEWAY_ID}",
        "${NAT_GATEWAY}",
        (
            "scenarios_use_every_variable",
            "something_leads_out",
            "variables_are_documented",
            "hooks_use_what_is_given",
        ),
    ),
    Fault(
        "two defaults",
        PARAMETERS,
        "${AML_COMPUTE_CLUSTER_MAX_NODES=4}",
        "${AML_COMPUTE_CLUSTER_MAX_NODES=8}",
        ("defaults_agree", "sizes_are_current", "variables_are_documented"),
    ),
    # roles
    Fault(
        "a wrong role id",
        "infra/roles.json",
        "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
        "ba92f5b4-2d11-453d-a403-e96b0029c9fc",
        ("role_ids_are_right", "grants_are_complete"),
    ),
    Fault(
        "a role is missing",
        ROLES,
        "  { to: functionsApp, role: roles['Storage Table Data Contributor'] }\n",
        "",
        ("grants_are_complete", "role_ids_are_right"),
    ),
    Fault(
        "a grant on the other account",
        ROLES,
        "    scope: dataAccount\n",
        "    scope: systemAccount\n",
        ("grants_are_complete", "names_of_grants_stay"),
    ),
    Fault(
        "the accounts are swapped",
        ROLES,
        "resource systemAccount 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {\n  name: systemAccountName",
        "resource systemAccount 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {\n  name: dataAccountName",
        (
            "grants_are_complete",
            "bicepcheck",
            "existing_resources_exist",
            "ids_are_those_of_resources",
            "no_name_is_too_long",
            "nothing_is_unused",
        ),
    ),
    Fault(
        "more than is needed",
        ROLES,
        "  { to: nodes, role: roles['Storage Blob Data Reader'] }",
        "  { to: nodes, role: roles['Storage Blob Data Owner'] }",
        ("grants_are_complete", "role_ids_are_right"),
    ),
    Fault(
        "a grant on the whole resource group",
        "infra/modules/workspace-roles.bicep",
        "  scope: workspace\n",
        "",
        ("grants_are_complete", "names_of_grants_stay", "nothing_is_granted_on_the_subscription"),
        times=3,
    ),
    Fault(
        "our role for the whole subscription",
        "infra/modules/job-submitter-role.bicep",
        "    assignableScopes: [\n      group\n",
        "    assignableScopes: [\n      subscription().id\n",
        ("nothing_is_granted_on_the_subscription",),
    ),
    Fault(
        "no condition",
        ROLES,
        "    condition: notOurs\n    conditionVersion: '2.0'\n",
        "",
        ("bicepcheck", "nodes_stay_out_of_records", "nothing_is_unused"),
    ),
    Fault(
        "the condition forgets the models",
        ROLES,
        "{'runs', 'models', 'logs', 'app-package', 'eventgrid-dead-letter'}",
        "{'runs', 'logs', 'app-package', 'eventgrid-dead-letter'}",
        ("nodes_stay_out_of_records",),
    ),
    Fault(
        "jobs can be deleted",
        "infra/modules/job-submitter-role.bicep",
        "'${workspaces}/metadata/artifacts/write'",
        "'${workspaces}/metadata/artifacts/write'\n          '${workspaces}/computes/write'",
        ("own_roles_allow_no_more",),
    ),
    Fault(
        "a grant whose name changes",
        ROLES,
        "name: guid(keyVault.id, grant.to.principalId, grant.role)",
        "name: guid(keyVault.id, grant.role)",
        ("names_of_grants_stay",),
    ),
    Fault(
        "the app is there before its roles",
        MAIN,
        "as soon as it is there.\n  dependsOn: [\n    roleAssignments\n",
        "as soon as it is there.\n  dependsOn: [\n",
        ("grants_come_first",),
    ),
    # storage
    Fault(
        "shared keys",
        ACCOUNT,
        "allowSharedKeyAccess: false",
        "allowSharedKeyAccess: true",
        ("accounts_are_closed",),
    ),
    Fault(
        "an old TLS",
        ACCOUNT,
        "minimumTlsVersion: 'TLS1_2'",
        "minimumTlsVersion: 'TLS1_0'",
        ("accounts_are_closed",),
    ),
    Fault(
        "public blobs",
        ACCOUNT,
        "allowBlobPublicAccess: false",
        "allowBlobPublicAccess: true",
        ("accounts_are_closed",),
    ),
    Fault(
        "a public container",
        ACCOUNT,
        "publicAccess: 'None'",
        "publicAccess: 'Blob'",
        ("accounts_are_closed",),
    ),
    Fault(
        "a container is renamed",
        MAIN,
        "var triggerContainer = 'triggers'",
        "var triggerContainer = 'trigger'",
        ("containers_are_those_of_the_app", "grants_are_complete"),
    ),
    Fault(
        "a container in the wrong account",
        STORAGE,
        "      'runs'\n",
        "",
        ("containers_are_those_of_the_app",),
    ),
    Fault(
        "results are deleted",
        STORAGE,
        "'${dataContainer}/between/'",
        "'${dataContainer}/'",
        ("what_is_old_goes",),
    ),
    Fault(
        "deleted containers are gone",
        ACCOUNT,
        "    containerDeleteRetentionPolicy: {\n      enabled: true",
        "    containerDeleteRetentionPolicy: {\n      enabled: false",
        ("what_was_deleted_comes_back",),
    ),
    Fault(
        "the firewall is open in the private network",
        ACCOUNT,
        "defaultAction: restricted ? 'Deny' : 'Allow'",
        "defaultAction: 'Allow'",
        ("firewalls_follow_the_network",),
    ),
    # network
    Fault(
        "a wrong delegation",
        NETWORK,
        "'Microsoft.App/environments'",
        "'Microsoft.Web/serverFarms'",
        ("subnets_are_delegated_rightly",),
    ),
    Fault(
        "nodes in the app's subnet",
        MAIN,
        "network!.outputs.clustersSubnetId",
        "network!.outputs.functionsSubnetId",
        ("parts_are_in_their_subnets", "nothing_is_unused"),
    ),
    Fault(
        "a zone is missing",
        ENDPOINTS,
        "  'privatelink.notebooks.azure.net'\n",
        "",
        ("works_out", "names_lead_to_endpoints"),
    ),
    Fault(
        "a name in the wrong zone",
        ENDPOINTS,
        "'privatelink.vaultcore.azure.net'",
        "'privatelink.vault.azure.net'",
        ("names_lead_to_endpoints",),
    ),
    Fault(
        "the registry stays open",
        "infra/modules/container-registry.bicep",
        "publicNetworkAccess: restricted ? 'Disabled' : 'Enabled'",
        "publicNetworkAccess: 'Enabled'",
        ("services_close_with_the_network",),
    ),
    Fault(
        "Event Grid is kept out",
        FUNCTIONS,
        "ipAddress: 'AzureEventGrid'",
        "ipAddress: 'AzureEventHub'",
        ("services_close_with_the_network",),
    ),
    # the app
    Fault(
        "a setting nobody reads",
        MAIN,
        "  DATA_CONTAINER: dataContainer\n",
        "  DATA_CONTAINER: dataContainer\n  DATA_CONTAINERS: dataContainer\n",
        ("settings_are_read",),
    ),
    Fault(
        "a reader without its setting",
        FUNCTIONS,
        "  AZUREML_CLIENT_ID: identityClientId\n",
        "",
        ("settings_are_read", "settings_say_what_is_there"),
    ),
    Fault(
        "the host is told no queues",
        FUNCTIONS,
        "  DATA_STORAGE__queueServiceUri: dataQueueEndpoint\n",
        "",
        (
            "connections_are_set",
            "bicepcheck",
            "nothing_is_unused",
            "outputs_have_readers",
            "settings_are_read",
        ),
    ),
    Fault(
        "one address for all services",
        FUNCTIONS,
        "  DATA_STORAGE__credential: ",
        "  DATA_STORAGE__serviceUri: dataBlobEndpoint\n  DATA_STORAGE__credential: ",
        ("connections_are_set", "settings_are_read"),
    ),
    Fault(
        "a connection is renamed",
        "function_app.py",
        "queue_name=paths.POISON_QUEUE, connection=DATA_CONNECTION",
        'queue_name=paths.POISON_QUEUE, connection="DATA"',
        ("connections_are_set",),
    ),
    Fault(
        "polling on Flex Consumption",
        FUNCTIONS,
        "BLOB_TRIGGER_SOURCE: 'EventGrid'",
        "BLOB_TRIGGER_SOURCE: 'LogsAndContainerScan'",
        ("blobs_are_told_by_event_grid",),
    ),
    Fault(
        "the site speaks of FTP, which Flex refuses",
        FUNCTIONS,
        "      http20Enabled: true\n",
        "      http20Enabled: true\n      ftpsState: 'Disabled'\n",
        ("app_runs_on_flex",),
    ),
    Fault(
        "a trigger that always polls",
        "function_app.py",
        """    path=f"{settings.trigger_container}/{{name}}.json",
    connection=DATA_CONNECTION,
    source=func.BlobSource(settings.blob_trigger_source),""",
        """    path=f"{settings.trigger_container}/{{name}}.json",
    connection=DATA_CONNECTION,""",
        ("blobs_are_told_by_event_grid",),
    ),
    Fault(
        "a worker runtime on Flex Consumption",
        FUNCTIONS,
        "  COMPUTE: 'azureml'\n",
        "  COMPUTE: 'azureml'\n  FUNCTIONS_WORKER_RUNTIME: 'python'\n",
        ("app_runs_on_flex", "settings_are_read"),
    ),
    Fault(
        "the data address of the other account",
        MAIN,
        "dataQueueEndpoint: storage.outputs.dataQueueEndpoint",
        "dataQueueEndpoint: storage.outputs.systemQueueEndpoint",
        ("settings_say_what_is_there", "outputs_make_batchscore_work"),
    ),
    Fault(
        "telemetry from anybody",
        "infra/modules/monitoring.bicep",
        "DisableLocalAuth: true",
        "DisableLocalAuth: false",
        ("telemetry_goes_in_as_the_app",),
    ),
    # machine learning
    Fault(
        "a retired VM size",
        MAIN,
        "  'Standard_NC8as_T4_v3'\n",
        "  'Standard_NC6s_v3'\n",
        ("sizes_are_current",),
    ),
    Fault(
        "a node that never goes",
        CLUSTERS,
        "minNodeCount: each.minNodes",
        "minNodeCount: max(1, each.minNodes)",
        ("clusters_cost_nothing_while_idle", "settings_say_what_is_there"),
    ),
    Fault(
        "keys instead of identity",
        LEARNING,
        "systemDatastoresAuthMode: 'Identity'",
        "systemDatastoresAuthMode: 'AccessKey'",
        ("workspace_hangs_together",),
    ),
    Fault(
        "a datastore of another name",
        LEARNING,
        "name: 'batchscore_${",
        "name: 'batch_${",
        ("datastores_are_those_of_jobs",),
    ),
    # events
    Fault(
        "a function there is not",
        SUBSCRIPTIONS,
        "Host.Functions.accept_inbox_file",
        "Host.Functions.accept_inbox",
        ("subscriptions_reach_the_functions", "subscriptions_tell_of_the_right_files"),
    ),
    Fault(
        "a function is renamed",
        "function_app.py",
        "def accept_trigger_file(",
        "def take_trigger_file(",
        ("subscriptions_reach_the_functions", "subscriptions_tell_of_the_right_files"),
    ),
    Fault(
        "a filter without /blobs/",
        SUBSCRIPTIONS,
        "${triggerContainer}/blobs/'",
        "${triggerContainer}'",
        ("subscriptions_tell_of_the_right_files",),
    ),
    Fault(
        "the key of everything",
        SUBSCRIPTIONS,
        ".systemKeys.blobs_extension",
        ".masterKey",
        ("works_out",),
        times=2,
    ),
    Fault(
        "a topic of another service",
        "infra/modules/event-grid.bicep",
        "topicType: 'Microsoft.Storage.StorageAccounts'",
        "topicType: 'Microsoft.Resources.ResourceGroups'",
        ("topic_is_of_the_data_account",),
    ),
    Fault(
        "a consumer group there is not",
        MAIN,
        "    consumerGroupName: streamAnalyticsConsumerGroup",
        "    consumerGroupName: 'analytics'",
        ("hub_is_read_by_its_groups",),
    ),
    Fault(
        "readings land elsewhere",
        "infra/modules/stream-analytics.bicep",
        "pathPattern: 'readings/{folder}'",
        "pathPattern: 'reading/{folder}'",
        ("stream_analytics_lands_readings",),
    ),
    Fault(
        "keys of the event hub",
        HUB,
        "disableLocalAuth: true",
        "disableLocalAuth: false",
        ("hub_is_read_by_its_groups",),
    ),
    Fault(
        "the hub's public address stays open in the private network",
        HUB,
        "var closed = restricted && empty(allowedAddresses)",
        "var closed = false",
        ("services_close_with_the_network",),
    ),
    Fault(
        "the hub's firewall denies by an empty list",
        HUB,
        "restricted && !closed ? 'Deny'",
        "restricted ? 'Deny'",
        ("services_close_with_the_network",),
    ),
    # alerts
    Fault(
        "a typing error in a query",
        "infra/alerts/failed-runs.kql",
        "| where tostring(",
        "| where tostrng(",
        ("kql",),
    ),
    Fault(
        "a column there is not",
        "infra/alerts/poison-messages.kql",
        "project TimeGenerated",
        "project Timestamp",
        ("kql",),
    ),
    Fault(
        "a signal is renamed",
        "infra/alerts/failed-runs.kql",
        '"run_failed"',
        '"failed_run"',
        ("alerts_know_the_signals",),
    ),
    Fault(
        "a signal is cut in the middle",
        "infra/alerts/failed-runs.kql",
        "substring(Message, 18)",
        "substring(Message, 17)",
        ("alerts_know_the_signals",),
    ),
    Fault(
        "an alert that calls nobody",
        "infra/modules/alerts.bicep",
        "actionGroups: empty(actionGroupId) ? [] : array(actionGroupId)",
        "actionGroups: []",
        ("alerts_are_there", "bicepcheck", "nothing_is_unused"),
    ),
    # hooks and azd
    Fault(
        "an output is renamed",
        MAIN,
        "output SYSTEM_TOPIC_NAME string",
        "output EVENT_TOPIC_NAME string",
        ("hooks_use_what_is_given", "works_out"),
    ),
    Fault(
        "a hook misspells a variable",
        "infra/hooks/postdeploy.sh",
        '--name "$FUNCTION_APP_NAME"',
        '--name "$FUNCTIONAPP_NAME"',
        ("hooks_use_what_is_given",),
        times=2,
    ),
    Fault(
        "a hook misspells a parameter",
        "infra/hooks/postdeploy.sh",
        '"systemTopicName=$SYSTEM_TOPIC_NAME"',
        '"topicName=$SYSTEM_TOPIC_NAME"',
        ("second_stage_gets_its_parameters",),
    ),
    Fault(
        "a hook there is not",
        "azure.yaml",
        "run: infra/hooks/postdeploy.sh",
        "run: infra/hooks/post-deploy.sh",
        ("azure_yaml_names_what_is_there",),
    ),
    Fault(
        "a misspelt key in azure.yaml",
        "azure.yaml",
        "    remoteBuild: false",
        "    remotebuild: false",
        ("schemas",),
    ),
    Fault(
        "a misspelt key in host.json",
        "host.json",
        '"poisonBlobThreshold"',
        '"poisonBlobTreshold"',
        ("schemas",),
    ),
    Fault(
        "a key twice in host.json",
        "host.json",
        '"version": "2.0",',
        '"version": "2.0",\n  "version": "2.0",',
        ("schemas",),
    ),
    Fault(
        "an app that azd does not find",
        FUNCTIONS,
        "'azd-service-name': 'functions'",
        "'azd-service-name': 'function'",
        ("app_runs_on_flex",),
    ),
]
