"""Who tells of new files, and where readings come in: Event Grid, Event Hubs, Stream Analytics."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

from batchscore import paths
from batchscore.settings import Settings
from tests.infra.deployment import Deployment, Resource
from tests.infra.rules.functions import app_settings, blob_functions
from tests.infra.scenarios import EVENT_SUBSCRIPTIONS, SCENARIOS, Infra


def subscriptions_reach_the_functions(infra: Infra) -> Iterator[str]:
    """Each blob function of function_app.py is told of new files by one subscription, over the host's webhook, with the
    key that the host made for blob triggers."""
    wanted = set(blob_functions(infra))
    for name, deployment in infra.subscriptions.items():
        site = infra.deployments[name].one("Microsoft.Web/sites")
        told = []
        for each in _subscriptions(deployment):
            destination = each.properties["destination"]
            if destination["endpointType"] != "WebHook":
                yield f"{name}: {each.name} goes to a {destination['endpointType']}"
                continue
            url = urlsplit(destination["properties"]["endpointUrl"])
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            if (
                f"{url.scheme}://{url.netloc}{url.path}"
                != f"https://{site.name}.azurewebsites.net/runtime/webhooks/blobs"
            ):
                yield f"{name}: {each.name} goes to {url.scheme}://{url.netloc}{url.path}"
            function = query.get("functionName", "")
            if function.removeprefix("Host.Functions.") not in wanted or not function.startswith(
                "Host.Functions."
            ):
                yield f"{name}: {each.name} calls {function}, which function_app.py has not"
            told.append(function.removeprefix("Host.Functions."))
            if query.get("code") != f"‹system key blobs_extension of {site.id}/host/default›":
                yield f"{name}: {each.name} shows the key {query.get('code')}"
        for function in sorted(wanted):
            if told.count(function) != 1:
                yield f"{name}: {told.count(function)} subscriptions tell {function} of files"


def subscriptions_tell_of_the_right_files(infra: Infra) -> Iterator[str]:
    """The filter of each lets through the files that its function waits for: this container, whole, and no other."""
    for name, deployment in infra.subscriptions.items():
        for each in _subscriptions(deployment):
            url = each.properties["destination"]["properties"]["endpointUrl"]
            function = parse_qs(urlsplit(url).query)["functionName"][0].removeprefix("Host.Functions.")
            container, _, rest = blob_functions(infra)[function].partition("/")
            prefix, _, ending = rest.partition("{name}")
            filter_ = each.properties["filter"]
            if (
                filter_.get("subjectBeginsWith")
                != f"/blobServices/default/containers/{container}/blobs/{prefix}"
            ):
                yield f"{name}: {each.name} tells of {filter_.get('subjectBeginsWith')}"
            if filter_.get("subjectEndsWith", "") != ending:
                yield f"{name}: {each.name} tells of what ends with {filter_.get('subjectEndsWith', '')!r}"
            if filter_.get("includedEventTypes") != ["Microsoft.Storage.BlobCreated"]:
                yield f"{name}: {each.name} tells of {filter_.get('includedEventTypes')}"
            if each.properties.get("eventDeliverySchema") != "EventGridSchema":
                yield f"{name}: {each.name} speaks {each.properties.get('eventDeliverySchema')}, not the host's schema"


def nothing_told_is_lost(infra: Infra) -> Iterator[str]:
    """What cannot be handed over goes to the system account, as the topic's identity."""
    for name, deployment in infra.subscriptions.items():
        system = infra.deployments[name].one("Microsoft.Storage/storageAccounts", "system")
        for each in _subscriptions(deployment):
            dead = each.properties.get("deadLetterWithResourceIdentity") or {}
            if (dead.get("identity") or {}).get("type") != "SystemAssigned":
                yield f"{name}: dead letters of {each.name} are not written as the topic"
                continue
            place = dead["deadLetterDestination"]["properties"]
            if (place["resourceId"], place["blobContainerName"]) != (system.id, "eventgrid-dead-letter"):
                yield f"{name}: dead letters of {each.name} go to {place}"


def topic_is_of_the_data_account(infra: Infra) -> Iterator[str]:
    for name, deployment in infra.deployments.items():
        topic = deployment.one("Microsoft.EventGrid/systemTopics")
        if topic.properties["source"] != deployment.one("Microsoft.Storage/storageAccounts", "data").id:
            yield f"{name}: the topic tells of {topic.properties['source']}"
        if topic.properties["topicType"] != "Microsoft.Storage.StorageAccounts":
            yield f"{name}: the topic is of {topic.properties['topicType']}"
        if topic.body["identity"] != {"type": "SystemAssigned"}:
            yield f"{name}: the topic is nobody: {topic.body.get('identity')}"


