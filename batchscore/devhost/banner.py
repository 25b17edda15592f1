"""What the host prints once it is ready: functions, addresses, keys."""

from __future__ import annotations

from pathlib import Path

from batchscore.devhost.azureml import AzureMLWorkspace
from batchscore.devhost.azurite import Azurite
from batchscore.devhost.console import Console
from batchscore.devhost.eventhubs import EventHubs
from batchscore.devhost.functions import BlobTrigger, EventHubTrigger, Function, HttpTrigger, QueueTrigger
from batchscore.devhost.keys import Keys, masked


def show(
    console: Console,
    app_folder: Path,
    functions: list[Function],
    url: str,
    services: tuple[Azurite | None, EventHubs | None, AzureMLWorkspace | None],
    settings_file: Path | None,
    keys: Keys | None,
    keys_file: Path,
) -> None:
    """Print what runs and where."""
    settings = f", settings from {settings_file.name}" if settings_file else ""
    console.plain(f"Functions app {app_folder}{settings} (times are UTC)", "heading")
    width = max((len(function.name) for function in functions), default=0)
    for function in functions:
        console.make_room_for(function.name)
        console.plain(f"  {function.name.ljust(width)}  {_trigger(function, url)}")
    azurite, event_hubs, workspace = services
    if azurite is not None:
        console.plain(f"  Azurite: blobs {azurite.blob_endpoint}  queues {azurite.queue_endpoint}")
        console.plain(f"           data in {azurite.folder}")
    if event_hubs is not None:
        hubs = ", ".join(f"{hub.name} ({hub.partitions} partitions)" for hub in event_hubs.hubs)
        console.plain(f"  Event Hubs: {hubs}  amqp://{event_hubs.address}")
        console.plain(f"           events in {event_hubs.folder}")
    if workspace is not None:
        console.plain(f"  Azure ML: a stand-in at {workspace.endpoint}, in which jobs run on this machine")
        console.plain(f"           workspace in {workspace.folder}")
    if keys is not None:
        console.plain(
            f"  Keys: function {masked(keys.function)}  master {masked(keys.master)}  (whole in {keys_file})"
        )


def _trigger(function: Function, url: str) -> str:
    trigger = function.trigger
    if isinstance(trigger, HttpTrigger):
        methods = ",".join(sorted(trigger.methods)) or "any"
        return f"{methods:5} {url}/{trigger.route.template}"
    if isinstance(trigger, BlobTrigger):
        return f"blob  {trigger.container}/{trigger.pattern}  ({trigger.connection})"
    if isinstance(trigger, QueueTrigger):
        return f"queue {trigger.queue}  ({trigger.connection})"
    if isinstance(trigger, EventHubTrigger):
        return f"event {trigger.event_hub}, {trigger.consumer_group}  ({trigger.connection})"
    return f"timer {trigger.text}"
