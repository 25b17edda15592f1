"""HTTP triggers and the host's own routes under /admin, served on the loopback interface."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http.cookies import SimpleCookie
from types import SimpleNamespace
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from batchscore.devhost.functions import Function, HttpBinding, HttpTrigger
from batchscore.devhost.invocations import Invoker, json_properties
from batchscore.devhost.keys import Keys
from batchscore.devhost.worker import Outcome, TypedData

MAX_BODY_BYTES = 100 * 1024 * 1024
"""The largest request that Functions takes."""

_SET_BY_SERVER = frozenset({"content-length", "transfer-encoding", "connection"})


class HttpFront:
    """Answers requests; `start_manually` runs a function that has another trigger, for /admin/functions/{name}."""

    def __init__(
        self,
        functions: Iterable[Function],
        host_id: str,
        invoker: Invoker,
        keys: Keys | None,
        start_manually: Callable[[Function, str], Awaitable[None]],
    ) -> None:
        self._functions = {function.name: function for function in functions}
        routed = [(f, f.trigger) for f in self._functions.values() if isinstance(f.trigger, HttpTrigger)]
        self._routed = sorted(routed, key=lambda pair: pair[1].route.rank)
        self._host_id = host_id
        self._invoker = invoker
        self._keys = keys
        self._start_manually = start_manually

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.router.add_route("*", "/admin/host/{what}", self._host_route)
        application.router.add_get("/admin/functions", self._list)
        application.router.add_post("/admin/functions/{name}", self._start)
        application.router.add_get("/", self._welcome)
        application.router.add_route("*", "/{path:.*}", self._serve)
        return application

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path.removeprefix("/")
        for function, trigger in self._routed:
            parameters = trigger.route.match(path)
            if parameters is None or (trigger.methods and request.method not in trigger.methods):
                continue
            self._check_key(request, trigger.level)
            body = await request.read()
            sent = _request_data(request, parameters, body)
            outcome = await self._invoker.run(
                function,
                f"{request.method} /{path}",
                {trigger.parameter: sent},
                {},
                {**json_properties(body.decode("utf-8", "replace")), **request.query, **parameters},
            )
            return _answer(function, outcome)
        raise web.HTTPNotFound(text=f"No function serves {request.method} /{path}.\n")

    def _check_key(self, request: web.Request, level: str) -> None:
        given = request.headers.get("x-functions-key") or request.query.get("code", "")
        if self._keys is not None and not self._keys.opens(level, given):
            raise web.HTTPUnauthorized(
                text="A key is needed: header x-functions-key, or ?code= in the address.\n"
            )

    async def _host_route(self, request: web.Request) -> web.Response:
        self._check_key(request, "anonymous" if request.match_info["what"] == "ping" else "admin")
        if request.match_info["what"] == "ping":
            return web.Response()
        if request.match_info["what"] == "status":
            return web.json_response({"id": self._host_id, "state": "Running", "version": "4.0.0-devhost"})
        raise web.HTTPNotFound

    async def _list(self, request: web.Request) -> web.Response:
        self._check_key(request, "admin")
        return web.json_response([{"name": name, "language": "python"} for name in self._functions])

    async def _start(self, request: web.Request) -> web.Response:
        """Start a function by hand: `{"input": "…"}`, a blob's `container/name` or a queue message."""
        self._check_key(request, "admin")
        function = self._functions.get(request.match_info["name"])
        if function is None:
            raise web.HTTPNotFound(text=f"There is no function {request.match_info['name']!r}.\n")
        if isinstance(function.trigger, HttpTrigger):
            raise web.HTTPBadRequest(text=f"{function.name} has an HTTP trigger: call its own address.\n")
        try:
            document = json.loads(await request.read() or b"{}")
            text = document.get("input", "")
        except (ValueError, AttributeError):
            text = None
        if not isinstance(text, str):
            raise web.HTTPBadRequest(text='The body must be JSON such as {"input": "text"}.\n')
        await self._start_manually(function, text)
        return web.Response(status=202)

    async def _welcome(self, _: web.Request) -> web.Response:
        lines = [
            f"{'/'.join(sorted(trigger.methods)) or 'any method':8} /{trigger.route.template}  {function.name}"
            for function, trigger in self._routed
        ]
        return web.Response(text="\n".join(["This dev host serves:", *lines, ""]))


def _request_data(request: web.Request, parameters: Mapping[str, str], body: bytes) -> TypedData:
    return TypedData(
        http=SimpleNamespace(
            method=request.method,
            url=str(request.url),
            headers={name.lower(): value for name, value in request.headers.items()},
            params=dict(parameters),
            query=dict(request.query),
            body=TypedData(bytes=body),
        )
    )


def _answer(function: Function, outcome: Outcome) -> web.Response:
    """What the function gave back, as a response; 500 where it raised, 204 where it gave nothing."""
    if outcome.failure is not None:
        return web.Response(status=500)
    value = outcome.returned
    for binding in function.outputs:
        if isinstance(binding, HttpBinding) and binding.parameter in outcome.outputs:
            value = outcome.outputs[binding.parameter]
    if value is None:
        return web.Response(status=204)
    if value.kind != "http":
        text = value.value if isinstance(value.value, str) else str(value.value)
        return web.Response(text=text)
    sent: Any = value.value
    headers: CIMultiDict[str] = CIMultiDict(
        (name, text) for name, text in sent.headers.items() if name.lower() not in _SET_BY_SERVER
    )
    for cookie in sent.cookies or ():
        headers.add("Set-Cookie", _cookie(cookie))
    body = sent.body.value if sent.body is not None else b""
    return web.Response(
        status=int(sent.status_code),
        headers=headers,
        body=body if isinstance(body, bytes) else str(body).encode(),
    )


def _cookie(cookie: Any) -> str:
    jar: SimpleCookie = SimpleCookie()
    jar[cookie.name] = cookie.value
    morsel = jar[cookie.name]
    for attribute in ("domain", "path"):
        given = getattr(cookie, attribute)
        if given is not None and given.value:
            morsel[attribute] = given.value
    if cookie.max_age is not None:
        morsel["max-age"] = int(cookie.max_age.value)
    if cookie.secure is not None and cookie.secure.value:
        morsel["secure"] = True
    if cookie.http_only is not None and cookie.http_only.value:
        morsel["httponly"] = True
    if cookie.same_site:
        morsel["samesite"] = cookie.same_site
    if cookie.expires is not None:
        from email.utils import formatdate

        morsel["expires"] = formatdate(cookie.expires.value.seconds, usegmt=True)
    return morsel.OutputString()
