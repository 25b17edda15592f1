"""The Function app: Flex Consumption, one identity, and the settings that batchscore and the host read."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator
from typing import Any

import batchscore.settings
from batchscore.errors import SettingsError
from batchscore.settings import Settings
from tests.infra.deployment import SUBSCRIPTION, Deployment, later
from tests.infra.scenarios import SCENARIOS, Infra

# What batchscore reads and the templates leave as it is by itself, and why.
LEFT_AS_THEY_ARE = {
    "AzureWebJobsStorage": "an identity and addresses instead",
    "DATA_STORAGE": "an identity and addresses instead",
    "EVENT_HUB": "an identity and an address instead",
    "AZUREML_ENDPOINT": "of the stand-in on a workstation",
    "AZUREML_CA_FILE": "of the stand-in on a workstation",
    "WORKLOADS_FOLDER": "the workloads travel beside the code",
    "LOCAL_WORK_FOLDER": "of the local compute",
    "LOCAL_PYTHON": "of the local compute",
    "LOCAL_MAP": "of the local compute",
    "PRICES": "the list that travels with the code; APP_SETTINGS names another",
    "INBOX_RULES": "the shipped inbox; APP_SETTINGS changes it",
    "MAX_EVENT_BYTES": "tuning, by APP_SETTINGS",
    "MAX_EVENT_READINGS": "tuning, by APP_SETTINGS",
    "MAX_AHEAD_S": "tuning, by APP_SETTINGS",
    "RECONCILE_SCHEDULE": "tuning, by APP_SETTINGS",
    "POLL_INTERVAL_S": "tuning, by APP_SETTINGS",
    "MAX_ACTIVE_RUNS": "tuning, by APP_SETTINGS",
    "MAX_ATTEMPTS": "tuning, by APP_SETTINGS",
    "MAX_TRIGGER_BYTES": "tuning, by APP_SETTINGS",
    "STALLED_AFTER_S": "tuning, by APP_SETTINGS",
    "QUEUED_AFTER_S": "tuning, by APP_SETTINGS",
    "KEEP_INTERMEDIATES": "tuning, by APP_SETTINGS",
    "SCORING_SCHEDULE": "set with Stream Analytics alone; else the app's own five past",
    "SCORING_WORKLOAD": "tuning, by APP_SETTINGS",
    "SCORING_INPUTS": "tuning, by APP_SETTINGS",
    "CATCH_UP_HOURS": "tuning, by APP_SETTINGS",
    "LATE_HOURS": "tuning, by APP_SETTINGS",
}
# What the host or its worker reads and batchscore does not.
_OF_THE_HOST = {
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "AzureWebJobsStorage__tableServiceUri",
    *(f"{name}__credential" for name in ("AzureWebJobsStorage", "DATA_STORAGE", "EVENT_HUB")),
}
# Part of a deployment without the event hub: these are then neither set nor missed.
_OF_SENSORS = {
    "EVENT_HUB__fullyQualifiedNamespace",
    "EVENT_HUB__clientId",
    "EVENT_HUB_NAME",
    "EVENT_HUB_CONSUMER_GROUP",
}
_OF_THE_GPU = {name for name in batchscore.settings.CLUSTER_SETTINGS if "_GPU_" in name}
# A site that has one of these is refused (ARM error 51021), in some regions already at deployment; whatever its value.
_REFUSED_BY_FLEX = {
    "alwaysOn",
    "ftpsState",
    "functionAppScaleLimit",
    "functionsRuntimeScaleMonitoringEnabled",
    "linuxFxVersion",
    "minimumElasticInstanceCount",
    "netFrameworkVersion",
    "preWarmedInstanceCount",
    "use32BitWorkerProcess",
    "windowsFxVersion",
}
_NEVER_ON_FLEX = (
    "FUNCTIONS_WORKER_RUNTIME",
    "FUNCTIONS_EXTENSION_VERSION",
    "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING",
    "WEBSITE_CONTENTSHARE",
    "WEBSITE_RUN_FROM_PACKAGE",
    "SCM_DO_BUILD_DURING_DEPLOYMENT",
    "ENABLE_ORYX_BUILD",
)
_SERVICES = {"blob_trigger": ("blobServiceUri", "queueServiceUri"), "queue_trigger": ("queueServiceUri",)}


class Read(dict[str, str]):
    """An environment that keeps what was asked of it."""

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__(values)
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> str:
        self.asked.add(key)
        return super().__getitem__(key)


def app_runs_on_flex(infra: Infra) -> Iterator[str]:
    """The plan, the runtime that the tests run on, and nothing that only other plans read."""
    for name, deployment in infra.deployments.items():
        plan, site = deployment.one("Microsoft.Web/serverfarms"), deployment.one("Microsoft.Web/sites")
        if (
            plan.body["sku"] != {"name": "FC1", "tier": "FlexConsumption"}
            or plan.properties["reserved"] is not True
        ):
            yield f"{name}: the plan is {plan.body['sku']}"
        if site.properties["serverFarmId"] != plan.id:
            yield f"{name}: the app is not on the plan"
        if site.properties["functionAppConfig"]["runtime"] != {"name": "python", "version": "3.13"}:
            yield f"{name}: the app runs on {site.properties['functionAppConfig']['runtime']}"
        for key in _REFUSED_BY_FLEX & site.properties["siteConfig"].keys():
            yield f"{name}: Flex Consumption refuses {key}"
        for key in _NEVER_ON_FLEX:
            if key in app_settings(deployment):
                yield f"{name}: {key} is nothing for Flex Consumption"
        if site.body["tags"].get("azd-service-name") != "functions":
            yield f"{name}: azd does not find the app that its service functions is"
        if site.properties["httpsOnly"] is not True or site.properties["siteConfig"]["minTlsVersion"] < "1.2":
            yield f"{name}: the app takes HTTP or an old TLS"
        if site.properties["functionAppConfig"]["scaleAndConcurrency"].get("alwaysReady"):
            yield f"{name}: instances are kept ready, which costs all the time"


def code_comes_from_the_system_account(infra: Infra) -> Iterator[str]:
    for name, deployment in infra.deployments.items():
        site = deployment.one("Microsoft.Web/sites")
        storage = site.properties["functionAppConfig"]["deployment"]["storage"]
        system = deployment.one("Microsoft.Storage/storageAccounts", "system")
        if storage["value"] != f"https://{system.name}.blob.core.windows.net/app-package":
            yield f"{name}: the code is in {storage['value']}"
        identity = deployment.one("Microsoft.ManagedIdentity/userAssignedIdentities", "functions")
        if storage["authentication"] != {
            "type": "UserAssignedIdentity",
            "userAssignedIdentityResourceId": identity.id,
        }:
            yield f"{name}: the code is fetched as {storage['authentication']}"
        if site.body["identity"] != {"type": "UserAssigned", "userAssignedIdentities": {identity.id: {}}}:
            yield f"{name}: the app runs as {site.body['identity']}"
        policies = {
            each.name: each.properties["allow"]
            for each in deployment.of("Microsoft.Web/sites/basicPublishingCredentialsPolicies")
        }
        if policies != {"scm": False, "ftp": False}:
            yield f"{name}: passwords for publishing: {policies}"


def settings_are_read(infra: Infra) -> Iterator[str]:
    """batchscore takes the app's settings as they are, reads each, and misses none that this deployment decides."""
    for name, deployment in infra.deployments.items():
        given = app_settings(deployment)
        environment = Read(given)
        try:
            settings = Settings.from_environment(environment)
        except SettingsError as error:
            yield f"{name}: {error}"
            continue
        for key in sorted(given.keys() - environment.asked - _OF_THE_HOST):
            yield f"{name}: nothing reads the setting {key}"
        left = set(LEFT_AS_THEY_ARE)
        if settings.event_hub is None:
            left |= _OF_SENSORS
        if SCENARIOS[name].get("GPU_ENABLED") == "false":
            left |= _OF_THE_GPU
        for key in sorted(environment.asked - given.keys() - left):
            yield f"{name}: the setting {key} is read and not set"
        for key in sorted(LEFT_AS_THEY_ARE.keys() - environment.asked):
            yield f"{name}: {key} is said to be left as it is, and nothing reads it"


