"""The service behind HTTPS on 127.0.0.1, with faults between it and the wire."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from contextlib import suppress

from aiohttp import web

from batchscore.devhost.azureml.answers import Answer, Document, ServiceError
from batchscore.devhost.azureml.faults import Fault
from batchscore.devhost.azureml.service import Request, Service
from batchscore.errors import SettingsError

ADMIN = "/stand-in"
MOST_BODY_BYTES = 16 << 20
HOLD_S = 3_600.0
"""How long a request that is not answered is held: until its sender gives up."""
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class Server:
    """Listens from `start` to `stop`."""

    def __init__(self, service: Service, tls: ssl.SSLContext) -> None:
        self._service = service
        self._tls = tls
        self._runner: web.AppRunner | None = None

    async def start(self, port: int) -> int:
        """Listen at a port, or any where it is 0, and return it. SettingsError where it is taken."""
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
        except OSError as error:
            listening.close()
            raise SettingsError(f"Azure ML cannot listen on port {port}: {error.strerror}.") from error
        port = listening.getsockname()[1]
        await asyncio.to_thread(self._service.open, f"https://localhost:{port}")
        application = web.Application(client_max_size=MOST_BODY_BYTES)
        application.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.SockSite(self._runner, listening, ssl_context=self._tls).start()
        return port

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path
        if (request.host or "").rsplit(":", 1)[0] not in _LOOPBACK:  # a web page in a browser reaches nothing
            return _response(ServiceError(403, "Forbidden", "only for this machine").answer)
        try:
            body = await _body(request)
        except ValueError as error:
            return _response(ServiceError(400, "InvalidRequestContent", str(error)).answer)
        if path == ADMIN or path.startswith(f"{ADMIN}/"):
            return await self._administer(request, path.removeprefix(ADMIN) or "/", body)
        began = time.monotonic()
        fault = self._service.faults.next(request.method, path)
        answer = await self._faulty(request, fault)
        if answer is None:
            asked = Request(request.method, path, dict(request.query), _headers(request), body)
            answer = await asyncio.to_thread(self._service.answer, asked)
        lost = fault is not None and fault.kind in ("reset", "lose_answer")
        self._service.requests.append(
            {
                "method": request.method,
                "path": path,
                "query": dict(request.query),
                "status": 0 if lost else answer.status,
                "at": time.time(),
                "seconds": round(time.monotonic() - began, 4),
            }
        )
        if lost:
            _cut(request)
        return _response(answer)

    async def _faulty(self, request: web.Request, fault: Fault | None) -> Answer | None:
        """What a fault answers in place of the service; None where the service is to do its work."""
        if fault is None or fault.kind == "lose_answer":
            return None
        if fault.kind == "refuse":
            headers = {"Retry-After": str(fault.retry_after_s)} if fault.retry_after_s else None
            code = fault.code or {429: "TooManyRequests", 503: "ServiceUnavailable"}.get(
                fault.status, "InternalServerError"
            )
            return ServiceError(fault.status, code, fault.message or "a fault on demand", headers).answer
        if fault.kind == "timeout":
            await asyncio.sleep(HOLD_S)
        _cut(request)
        return Answer(500)

    async def _administer(self, request: web.Request, path: str, body: Document) -> web.StreamResponse:
        if request.method != "GET" and request.content_type != "application/json":
            return web.json_response({"error": "a change must be sent as application/json"}, status=415)
        try:
            return web.json_response(
                await asyncio.to_thread(self._service.administer, request.method, path, body)
            )
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        except LookupError as error:
            return web.json_response({"error": str(error.args[0])}, status=404)


async def _body(request: web.Request) -> Document:
    content = await request.read()
    if not content:
        return {}
    document = json.loads(content)
    if not isinstance(document, dict):
        raise ValueError("The body must be a JSON object.")  # noqa: TRY004
    return document


def _cut(request: web.Request) -> None:
    with suppress(AttributeError):
        assert request.transport is not None
        request.transport.abort()


def _response(answer: Answer) -> web.Response:
    headers = {"x-ms-request-id": str(time.monotonic_ns()), **answer.headers}
    if answer.body is None:
        return web.Response(status=answer.status, headers=headers)
    return web.json_response(answer.body, status=answer.status, headers=headers)


def _headers(request: web.Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}
