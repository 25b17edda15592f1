"""Reads a scikit-learn pickle as data: its opcodes are followed one by one, and nothing that it names is ever called.

Unpickling runs whatever a file says. Here a stack machine knows the few opcodes and the dozen names that a Pipeline of
StandardScaler and OneClassSVM is made of, and builds dictionaries, lists, numbers and arrays by hand; anything else is
refused by name. (Protocol and opcodes: the module pickletools of Python's library.)
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensors.errors import ModelSetError

MOST_BYTES = 64 << 20
MOST_OPCODES = 200_000
PIPELINE, SCALER, MACHINE = "Pipeline", "StandardScaler", "OneClassSVM"

_ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_KNOWN = {
    ("sklearn.pipeline", "Pipeline"): PIPELINE,
    ("sklearn.preprocessing.data", "StandardScaler"): SCALER,
    ("sklearn.preprocessing._data", "StandardScaler"): SCALER,
    ("sklearn.svm.classes", "OneClassSVM"): MACHINE,
    ("sklearn.svm._classes", "OneClassSVM"): MACHINE,
    **{(module, "_reconstruct"): "_reconstruct" for module in _ARRAYS},
    **{(module, "scalar"): "scalar" for module in _ARRAYS},
    **{(module, "_frombuffer"): "_frombuffer" for module in _NUMERIC},
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    ("__builtin__", "bytes"): "bytes",  # how protocol 2 writes b""
}
_DTYPES = ("f8", "f4", "i4", "i8", "u4", "u8", "b1")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = {
    "BININT",
    "BININT1",
    "BININT2",
    "BINFLOAT",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BYTEARRAY8",
}
_SILENT = {"PROTO", "FRAME"}


@dataclass(frozen=True)
class _Name:
    """A class or function that the file names; only its kind is kept."""

    kind: str


@dataclass
class Instance:
    """What an object of a class of scikit-learn held."""

    kind: str
    state: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Type:
    """A dtype of NumPy while it is being built."""

    code: str
    order: str = "|"

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.order.replace("|", "=") + self.code)


@dataclass
class _Array:
    """An array while it is being built."""

    values: NDArray[Any] | None = None


_MARK = object()


def read_inert(content: bytes) -> Any:
    """What the pickle holds, as Instance, dict, list, tuple, str, bytes, numbers and NumPy arrays.

    ModelSetError names what it is refused for. Memory and time are bounded by the size of the content; what comes out
    may hold itself, so it is looked at only where a model has something.
    """
    if len(content) > MOST_BYTES:
        raise ModelSetError(f"it has more than {MOST_BYTES} bytes.")
    try:
        return _followed(content)
    # genops raises ValueError for what is no pickle; the rest is a stack that does not hold what an opcode takes.
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        AssertionError,
        OverflowError,
    ) as error:
        raise ModelSetError(
            f"it is no pickle that can be read: {str(error)[:200] or type(error).__name__}."
        ) from None


def _followed(content: bytes) -> Any:
    machine = _Machine()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if count == MOST_OPCODES:
            raise ModelSetError(f"it has more than {MOST_OPCODES} opcodes; a model has some hundreds.")
        machine.step(opcode.name, argument)
    return plain(machine.result)


def plain(value: Any) -> Any:
    """An array's values; everything else as it is."""
    if isinstance(value, _Array):
        if value.values is None:
            raise ModelSetError("an array in it was begun and never filled.")
        return value.values
    return value