def hub_is_read_by_its_groups(infra: Infra) -> Iterator[str]:
    """The consumer groups that the app and Stream Analytics read with exist, are theirs alone, and none is left over."""
    for name, deployment in infra.deployments.items():
        namespaces = deployment.of("Microsoft.EventHub/namespaces")
        if bool(namespaces) != (SCENARIOS[name].get("SENSORS_ENABLED") != "false"):
            yield f"{name}: there are {len(namespaces)} namespaces"
        for namespace in namespaces:
            if namespace.properties.get("disableLocalAuth") is not True:
                yield f"{name}: the event hub takes keys"
            if namespace.properties.get("minimumTlsVersion") != "1.2":
                yield f"{name}: the event hub takes TLS {namespace.properties.get('minimumTlsVersion')}"
        groups = {
            each.name for each in deployment.of("Microsoft.EventHub/namespaces/eventhubs/consumergroups")
        }
        used = set()
        settings = Settings.from_environment(app_settings(deployment))
        if settings.event_hub is not None:
            used.add(settings.event_hub.consumer_group)
        for job in deployment.of("Microsoft.StreamAnalytics/streamingjobs"):
            for each in job.properties["inputs"]:
                used.add(each["properties"]["datasource"]["properties"]["consumerGroupName"])
        for group in sorted(used - groups):
            yield f"{name}: there is no consumer group {group}"
        if "$Default" in used:
            yield f"{name}: whoever looks at the hub would take partitions away"


def stream_analytics_lands_readings(infra: Infra) -> Iterator[str]:
    """The job is off by default, reads the hub, and writes where batchscore looks for readings, both as itself."""
    for name, deployment in infra.deployments.items():
        jobs = deployment.of("Microsoft.StreamAnalytics/streamingjobs")
        chosen = SCENARIOS[name].get("STREAM_ANALYTICS_ENABLED") == "true"
        said = deployment.outputs.get("STREAM_ANALYTICS_JOB_NAME")
        if len(jobs) != chosen or said != (jobs[0].name if jobs else ""):
            yield f"{name}: there are {len(jobs)} jobs, and the hook is told of {said!r}"
        for job in jobs:
            (input_,) = job.properties["inputs"]
            (output,) = job.properties["outputs"]
            hub = input_["properties"]["datasource"]
            blob = output["properties"]["datasource"]
            if job.body["identity"] != {"type": "SystemAssigned"}:
                yield f"{name}: the job is nobody"
            if {hub["properties"]["authenticationMode"], blob["properties"]["authenticationMode"]} != {"Msi"}:
                yield f"{name}: the job has keys"
            if (
                hub["properties"]["serviceBusNamespace"]
                != deployment.one("Microsoft.EventHub/namespaces").name
            ):
                yield f"{name}: the job reads {hub['properties']['serviceBusNamespace']}"
            if (
                hub["properties"]["eventHubName"]
                != deployment.one("Microsoft.EventHub/namespaces/eventhubs").name
            ):
                yield f"{name}: the job reads {hub['properties']['eventHubName']}"
            accounts = [each["accountName"] for each in blob["properties"]["storageAccounts"]]
            if accounts != [deployment.one("Microsoft.Storage/storageAccounts", "data").name]:
                yield f"{name}: the job writes to {accounts}"
            if blob["properties"]["container"] != app_settings(deployment)["DATA_CONTAINER"]:
                yield f"{name}: the job writes to {blob['properties']['container']}"
            if not blob["properties"]["pathPattern"].startswith(paths.READINGS):
                yield f"{name}: the job writes to {blob['properties']['pathPattern']}"
            query = job.properties["transformation"]["properties"]["query"]
            plain = re.sub(r"--[^\n]*", "", query)
            for wanted in (output["name"], input_["name"]):
                if not re.search(rf"\b(INTO|FROM)\s+\[?{wanted}\b", plain):
                    yield f"{name}: the query does not know {wanted}"
            column = re.search(r"\{(\w+)}", blob["properties"]["pathPattern"])
            if column and not re.search(rf"\bAS\s+{column[1]}\b", plain):
                yield f"{name}: the query makes no {column[1]}"


def budget_only_begins_once(infra: Infra) -> Iterator[str]:
    """The budget's start is what was written down once, the first of a month; 0 is no budget."""
    for name, deployment in infra.deployments.items():
        budgets = deployment.of("Microsoft.Consumption/budgets")
        if bool(budgets) != (SCENARIOS[name].get("BUDGET_AMOUNT") != "0"):
            yield f"{name}: there are {len(budgets)} budgets"
        for budget in budgets:
            start = budget.properties["timePeriod"]["startDate"]
            if not start.startswith("2026-11-01"):
                yield f"{name}: the budget starts {start}"
            if budget.properties["timeGrain"] != "Monthly" or not budget.properties["notifications"]:
                yield f"{name}: the budget warns nobody"
            if "/resourceGroups/" not in budget.id:
                yield f"{name}: the budget is of {budget.id}"


def _subscriptions(deployment: Deployment) -> list[Resource]:
    found = deployment.of("Microsoft.EventGrid/systemTopics/eventSubscriptions")
    if not found:
        raise LookupError(f"{EVENT_SUBSCRIPTIONS} subscribes nothing")
    return found
