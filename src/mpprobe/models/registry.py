"""Families and named models, as data: known without importing torch, loaded when asked for."""

from __future__ import annotations

import difflib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpprobe.errors import ModelError
from mpprobe.models.families import BUILT_IN
from mpprobe.models.spec import Family, ModelSpec, resolve_reference
from mpprobe.models.trust import CheckpointFile, inspect

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from mpprobe.models.potential import Potential

ENTRY_POINTS = "mpprobe.potentials"


@cache
def all_families() -> tuple[Family, ...]:
    """The built-in families, and those that installed packages add.

    A package adds one with an entry point in the group ``mpprobe.potentials`` whose value is a
    :class:`Family`.
    """
    from importlib.metadata import entry_points

    added = [_added_family(point) for point in entry_points(group=ENTRY_POINTS)]
    return (*BUILT_IN, *added)


def _added_family(point: EntryPoint) -> Family:
    try:
        family = point.load()
    except Exception as error:  # whatever the other package does when it is imported
        raise ModelError(
            f"entry point {point.name} = {point.value}: can't be loaded "
            f"({type(error).__name__}: {error}); mend or remove the package that adds it"
        ) from error
    if not isinstance(family, Family):
        raise ModelError(
            f"entry point {point.name} = {point.value}: is a {type(family).__name__}, and should "
            "be a mpprobe.models.Family; mend or remove the package that adds it"
        )
    return family


def named_models() -> dict[str, tuple[Family, ModelSpec]]:
    """Every named model with its family, by name."""
    return {spec.name: (family, spec) for family in all_families() for spec in family.models}


def load(
    model: str | Path,
    *,
    device: str = "auto",
    dtype: str | None = None,
    modal: str | None = None,
    head: str | None = None,
    trust_checkpoint: bool = False,
    fast: bool = True,
) -> Potential:
    """Load a potential by name, by path, or as ``random:MODEL[:SEED]``.

    Args:
        model: a name of ``mpprobe models`` (case and common spellings don't matter:
            ``sevenn-0`` = ``7net-0`` = ``SevenNet-0``), the path of a checkpoint, or
            ``random:`` before either for the same architecture with random weights.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        dtype: ``float32`` or ``float64``; None keeps the checkpoint's own.
        modal: the fidelity, for multi-fidelity SevenNet models.
        head: the head, for multi-head MACE models.
        trust_checkpoint: load a file that can run code even if it isn't a known one.
        fast: take the fused path where there is one, see :meth:`Potential.use_fast`.

    Raises:
        ModelError: an unknown name, an unreadable file, or one that can't be hooked.
        TrustError: a file that can run code, neither known nor trusted.
        MissingPackageError: the family's package isn't installed.
    """
    options: dict[str, Any] = {
        "device": device, "dtype": dtype, "modal": modal, "head": head,
        "trust_checkpoint": trust_checkpoint, "fast": fast,
    }  # fmt: skip
    text = str(model)
    if _is_random(text):
        return _load_random(text, **options)
    return _load_trained(text, **options)


def _load_trained(text: str, *, device: str, dtype: str | None, **options: Any) -> Potential:
    from mpprobe.models.options import check_dtype, pick_device

    family, source = _resolve(text)
    named = source.name if isinstance(source, ModelSpec) else None
    potential = resolve_reference(family.load)(
        source,
        name=named or Path(text).name,
        device=pick_device(device),
        dtype=check_dtype(dtype),
        **options,
    )
    model = named or str(Path(text).absolute())
    potential.recipe = {"model": model, "device": device, "dtype": dtype, **options}
    return potential


def _load_random(text: str, **options: Any) -> Potential:
    name, seed = _split_random(text)
    trained = load(name, **options)
    potential = trained.randomised(seed)
    recipe = trained.recipe or {}
    potential.recipe = {**recipe, "model": f"random:{recipe['model']}:{seed}"}
    return potential


def _is_random(text: str) -> bool:
    return text.lower().startswith("random:")


def _split_random(text: str) -> tuple[str, int]:
    """The model and the seed of ``random:MODEL[:SEED]``."""
    match = re.fullmatch(r"random:(.+?)(?::(\d+))?", text, flags=re.IGNORECASE)
    if match is None:
        raise ModelError(f"{text}: write random:MODEL or random:MODEL:SEED, SEED a whole number")
    return match.group(1), int(match.group(2) or 0)


def _resolve(text: str) -> tuple[Family, ModelSpec | CheckpointFile]:
    """The family, and the named model or looked-at file, that ``text`` stands for."""
    by_alias = {
        canonical(alias): (family, spec)
        for family, spec in named_models().values()
        for alias in (spec.name, *spec.aliases)
    }
    is_path = _looks_like_path(text)
    if canonical(text) in by_alias and not is_path:
        return by_alias[canonical(text)]
    if not is_path and not Path(text).is_file():
        close = difflib.get_close_matches(canonical(text), by_alias, n=3, cutoff=0.5)
        names = dict.fromkeys(by_alias[c][1].name for c in close)
        hint = f"did you mean {' or '.join(names)}?" if names else "see `mpprobe models`"
        raise ModelError(f"{text}: no model of this name, and no such file; {hint}")
    file = inspect(text)
    for family in all_families():
        if resolve_reference(family.recognises)(file):
            return family, file
    raise ModelError(
        f"{text}: not a checkpoint of a known family "
        f"({', '.join(family.name for family in all_families())})"
    )


def modals_of(model: str) -> tuple[str, ...] | None:
    """What ``modal`` must choose from for a named model; None for a file.

    Raises:
        ModelError: an unknown name.
    """
    _, source = _resolve(_split_random(model)[0] if _is_random(model) else model)
    return source.modals if isinstance(source, ModelSpec) else None


def _looks_like_path(text: str) -> bool:
    return "/" in text or "\\" in text or Path(text).suffix in {".pth", ".pt", ".model", ".ckpt"}


def canonical(name: str) -> str:
    """The spelling under which model names are compared."""
    text = name.strip().lower().replace("_", "-").replace(" ", "-")
    return re.sub(r"^(sevennet|7net|sevenn)(?=-|$)", "sevenn", text)
