"""Options that commands share, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mpprobe.cli import completion
from mpprobe.errors import MPProbeError

#: In a YAML file. With a few one can say a thing once; with hundreds a thing of any size.
MOST_ALIASES = 20


def read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Take defaults from a YAML file; what is given on the command line wins.

    Raises:
        MPProbeError: the file can't be read, isn't a mapping, has a key no option has, or a value
            that no option takes.
    """
    if path is None:
        return None
    values = read_mapping(path, "give one option a line, as in `layer: [2, 3]`")
    options = options_of(context.command)
    values = {str(key).replace("_", "-"): value for key, value in values.items()}
    unknown = sorted(set(values) - set(options))
    if unknown:
        raise MPProbeError(
            f"{path}: no option is called {', '.join(unknown)}; "
            f"there are {', '.join(sorted(options))}"
        )
    context.default_map = {
        options[key].name: checked(options[key], value, f"{path}: {key}")
        for key, value in values.items()
        if value is not None
    }
    return path


def read_mapping(path: Path, advice: str) -> dict:
    """A YAML file that holds a mapping, empty if the file is.

    Raises:
        MPProbeError: it can't be read, or holds something else; the message ends with ``advice``.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        # An alias of an alias of an alias can stand for more values than can be gone through.
        _check_aliases(path, sum(isinstance(t, yaml.AliasToken) for t in yaml.scan(text)))
        values = yaml.safe_load(text) or {}
    except (OSError, UnicodeDecodeError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise MPProbeError(f"{path}: can't be read as YAML ({reason})") from error
    if not isinstance(values, dict):
        raise MPProbeError(f"{path}: {advice}")
    return values


def _check_aliases(path: Path, count: int) -> None:
    if count > MOST_ALIASES:
        raise MPProbeError(f"{path}: has {count} aliases (*name), and may have {MOST_ALIASES}")


def checked(option: Any, value: Any, where: str) -> Any:
    """What YAML gave for an option, as Typer takes it: a list for one that is repeatable.

    Raises:
        MPProbeError: a list or mapping where one value belongs, or yes and no where they don't, or
            the other way round; the message begins with ``where``.
    """
    if getattr(option, "is_flag", False):
        if not isinstance(value, bool):
            raise MPProbeError(f"{where}: is {value!r}, and takes true or false")
        return value
    repeatable = option.multiple or option.nargs == -1
    if isinstance(value, list) and not repeatable:
        raise MPProbeError(f"{where}: takes one value, and not a list")
    values = value if isinstance(value, list) else [value]
    for one in values:
        if isinstance(one, bool):
            raise MPProbeError(f"{where}: YAML reads it as {str(one).lower()}; put it in quotes")
        if one is None or isinstance(one, (dict, list)):
            raise MPProbeError(f"{where}: takes {'values' if repeatable else 'a value'}, not {one}")
    return values if repeatable else value


def options_of(command: Any) -> dict[str, Any]:
    """The options of a command by their long flags without dashes, ``--config`` aside."""
    by_flag = {max(p.opts, key=len).removeprefix("--"): p for p in command.params}
    return {flag: p for flag, p in by_flag.items() if flag != "config"}


def parse_labels(pairs: list[str] | None) -> dict[str, str]:
    """``LABEL=KEY`` pairs as a mapping.

    Raises:
        MPProbeError: a pair is not of that form.
    """
    labels = {}
    for pair in pairs or []:
        label, equals, key = pair.partition("=")
        if not (label and equals and key):
            raise MPProbeError(f"--label {pair}: write LABEL=KEY, as in domain=config_type")
        labels[label] = key
    return labels


def effective_config(context: typer.Context) -> str:
    """The options in force, as YAML that ``--config`` reads back."""
    import yaml

    return yaml.safe_dump(effective_values(context), sort_keys=True, allow_unicode=True)


def effective_values(context: typer.Context) -> dict[str, Any]:
    """The options in force as plain data, by their flags without dashes."""

    def plain(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [plain(v) for v in value]
        return str(value) if isinstance(value, Path) else value

    return {
        flag: plain(context.params[option.name])
        for flag, option in options_of(context.command).items()
        if flag not in {"dry-run", "overwrite"}
    }


Config = Annotated[
    Path | None,
    typer.Option(
        "-c", "--config", metavar="FILE.yaml", is_eager=True, callback=read_config,
        help="Take options from here; the command line wins.",
    ),
]  # fmt: skip
_MODEL = "A name from `mpprobe models`, the path of a checkpoint, or random:MODEL[:SEED]."
_MODEL_OPTION = typer.Option(
    "-m", "--model", metavar="MODEL", help=_MODEL, autocompletion=completion.models
)
Model = Annotated[str, _MODEL_OPTION]
OptionalModel = Annotated[str | None, _MODEL_OPTION]
Models = Annotated[
    list[str],
    typer.Option(
        "-m", "--model", metavar="MODEL", help=f"{_MODEL} Repeatable.",
        autocompletion=completion.models,
    ),
]  # fmt: skip
Fast = Annotated[
    bool,
    typer.Option(
        "--fast/--no-fast",
        help="Fused kernels where there are some (see `mpprobe models`), or the plain forward "
        "pass of the model's package; the same numbers to rounding.",
    ),
]
Store = Annotated[
    Path | None,
    typer.Option(
        "--store", metavar="DIR",
        help="Probe the features that `mpprobe extract` put there; they need no model.",
    ),
]  # fmt: skip
Executor = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="Who does the work: serial, or dask (many processes).",
        autocompletion=completion.choice(*completion.EXECUTORS),
    ),
]  # fmt: skip
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="A running Dask scheduler, such as tcp://node1:8786; by default dask starts workers "
        "here.",
    ),
]  # fmt: skip
Workers = Annotated[
    int | None, typer.Option(min=1, help="Dask workers to start here; by default one a core.")
]
Structures = Annotated[
    list[str],
    typer.Option(
        "-s", "--structures", metavar="FILE|SET",
        help="Files of any ASE format, globs, slices (run.xyz@:10), or built-in sets "
        "(ionic, ionic:all, ionic:surface). Repeatable.",
        autocompletion=completion.structures,
    ),
]  # fmt: skip
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label", metavar="LABEL=KEY",
        help="Take compound, domain or group from this info key of the files, as in "
        "domain=config_type. Repeatable.",
    ),
]  # fmt: skip
Layers = Annotated[
    list[str],
    typer.Option(
        "-l", "--layer", metavar="INDEX|all",
        help="0 is the species embedding, t the t-th message passing. Repeatable.",
        autocompletion=completion.layers,
    ),
]  # fmt: skip
Device = Annotated[
    str,
    typer.Option(
        help="auto, cpu, cuda, cuda:N or mps.",
        autocompletion=completion.choice("auto", "cpu", "cuda", "cuda:0", "mps"),
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="float32 or float64; the checkpoint's own if not given.",
        autocompletion=completion.choice("float32", "float64"),
    ),
]
MaxAtoms = Annotated[int | None, typer.Option(min=1, help="Most atoms in one forward pass.")]
Modal = Annotated[
    str | None,
    typer.Option(
        help="Fidelity of a multi-fidelity SevenNet.", autocompletion=completion.modals
    ),
]  # fmt: skip
ModalOfData = Annotated[
    str | None,
    typer.Option(
        "--modal",
        help="Fidelity of the multi-fidelity SevenNets among the models; by default the one "
        "called as the functional of the structures (info key xc).",
        autocompletion=completion.modals,
    ),
]
Head = Annotated[str | None, typer.Option(help="Head of a multi-head MACE.")]
Trust = Annotated[
    bool,
    typer.Option("--trust-checkpoint", help="Load a checkpoint that can run code, though unknown."),
]
RandomWeights = Annotated[
    bool,
    typer.Option(
        "--random-weights/--no-random-weights",
        help="The same with the architecture's weights drawn at random.",
    ),
]
RandomSeeds = Annotated[
    int, typer.Option(min=0, help="How many models with random weights to compare with.")
]
Output = Annotated[
    Path, typer.Option("-o", "--output", metavar="DIR", help="Where the results go.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the results that are there.")]
Seed = Annotated[
    int, typer.Option(min=0, help="Of splits, resamples, shuffles and random weights.")
]
Folds = Annotated[int, typer.Option(min=2, help="Folds of every split.")]
InDomain = Annotated[
    list[str],
    typer.Option(
        metavar="NAME", help="Domains taken as in domain: --split domain trains there. Repeatable.",
        autocompletion=completion.domains,
    ),
]  # fmt: skip
Assignments = Annotated[
    int, typer.Option(min=1, help="Random assignments to folds that scores are averaged over.")
]
Within = Annotated[
    str | None,
    typer.Option(
        metavar="WHAT",
        help="Probes are fitted and scored within kinds of atoms: of one species in a compound "
        "(kind), in one structure or group, or with one value of array:NAME. Default: what all "
        "structures say (info key within), else kind.",
        autocompletion=completion.choice(*completion.WITHIN),
    ),
]
Atoms = Annotated[
    str | None,
    typer.Option(
        "--atoms", metavar="WHICH",
        help="Atoms that count: all, array:NAME (where it isn't zero), or indices as in 0,5. "
        "Default: array:watched where all structures have it, else all.",
    ),
]  # fmt: skip
ControlCutoffs = Annotated[
    int,
    typer.Option(
        min=1,
        help="Descriptors and charge-weighted sums within one cutoff, and up to so many, stand "
        "beside the layers.",
    ),
]
NearDuplicates = Annotated[
    str,
    typer.Option(
        metavar="WHAT",
        help="Copies and neighbouring frames of a trajectory: together on one side of a split, or "
        "apart.",
        autocompletion=completion.choice("together", "apart"),
    ),
]
Resamples = Annotated[int, typer.Option(min=100, help="Bootstrap resamples behind each interval.")]
Forces = Annotated[
    str, typer.Option(metavar="NAME", help="Per-atom array of the reference forces (eV/Å).")
]
Limit = Annotated[
    int | None, typer.Option(min=1, help="At most so many structures, spread over domains.")
]
OnError = Annotated[
    str,
    typer.Option(
        "--on-error", metavar="stop|skip",
        help="What a structure that can't be used does: stop everything, or be left out and "
        "listed in failures.csv (exit code 4).",
        autocompletion=completion.choice(*completion.ON_ERROR),
    ),
]  # fmt: skip
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check the input, say what would be done, and stop.")
]
Json = Annotated[bool, typer.Option("--json", help="Results as JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only results and errors.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Also scores by domain.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
ShowProgress = Annotated[
    bool | None,
    typer.Option("--progress/--no-progress", help="A bar; by default only on a terminal."),
]
