"""A step of a study: a command of the application with its options, as it will be run."""

from __future__ import annotations

import contextlib
import difflib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from mpprobe.cli import options
from mpprobe.errors import MPProbeError

#: Flags that say how a step is done or shown, and have no part in what comes out.
MANNER = frozenset({
    "output", "overwrite", "dry-run", "json", "quiet", "verbose", "debug", "progress",
    "executor", "scheduler", "workers",
})  # fmt: skip
#: Those of them that the study sets itself.
RESERVED = ("output", "overwrite", "dry-run", "json")
# Options that take a folder which another command has filled, as the positional ones do.
_FOLDERS = ("store",)


@dataclass(frozen=True)
class Step:
    """One command of a study.

    Attributes:
        name: of the step and of its output.
        words: of the command, as ``("toy", "train")``.
        where: what messages about it begin with.
        output: folder or file that it writes.
        arguments: its own options, as on a command line.
        defaults: shared options, by the names of the command's parameters.
        configuration: what decides the result: the options in force, by flag.
        after: earlier steps whose output it takes.
        flags: all that the command has.
    """

    name: str
    words: tuple[str, ...]
    where: str
    output: Path
    arguments: tuple[str, ...]
    defaults: Mapping[str, Any]
    configuration: Mapping[str, Any]
    after: tuple[str, ...]
    flags: frozenset[str]

    @property
    def makes_results(self) -> bool:
        """Whether it writes a folder of results; stores are added to, and never overwritten."""
        return "overwrite" in self.flags

    def run(self, *more: str) -> int:
        """Run the command, with ``more`` flags if it has them, and return its exit code.

        Raises:
            MPProbeError: the command's own, its message with where in the study that is.
        """
        from mpprobe.cli.app import app

        known = [flag for flag in more if flag.removeprefix("--").removeprefix("no-") in self.flags]
        shared: dict[str, Any] = dict(self.defaults)
        for word in reversed(self.words):
            shared = {word: shared}
        try:
            line = [*self.words, *known, f"--output={self.output}", *self.arguments]
            return app(line, prog_name="mpprobe", standalone_mode=False, default_map=shared) or 0
        except MPProbeError as error:
            error.args = (f"{self.where}: {error}",)
            raise

    def check(self) -> None:
        """Try the step out as far as its command can: models and structures are looked at.

        Raises:
            MPProbeError: see :meth:`run`.
        """
        if "dry-run" in self.flags:
            with contextlib.redirect_stdout(io.StringIO()):
                self.run("--dry-run", "--quiet")


def make_step(
    name: str,
    command: str,
    own: Mapping[str, Any],
    shared: Mapping[str, Any],
    before: Sequence[Step],
    folder: Path,
    where: str,
) -> Step:
    """The step that a study's file describes.

    Args:
        name: of the step.
        command: its words, as in ``toy train``.
        own: its options, by flag; None stands for the command's default.
        shared: those of all steps; those that the command lacks are left out.
        before: earlier steps; ``store`` may name one, and a command that takes any number of
            folders takes theirs if it is given none.
        folder: of the study.
        where: what messages begin with.

    Raises:
        MPProbeError: an unknown command or option, or a value of the wrong kind.
    """
    found = find_command(command, where)
    known = options.options_of(found)
    _check_names(own, known, f"{where}: mpprobe {command}")
    own, after = _with_folders(own, known, {step.name: step for step in before})
    arguments = [
        a for flag, value in own.items() for a in _as_line(flag, known[flag], value, where)
    ]
    defaults = {
        known[flag].name: options.checked(known[flag], value, f"{where}: shared {flag}")
        for flag, value in shared.items()
        if flag in known and flag not in own and value is not None
    }
    output = folder / (name + Path(known["output"].default or "").suffix)
    return Step(
        name, tuple(command.split()), where, output, tuple(arguments), defaults,
        _configuration(found, command, arguments, defaults, where), tuple(after), frozenset(known),
    )  # fmt: skip


def commands() -> dict[str, Any]:
    """The commands that write an output, by their words."""
    from typer.main import get_command

    from mpprobe.cli.app import app

    found: dict[str, Any] = {}
    group: Any = get_command(app)
    for name, command in group.commands.items():
        below = getattr(command, "commands", None)
        found |= {f"{name} {n}": c for n, c in below.items()} if below else {name: command}
    # A study is no step of a study.
    return {n: c for n, c in found.items() if n != "run" and "output" in options.options_of(c)}


def find_command(name: str, where: str) -> Any:
    """The command of that name.

    Raises:
        MPProbeError: there is none that writes an output.
    """
    known = commands()
    if name not in known:
        raise MPProbeError(f"{where}: no step is called {name!r}; {_suggestion(name, known)}")
    return known[name]


def _check_names(own: Mapping[str, Any], known: Mapping[str, Any], where: str) -> None:
    reserved = [flag for flag in own if flag in RESERVED]
    if reserved:
        raise MPProbeError(f"{where}: {', '.join(reserved)} is set by `mpprobe run`; leave it out")
    takes = [flag for flag in known if flag not in RESERVED]
    for flag in own:
        if flag not in known:
            raise MPProbeError(f"{where} has no option {flag!r}; {_suggestion(flag, takes)}")


def _suggestion(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"


def _with_folders(
    own: Mapping[str, Any], known: Mapping[str, Any], before: Mapping[str, Step]
) -> tuple[dict[str, Any], list[str]]:
    """The options with the folders of earlier steps in place of their names, and those names."""
    filled: dict[str, Any] = dict(own)
    after: list[str] = []
    for flag, option in known.items():
        if option.nargs == -1:
            filled.setdefault(flag, [name for name, step in before.items() if step.makes_results])
        elif flag not in _FOLDERS:
            continue
        given = filled.get(flag)
        many = isinstance(given, list)
        names: list[Any] = given if isinstance(given, list) else [given]
        after += [name for name in names if name in before]
        paths = [str(before[name].output) if name in before else name for name in names]
        if flag in filled:
            filled[flag] = paths if many else paths[0]
    return filled, after


def _as_line(flag: str, option: Any, value: Any, where: str) -> list[str]:
    """An option and its value as they stand on a command line."""
    if value is None:
        return []
    value = options.checked(option, value, f"{where}: {flag}")
    if isinstance(value, bool):
        off = max(option.secondary_opts, key=len, default=None)
        return [f"--{flag}"] if value else [off] if off else []
    values = [str(one) for one in (value if isinstance(value, list) else [value])]
    return values if option.nargs == -1 else [f"--{flag}={one}" for one in values]


def _configuration(
    command: Any, name: str, arguments: Sequence[str], defaults: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """The options in force that decide what comes out, after the command has parsed them.

    Raises:
        MPProbeError: one is missing or has a value that the command doesn't take.
    """
    try:
        context = command.make_context(name, list(arguments), default_map=dict(defaults))
    except typer.BadParameter as error:
        opts = error.param.opts if error.param else [name]
        flag = max(opts, key=len).removeprefix("--")
        reason = str(error.message).rstrip(".") or "is needed, and not given"
        raise MPProbeError(f"{where}: {flag}: {reason}") from error
    values = options.effective_values(context)
    return {flag: value for flag, value in values.items() if flag not in MANNER}
