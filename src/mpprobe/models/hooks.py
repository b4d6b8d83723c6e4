"""Forward hooks that read and edit node features, and are always taken off again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mpprobe.errors import ModelError

if TYPE_CHECKING:
    import torch

Edit = Callable[["torch.Tensor"], "torch.Tensor"]


@dataclass(frozen=True)
class Tap:
    """Where a layer's node features can be had: a module, and how to read and set its output."""

    module: torch.nn.Module
    read: Callable[[Any], torch.Tensor]
    write: Callable[[Any, torch.Tensor], Any]


class _Stop(Exception):  # noqa: N818 - not an error: ends a forward pass early
    """Raised in the hook of the deepest layer when nothing after it is asked for."""


@dataclass
class Captured:
    """What the hooks saw: node features by layer, and how often each hook fired."""

    features: dict[int, torch.Tensor] = field(default_factory=dict)
    fired: dict[int, int] = field(default_factory=dict)


# In each thread, what the forward pass that it runs is captured in.
_pass = threading.local()


def run_hooked(captured: Captured, forward: Callable[[], Any]) -> Any:
    """``forward()`` in this thread, seen only by the hooks that capture into ``captured``.

    None if the hook of the deepest layer asked for ended it.
    """
    _pass.captured = captured
    try:
        return forward()
    except _Stop:
        return None
    finally:
        del _pass.captured


@contextmanager
def hooked(
    taps: Mapping[int, Tap], keep: set[int], edits: Mapping[int, Edit], stop_after: int | None
) -> Iterator[Captured]:
    """Hook the layers in ``taps`` for one forward pass.

    Features in ``keep`` are captured after their layer's edit, if it has one. With
    ``stop_after`` the pass ends in that layer's hook; the caller sees the body return early.
    Several passes of one model can be hooked at once if :func:`run_hooked` runs each in a thread
    of its own.

    Raises:
        ModelError: a hook did not fire exactly once, or an edit changed a tensor's shape or dtype.
    """
    captured = Captured()

    def make(layer: int, tap: Tap) -> Callable[..., Any]:
        def hook(module: torch.nn.Module, inputs: Any, output: Any) -> Any:
            if getattr(_pass, "captured", captured) is captured:
                output = _seen(captured, layer, tap, output, keep, edits)
                if layer == stop_after:
                    raise _Stop
            return output  # as it is in another thread's pass

        return hook

    handles = [tap.module.register_forward_hook(make(t, tap)) for t, tap in taps.items()]
    try:
        yield captured
    except _Stop:
        pass
    finally:
        for handle in handles:
            handle.remove()
    for layer in taps:
        count = captured.fired.get(layer, 0)
        if count != 1:
            raise ModelError(
                f"layer {layer}: its hook fired {count} times in one forward pass instead of "
                "once, so its node features can't be trusted (is the model compiled or scripted?)"
            )


@contextmanager
def scaled(products: Sequence[torch.nn.Module], scales: torch.Tensor) -> Iterator[None]:
    """Multiply the messages of forward passes inside.

    Args:
        products: of each layer the tensor product (features of the senders, attributes of the
            edges, weights) → messages, linear in the attributes.
        scales: (len(products), n_edges).
    """

    def make(scale: torch.Tensor) -> Callable[..., Any]:
        def hook(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> Any:
            senders, edges, *rest = inputs
            return (senders, edges * scale[:, None].to(edges), *rest)

        return hook

    pairs = zip(products, scales, strict=True)
    handles = [product.register_forward_pre_hook(make(scale)) for product, scale in pairs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _seen(
    captured: Captured,
    layer: int,
    tap: Tap,
    output: Any,
    keep: set[int],
    edits: Mapping[int, Edit],
) -> Any:
    """Edit and capture a layer's node features; the output that the forward pass goes on with."""
    captured.fired[layer] = captured.fired.get(layer, 0) + 1
    features = tap.read(output)
    if layer in edits:
        features = _edited(features, edits[layer], layer)
        output = tap.write(output, features)
    if layer in keep:
        captured.features[layer] = features
    return output


def _edited(features: torch.Tensor, edit: Edit, layer: int) -> torch.Tensor:
    import torch

    result = edit(features)
    if not isinstance(result, torch.Tensor):
        raise ModelError(
            f"the edit of layer {layer} returned a {type(result).__name__}: an edit must return a "
            "torch tensor"
        )
    if result.dtype != features.dtype:
        raise ModelError(
            f"the edit of layer {layer} returned {result.dtype} for node features in "
            f"{features.dtype}: an edit must keep the dtype"
        )
    if result.shape != features.shape:
        raise ModelError(
            f"the edit of layer {layer} returned shape {tuple(result.shape)} for node features "
            f"of shape {tuple(features.shape)}: an edit must keep the shape"
        )
    return result
