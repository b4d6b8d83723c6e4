"""``mpprobe models``: what can be loaded by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mpprobe.cli import options
from mpprobe.cli.console import stdout

if TYPE_CHECKING:
    from rich.console import JustifyMethod

    from mpprobe.models.spec import Family, ModelSpec


def models(
    as_json: options.Json = False,
    available: Annotated[
        bool, typer.Option("--available", help="Only those whose weights are on this machine.")
    ] = False,
) -> None:
    """List the models: layers, irreps, cutoff, reach, licence, training set, where from."""
    from mpprobe.models import named_models

    entries = [(f, s) for f, s in named_models().values() if s.available or not available]
    if as_json:
        import json

        typer.echo(json.dumps([_record(f, s) for f, s in entries], indent=1))
        return
    _print_table([_record(f, s) for f, s in entries])
    for family in dict.fromkeys(family for family, _ in entries):
        stdout().print(f"{family.name}: {_speed(family)}", soft_wrap=True)


def _speed(family: Family) -> str:
    """Which kernels forward passes take, on a CPU and on CUDA; ``--no-fast`` takes neither."""
    on_cpu = "fused kernels" if family.fused_on_cpu else "as its package runs it"
    on_cuda = [
        f"{a.name} ({'installed' if a.available else 'not installed'})" for a in family.accelerators
    ]
    note = f"; {family.note}" if family.note else ""
    return f"on a CPU {on_cpu}; on CUDA {', '.join(on_cuda) or 'as its package runs it'}{note}"


def _record(family: Family, spec: ModelSpec) -> dict:
    """One model as plain data; None for what is known only once its file is there."""
    depth = len(spec.irreps) - 1 if spec.irreps else None
    return {
        "name": spec.name,
        "aliases": [spec.upstream, *spec.aliases],
        "family": family.name,
        "layers": depth,
        "irreps": list(spec.irreps) or None,
        "cutoff": spec.cutoff,
        "reach": spec.cutoff * depth if spec.cutoff and depth else None,
        "modals": list(spec.modals),
        "heads": list(spec.heads),
        "licence": spec.licence,
        "training_set": spec.training_set,
        "source": spec.source,
        "available": spec.available,
        "fused_on_cpu": family.fused_on_cpu,
        "accelerators": {a.name: a.available for a in family.accelerators},
    }


def _print_table(records: list[dict]) -> None:
    from rich.table import Table

    table = Table(
        caption="– : known once the weights are there. A path works wherever a name does, and "
        "random:MODEL[:SEED] is the same architecture with random weights.",
        caption_justify="left",
    )
    columns: tuple[tuple[str, JustifyMethod], ...] = (
        ("model", "left"), ("layers", "right"), ("irreps after the first layer", "left"),
        ("cutoff, reach (Å)", "right"), ("trained on", "left"), ("licence", "left"),
        ("weights", "left"), ("here", "left"),
    )  # fmt: skip
    for column, justify in columns:
        table.add_column(column, justify=justify, overflow="fold")
    for r in records:
        name = r["name"] + _choices("--modal", r["modals"]) + _choices("--head", r["heads"])
        reach = f"{r['cutoff']:g}, {r['reach']:g}" if r["cutoff"] else "–"
        table.add_row(
            name, str(r["layers"] or "–"), r["irreps"][1] if r["irreps"] else "–", reach,
            r["training_set"], r["licence"], r["source"], "yes" if r["available"] else "no",
        )  # fmt: skip
    stdout().print(table)


def _choices(flag: str, values: list[str]) -> str:
    """The flag that a model needs, with what it takes if that is short."""
    if not values:
        return ""
    text = "|".join(values)
    return f"\n{flag} {text if len(text) < 20 else f'(one of {len(values)}, see --json)'}"
