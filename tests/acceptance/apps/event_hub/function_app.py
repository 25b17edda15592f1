"""Functions with an Event Hub trigger; each leaves a trace in the container `seen`."""

import json
import logging
import os
import time
from typing import List

import azure.functions as func

app = func.FunctionApp()


@app.event_hub_message_trigger(
    arg_name="events", event_hub_name="many", cardinality="many", data_type="binary", connection="EVENT_HUB"
)
@app.blob_output(arg_name="seen", path="seen/many/{rand-guid}", connection="AzureWebJobsStorage")
@app.retry(
    strategy="exponential_backoff",
    max_retry_count="-1",
    minimum_interval="00:00:01",
    maximum_interval="00:00:01",
)
def of_many(events: List[func.EventHubEvent], seen: func.Out[str], context: func.Context) -> None:
    metadata = events[0].metadata
    texts = [event.get_body().decode() for event in events]
    note = {
        "pid": os.getpid(),
        "partition": metadata["PartitionContext"]["PartitionId"],
        "texts": texts,
        "numbers": [event.sequence_number for event in events],
        "offsets": [event.offset for event in events],
        "keys": metadata["PartitionKeyArray"],
        "properties": metadata["PropertiesArray"],
        "enqueued": [event.enqueued_time.isoformat() for event in events],
        "retry": context.retry_context.retry_count,
    }
    logging.info("sees %s", texts)
    if "twice bad" in texts and context.retry_context.retry_count < 2:
        raise ValueError("bad for now")
    if "slow" in texts:
        time.sleep(2)
    seen.set(json.dumps(note))


@app.event_hub_message_trigger(arg_name="event", event_hub_name="one", connection="EVENT_HUB")
@app.blob_output(arg_name="seen", path="seen/one/{rand-guid}", connection="AzureWebJobsStorage")
@app.retry(strategy="fixed_delay", max_retry_count="2", delay_interval="00:00:01")
def of_one(event: func.EventHubEvent, seen: func.Out[str]) -> None:
    text = event.get_body().decode()
    if text == "bad":
        raise ValueError("bad for ever")
    seen.set(json.dumps({"text": text, "number": event.sequence_number, "key": event.partition_key}))
