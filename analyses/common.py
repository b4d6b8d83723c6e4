"""What every script here shares: arguments, models and structures, files, and the manifest.

The manifest says of every script which files it made, with their SHA-256, and from what: the hashes
of models and structures, the settings with the seed, the versions.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mpprobe as mp
from mpprobe.activations import journal_beside
from mpprobe.activations.journal import Journal
from mpprobe.models.trust import file_sha256
from mpprobe.provenance import PACKAGES, structures_sha256, versions
from mpprobe.report.figures import save
from mpprobe.report.files import write_json

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
MANIFEST = "manifest.json"
#: Bootstrap resamples behind an interval in quick mode.
QUICK_RESAMPLES = 50
#: They decide what a figure looks like.
DRAWING = ("pandas", "matplotlib", "seaborn")
#: Those inside the sevenn wheel; the multi-fidelity one is asked for PBE.
SEVENNETS = {
    "sevenn-0": None, "sevenn-l3i5": None, "sevenn-mf-0": "PBE", "sevenn-0-22may2024": None,
}  # fmt: skip
#: A trained MACE that may be used here, and structures of its own domain; not part of the project.
TUTORIAL = ("mace-tutorial/mace01_swa.model", "mace-tutorial/solvent_xtb_test.extxyz.gz")
#: Frames drawn at random from MPtrj; not part of the project either.
MPTRJ = "mptrj_random_1k.extxyz.gz"


class MissingFileError(Exception):
    """A file that the project may not carry, without which a script has nothing to do."""


@dataclass
class Analysis:
    """One run of one script.

    Attributes:
        name: of the script; its files begin with it.
        quick: few structures and resamples, to see that all works; the numbers mean nothing.
        public: folder with the public reference data.
        jobs: processes at once, where a script can use several.
        settings: mpprobe's own, with fewer resamples in quick mode.
        made: files by kind (``figures``, ``tables``, ``readings``).
        models, structures: what it was made from, by name.
    """

    name: str
    quick: bool
    public: Path
    jobs: int = 1
    settings: mp.Settings = field(init=False)
    made: dict[str, list[Path]] = field(default_factory=dict)
    models: dict[str, dict] = field(default_factory=dict)
    structures: dict[str, dict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n_resamples = {"n_resamples": QUICK_RESAMPLES} if self.quick else {}
        self.settings = mp.Settings(**n_resamples)

    @property
    def folder(self) -> Path:
        """Where everything goes: beside the scripts, in quick mode into ``quick``."""
        folder = FOLDER / "quick" if self.quick else FOLDER
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def sampling(self) -> dict[str, int]:
        """Resamples and seed, for functions that take no settings."""
        return {"n_resamples": self.settings.n_resamples, "seed": self.settings.seed}

    def load(self, model: str | Path, **options) -> mp.Potential:
        """A potential, entered in the manifest; scripts of one process share it."""
        potential = _load(str(model), **options)
        about = {k: v for k, v in options.items() if k != "trust_checkpoint" and v is not None}
        self.models[potential.name] = {**potential.provenance, **about}
        return potential

    def sevennets(self) -> list[mp.Potential]:
        """The SevenNets that come with sevenn, two of them in quick mode."""
        chosen = list(SEVENNETS.items())[: 2 if self.quick else None]
        return [self.load(name, modal=modal) for name, modal in chosen]

    def read(
        self, structures: str, quick: int | None = None, limit: int | None = None
    ) -> list[mp.Frame]:
        """At most ``limit`` structures, in quick mode ``quick``, entered in the manifest."""
        frames = mp.read(structures, limit=quick if self.quick else limit)
        return self.use(Path(structures).name, frames)

    def use(self, name: str, frames: Sequence[mp.Frame]) -> list[mp.Frame]:
        """Structures that a script has made or chosen, entered in the manifest."""
        self.structures[name] = {
            "n_structures": len(frames),
            "n_atoms": sum(map(len, frames)),
            "sha256": structures_sha256(frames),
        }
        return list(frames)

    def public_file(self, name: str) -> Path:
        """A file of the public reference data.

        Raises:
            MissingFileError: it isn't there.
        """
        file = self.public / name
        if not file.is_file():
            raise MissingFileError(f"{name} is not in {self.public}; name its folder with --public")
        return file

    def tutorial(self, quick: int, limit: int) -> tuple[mp.Potential, list[mp.Frame]] | None:
        """MACE's tutorial model and structures of its domain; None, and a word, without them."""
        try:
            model, structures = map(self.public_file, TUTORIAL)
        except MissingFileError as error:
            self.say(f"without a MACE model: {error}")
            return None
        # The files of the tutorial, unpickled as whoever follows it does.
        potential = self.load(model, trust_checkpoint=True)
        return potential, self.read(str(structures), quick, limit)

    def training_set(self, quick: int, limit: int) -> list[mp.Frame] | None:
        """Diverse frames of MPtrj, on which most models are trained; None, and a word, without."""
        try:
            return self.read(str(self.public_file(MPTRJ)), quick, limit)
        except MissingFileError as error:
            self.say(f"without MPtrj: {error}")
            return None

    def journal(self, about: Mapping) -> AbstractContextManager[Journal]:
        """What is done of a long calculation, from which it goes on when it was stopped."""
        return journal_beside(self.folder / self.name, about)

    def figure(self, figure: Figure, part: str = "") -> None:
        """Write NAME[_part].png and .pdf."""
        self._made("figures", *save(figure, self.folder / f"{self.name}{_suffix(part)}.png"))

    def table(self, table: pd.DataFrame, part: str = "") -> None:
        """Write NAME[_part].csv, with six digits."""
        file = self.folder / f"{self.name}{_suffix(part)}.csv"
        table.to_csv(file, index=False, float_format="%.6g")
        self._made("tables", file)

    def readings(self, lines: Iterable[str]) -> None:
        """Write NAME.txt, and show it."""
        text = "\n".join(lines)
        file = self.folder / f"{self.name}.txt"
        file.write_text(text + "\n", encoding="utf-8")
        self._made("readings", file)
        print(text)

    def say(self, what: str) -> None:
        """A word on the way, to stderr."""
        print(f"{self.name}: {what}", file=sys.stderr, flush=True)

    def entry(self) -> dict[str, Any]:
        """What the manifest says of this run."""
        kinds = ("figures", "tables", "readings")
        return {
            "script": f"{self.name}.py",
            "mode": "quick" if self.quick else "full",
            **{kind: {f.name: file_sha256(f) for f in self.made.get(kind, ())} for kind in kinds},
            "settings": asdict(self.settings),
            "models": self.models,
            "structures": self.structures,
            "versions": versions((*PACKAGES, *DRAWING)),
        }

    def _made(self, kind: str, *files: Path) -> None:
        self.made.setdefault(kind, []).extend(files)