def settings_say_what_is_there(infra: Infra) -> Iterator[str]:
    """Account addresses, hub, workspace and clusters in the settings are those of the deployment."""
    for name, deployment in infra.deployments.items():
        try:
            settings = Settings.from_environment(app_settings(deployment))
        except SettingsError:
            continue  # settings_are_read says so
        client = _client(deployment)
        workspace = deployment.one("Microsoft.MachineLearningServices/workspaces")
        if settings.compute != "azureml" or settings.workspace is None:
            yield f"{name}: COMPUTE is {settings.compute}"
            continue
        if settings.workspace.resource_id != workspace.id:
            yield f"{name}: jobs go to {settings.workspace.resource_id}"
        if settings.workspace.subscription_id != SUBSCRIPTION.rsplit("/", 1)[-1]:
            yield f"{name}: the subscription is {settings.workspace.subscription_id}"
        if settings.workspace.client_id != client:
            yield f"{name}: jobs are submitted as {settings.workspace.client_id}, not as the app's identity"
        for connection, part in ((settings.system, "system"), (settings.data, "data")):
            for service, address in (
                ("blob", connection.blob_service_uri),
                ("queue", connection.queue_service_uri),
            ):
                wanted = f"https://{deployment.one('Microsoft.Storage/storageAccounts', part).name}.{service}.core.windows.net"
                if (address or "").rstrip("/") != wanted:
                    yield f"{name}: the {part} account's {service} address is {address}"
            if connection.client_id != client:
                yield f"{name}: {connection.name} is not opened as the app's identity"
        yield from (f"{name}: {problem}" for problem in _hub_problems(deployment, settings, name))
        clusters = {
            each.name: each for each in deployment.of("Microsoft.MachineLearningServices/workspaces/computes")
        }
        for kind in ("AML_COMPUTE_CLUSTER", "AML_GPU_COMPUTE_CLUSTER"):
            said = settings.clusters
            if f"{kind}_NAME" not in said or (
                "_GPU_" in kind and SCENARIOS[name].get("GPU_ENABLED") == "false"
            ):
                continue
            cluster = clusters.get(said[f"{kind}_NAME"])
            if cluster is None:
                yield f"{name}: there is no cluster {said[f'{kind}_NAME']}"
                continue
            inner = cluster.properties["properties"]
            scale = inner["scaleSettings"]
            real = (inner["vmSize"], str(scale["minNodeCount"]), str(scale["maxNodeCount"]))
            told = tuple(said.get(f"{kind}_{part}") for part in ("SKU", "MIN_NODES", "MAX_NODES"))
            if real != told:
                yield f"{name}: {cluster.name} is {real} and the settings say {told}"


