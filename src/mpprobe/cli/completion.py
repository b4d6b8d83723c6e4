"""What the shell offers after a TAB. Nothing here imports torch: an answer takes a moment only."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, MutableMapping
from itertools import pairwise
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mpprobe.models.spec import ModelSpec

#: The variable in which the shell says what it wants; Typer makes it from the command's name.
VARIABLE = "_MPPROBE_COMPLETE"
#: Where bash ends a word within one, of what names here are made of.
BREAKS = ":=@"

# These stand in modules that import torch; a test holds them to what is there.
SPLITS = ("structure", "compound", "element", "domain")
WITHIN = ("kind", "structure", "group", "array:")
PARTS = ("within", "species", "whole")
WORLDS = ("fixed", "equilibrated", "screened", "band")
TOY_DOMAINS = (
    "crystal", "stretched", "surface", "cluster", "packing", "larger", "stoichiometry", "doped",
)  # fmt: skip
TOY_FAMILIES = ("sevenn", "mace")
CRYSTALS = (
    "LiF", "LiCl", "LiBr", "NaF", "NaCl", "NaBr", "KF", "KCl", "KBr", "RbCl", "RbBr", "MgO", "CaO",
    "SrO", "BaO", "MgS", "CaS", "CsCl", "CsBr", "ZnS", "CaF2", "Li2O", "Al", "Cu",
)  # fmt: skip
ATTRIBUTED = ("edges", "layers", "graph")
EXECUTORS = ("serial", "dask")
#: What is done about a structure that can't be used.
ON_ERROR = ("stop", "skip")


def choice(*names: str) -> Callable[[], list[str]]:
    """A callback that offers always the same names."""
    return lambda: list(names)


def models(incomplete: str) -> list[tuple[str, str]]:
    """Names of models; other spellings of them once something is typed; ``random:`` before them."""
    from mpprobe.models.registry import named_models

    prefix = "random:" if incomplete.lower().startswith("random:") else ""
    offered = []
    for _, spec in named_models().values():
        spellings = (spec.name, spec.upstream, *spec.aliases) if incomplete else (spec.name,)
        offered += [(prefix + name, spec.training_set) for name in dict.fromkeys(spellings)]
    return offered if prefix else [*offered, ("random:", "the same with random weights")]


def targets(incomplete: str) -> list[tuple[str, str]]:
    """Names of targets; after an ``@`` the charges that they may take."""
    from mpprobe.targets import target_names
    from mpprobe.targets.charges import CHARGE_SOURCES

    offered, taking = {}, "[@CHARGES]"
    for info in target_names():
        name = info.name.replace("array:NAME", "array:").replace("shell-K", "shell-1")
        base = name.removesuffix(taking)
        offered[base] = info.description
        if name != base and "@" in incomplete:
            offered |= {f"{base}@{source}": info.description for source in CHARGE_SOURCES}
    return list(offered.items())


def structures(incomplete: str) -> list[tuple[str, str]]:
    """Built-in sets and, after their colon, their domains; the shell adds files by itself."""
    from mpprobe.structures.builtin import builtin_sets

    name = incomplete.partition(":")[0]
    if ":" not in incomplete:
        return [(s.name, s.description) for s in builtin_sets().values()]
    if name not in builtin_sets():
        return []
    known = builtin_sets()[name]
    head, comma, _ = incomplete.rpartition(",")
    before = head + comma or f"{name}:"
    parts = known.domains if comma else ("all", *known.domains)
    return [(before + part, known.description) for part in parts]


def layers(ctx: typer.Context) -> list[str]:
    """``all``, and the layers of a named model that is given before."""
    spec = _chosen(ctx)
    return ["all", *map(str, range(len(spec.irreps) if spec else 0))]


def one_layer(ctx: typer.Context) -> list[str]:
    """The layers of a named model that is given before."""
    return layers(ctx)[1:]


def modals(ctx: typer.Context) -> list[str]:
    """The fidelities of the model that is given before."""
    spec = _chosen(ctx)
    return list(spec.modals) if spec else []


def _chosen(ctx: typer.Context) -> ModelSpec | None:
    """The first named model on the line so far, or None."""
    from mpprobe.models.registry import canonical, named_models

    given = ctx.params.get("model") or ""
    first = given if isinstance(given, str) else given[0]
    wanted = canonical(re.sub(r"^random:(.+?)(:\d+)?$", r"\1", first))
    for _, spec in named_models().values():
        if wanted in map(canonical, (spec.name, spec.upstream, *spec.aliases)):
            return spec
    return None


def domains(ctx: typer.Context) -> list[str]:
    """The domains of the built-in sets among the structures given before, or of all of them."""
    from mpprobe.structures.builtin import builtin_sets

    sets = builtin_sets()
    given = {str(name).partition(":")[0] for name in ctx.params.get("structures") or ()}
    chosen = [sets[name] for name in given & set(sets)] or sets.values()
    return list(dict.fromkeys(domain for known in chosen for domain in known.domains))


def answer_bash(app: typer.Typer) -> int:
    """Print what bash is to offer; for it a word ends at each of :data:`BREAKS`."""
    kept = join_words(os.environ)
    offered = io.StringIO()
    with contextlib.redirect_stdout(offered), contextlib.suppress(SystemExit):
        app(args=[], prog_name="mpprobe")
    for line in offered.getvalue().splitlines():
        print(line.removeprefix(kept))
    return 0


def join_words(environment: MutableMapping[str, str]) -> str:
    """Put together again the words that bash has taken apart, as ``charge:eeq`` in three.

    Args:
        environment: ``COMP_WORDS``, one a line, and ``COMP_CWORD``, the number of the word to be
            completed; both are put right in place.

    Returns:
        What that word begins with that bash keeps by itself.
    """
    given = environment["COMP_WORDS"].split("\n")[: int(environment["COMP_CWORD"]) + 1]
    words = given[:1]
    for before, word in pairwise(given):
        if _is_break(word) or (_is_break(before) and word):
            words[-1] += word
        else:
            words.append(word)
    environment["COMP_WORDS"] = "\n".join(words)
    environment["COMP_CWORD"] = str(len(words) - 1)
    if words[-1] == given[-1]:
        return ""
    value = re.sub(r"^--[\w-]+=", "", words[-1])  # Typer takes the flag off
    return value[: 1 + max(map(value.rfind, BREAKS))]


def _is_break(word: str) -> bool:
    return word != "" and set(word) <= set(BREAKS)
