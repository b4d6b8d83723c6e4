"""Whether a checkpoint holds nothing but data: tensors, NumPy arrays, plain containers.

torch's own loader of data (``weights_only``) runs no foreign code, but it makes whatever it is
asked for: a byte array of any length, or with NumPy's constructors, which SevenNet's checkpoints
need, an array of pointers that were never pointers. So the pickle is gone through first, opcode by
opcode and without making anything, and every call in it must be one of the few that such a
checkpoint has, with sizes that the file really holds.
"""

from __future__ import annotations

import io
import math
import pickletools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpprobe.errors import ModelError
from mpprobe.models.archives import is_archive, record, records, rewritten

#: Containers within containers. Checkpoints have about five; far deeper ones exhaust the stack of
#: whatever walks through them.
MOST_NESTED = 100
#: Values, those that are held in several places counted at each. Checkpoints have thousands; a
#: list of lists of lists, each the same one twice, has more than can be gone through.
MOST_VALUES = 10_000_000

#: Bytes of a number in torch's storages.
_STORAGES = {
    f"torch.{name}Storage": size
    for name, size in {"Float": 4, "Double": 8, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4,
                       "Short": 2, "Char": 1, "Byte": 1, "Bool": 1}.items()
}  # fmt: skip
_ARRAY_TYPES = {"f4": 4, "f8": 8, "i4": 4, "i8": 8}
_DTYPE = re.compile(r"torch\.(b?float|u?int|bool)\d*")
_NUMPY_CORE = re.compile(r"numpy\.(_?core)\.multiarray\.(_reconstruct|scalar)")


class NotPlainError(Exception):
    """A pickle that asks for more than data, which only unpickling can give. Says what."""


class _AbsurdError(Exception):
    """Sizes that can't be true. Says which."""


@dataclass(frozen=True)
class _Name:
    """What an import would give."""

    name: str


@dataclass(frozen=True)
class _Storage:
    """So many numbers in the file."""

    kind: str
    key: str
    count: int


@dataclass(frozen=True)
class _DType:
    """A NumPy number type."""

    size: int


@dataclass(frozen=True)
class _Array:
    """A NumPy array, empty until its state comes."""


class _Ordered(dict):
    """An ordered dict, or a set of attributes of one."""


_MARK = object()


def plain_copy(path: Path, content: bytes) -> io.BytesIO:
    """The checkpoint as a file for ``torch.load(..., weights_only=True)``.

    Args:
        path: for messages.
        content: of the file.

    Raises:
        NotPlainError: it holds more than data.
        ModelError: it is damaged, or its sizes can't be true.
    """
    try:
        if not is_archive(content):
            _check_older(content)
            return io.BytesIO(content)
        found = records(path, content)
        storages = _check_pickle(record(content, found["data.pkl"]))
        for storage in storages.values():
            held = found.get(f"data/{storage.key}")
            if held is None or held.file_size != _bytes(storage):
                raise _AbsurdError(f"its storage {storage.key!r} isn't {storage.count:,} numbers")
        return rewritten(content, found)
    except (NotPlainError, ModelError):
        raise
    except _AbsurdError as error:
        raise _damaged(path, str(error)) from error
    except Exception as error:  # pickletools, zipfile and wrong opcodes raise many kinds
        raise _damaged(path, type(error).__name__) from error


def _damaged(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"{path}: a damaged SevenNet checkpoint ({reason}); copy or download it again"
    )


def _check_older(content: bytes) -> None:
    """The older format: a magic number, a protocol, the system, the object, keys; then numbers."""
    stream = io.BytesIO(content)
    storages: dict[str, _Storage] = {}
    for _ in range(5):
        storages |= _check_pickle(stream)
    total = sum(map(_bytes, storages.values()))
    if total > len(content):
        raise _AbsurdError(f"{total:,} bytes of numbers in a file of {len(content):,}")


def _bytes(storage: _Storage) -> int:
    return storage.count * _STORAGES[storage.kind]


def _check_pickle(pickle: bytes | io.BytesIO) -> dict[str, _Storage]:
    """The storages that a pickle asks for, by key, once all of it has been found to be data."""
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(pickle):
        machine.step(opcode.name, argument)
    (made,) = machine.stack
    _measure(made, 0, {})
    return machine.storages