def blobs_are_told_by_event_grid(infra: Infra) -> Iterator[str]:
    """Flex Consumption has no polling blob trigger."""
    for name, deployment in infra.deployments.items():
        source = app_settings(deployment).get("BLOB_TRIGGER_SOURCE")
        if source != "EventGrid":
            yield f"{name}: BLOB_TRIGGER_SOURCE is {source}"
    for decorator, _ in triggers(infra):
        if decorator.func.attr == "blob_trigger":  # type: ignore[attr-defined]
            source = next((each.value for each in decorator.keywords if each.arg == "source"), None)
            if source is None or ast.unparse(source) != "func.BlobSource(settings.blob_trigger_source)":
                yield f"function_app.py:{decorator.lineno}: the source is no setting"


def connections_are_set(infra: Infra) -> Iterator[str]:
    """Each `connection=` of function_app.py has the settings by which the host opens it as the app's identity."""
    for name, deployment in infra.deployments.items():
        given = app_settings(deployment)
        client = _client(deployment)
        wanted: dict[str, set[str]] = {
            "AzureWebJobsStorage": {"blobServiceUri", "queueServiceUri", "tableServiceUri"}
        }
        for decorator, connection in triggers(infra):
            kind = decorator.func.attr  # type: ignore[attr-defined]
            if kind == "event_hub_message_trigger":
                if "EVENT_HUB__fullyQualifiedNamespace" in given:
                    wanted.setdefault(connection, set()).add("fullyQualifiedNamespace")
            else:
                wanted.setdefault(connection, set()).update(_SERVICES[kind])
        for connection, parts in wanted.items():
            for part in sorted(parts):
                if not given.get(f"{connection}__{part}"):
                    yield f"{name}: {connection}__{part} is not set"
            if given.get(f"{connection}__credential") != "managedidentity":
                yield f"{name}: {connection}__credential is not managedidentity"
            if given.get(f"{connection}__clientId") != client:
                yield f"{name}: {connection}__clientId is not that of the app's identity"
        table = given.get("AzureWebJobsStorage__tableServiceUri", "")
        system = deployment.one("Microsoft.Storage/storageAccounts", "system").name
        if table.rstrip("/") != f"https://{system}.table.core.windows.net":
            yield f"{name}: the host's tables are at {table}"
        for key in given:
            if key.endswith("__serviceUri"):
                yield f"{name}: with {key} the host finds no queue of poison messages"
            if key in wanted:
                yield f"{name}: {key} is a connection string"


def telemetry_goes_in_as_the_app(infra: Infra) -> Iterator[str]:
    """Application Insights takes nothing from who only knows its connection string."""
    for name, deployment in infra.deployments.items():
        insights = deployment.one("Microsoft.Insights/components")
        given = app_settings(deployment)
        if insights.properties.get("DisableLocalAuth") is not True:
            yield f"{name}: Application Insights takes telemetry from anybody"
        if given.get("APPLICATIONINSIGHTS_CONNECTION_STRING") != later(
            insights.id, "properties", "ConnectionString"
        ):
            yield f"{name}: telemetry goes elsewhere"
        if (
            given.get("APPLICATIONINSIGHTS_AUTHENTICATION_STRING")
            != f"ClientId={_client(deployment)};Authorization=AAD"
        ):
            yield f"{name}: telemetry is not sent as the app's identity"


