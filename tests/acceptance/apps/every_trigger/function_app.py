"""A small app with every trigger and output that the dev host has; each function leaves a trace in `seen`."""

import asyncio
import json
import logging
import os
import sys
import time
from typing import List

import azure.functions as func
import azurefunctions.extensions.bindings.blob as blob

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)


@app.blob_trigger(arg_name="file", path="%INBOX%/{name}.json", connection="DATA_STORAGE")
@app.blob_output(arg_name="seen", path="seen/client/{name}", connection="DATA_STORAGE")
def by_client(file: blob.BlobClient, seen: func.Out[str]) -> None:
    content = file.download_blob().readall().decode()
    logging.info("read %s", file.blob_name)
    seen.set(json.dumps({"name": file.blob_name, "content": content, "at": time.time()}))


@app.blob_trigger(arg_name="file", path="%INBOX%/{folder}/{name}.bin", connection="DATA_STORAGE")
@app.blob_output(arg_name="seen", path="seen/bytes/{folder}-{name}", connection="DATA_STORAGE")
@app.queue_output(arg_name="note", queue_name="notes", connection="DATA_STORAGE")
def by_bytes(file: func.InputStream, seen: func.Out[bytes], note: func.Out[str]) -> None:
    content = file.read()
    seen.set(content[::-1])
    note.set(json.dumps({"name": file.name, "length": file.length, "metadata": file.metadata}))


@app.blob_trigger(arg_name="file", path="%INBOX%/{name}.bad", connection="DATA_STORAGE")
def that_fails(file: func.InputStream) -> None:
    _fail(file.name)


def _fail(name: str | None) -> None:
    raise ValueError(f"{name} is not to my taste")


@app.queue_trigger(arg_name="message", queue_name="notes", connection="DATA_STORAGE")
@app.blob_output(arg_name="seen", path="seen/notes/{rand-guid}", connection="DATA_STORAGE")
def by_queue(message: func.QueueMessage, seen: func.Out[str]) -> None:
    text = message.get_body().decode()
    if text == "bad":
        raise ValueError("a bad message")
    assert message.insertion_time is not None
    seen.set(json.dumps({"text": text, "count": message.dequeue_count}))


@app.queue_trigger(arg_name="message", queue_name="slow", connection="DATA_STORAGE")
@app.blob_output(arg_name="seen", path="seen/slow/{queueTrigger}", connection="DATA_STORAGE")
def by_slow_queue(message: func.QueueMessage, seen: func.Out[str]) -> None:
    logging.warning("slow message, time %s", message.dequeue_count)
    if message.dequeue_count == 1:
        time.sleep(60)
    seen.set(str(message.dequeue_count))


@app.blob_trigger(
    arg_name="file", path="%INBOX%/{name}.event", connection="DATA_STORAGE", source=func.BlobSource.EVENT_GRID
)
@app.blob_input(arg_name="text", path="%INBOX%/{name}.txt", connection="DATA_STORAGE")
@app.blob_output(arg_name="seen", path="seen/event/{name}", connection="DATA_STORAGE")
async def by_event(file: blob.BlobClient, text: str, seen: func.Out[str], context: func.Context) -> None:
    logging.info("invocation of %s", context.function_name)
    seen.set(text.upper())


@app.timer_trigger(arg_name="timer", schedule="%SCHEDULE%", use_monitor=True)
@app.blob_output(arg_name="seen", path="seen/timer/{rand-guid}", connection="DATA_STORAGE")
def by_timer(timer: func.TimerRequest, seen: func.Out[str]) -> None:
    seen.set(json.dumps({"past_due": timer.past_due, "status": timer.schedule_status, "pid": os.getpid()}))


@app.route(route="greet/{name:alpha}", methods=["GET", "POST"])
def greet(req: func.HttpRequest) -> func.HttpResponse:
    answer = {
        "name": req.route_params["name"],
        "query": dict(req.params),
        "body": req.get_body().decode(),
        "header": req.headers.get("X-Test"),
        "greeting": os.environ["GREETING"],
    }
    headers = {"X-Answer": "yes", "Set-Cookie": "seen=1; Max-Age=60; Path=/; HttpOnly; SameSite=Lax"}
    return func.HttpResponse(
        json.dumps(answer), status_code=201, headers=headers, mimetype="application/json"
    )


@app.route(route="greet/nobody", auth_level=func.AuthLevel.ANONYMOUS)
@app.queue_output(arg_name="notes", queue_name="notes", connection="DATA_STORAGE")
def nobody(req: func.HttpRequest, notes: func.Out[List[str]]) -> str:
    notes.set(["one from nobody", "two from nobody"])
    return "sent"


@app.route(route="slow/{seconds}", methods=["GET"])
def slow(req: func.HttpRequest) -> func.HttpResponse:
    logging.warning("slow begins")
    time.sleep(float(req.route_params["seconds"]))
    return func.HttpResponse("done")


@app.route(route="stall/{seconds}", methods=["GET"])
async def stall(req: func.HttpRequest) -> func.HttpResponse:
    time.sleep(float(req.route_params["seconds"]))  # blocks the worker's loop, and must not block the host
    return func.HttpResponse("done")


@app.route(route="raise", methods=["GET"])
def raising(req: func.HttpRequest) -> func.HttpResponse:
    _fail("this request")
    return func.HttpResponse("never")


@app.route(route="exit/{how}", methods=["GET"])
async def exiting(req: func.HttpRequest) -> func.HttpResponse:
    if req.route_params["how"] == "there":
        await asyncio.to_thread(sys.exit, 3)
    sys.exit(3)
