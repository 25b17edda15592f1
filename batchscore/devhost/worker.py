"""Microsoft's own Python worker, driven in process: indexes a function app and invokes its functions.

The worker speaks in protobuf classes that its package does not bring; what it touches of them is small, so plain
stand-ins take their place. It runs on a thread and a loop of its own: a blocking `async def` of the app stalls
itself and not the host.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from batchscore.errors import BatchscoreError


class IndexingError(BatchscoreError):
    """The function app cannot be loaded; the message says why and where."""

    def __init__(self, message: str, trace: str) -> None:
        self.trace = trace
        super().__init__(message)


class TypedData:
    """One value on its way into or out of a function: exactly one of the worker's kinds, such as `bytes`."""

    def __init__(self, **value: Any) -> None:
        ((self.kind, self.value),) = value.items()
        setattr(self, self.kind, self.value)

    def WhichOneof(self, _: str) -> str:  # noqa: N802  # the worker calls it by this name
        return self.kind


@dataclass(frozen=True)
class Indexed:
    """A function as the worker found it."""

    name: str
    id: str
    raw_bindings: Sequence[str]
    retry: Any = None


@dataclass(frozen=True)
class Failure:
    """What a function raised: type and message, and the trace as text."""

    message: str
    trace: str


@dataclass(frozen=True)
class Outcome:
    """How an invocation ended."""

    failure: Failure | None = None
    returned: TypedData | None = None
    outputs: Mapping[str, TypedData] = field(default_factory=dict)


class _ParameterBinding(SimpleNamespace):
    name: str
    data: TypedData

    def WhichOneof(self, _: str) -> str:  # noqa: N802
        return "data"


class _StatusResult(SimpleNamespace):
    Failure = 0
    Success = 1


class _BindingInfo(SimpleNamespace):
    out = 1
    inout = 2
    undefined = 0


class _Cookie(SimpleNamespace):
    SameSite = SimpleNamespace(**{"None": None, "Lax": "Lax", "Strict": "Strict", "ExplicitNone": "None"})


_PROTOS = SimpleNamespace(
    **dict.fromkeys(
        (
            *("WorkerInitResponse", "WorkerMetadata", "FunctionMetadataResponse", "RpcFunctionMetadata"),
            *("RpcRetryOptions", "FunctionLoadResponse", "InvocationResponse", "RpcException", "RpcHttp"),
            *("NullableString", "NullableBool", "NullableDouble", "NullableTimestamp", "Timestamp"),
        ),
        SimpleNamespace,
    ),
    TypedData=TypedData,
    ParameterBinding=_ParameterBinding,
    StatusResult=_StatusResult,
    BindingInfo=_BindingInfo,
    RpcHttpCookie=_Cookie,
)


class Worker:
    """The worker of one app. Its registries are global, so there is one per process."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="worker", daemon=True)

    def load(self, app_folder: Path) -> tuple[Indexed, ...]:
        """Import function_app.py from a folder and index its functions; IndexingError says what is wrong."""
        import azure_functions_runtime as runtime

        self._thread.start()
        sys.path.insert(0, str(app_folder))
        request = _request(
            worker_init_request=SimpleNamespace(
                capabilities={}, function_app_directory=str(app_folder), log_categories={}
            )
        )
        answer = self._call(runtime.worker_init_request(request))
        if answer.result.status != _StatusResult.Success:
            raise IndexingError(answer.result.exception.message, answer.result.exception.stack_trace)
        runtime.start_threadpool_executor()
        answer = self._call(runtime.functions_metadata_request(_request()))
        found = answer.function_metadata_results
        if found is None:
            raise IndexingError(f"{app_folder} has no function_app.py.", "")
        if not found:
            raise IndexingError("function_app.py has no functions: no function carries a trigger.", "")
        return tuple(
            Indexed(item.name, item.function_id, item.raw_bindings, item.retry_options) for item in found
        )

    async def invoke(
        self,
        function_id: str,
        invocation_id: str,
        inputs: Mapping[str, TypedData],
        metadata: Mapping[str, TypedData],
        *,
        retry_count: int = 0,
    ) -> Outcome:
        """Run a function and wait for its end. What the app raises is in the outcome, not raised here."""
        import azure_functions_runtime as runtime

        request = _request(
            invocation_request=SimpleNamespace(
                invocation_id=invocation_id,
                function_id=function_id,
                input_data=[_ParameterBinding(name=name, data=data) for name, data in inputs.items()],
                trigger_metadata=dict(metadata),
                trace_context=SimpleNamespace(
                    trace_parent=f"00-{invocation_id.replace('-', '')}-{invocation_id[:8]}{'0' * 8}-01",
                    trace_state="",
                    attributes={},
                ),
                retry_context=SimpleNamespace(retry_count=retry_count, max_retry_count=0, exception=None),
            )
        )

        async def run() -> Any:
            runtime.invocation_id_cv.set(invocation_id)
            return await runtime.invocation_request(request)

        ran = asyncio.run_coroutine_threadsafe(_contained(run()), self._loop)
        try:
            answer = await asyncio.wrap_future(ran)
        except _ExitError as error:
            return Outcome(failure=Failure(str(error), error.trace))
        if answer.result.status != _StatusResult.Success:
            raised = answer.result.exception
            return Outcome(failure=Failure(raised.message, raised.stack_trace))
        outputs = {item.name: item.data for item in answer.output_data if item.data is not None}
        return Outcome(returned=answer.return_value, outputs=outputs)

    def close(self) -> None:
        """Stop taking work. Functions that still run are left to themselves."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _call(self, coroutine: Any) -> Any:
        try:
            return asyncio.run_coroutine_threadsafe(_contained(coroutine), self._loop).result()
        except _ExitError as error:
            raise IndexingError(f"The app cannot be loaded: {error}", error.trace) from None


class _ExitError(Exception):
    """The app's code would end the process."""

    def __init__(self, error: BaseException) -> None:
        self.trace = "".join(traceback.format_exception(error))
        super().__init__(f"it ends the process it runs in: {type(error).__name__}({error})")


async def _contained(work: Coroutine[Any, Any, Any]) -> Any:
    """Await this; an exit in it, which would end the loop and leave everybody waiting, becomes an error."""
    try:
        return await work
    except (SystemExit, KeyboardInterrupt) as error:
        raise _ExitError(error) from None


def _request(**parts: Any) -> Any:
    return SimpleNamespace(
        request=SimpleNamespace(**parts), properties={"host": "127.0.0.1", "protos": _PROTOS}
    )