def own_settings_win(infra: Infra) -> Iterator[str]:
    """APP_SETTINGS adds settings and replaces ours."""
    for name, deployment in infra.deployments.items():
        if "APP_SETTINGS" in SCENARIOS[name] and app_settings(deployment).get("MAX_ACTIVE_RUNS") != "5":
            yield f"{name}: MAX_ACTIVE_RUNS is not what APP_SETTINGS says"


def outputs_make_batchscore_work(infra: Infra) -> Iterator[str]:
    """With the outputs as environment variables a workstation works on this deployment, as the app does."""
    for name, deployment in infra.deployments.items():
        said = {key: str(value) for key, value in deployment.outputs.items()}
        given = app_settings(deployment)
        for key, value in said.items():
            if key in given and given[key] != value:
                yield f"{name}: the output {key} is {value} and the app's setting {given[key]}"
        try:
            here = Settings.from_environment(
                {**said, "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION.rsplit("/", 1)[-1]}
            )
            there = Settings.from_environment(given)
        except SettingsError as error:
            yield f"{name}: {error}"
            continue
        if here.workspace is None or there.workspace is None or here.workspace.place != there.workspace.place:
            yield f"{name}: a workstation submits to {here.workspace}"
        for part in ("blob_service_uri", "queue_service_uri"):
            for connection in ("system", "data"):
                if getattr(getattr(here, connection), part) != getattr(getattr(there, connection), part):
                    yield f"{name}: a workstation takes another {part} of {connection}"
        for key in ("clusters", "compute", "trigger_container", "data_container"):
            if getattr(here, key) != getattr(there, key):
                yield f"{name}: a workstation has other {key}: {getattr(here, key)}"
        for key in deployment.outputs:
            if "clientid" in key.lower():
                yield f"{name}: people sign in as themselves, and the output {key} is an identity's"


def app_settings(deployment: Deployment) -> dict[str, str]:
    listed = deployment.one("Microsoft.Web/sites").properties["siteConfig"]["appSettings"]
    return {each["name"]: each["value"] for each in listed}


def triggers(of: Infra) -> Iterator[tuple[ast.Call, str]]:
    """Decorators of function_app.py that name a connection, with its name."""
    for node in ast.walk(ast.parse(of.files["function_app.py"])):
        for decorator in getattr(node, "decorator_list", []):
            for keyword in getattr(decorator, "keywords", []):
                if keyword.arg == "connection":
                    yield decorator, _constant(keyword.value)


def blob_functions(of: Infra) -> dict[str, str]:
    """The blob functions of function_app.py, and the path that each waits for."""
    settings = Settings.from_environment(
        {"AzureWebJobsStorage": "UseDevelopmentStorage=true", "DATA_STORAGE": "UseDevelopmentStorage=true"}
    )
    from batchscore.inbox import INBOX

    found = {}
    for node in ast.walk(ast.parse(of.files["function_app.py"])):
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "app.blob_trigger":
                    path = next(each.value for each in decorator.keywords if each.arg == "path")
                    made = ast.unparse(path)[2:-1].replace("{{", "{").replace("}}", "}")
                    made = made.replace("{settings.trigger_container}", settings.trigger_container)
                    made = made.replace("{settings.data_container}", settings.data_container)
                    found[node.name] = made.replace("{INBOX}", INBOX)
    return found


def _constant(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    with contextlib.suppress(AttributeError):
        return str(getattr(batchscore.settings, ast.unparse(node)))
    return ast.unparse(node)


def _client(deployment: Deployment) -> str:
    identity = deployment.one("Microsoft.ManagedIdentity/userAssignedIdentities", "functions")
    return later(identity.id, "properties", "clientId")


def _hub_problems(deployment: Deployment, settings: Settings, name: str) -> Iterator[str]:
    sensors = SCENARIOS[name].get("SENSORS_ENABLED") != "false"
    stream = SCENARIOS[name].get("STREAM_ANALYTICS_ENABLED") == "true"
    if (settings.event_hub is not None) != (sensors and not stream):
        yield "the app reads the event hub" if settings.event_hub else "the app does not read the event hub"
    if settings.scores_hours != sensors:
        yield f"hours are {'' if settings.scores_hours else 'not '}scored"
    if settings.event_hub is None:
        return
    hub = deployment.one("Microsoft.EventHub/namespaces/eventhubs")
    namespace = deployment.one("Microsoft.EventHub/namespaces")
    if settings.event_hub.namespace != f"{namespace.name}.servicebus.windows.net":
        yield f"readings come from {settings.event_hub.namespace}"
    if settings.event_hub.name != hub.name:
        yield f"readings come from the hub {settings.event_hub.name}"
    if settings.event_hub.client_id != _client(deployment):
        yield "the hub is not read as the app's identity"
