"""The doors: every trigger and HTTP route, a few lines each. Doors record; the reconciler acts."""

from __future__ import annotations

import json
import logging
from functools import cache
from typing import List

import azure.functions as func
import azurefunctions.extensions.bindings.blob as blob

from batchscore import paths
from batchscore.application import Application
from batchscore.inbox import INBOX
from batchscore.settings import DATA_CONNECTION, EVENT_HUB_CONNECTION, SYSTEM_CONNECTION, Settings
from batchscore.web import api

# The host keeps whatever a worker logs: on Azure the SDK's two lines for every request would cost more than the app.
logging.getLogger("azure").setLevel(logging.WARNING)

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
settings = Settings.from_environment()


@cache
def application() -> Application:
    return Application(settings)


def answer(result: api.Answer) -> func.HttpResponse:
    status, document = result
    return func.HttpResponse(json.dumps(document), status_code=status, mimetype="application/json")


@app.blob_trigger(
    arg_name="file",
    path=f"{settings.trigger_container}/{{name}}.json",
    connection=DATA_CONNECTION,
    source=func.BlobSource(settings.blob_trigger_source),
)
def accept_trigger_file(file: blob.BlobClient) -> None:
    if application().intake.trigger_file(file):
        application().kick()


if settings.inbox_rules:

    @app.blob_trigger(
        arg_name="file",
        path=f"{settings.data_container}/{INBOX}{{name}}",
        connection=DATA_CONNECTION,
        source=func.BlobSource(settings.blob_trigger_source),
    )
    def accept_inbox_file(file: blob.BlobClient) -> None:
        if application().intake.inbox_file(file):
            application().kick()


if settings.event_hub:

    @app.event_hub_message_trigger(
        arg_name="events",
        connection=EVENT_HUB_CONNECTION,
        event_hub_name=settings.event_hub.name,
        consumer_group=settings.event_hub.consumer_group,
        cardinality="many",
        data_type="binary",
    )
    @app.retry(
        strategy="exponential_backoff",
        max_retry_count="-1",  # a batch that is given up is lost
        minimum_interval="00:00:02",
        maximum_interval="00:01:00",
    )
    def land_readings(events: List[func.EventHubEvent]) -> None:
        application().ingest.take(events)


@app.queue_trigger(arg_name="message", queue_name=paths.POISON_QUEUE, connection=DATA_CONNECTION)
def keep_poison(message: func.QueueMessage) -> None:
    application().intake.poison(message.get_body())


@app.queue_trigger(arg_name="message", queue_name=paths.RECONCILE_QUEUE, connection=SYSTEM_CONNECTION)
def reconcile_when_kicked(message: func.QueueMessage) -> None:
    application().kicked(message.get_body())


@app.timer_trigger(arg_name="timer", schedule=settings.reconcile_schedule, run_on_startup=True)
def reconcile_by_timer(timer: func.TimerRequest) -> None:  # noqa: ARG001
    application().timer()


if settings.scores_hours:

    @app.timer_trigger(arg_name="timer", schedule=settings.scoring_schedule)
    def score_hours(timer: func.TimerRequest) -> None:  # noqa: ARG001
        application().score_hours()


@app.route(route="runs", methods=["POST"])
def start_run(req: func.HttpRequest) -> func.HttpResponse:
    return answer(api.start_run(application(), req.get_body(), req.headers.get("idempotency-key")))


@app.route(route="runs", methods=["GET"])
def list_runs(req: func.HttpRequest) -> func.HttpResponse:
    return answer(api.list_runs(application(), req.params.get("limit"), req.params.get("state")))


@app.route(route="runs/{id}", methods=["GET"])
def get_run(req: func.HttpRequest) -> func.HttpResponse:
    return answer(api.get_run(application(), req.route_params["id"]))


@app.route(route="runs/{id}/failed", methods=["GET"])
def failed_items(req: func.HttpRequest) -> func.HttpResponse:
    return answer(api.failed_items(application(), req.route_params["id"]))


@app.route(route="runs/{id}/cancel", methods=["POST"])
def cancel_run(req: func.HttpRequest) -> func.HttpResponse:
    return answer(api.cancel_run(application(), req.route_params["id"]))


@app.route(route="runs/{id}/retry", methods=["POST"])
def retry_run(req: func.HttpRequest) -> func.HttpResponse:
    return answer(api.retry_run(application(), req.route_params["id"]))


@app.route(route="hours", methods=["GET"])
def list_hours(req: func.HttpRequest) -> func.HttpResponse:
    return answer(api.list_hours(application(), req.params.get("last")))
