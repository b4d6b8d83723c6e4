"""What a store is of: its configuration, whose SHA-256 names it, and the plan of its shards."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mpprobe.activations.capture import batch_limit, batches, parse_layers
from mpprobe.activations.stored_frames import encode_frames
from mpprobe.errors import ModelError, StoreError
from mpprobe.models.potential import Layer, Potential
from mpprobe.provenance import versions
from mpprobe.structures import Frame, check

FORMAT = 2
#: The kinds of features, as tables call them: the model's, and those of its architecture with
#: random weights. In a store each seed of the latter is a kind of its own, see :func:`random_kind`.
MODEL = "model"
RANDOM_WEIGHTS = "random weights"
DTYPES = ("float32", "float16")

#: A shard is planned to hold this much at most, so that a killed run loses little.
SHARD_BYTES = 192 * 2**20
#: ... and small stores are cut into about this many, so that many tasks share them evenly.
SHARDS = 256
#: A shard holds at least so many full batches, since its last one is only partly filled.
BATCHES = 4

# Numbers of other releases of these differ, if only by rounding.
DECIDING = ("mpprobe", "torch", "numba", "e3nn", "sevenn", "mace-torch")


@dataclass(frozen=True)
class StoredModel:
    """The potential whose node features a store holds, as far as it is known without it.

    Attributes:
        name, family: as the potential's.
        cutoff: Å.
        species: atomic numbers it knows.
        layers: those stored, ascending; layer 0 is always among them.
        dtype: in which the features were computed, such as ``torch.float32``.
        device: the kind of device they were computed on: ``cpu``, ``cuda`` or ``mps``.
        provenance: what identifies the weights, as the potential's.
    """

    name: str
    family: str
    cutoff: float
    species: tuple[int, ...]
    layers: tuple[Layer, ...]
    dtype: str
    device: str
    provenance: dict[str, str]

    @classmethod
    def of(cls, potential: Potential, layers: Iterable[int]) -> StoredModel:
        """Describe a potential, with the layers that are stored."""
        return cls(
            name=potential.name,
            family=potential.family,
            cutoff=potential.cutoff,
            species=tuple(potential.species),
            layers=tuple(potential.layer(t) for t in layers),
            dtype=str(potential.dtype),
            device=potential.device.type,
            provenance=dict(potential.provenance),
        )

    def layer(self, index: int) -> Layer:
        """The stored layer with this index.

        Raises:
            ModelError: it isn't stored.
        """
        for layer in self.layers:
            if layer.index == index:
                return layer
        held = ", ".join(str(layer.index) for layer in self.layers)
        raise ModelError(
            f"layer {index}: the store of {self.name} holds layers {held}; extract again with "
            f"--layer {index}, or choose one of these"
        )


@dataclass(frozen=True)
class Shard:
    """A run of whole structures whose node features lie in one file.

    Attributes:
        number: from 0.
        first_row, n_rows: its atoms, among all of the store.
        first_frame, n_frames: its structures, likewise.
    """

    number: int
    first_row: int
    n_rows: int
    first_frame: int
    n_frames: int

    @property
    def rows(self) -> slice:
        return slice(self.first_row, self.first_row + self.n_rows)

    @property
    def frames(self) -> slice:
        return slice(self.first_frame, self.first_frame + self.n_frames)


@dataclass(frozen=True)
class Configuration:
    """All that decides what is in a store. Not in it: time, machine, and place on the disk.

    Attributes:
        model: whose features.
        kinds: :data:`MODEL`, then one kind for each of the seeds (see :func:`random_kind`).
        random_weights_seeds: seeds of the random-weights models; empty if there are none.
        structures: SHA-256 of the stored structures, labels included, in their order.
        dtype_store: ``float32`` or ``float16``.
        max_atoms: most atoms in one forward pass.
        shards: number of structures and of atoms in each.
        versions: of the packages that decide the numbers.
        format: of the files.
    """

    model: StoredModel
    kinds: tuple[str, ...]
    random_weights_seeds: tuple[int, ...]
    structures: str
    dtype_store: str
    max_atoms: int
    shards: tuple[tuple[int, int], ...]
    versions: dict[str, str]
    format: int = FORMAT

    @property
    def sha256(self) -> str:
        return hashlib.sha256(_canonical(asdict(self))).hexdigest()

    @property
    def folder_name(self) -> str:
        """The model's name and the first 16 digits of the hash."""
        name = re.sub(r"[^\w.-]+", "-", self.model.name).lstrip(".-") or "model"
        return f"{name}-{self.sha256[:16]}"

    @property
    def n_bytes(self) -> int:
        """Size of the features on disk."""
        return bytes_per_atom(self.model.layers, self.kinds, self.dtype_store) * sum(
            n_atoms for _, n_atoms in self.shards
        )

    def plan(self) -> tuple[Shard, ...]:
        """The shards, in order."""
        ends = np.cumsum([(0, 0), *self.shards], axis=0).tolist()
        return tuple(
            Shard(i, first_row=row, n_rows=n_atoms, first_frame=frame, n_frames=n_frames)
            for i, ((frame, row), (n_frames, n_atoms)) in enumerate(
                zip(ends, self.shards, strict=False)
            )
        )


def random_kind(seed: int) -> str:
    """The kind of features that the random-weights model of this seed has: ``random weights 3``."""
    return f"{RANDOM_WEIGHTS} {seed}"


