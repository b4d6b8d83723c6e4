"""Targets by name: the built-in ones and those a user adds."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from mpprobe.errors import TargetError
from mpprobe.structures import Frame
from mpprobe.targets.builtin import TargetInfo, builtin_names, builtin_spellings, builtin_target
from mpprobe.targets.target import Target, TargetFunction

_REGISTERED: dict[str, Target] = {}


def get_target(name: str, frames: Sequence[Frame] | None = None) -> Target:
    """The target called ``name``.

    Names are those :func:`target_names` lists: ``charge:eeq``, ``charge:formal``, ``charge:dft``,
    ``potential``, ``potential:dft``, ``potential:shell-K`` (K ≥ 1), ``potential:beyond``,
    ``field``, ``array:NAME`` and what users registered. ``potential``, its shells and ``field``
    take their charges after an ``@``: ``formal`` (the default), ``eeq``, ``dft`` or the name of a
    per-atom array, as in ``potential:shell-2@eeq``. Case matters in the names of arrays only.

    Args:
        name: of the target.
        frames: the structures it is for. The first one's array tells whether ``array:NAME`` is a
            number (l = 0) or a vector (l = 1); without frames it is taken for a number.

    Raises:
        TargetError: no target of that name; the message has the nearest one.
    """
    name = name.strip()
    target = _REGISTERED.get(name.lower()) or builtin_target(name, frames)
    if target is None:
        raise TargetError(f"no target {name!r}; {_suggestion(name)}")
    return target


def target_names() -> list[TargetInfo]:
    """Every target: the pattern of its name, unit, l (None: as the array's) and description."""
    added = [TargetInfo(t.name, t.unit, t.l, t.description) for t in _REGISTERED.values()]
    return builtin_names() + added


def register_target(
    name: str,
    *,
    unit: str,
    l: int = 0,
    needs_cutoff: bool = False,
) -> Callable[[TargetFunction], TargetFunction]:
    """Make a function a target: ``@register_target("height", unit="Å")``.

    The function takes (frame, cutoff) and returns shape (n_atoms,) for l = 0 or Cartesian x, y, z,
    (n_atoms, 3), for l = 1; ``frame.atoms`` is the ASE structure, and ``cutoff`` the model's in Å,
    or None where ``needs_cutoff`` is false and none was given. The first line of its docstring
    becomes the description. A name registered again is replaced; a built-in name can't be taken.

    Raises:
        TargetError: a name or an l that can't be used.
    """
    key = name.strip().lower()
    if not key or "@" in key or builtin_target(key) is not None:
        raise TargetError(f"{name!r} can't name a new target: it is empty, built in or holds an @")
    if l not in (0, 1):
        raise TargetError(f"the target {name} has l = {l}; it must be 0 (numbers) or 1 (vectors)")

    def register(function: TargetFunction) -> TargetFunction:
        text = (function.__doc__ or "registered by the user").strip().splitlines()[0]
        _REGISTERED[key] = Target(key, unit, l, function, text, needs_cutoff)
        return function

    return register


def _suggestion(name: str) -> str:
    spellings = [*builtin_spellings(), *_REGISTERED]
    base, at, source = name.lower().partition("@")
    near = difflib.get_close_matches(base, spellings, n=1)
    if near:
        return f"did you mean {near[0] + at + source!r}?"
    return f"there are {', '.join(info.name for info in target_names())}"
