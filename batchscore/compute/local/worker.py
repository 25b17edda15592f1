"""One worker process of a parallel step: `init()` once, then `run()` for each mini-batch it is handed.

Run as a script by the interpreter of the step's environment, so it uses the standard library alone and imports
nothing of batchscore. It is told what to do over one pipe and answers over another, a JSON object per line, so
that nothing an entry script prints can disturb it; standard output and error are the worker's log.

    engine -> worker   {"entry", "code", "arguments", "logging_level", "dataset_name", "table"}   once, first
                       {"id", "task", "items", "rows", "keys"} and for a table "parts"   a mini-batch
                       {"stop": true}                                                    shutdown() and end
    worker -> engine   {"ready": true} or {"unready": reason}                            once, after init()
                       {"count", "text", "header"} or {"failed": reason}                 one for each mini-batch,
                                                                for a table with its number of rows as "size"

The rows of tables are read by the package beside batchscore's own that `table.package` names; it is loaded by its
path, only then.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import logging
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_REASON = 600


class MiniBatchContext:
    """What `run(mini_batch, mini_batch_context)` is told of its mini-batch, by the names that Azure ML uses."""

    def __init__(self, request: dict[str, Any], dataset_name: str) -> None:
        self.mini_batch_id = request["id"]
        self.minibatch_index = request["id"]
        self.task_index = request["task"]
        self.dataset_name = dataset_name
        self.partition_key_value: dict[str, Any] = request["keys"]

    def __repr__(self) -> str:
        return f"MiniBatchContext({vars(self)})"


class UnusableScriptError(Exception):
    """The entry script cannot serve mini-batches."""


def load_entry(setup: dict[str, Any]) -> ModuleType:
    """Import the entry script as it is: its own folder and the code folder on sys.path, its arguments in argv."""
    entry = Path(setup["entry"])
    sys.argv = [str(entry), *setup["arguments"]]
    for folder in (setup["code"], str(entry.parent)):
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(entry.stem, str(entry))
    if spec is None or spec.loader is None or not entry.is_file():
        raise UnusableScriptError(f"the entry script {entry} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[entry.stem] = module
    spec.loader.exec_module(module)
    if not callable(getattr(module, "run", None)):
        raise UnusableScriptError(f"the entry script {entry} has no function run(mini_batch)")
    return module


def wants_context(run: Callable[..., object]) -> bool:
    """Whether `run` takes the mini-batch's context as its second argument."""
    try:
        parameters = list(inspect.signature(run).parameters.values())
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return any(p.default is p.empty or p.name == "mini_batch_context" for p in positional[1:2])


def rows_of(result: Any, with_text: bool) -> tuple[int, str, str]:
    """How many rows `run` returned, their text (a line for each, a data frame's values separated by spaces), and
    the line with the data frame's column names."""
    if hasattr(result, "to_csv") and hasattr(result, "columns"):
        if not with_text:
            return len(result), "", ""
        header = result.iloc[:0].to_csv(sep=" ", index=False) if hasattr(result, "iloc") else ""
        return len(result), result.to_csv(sep=" ", header=False, index=False), header
    if not isinstance(result, (list, tuple)) and not (
        hasattr(result, "tolist") and getattr(result, "ndim", 0) > 0
    ):
        raise UnusableScriptError(
            f"run() returned {type(result).__name__}; it must return a list with an element for each item that "
            "succeeded, an array or a pandas DataFrame"
        )
    return len(result), "".join(f"{row}\n" for row in result) if with_text else "", ""


class Table:
    """Reads the mini-batches of a step whose items are rows."""

    NAME = "_batchscore_rows"

    def __init__(self, setup: dict[str, Any]) -> None:
        folder = Path(setup["package"])
        spec = importlib.util.spec_from_file_location(
            self.NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[self.NAME] = module
        spec.loader.exec_module(module)
        frames = importlib.import_module(f"{self.NAME}.frames")
        frames.pandas()
        if setup["format"] == "parquet":
            frames.pyarrow()
        self._reader = importlib.import_module(f"{self.NAME}.reader")
        self._setup = setup

    def read(self, parts: list[dict[str, Any]]) -> Any:
        """The DataFrame of a mini-batch."""
        rows = self._reader.read(self._setup, parts)
        for remark in rows.remarks:
            print(remark, file=sys.stderr)  # noqa: T201
        return rows.frame


def reason_of(error: BaseException) -> str:
    """An exception in one line, with the place where it was raised."""
    if isinstance(error, UnusableScriptError):
        return str(error)[:MAX_REASON]
    words = str(error).strip() or "no message"
    if isinstance(error, SystemExit):
        words = f"the script ended itself with {error.code!r}"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {words[:MAX_REASON]}{where}"


class Worker:
    """The conversation with the engine, over two descriptors that no child of the script inherits."""

    def __init__(self, requests: int, replies: int) -> None:
        os.set_inheritable(requests, False)
        os.set_inheritable(replies, False)
        self._requests = os.fdopen(requests, encoding="utf-8")
        self._replies = replies

    def serve(self) -> None:
        """Prepare, then do mini-batches until told to stop."""
        setup = json.loads(self._requests.readline())
        _set_logging_level(setup["logging_level"])
        try:
            table = Table(setup["table"]) if setup["table"] else None
            module = load_entry(setup)
            getattr(module, "init", lambda: None)()
        except BaseException as error:  # SystemExit too: argparse leaves that way
            traceback.print_exc()
            self._reply(unready=reason_of(error))
            return
        self._reply(ready=True)
        context = wants_context(module.run)
        for line in self._requests:
            request = json.loads(line)
            if "stop" in request:
                getattr(module, "shutdown", lambda: None)()
                return
            size: dict[str, int] = {}
            try:
                items = request["items"]
                if table is not None:
                    items = table.read(request["parts"])
                    size["size"] = len(items)
                if table is not None and not len(items):  # Azure ML does not call run() with no rows
                    self._reply(count=0, text="", header="", **size)
                    continue
                extra = (MiniBatchContext(request, setup["dataset_name"]),) if context else ()
                count, text, header = rows_of(module.run(items, *extra), request["rows"])
            except BaseException as error:  # whatever run() does, the worker answers
                traceback.print_exc()
                self._reply(failed=reason_of(error), **size)
            else:
                self._reply(count=count, text=text, header=header, **size)
        os._exit(1)  # the engine is gone: nobody wants a shutdown

    def _reply(self, **message: object) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        data = (json.dumps(message, ensure_ascii=False) + "\n").encode(errors="replace")
        while data:
            data = data[os.write(self._replies, data) :]


def _set_logging_level(name: str) -> None:
    """The step's logging level for everything that the script does not set up itself."""
    level = getattr(logging, name, logging.INFO)
    logging.getLogger().setLevel(level)
    if logging.lastResort is not None:
        logging.lastResort.setLevel(level)


def main() -> None:
    own_folder = Path(__file__).resolve().parent
    sys.path[:] = [folder for folder in sys.path if folder and Path(folder).resolve() != own_folder]
    Worker(int(sys.argv[1]), int(sys.argv[2])).serve()


if __name__ == "__main__":
    main()
