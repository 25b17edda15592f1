"""A stand-in for Azure Event Hubs: an AMQP 1.0 server that the Event Hubs client libraries talk to unchanged."""

from __future__ import annotations

from batchscore.devhost.eventhubs.namespace import DEFAULT_GROUP, HubOptions, Switches
from batchscore.devhost.eventhubs.process import EventHubs

__all__ = ["DEFAULT_GROUP", "EventHubs", "HubOptions", "Switches"]