def kinds_of(seeds: Iterable[int]) -> tuple[str, ...]:
    """The kinds in a store with random-weights models of these seeds."""
    return (MODEL, *(random_kind(seed) for seed in seeds))


def configure(
    potential: Potential,
    frames: Sequence[Frame],
    layers: int | str | Iterable[int | str] = "all",
    *,
    dtype_store: str = "float32",
    max_atoms: int | None = None,
    random_seeds: int = 5,
    seed: int = 0,
) -> Configuration:
    """The configuration of a store; arguments and errors as in :meth:`Store.create`."""
    if dtype_store not in DTYPES:
        raise StoreError(f"dtype {dtype_store!r}: a store holds {' or '.join(DTYPES)}")
    if not frames:
        raise StoreError("no structures to take node features of: give one or more")
    check(frames, species=potential.species, cutoff=potential.cutoff)
    model = StoredModel.of(potential, sorted({0, *parse_layers(potential, layers)}))
    seeds = seeds_of(potential, random_seeds, seed)
    kinds = kinds_of(seeds)
    max_atoms = batch_limit(potential, max_atoms)
    return Configuration(
        model=model,
        kinds=kinds,
        random_weights_seeds=seeds,
        structures=hashlib.sha256(encode_frames(frames)).hexdigest(),
        dtype_store=dtype_store,
        max_atoms=max_atoms,
        shards=plan_shards(frames, max_atoms, bytes_per_atom(model.layers, kinds, dtype_store)),
        versions=deciding_versions(),
    )


def seeds_of(potential: Potential, random_seeds: int, seed: int) -> tuple[int, ...]:
    """Seeds of a potential's random-weights models, counted from ``seed``.

    Raises:
        StoreError: their number is negative.
    """
    if random_seeds < 0:
        raise StoreError(
            f"random_seeds {random_seeds}: give the number of random-weights models, 0 or more"
        )
    if "random_weights_seed" in potential.provenance:
        return ()
    return tuple(range(seed, seed + random_seeds))


def deciding_versions() -> dict[str, str]:
    """Versions of what decides the numbers, to the last digit."""
    return {name: version for name, version in versions().items() if name in DECIDING}


def bytes_per_atom(layers: Iterable[Layer], kinds: Sequence[str], dtype_store: str) -> int:
    """Size of the features of one atom."""
    return sum(layer.dim for layer in layers) * len(kinds) * np.dtype(dtype_store).itemsize


def plan_shards(
    frames: Sequence[Frame], max_atoms: int, atom_bytes: int
) -> tuple[tuple[int, int], ...]:
    """Number of structures and of atoms in each shard: consecutive whole structures.

    A shard takes structures while it has at most n atoms; a larger structure stands alone. n is
    the number of all atoms over :data:`SHARDS`, but at least :data:`BATCHES` full batches, and at
    most what fits in :data:`SHARD_BYTES`. It depends on nothing else, so that all tasks that share
    the work make the same plan.
    """
    total = sum(len(frame) for frame in frames)
    wanted = max(-(-total // SHARDS), BATCHES * max_atoms)
    n = max(1, min(wanted, SHARD_BYTES // atom_bytes))
    runs = batches(frames, n)
    return tuple((len(run), sum(len(frames[i]) for i in run)) for run in runs)


def encode_manifest(configuration: Configuration) -> bytes:
    """manifest.json: the configuration and its hash, to be read by people too."""
    manifest = {"sha256": configuration.sha256, "configuration": asdict(configuration)}
    return (json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def decode_manifest(content: bytes) -> Configuration:
    """The configuration in a manifest.json.

    Raises:
        StoreError: it isn't one, is damaged, or of another format.
    """
    try:
        manifest = json.loads(content)
        held = manifest["configuration"]
        if held["format"] != FORMAT:
            raise StoreError(
                f"is of format {held['format']}, and this release reads format {FORMAT}; extract "
                "again"
            )
        configuration = _configuration(held)
        whole = configuration.sha256 == manifest["sha256"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        whole = False
    if not whole:
        raise StoreError("is damaged, or no manifest of a store; extract again")
    return configuration


def _configuration(held: Mapping[str, Any]) -> Configuration:
    if any(type(n) is not int or not 0 < n < 2**53 for sizes in held["shards"] for n in sizes):
        raise ValueError("sizes of shards")
    kinds, seeds = tuple(held["kinds"]), tuple(held["random_weights_seeds"])
    if any(type(seed) is not int for seed in seeds) or kinds != kinds_of(seeds):
        raise ValueError("kinds and seeds")
    model = dict(held["model"])
    model["layers"] = tuple(Layer(**layer) for layer in model["layers"])
    model["species"] = tuple(model["species"])
    return Configuration(
        **{
            **held,
            "model": StoredModel(**model),
            "kinds": kinds,
            "random_weights_seeds": seeds,
            "shards": tuple((n_frames, n_atoms) for n_frames, n_atoms in held["shards"]),
        }
    )


def differences(one: Configuration, other: Configuration) -> str:
    """What two configurations don't share, in a few words with both values where short."""
    return ", ".join(_differences(asdict(one), asdict(other), ""))


def _differences(one: Mapping, other: Mapping, prefix: str) -> Iterable[str]:
    for key in sorted({*one, *other}):
        a, b = one.get(key), other.get(key)
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b, f"{name} ")
        elif a != b:
            short = max(len(str(a)), len(str(b))) < 70
            yield f"{name} ({a} and {b})" if short else name


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