class _Machine:
    """The stack and the memo of a pickle, holding nothing that can run."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self.result: Any = None
        self._reducers: dict[str, Callable[..., Any]] = {
            "encode": _encode,
            "bytes": _no_bytes,
            "dtype": _dtype,
            "_reconstruct": _reconstruct,
            "scalar": _scalar,
            "_frombuffer": _frombuffer,
        }
        self._steps: dict[str, Callable[[Any], None]] = {
            "MARK": self._mark,
            "STOP": self._stop,
            "EMPTY_LIST": self._empty_list,
            "EMPTY_DICT": self._empty_dict,
            "LONG1": self._long1,
            "TUPLE": self._tuple,
            "TUPLE1": self._tuple1,
            "TUPLE2": self._tuple2,
            "TUPLE3": self._tuple3,
            "APPEND": self._append,
            "APPENDS": self._appends,
            "SETITEM": self._setitem,
            "SETITEMS": self._setitems,
            "BINPUT": self._binput,
            "LONG_BINPUT": self._binput,
            "MEMOIZE": self._memoize,
            "BINGET": self._binget,
            "LONG_BINGET": self._binget,
            "GLOBAL": self._global,
            "STACK_GLOBAL": self._stack_global,
            "NEWOBJ": self._newobj,
            "REDUCE": self._reduce,
            "BUILD": self._build,
        }

    def step(self, opcode: str, argument: Any) -> None:
        if opcode in _LITERALS:
            self._stack.append(bytes(argument) if opcode == "BYTEARRAY8" else argument)
        elif opcode in _CONSTANTS:
            self._stack.append(_CONSTANTS[opcode])
        elif opcode not in _SILENT:
            if opcode not in self._steps:
                raise ModelSetError(f"it uses the opcode {opcode}, which no such model needs.")
            self._steps[opcode](argument)

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a mark where a value should be")
        return value

    def _pop_to_mark(self) -> list[Any]:
        begin = len(self._stack) - 1
        while self._stack[begin] is not _MARK:
            begin -= 1
            if begin < 0:
                raise ValueError("no mark")
        values = self._stack[begin + 1 :]
        del self._stack[begin:]
        return values

    def _mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def _stop(self, _: Any) -> None:
        self.result = self._pop()

    def _empty_list(self, _: Any) -> None:
        self._stack.append([])

    def _empty_dict(self, _: Any) -> None:
        self._stack.append({})

    def _long1(self, argument: int) -> None:
        if argument.bit_length() > 64:
            raise ModelSetError("it holds a number of more than 64 bits, which no such model needs.")
        self._stack.append(argument)

    def _tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._pop_to_mark()))

    def _tuple1(self, _: Any) -> None:
        self._stack.append((self._pop(),))

    def _tuple2(self, _: Any) -> None:
        last, first = self._pop(), self._pop()
        self._stack.append((first, last))

    def _tuple3(self, _: Any) -> None:
        last, middle, first = self._pop(), self._pop(), self._pop()
        self._stack.append((first, middle, last))

    def _append(self, _: Any) -> None:
        value = self._pop()
        self._top(list).append(value)

    def _appends(self, _: Any) -> None:
        values = self._pop_to_mark()
        self._top(list).extend(values)

    def _setitem(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._set(self._top(dict), [key, value])

    def _setitems(self, _: Any) -> None:
        values = self._pop_to_mark()
        self._set(self._top(dict), values)

    def _top(self, kind: type) -> Any:
        if type(self._stack[-1]) is not kind:
            raise ValueError(f"no {kind.__name__} where one should be")
        return self._stack[-1]

    @staticmethod
    def _set(target: dict[Any, Any], values: list[Any]) -> None:
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str):
                raise TypeError("a key that is no text")
            target[key] = plain(value) if isinstance(value, _Array) and value.values is not None else value

    def _binput(self, argument: int) -> None:
        self._memo[argument] = self._stack[-1]

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _binget(self, argument: int) -> None:
        self._stack.append(self._memo[argument])

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(_known(module, name))

    def _stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        self._stack.append(_known(module, name))

    def _newobj(self, _: Any) -> None:
        arguments, name = self._pop(), self._pop()
        if not isinstance(name, _Name) or name.kind not in (PIPELINE, SCALER, MACHINE) or arguments != ():
            raise ModelSetError("it makes an object of something that is no class of scikit-learn.")
        self._stack.append(Instance(name.kind))

    def _reduce(self, _: Any) -> None:
        arguments, name = self._pop(), self._pop()
        if not isinstance(name, _Name) or name.kind not in self._reducers or not isinstance(arguments, tuple):
            raise ModelSetError("it calls something other than what makes NumPy's arrays.")
        self._stack.append(self._reducers[name.kind](*arguments))

    def _build(self, _: Any) -> None:
        state = self._pop()
        target = self._stack[-1]
        if isinstance(target, Instance) and isinstance(state, dict):
            target.state.update(state)
        elif isinstance(target, _Type) and isinstance(state, tuple) and len(state) >= 2:
            if state[1] not in ("<", ">", "|", "="):
                raise ValueError("a byte order that is none")
            target.order = state[1]
        elif isinstance(target, _Array) and isinstance(state, tuple) and len(state) == 5:
            _, shape, kind, fortran, data = state
            target.values = _filled(data, kind, shape, "F" if fortran else "C")
        else:
            raise ModelSetError("it sets the state of something other than an estimator or an array.")


def _known(module: Any, name: Any) -> _Name:
    kind = _KNOWN.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None
    if kind is None:
        raise ModelSetError(
            f"it names {_text(module)}.{_text(name)}, which is no part of a StandardScaler or a OneClassSVM. "
            "Nothing of it was run."
        )
    return _Name(kind)


def _text(value: Any) -> str:
    """A name in a sentence; never a container, whose text may be endless."""
    return value[:60] if isinstance(value, str) else "?"


def _encode(text: str, coding: str) -> bytes:
    if coding != "latin1":
        raise ValueError("an encoding other than latin1")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


def _dtype(code: str, *_: object) -> _Type:
    if code not in _DTYPES:
        raise ModelSetError(
            f"it holds an array of {str(code)[:20]!r}; a model's are of {', '.join(_DTYPES)}."
        )
    return _Type(code)


def _reconstruct(kind: Any, *_: object) -> _Array:
    if kind != _Name("ndarray"):
        raise ModelSetError("it holds an array of a class of its own.")
    return _Array()


def _scalar(kind: _Type, data: bytes) -> Any:
    return _filled(data, kind, (), "C").item()


def _frombuffer(data: bytes, kind: _Type, shape: tuple[int, ...], order: str) -> NDArray[Any]:
    return _filled(data, kind, shape, "F" if order == "F" else "C")


def _filled(data: Any, kind: Any, shape: Any, order: str) -> NDArray[Any]:
    """An array of the bytes, if these are exactly what the shape takes."""
    if not isinstance(data, bytes) or not isinstance(kind, _Type) or not isinstance(shape, tuple):
        raise TypeError("an array that is not made of bytes, a type and a shape")
    dtype = kind.numpy()
    if not all(type(each) is int and each >= 0 for each in shape) or len(shape) > 2:
        raise ValueError("an array of a shape that no model has")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ModelSetError(f"an array of the shape {list(shape)} would not fit its {len(data)} bytes.")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if order == "F" else "C")