def run(main: Callable[[Analysis], None]) -> None:
    """Run the script whose ``main`` this is, as its command line says."""
    of = main.__globals__
    perform(main, parser(of["__doc__"]).parse_args())


def perform(main: Callable[[Analysis], None], options: argparse.Namespace) -> None:
    """Run a script's ``main``, and enter in the manifest what it made."""
    name = Path(main.__globals__["__file__"]).stem
    analysis = Analysis(name, options.quick, options.public, options.jobs)
    try:
        main(analysis)
    except MissingFileError as error:
        analysis.say(f"skipped: {error}")
        return
    enter(analysis.folder / MANIFEST, name, analysis.entry())


def enter(manifest: Path, name: str, entry: Mapping[str, Any]) -> None:
    """Put a script's entry into a manifest, in the place of an earlier one."""
    held = read_manifest(manifest) if manifest.exists() else {}
    write_json(manifest, dict(sorted({**held, name: entry}.items())))


def read_manifest(manifest: Path = FOLDER / MANIFEST) -> dict[str, Any]:
    """Entries by the name of the script."""
    return json.loads(manifest.read_text(encoding="utf-8"))


def parser(description: str) -> argparse.ArgumentParser:
    """The arguments that every script takes."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few structures, into the folder quick: do all scripts work?",
    )
    parser.add_argument(
        "--public",
        type=Path,
        metavar="DIR",
        default=FOLDER.parents[1] / "shared" / "data",
        help="folder with public reference data (default: %(default)s)",
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N",
                        help="processes at once, where a script can use several")  # fmt: skip
    return parser


@cache
def _load(model: str, **options) -> mp.Potential:
    return mp.load(model, **options)


def _suffix(part: str) -> str:
    return f"_{part}" if part else ""