def _measure(value: Any, depth: int, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many values there are in a value, itself among them, and how deep they are nested.

    ``depth`` is that of the value itself, which ends the way through one that holds itself.
    """
    if not isinstance(value, (list, tuple, dict)):
        return 1, 0
    if id(value) not in known and depth <= MOST_NESTED:
        parts = value.values() if isinstance(value, dict) else value
        sizes = [_measure(part, depth + 1, known) for part in parts]
        heights = [height for _, height in sizes]
        known[id(value)] = 1 + sum(count for count, _ in sizes), 1 + max(heights, default=0)
    count, height = known.get(id(value), (0, MOST_NESTED))
    if depth + height > MOST_NESTED:
        raise _AbsurdError(f"containers nested more than {MOST_NESTED} deep")
    if count > MOST_VALUES:
        raise _AbsurdError(f"more than {MOST_VALUES:,} values")
    return count, height


class _Machine:
    """The machine that a pickle is a program for, with stand-ins for all that isn't plain.

    It knows the opcodes that torch's own loader of data knows; whatever else comes isn't data.
    """

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, _Storage] = {}

    def step(self, opcode: str, argument: Any) -> None:
        """One opcode.

        Raises:
            NotPlainError: it isn't one that data needs.
        """
        if opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode]())
        elif opcode in _VALUES:
            self.stack.append(argument)
        elif opcode == "GLOBAL":
            self.stack.append(_import(argument.replace(" ", ".")))
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif opcode in _STEPS:
            _STEPS[opcode](self)
        elif opcode not in ("PROTO", "STOP"):
            raise NotPlainError(f"the opcode {opcode}")

    def popped(self) -> list[Any]:
        """Everything above the last mark."""
        values: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def tuple_of(self, count: int) -> None:
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def append(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise NotPlainError("appends to what isn't a list")
        self.stack[-1].extend(values)

    def set_items(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise NotPlainError("sets items of what isn't a dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            # No tuples: the hash of one nested deep enough brings the process down.
            if not isinstance(key, (str, int, float, type(None))):
                raise NotPlainError("a key that is neither text nor number")
            target[key] = value

    def load_storage(self) -> None:
        identity = self.stack.pop()
        if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
            raise NotPlainError("a persistent object that is no storage")
        kind, key, location, count, *view = identity[1:]
        named = isinstance(kind, _Name) and kind.name in _STORAGES
        if not named or not all(isinstance(t, str) for t in (key, location)) or any(view):
            raise NotPlainError("a storage of another kind")
        storage = _Storage(kind.name, key, _whole(count))
        if self.storages.setdefault(key, storage) != storage:
            raise _AbsurdError(f"its storage {key!r} has two sizes")
        self.stack.append(storage)

    def reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Name) or type(arguments) is not tuple:
            raise NotPlainError("a call of what isn't a function")
        self.stack.append(_called(function.name, arguments))

    def build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if isinstance(made, _Ordered):
            fine = isinstance(state, dict)  # _metadata
        elif isinstance(made, _DType):
            fine = _is_byte_order(state)
        elif isinstance(made, _Array):
            _check_array(state)
            fine = True
        else:
            fine = False
        if not fine:
            raise NotPlainError("an object with a state")


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict, "MARK": lambda: _MARK,
}  # fmt: skip
_VALUES = {"BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "LONG1"}
_STEPS: dict[str, Callable[[_Machine], None]] = {
    "TUPLE": lambda m: m.stack.append(tuple(m.popped())),
    "TUPLE1": lambda m: m.tuple_of(1),
    "TUPLE2": lambda m: m.tuple_of(2),
    "TUPLE3": lambda m: m.tuple_of(3),
    "APPEND": lambda m: m.append([m.stack.pop()]),
    "APPENDS": lambda m: m.append(m.popped()),
    "SETITEM": lambda m: m.set_items([m.stack.pop(-2), m.stack.pop()]),
    "SETITEMS": lambda m: m.set_items(m.popped()),
    "BINPERSID": _Machine.load_storage,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}


def _import(name: str) -> _Name:
    known = name in _STORAGES or name in _CALLS or name == "numpy.ndarray"
    if known or _NUMPY_CORE.fullmatch(name) or _DTYPE.fullmatch(name):
        return _Name(name)
    raise NotPlainError(f"the import of {name}")


def _called(name: str, arguments: tuple) -> Any:
    """A stand-in for what a call would give."""
    match = _NUMPY_CORE.fullmatch(name)
    call = _CALLS.get(match[2] if match else name)
    if call is None:
        raise NotPlainError(f"a call of {name}")
    return call(*arguments)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> _Name:
    """The elements that a tensor reaches must be in its storage."""
    if not isinstance(storage, _Storage) or len(rest) not in (2, 3):
        raise NotPlainError("a tensor without a storage")
    sizes, strides = [*map(_whole, size)], [*map(_whole, stride)]
    if len(sizes) != len(strides) or len(sizes) > 8:
        raise _AbsurdError(f"a tensor of {len(sizes)} dimensions with {len(strides)} strides")
    last = _whole(offset) + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
    # A stride of zero makes one number a tensor of any size.
    most = max(storage.count, MOST_VALUES)
    if 0 not in sizes and (last >= storage.count or math.prod(sizes) > most):
        raise _AbsurdError(f"a tensor of shape {tuple(sizes)} in {storage.count:,} numbers")
    return _Name("torch.Tensor")


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise _AbsurdError("a size that is no whole number")
    return value


def _encoded(text: Any, encoding: Any) -> bytes:
    """How the second protocol writes bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise NotPlainError("a text in another encoding")
    return text.encode("latin1")


def _dtype(text: Any, align: Any, copy: Any) -> _DType:
    # Not without the copy: its byte order would be that of every array in the process.
    if text not in _ARRAY_TYPES or (align, copy) != (False, True):
        raise NotPlainError(f"a NumPy array of {text!r}")
    return _DType(_ARRAY_TYPES[text])


def _is_byte_order(state: Any) -> bool:
    """Whether a dtype's state says its byte order only; its flags could make numbers pointers."""
    plain = (None, None, None, -1, -1, 0)
    fine = type(state) is tuple and len(state) == 8 and state[:1] == (3,) and state[2:] == plain
    return fine and state[1] in ("<", ">")


def _array(subtype: Any, shape: Any, code: Any) -> _Array:
    if subtype != _Name("numpy.ndarray") or (shape, code) != ((0,), b"b"):
        raise NotPlainError("a NumPy array of another kind")
    return _Array()


def _check_array(state: Any) -> None:
    version, shape, dtype, fortran, raw = state
    if (version, fortran) not in ((1, False), (1, True)) or not isinstance(dtype, _DType):
        raise NotPlainError("a NumPy array of another kind")
    if not isinstance(raw, bytes) or len(raw) != math.prod(map(_whole, shape)) * dtype.size:
        raise _AbsurdError(f"a NumPy array of shape {shape} without its numbers")


def _scalar(dtype: Any, raw: Any) -> float:
    if not isinstance(dtype, _DType) or not isinstance(raw, bytes) or len(raw) != dtype.size:
        raise NotPlainError("a NumPy number of another kind")
    return 0.0


def _device(*arguments: Any) -> _Name:
    if not 1 <= len(arguments) <= 2 or not isinstance(arguments[0], str):
        raise NotPlainError("a device that isn't named")
    return _Name("torch.device")


def _ordered() -> _Ordered:
    return _Ordered()


def _size(sizes: Any) -> tuple[int, ...]:
    return tuple(map(_whole, sizes))


_CALLS: Mapping[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch.device": _device,
    "torch.Size": _size,
    "collections.OrderedDict": _ordered,
    "_codecs.encode": _encoded,
    "numpy.dtype": _dtype,
    "_reconstruct": _array,
    "scalar": _scalar,
}


def safe_names() -> Iterator[Any]:
    """NumPy's constructors that such a checkpoint calls, for torch's loader of data."""
    import numpy as np
    from numpy._core import multiarray

    yield np.ndarray
    yield np.dtype
    yield from (getattr(np.dtypes, f"{kind}DType") for kind in
                ("Float32", "Float64", "Int32", "Int64"))  # fmt: skip
    # Files written under NumPy 1 name these by the old module.
    for core in ("core", "_core"):
        for function in (multiarray._reconstruct, multiarray.scalar):
            yield function, f"numpy.{core}.multiarray.{function.__name__}"
