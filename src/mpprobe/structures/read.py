"""Reading structures from files of any ASE format, slices of them, globs, and built-in sets."""

from __future__ import annotations

import difflib
import glob
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mpprobe.errors import StructureError
from mpprobe.structures.builtin import BuiltinSet, builtin_sets
from mpprobe.structures.failures import Failure
from mpprobe.structures.files import left_out, load
from mpprobe.structures.frame import LABELS, Frame
from mpprobe.structures.public import check_units, public_labels


def read(
    specs: str | Path | Iterable[str | Path],
    *,
    labels: Mapping[str, str] | None = None,
    domains: str | Sequence[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    failures: list[Failure] | None = None,
) -> list[Frame]:
    """Frames from files and built-in sets, in the order given.

    Args:
        specs: one or several of: a file in any format ASE reads; a glob (files in sorted order);
            either followed by ``@`` and an index or slice, as in ``run.xyz@-1`` or ``*.xyz@:10``
            (every frame of each file without it); the name of a built-in set
            (:func:`~mpprobe.structures.builtin.builtin_sets`), which wins over a file of the same
            name unless that is given with its folder (``./ionic``) or as a ``Path``.
        labels: for ``compound``, ``domain`` or ``group``, the info key that holds it in files
            (by default the one of the same name), such as ``{"domain": "config_type"}``.
        domains: keep only frames of these domains.
        limit: keep at most so many frames, chosen by :func:`stratified`.
        seed: seed of that choice.
        failures: what can't be read, a frame or all of a file, is left out and added to this list
            with the reason; None to raise at the first.

    Returns:
        Frames whose ``source`` is ``file@index``, the index counted in the whole file; labels are
        taken from ``info`` as :class:`~mpprobe.structures.frame.Frame` says, those of some public
        sets as they call them (:mod:`mpprobe.structures.public`).

    Raises:
        StructureError: nothing matches, a file can't be read or says it is in other units, a slice
            is malformed or empty, or no frame is left. The message names the file, and the frame
            where that can be told.
    """
    specs = [specs] if isinstance(specs, (str, Path)) else list(specs)
    unknown = sorted(set(labels or {}) - set(LABELS))
    if unknown:
        raise StructureError(
            f"label {unknown[0]!r}: structures are labelled by {', '.join(LABELS)}"
        )
    frames = [frame for spec in specs for frame in _read_spec(spec, labels, failures)]
    if failures and not frames:
        raise StructureError(f"none of the structures can be read; the first: {failures[0]}")
    if not frames:
        raise StructureError("no structures given; name a file, a glob or a built-in set")
    if domains is not None:
        frames = _of_domains(frames, [domains] if isinstance(domains, str) else list(domains))
    return frames if limit is None else stratified(frames, limit, seed)


def stratified(frames: Sequence[Frame], limit: int, seed: int = 0) -> list[Frame]:
    """At most ``limit`` of the frames, spread over domains and compounds as evenly as can be.

    Domains take turns until exhausted; each gives a random frame of the compound that has been
    chosen least so far. The same seed gives the same frames, in the order they came in.

    Raises:
        StructureError: ``limit`` is not positive.
    """
    if limit < 1:
        raise StructureError(f"limit {limit} keeps no structures; give a number above 0")
    strata: dict[str, dict[str, list[int]]] = {}
    for i in np.random.default_rng(seed).permutation(len(frames)).tolist():
        strata.setdefault(frames[i].domain, {}).setdefault(frames[i].compound, []).append(i)
    chosen: list[int] = []
    times: Counter[str] = Counter()
    while strata and len(chosen) < limit:
        for domain, compounds in list(strata.items()):
            rarest = min(compounds, key=times.__getitem__)
            times[rarest] += 1
            chosen.append(compounds[rarest].pop())
            if not compounds[rarest]:
                del compounds[rarest]
            if not compounds:
                del strata[domain]
    return [frames[i] for i in sorted(chosen[:limit])]


def _of_domains(frames: list[Frame], domains: list[str]) -> list[Frame]:
    present = sorted({frame.domain for frame in frames})
    for domain in domains:
        if domain not in present:
            raise StructureError(
                f"no structure is of domain {domain!r}{_did_you_mean(domain, present)}; "
                f"there are {', '.join(present)}"
            )
    return [frame for frame in frames if frame.domain in domains]


def read_file(path: str | Path) -> list[Frame]:
    """All structures of one file, whatever characters its path has.

    Raises:
        StructureError: it can't be read.
    """
    return _read_file(str(path), slice(None), None, None)


def _read_spec(
    spec: str | Path, labels: Mapping[str, str] | None, failures: list[Failure] | None
) -> list[Frame]:
    name, _, part = str(spec).partition(":")
    if isinstance(spec, str) and name in builtin_sets():
        return _read_builtin(builtin_sets()[name], part or "default")
    pattern, index = _split_index(str(Path(spec).expanduser()))
    return [f for path in _matches(pattern) for f in _read_file(path, index, labels, failures)]


def _read_builtin(chosen: BuiltinSet, part: str) -> list[Frame]:
    parts = part.split(",")
    choices = ("default", "all", *chosen.domains)
    for p in parts:
        if p not in choices:
            raise StructureError(
                f"{chosen.name}:{part}: the set has no part {p!r}{_did_you_mean(p, choices)}; "
                f"there are {', '.join(choices)}"
            )
    frames = [
        Frame.from_atoms(atoms, f"{chosen.name}@{i}")
        for i, atoms in load(str(chosen.path), slice(None))
    ]
    return [f for f in frames if {"all", f.domain, f.atoms.info["split_part"]} & set(parts)]


def _read_file(
    path: str,
    index: int | slice,
    labels: Mapping[str, str] | None,
    failures: list[Failure] | None,
) -> list[Frame]:
    domain = Path(path).name.partition(".")[0] or "unlabelled"
    before = len(failures or ())
    frames = []
    with left_out(path, failures):
        for i, atoms in load(path, index, failures):
            source = f"{path}@{i}"
            with left_out(source, failures):
                frames.append(_labelled(atoms, source, domain, labels))
        if not frames and len(failures or ()) == before:
            wanted = "" if index == slice(None) else " in that slice"
            raise StructureError(
                f"{path}: no structures{wanted}; check the file and the part after @"
            )
    return frames


def _labelled(atoms: Atoms, source: str, domain: str, labels: Mapping[str, str] | None) -> Frame:
    frame = Frame.from_atoms(atoms, source, domain=domain, labels=labels)
    check_units(frame)
    known: dict[str, Any] = {
        k: v for k, v in public_labels(frame).items() if k not in (labels or {})
    }
    return replace(frame, **known)


def _split_index(text: str) -> tuple[str, int | slice]:
    """``file@index`` as file and index; a file whose own name holds an ``@`` is left whole."""
    path, at, tail = text.rpartition("@")
    if not at or "/" in tail or glob.has_magic(tail) or Path(text).exists():
        return text, slice(None)
    try:
        fields = [int(field) if field else None for field in tail.split(":")]
        index = fields[0] if len(fields) == 1 else slice(*fields)
        if index is None or (isinstance(index, slice) and index.step == 0):
            raise ValueError(tail)
    except (ValueError, TypeError):
        raise StructureError(
            f"{text}: {tail!r} is no index or slice; write file@3, file@-1, file@:10 or file@::5"
        ) from None
    return path, index


def _matches(pattern: str) -> list[str]:
    """The files a path or glob stands for."""
    path = Path(pattern)
    if path.is_dir():
        raise StructureError(f"{pattern}: this is a folder; give files, or a glob such as *.xyz")
    if path.exists():
        return [pattern]
    if glob.has_magic(pattern):
        found = sorted(p for p in glob.glob(pattern, recursive=True) if Path(p).is_file())
        if not found:
            raise StructureError(f"{pattern}: no file matches; check the folder and the pattern")
        return found
    siblings = [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else []
    name = path.name.partition(":")[0]
    raise StructureError(
        f"{pattern}: no such file or built-in set"
        f"{_did_you_mean(name, [*builtin_sets(), *siblings])}; "
        f"give a file, a glob, or one of the sets {', '.join(builtin_sets())}"
    )


def _did_you_mean(word: str, choices: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
