"""The options that every family shares, read the same way."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mpprobe.errors import ModelError

if TYPE_CHECKING:
    import torch


def pick_device(device: str = "auto") -> torch.device:
    """The torch device that ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` stands for.

    Raises:
        ModelError: not one of these, or not there on this machine.
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = None
    if chosen is None or chosen.type not in {"cpu", "cuda", "mps"}:
        raise ModelError(f"device {device!r}: choose auto, cpu, cuda, cuda:N or mps")
    present = {
        "cpu": True,
        "cuda": (chosen.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not present[chosen.type]:
        raise ModelError(f"device {device!r}: not there on this machine; use --device cpu")
    return chosen


def check_dtype(dtype: str | None) -> torch.dtype | None:
    """``float32`` or ``float64`` as a torch dtype; None stays None.

    Raises:
        ModelError: anything else.
    """
    import torch

    known = {None: None, "float32": torch.float32, "float64": torch.float64}
    if dtype not in known:
        raise ModelError(f"dtype {dtype!r}: choose float32 or float64")
    return known[dtype]


@contextlib.contextmanager
def quiet_library() -> Iterator[None]:
    """Keep a library's chatter about itself off the user's terminal while it loads a model.

    What it prints and warns of (deprecated calls of its own, accelerators not installed) is
    dropped: stdout is for results, and an error is one line.
    """
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def unscripted() -> Iterator[None]:
    """Build e3nn modules without compiling them by TorchScript, which takes as long as all else.

    They run the same. When such a module is pickled e3nn compiles it, and torch warns of it.
    """
    import e3nn

    before = e3nn.get_optimization_defaults()["jit_script_fx"]
    e3nn.set_optimization_defaults(jit_script_fx=False)
    try:
        yield
    finally:
        e3nn.set_optimization_defaults(jit_script_fx=before)
