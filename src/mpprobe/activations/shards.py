"""Shard files: node features of some structures, checked before they are believed."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.activations.stored_frames import refuse_link
from mpprobe.errors import StoreError
from mpprobe.files import replacing

if TYPE_CHECKING:
    from safetensors import safe_open

FOLDER = "shards"
SUFFIX = ".safetensors"
# All metadata are one entry of the file's header: safetensors keeps no order between several.
KEY = "mpprobe"

#: Width and type of each tensor, by name.
Expected = Mapping[str, tuple[int, np.dtype]]


class ForeignShardError(StoreError):
    """A shard that is whole, but of another store or another number."""


@dataclass(frozen=True)
class ShardFile:
    """One shard on disk, and whose it must be. Its path follows from its number alone.

    Attributes:
        store: the store's folder.
        configuration: SHA-256 of the store's configuration.
        number: from 0.
        n_rows: its atoms.
    """

    store: Path
    configuration: str
    number: int
    n_rows: int

    @property
    def path(self) -> Path:
        return self.store / FOLDER / f"{self.number:05d}{SUFFIX}"

    def write(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Write the shard beside its place and rename it there.

        Its header holds the configuration, the number, and the SHA-256 of each tensor's bytes.
        """
        from safetensors.numpy import save

        about = {
            "configuration": self.configuration,
            "shard": self.number,
            "sha256": {name: _sha256(values) for name, values in tensors.items()},
        }
        about["header"] = _about_sha256(about)
        try:
            # Not safetensors' own save_file: that leaves a file of another name when killed.
            content = save(dict(tensors), {KEY: json.dumps(about, sort_keys=True)})
        except BaseException as error:
            # Rust's panic, which is no Exception, where there is no memory for the bytes.
            if type(error).__name__ == "PanicException":
                raise MemoryError from error
            raise
        with replacing(self.path) as part:
            part.write_bytes(content)

    def check(self, expected: Expected) -> dict[str, str]:
        """Read the whole shard and compare it with what was written and what it should be.

        Returns:
            SHA-256 of each tensor.

        Raises:
            StoreError: it is missing or damaged.
            ForeignShardError: it is whole, but another store's or another shard.
        """
        with self._opened() as (file, about):
            if set(file.keys()) != set(expected):
                raise self._damaged("it holds other tensors than it should")
            for name, (width, dtype) in expected.items():
                self._check_tensor(file, about, name, width, dtype)
            return about["sha256"]

    def check_tensor(self, name: str, width: int, dtype: np.dtype) -> None:
        """The same for one tensor; arguments as in :meth:`read`."""
        with self._opened() as (file, about):
            self._check_tensor(file, about, name, width, dtype)

    def read(
        self, name: str, width: int, dtype: np.dtype, rows: slice, columns: Sequence[slice]
    ) -> np.ndarray:
        """Some rows and columns of a tensor; the rest is not read.

        The first time that this process reads a tensor of a file, all of it is checked.

        Args:
            name: of the tensor.
            width: its number of columns.
            dtype: of its numbers.
            rows: a slice of step 1.
            columns: one or several slices, put beside each other.

        Raises:
            StoreError, ForeignShardError: as :meth:`check`.
        """
        _check_once(self, self._stamp(), name, width, dtype)
        with self._opened() as (file, _):
            part = file.get_slice(name)
            found = [part[rows, c] for c in columns]
        return found[0] if len(found) == 1 else np.concatenate(found, axis=1)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[safe_open, dict]]:
        """The file, and what its header says of it, which must be what is expected."""
        from safetensors import SafetensorError, safe_open

        refuse_link(self.path)
        refuse_link(self.path.parent)
        try:
            with safe_open(self.path, framework="numpy") as file:
                yield file, self._about(file.metadata())
        except SafetensorError as error:
            raise self._damaged(" ".join(str(error).split())) from error
        except OSError as error:
            reason = error.strerror or "it isn't there"
            raise StoreError(f"{self.path}: can't be read ({reason}); extract again") from error

    def _about(self, metadata: Mapping[str, str] | None) -> dict:
        try:
            about = json.loads((metadata or {})[KEY])
            whole = about.pop("header") == _about_sha256(about)
        except (KeyError, TypeError, ValueError, AttributeError):
            whole = False
        if not whole:
            raise self._damaged("its header isn't one of a store")
        if about["configuration"] != self.configuration:
            raise ForeignShardError(
                f"{self.path}: belongs to another store, of configuration "
                f"{about['configuration'][:16]}; move it away and extract again"
            )
        if about["shard"] != self.number:
            raise ForeignShardError(
                f"{self.path}: holds shard {about['shard']} and should hold shard {self.number}; "
                "move it away and extract again"
            )
        return about

    def _check_tensor(self, file: Any, about: dict, name: str, width: int, dtype: np.dtype) -> None:
        values = file.get_tensor(name)
        if values.shape != (self.n_rows, width) or values.dtype != dtype:
            raise self._damaged(f"{name} is {values.dtype} of shape {values.shape}")
        if _sha256(values) != about["sha256"].get(name):
            raise self._damaged(f"{name} isn't what was written")

    def _stamp(self) -> tuple[int, ...]:
        """What changes when the file is replaced or written to."""
        try:
            status = self.path.stat()
        except OSError:
            return ()
        return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    def _damaged(self, how: str) -> StoreError:
        return StoreError(f"{self.path}: is damaged ({how}); extract again")


def tensor_name(kind: str, layer: int) -> str:
    """The name of a tensor in the shards, such as ``random-weights-0/layer-3``."""
    return f"{kind.replace(' ', '-')}/layer-{layer}"


# Errors aren't kept, so a shard that has been made again is looked at again.
@lru_cache(maxsize=2**17)
def _check_once(
    file: ShardFile, stamp: tuple[int, ...], name: str, width: int, dtype: np.dtype
) -> None:
    file.check_tensor(name, width, dtype)


def _sha256(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()


def _about_sha256(about: Mapping) -> str:
    """Over what the header says, so that a flipped bit there isn't taken for another store."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
