"""The built-in families and their named models. Facts only; nothing here imports torch."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpprobe.models.spec import Accelerator, Family, ModelSpec

if TYPE_CHECKING:
    from mpprobe.models.trust import CheckpointFile

_SEVENN_L2 = ("128x0e", *["128x0e+64x1e+32x2e"] * 4, "128x0e")
_SEVENN_L3 = ("128x0e", *["128x0e+64x1e+32x2e+32x3e"] * 4, "128x0e")

#: Where sevenn keeps each checkpoint below its pretrained_potentials folder or its cache.
SEVENN_FILES = {
    "7net-0": "SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth",
    "7net-0_22may2024": "SevenNet_0__22May2024/checkpoint_sevennet_0.pth",
    "7net-l3i5": "SevenNet_l3i5/checkpoint_l3i5.pth",
    "7net-mf-0": "SevenNet_MF_0/checkpoint_sevennet_mf_0.pth",
    "7net-omat": "SevenNet_omat/checkpoint_sevennet_omat.pth",
    "7net-mf-ompa": "SevenNet_MF_ompa/checkpoint_sevennet_mf_ompa.pth",
    "7net-omni": "SevenNet_omni/checkpoint_sevennet_omni.pth",
    "7net-omni-i8": "SevenNet_omni_i8/checkpoint_sevennet_omni_i8.pth",
    "7net-omni-i12": "SevenNet_omni_i12/checkpoint_sevennet_omni_i12.pth",
}

#: Names of the files that mace downloads.
MACE_FILES = {
    "small": "2023-12-10-mace-128-L0_energy_epoch-249.model",
    "medium": "2023-12-03-mace-128-L1_epoch-199.model",
    "large": "MACE_MPtrj_2022.9.model",
    "medium-mpa-0": "mace-mpa-0-medium.model",
    "small-omat-0": "mace-omat-0-small.model",
    "medium-omat-0": "mace-omat-0-medium.model",
    "off23-small": "MACE-OFF23_small.model",
    "off23-medium": "MACE-OFF23_medium.model",
    "off23-large": "MACE-OFF23_large.model",
}


def cache_folder() -> Path:
    """Where compiled kernels and SHA-256 of downloaded models are kept.

    It is ``MPPROBE_CACHE_DIR``, or mpprobe in the user's cache.
    """
    own = os.environ.get("MPPROBE_CACHE_DIR")
    shared = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else Path(shared) / "mpprobe"


def cache_folders() -> dict[str, Path]:
    """What is kept for later, and where: compiled kernels, and models that were downloaded."""
    return {
        "compiled kernels": cache_folder(),
        "models of sevenn": sevennet_cache(),
        "models of mace": mace_cache(),
    }


def sevennet_cache() -> Path:
    return Path("~/.cache/sevennet").expanduser()


def mace_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/").expanduser() / ".cache"
    return Path(home) / "mace"


def locate_sevennet(upstream: str) -> Path | None:
    """The checkpoint's path on this machine, where sevenn itself looks for it, or None."""
    package = importlib.util.find_spec("sevenn")
    if package is None or package.origin is None:
        return None
    file = SEVENN_FILES[upstream]
    roots = (
        Path(package.origin).parent / "pretrained_potentials",
        sevennet_cache(),
    )
    return next((root / file for root in roots if (root / file).is_file()), None)


def locate_mace(upstream: str) -> Path | None:
    """The model file's path in mace's cache, or None."""
    if importlib.util.find_spec("mace") is None:
        return None
    file = MACE_FILES[upstream]
    candidates = (mace_cache() / name for name in (_stripped(file), file))
    return next((path for path in candidates if path.is_file()), None)


def mace_cached_name(upstream: str) -> str:
    """The name under which mace looks for a model in its cache."""
    file = MACE_FILES[upstream]
    return file if upstream.startswith("off23-") else _stripped(file)


def _stripped(file: str) -> str:
    """mace strips everything but letters, digits and _ from the names of most files it keeps."""
    return "".join(c for c in file if c.isalnum() or c == "_")


def _sevennet(name: str, upstream: str, training_set: str, source: str, **known: Any) -> ModelSpec:
    return ModelSpec(
        name=name,
        upstream=upstream,
        licence="see its release page" if source == "download" else "MIT",
        training_set=training_set,
        source="downloaded by sevenn" if source == "download" else "inside the sevenn wheel",
        locate="mpprobe.models.families:locate_sevennet",
        **known,
    )


_IN_WHEEL = (
    _sevennet("sevenn-0", "7net-0", "MPtrj", "wheel", cutoff=5.0, irreps=_SEVENN_L2,
              aliases=("sevenn-0-11jul2024", "sevenn-0-11july2024")),
    _sevennet("sevenn-0-22may2024", "7net-0_22may2024", "M3GNet (MPF.2021.2.8)", "wheel",
              cutoff=5.0, irreps=_SEVENN_L2),
    _sevennet("sevenn-l3i5", "7net-l3i5", "MPtrj", "wheel", cutoff=5.0, irreps=_SEVENN_L3),
    _sevennet("sevenn-mf-0", "7net-mf-0", "PBE and r2SCAN, Materials Project", "wheel",
              cutoff=5.0, irreps=_SEVENN_L2, modals=("PBE", "R2SCAN")),
)  # fmt: skip

_SEVENN_DOWNLOADS = (
    _sevennet("sevenn-omat", "7net-omat", "OMat24", "download"),
    _sevennet("sevenn-mf-ompa", "7net-mf-ompa", "OMat24, MPtrj and sAlex", "download",
              modals=("mpa", "omat24")),
    *(
        _sevennet(f"sevenn-omni{depth}", f"7net-omni{depth}", "several open data sets", "download",
                  modals=("mpa", "omat24", "matpes_pbe", "matpes_r2scan", "mp_r2scan", "oc20",
                          "oc22", "odac23", "omol25_low", "omol25_high", "spice", "qcml",
                          "pet_mad"))
        for depth in ("", "-i8", "-i12")
    ),
)  # fmt: skip


def _mace(name: str, upstream: str, training_set: str, licence: str, **known: Any) -> ModelSpec:
    return ModelSpec(
        name=name,
        upstream=upstream,
        licence=licence,
        training_set=training_set,
        source="downloaded by mace",
        locate="mpprobe.models.families:locate_mace",
        **known,
    )


def _mace_irreps(first: str) -> tuple[str, str, str]:
    """Two layers: the embedding, the first layer, and the last, which keeps scalars only."""
    scalars = first.split("+")[0]
    return scalars, first, scalars


_MACE_MODELS = (
    _mace("mace-mp-0-small", "small", "MPtrj", "MIT", cutoff=6.0,
          irreps=_mace_irreps("128x0e"), aliases=("mace-mp-0a-small",)),
    _mace("mace-mp-0-medium", "medium", "MPtrj", "MIT", cutoff=6.0,
          irreps=_mace_irreps("128x0e+128x1o"), aliases=("mace-mp-0", "mace-mp-0a-medium")),
    _mace("mace-mp-0-large", "large", "MPtrj", "MIT", cutoff=6.0,
          irreps=_mace_irreps("128x0e+128x1o+128x2e"), aliases=("mace-mp-0a-large",)),
    _mace("mace-mpa-0", "medium-mpa-0", "MPtrj and sAlex", "MIT",
          aliases=("mace-mpa-0-medium",)),
    _mace("mace-omat-0", "medium-omat-0", "OMat24", "ASL (academic use)",
          aliases=("mace-omat-0-medium",)),
    _mace("mace-omat-0-small", "small-omat-0", "OMat24", "ASL (academic use)"),
    *(
        _mace(f"mace-off23-{size}", f"off23-{size}", "SPICE (organic molecules)",
              "ASL (academic use)", aliases=(f"mace-off-{size}",))
        for size in ("small", "medium", "large")
    ),
)  # fmt: skip

#: Those that sevenn builds its convolutions with; the node features keep e3nn's layout.
SEVENNET_ACCELERATORS = (
    Accelerator("FlashTP", "flashTP_e3nn"),
    Accelerator("OpenEquivariance", "openequivariance"),
    Accelerator("cuEquivariance", "cuequivariance_torch"),
)

BUILT_IN = (
    Family(
        name="sevennet",
        package="sevenn",
        load="mpprobe.models.sevennet:load",
        recognises="mpprobe.models.families:is_sevennet",
        models=_IN_WHEEL + _SEVENN_DOWNLOADS,
        fused_on_cpu=True,
        accelerators=SEVENNET_ACCELERATORS,
    ),
    Family(
        name="mace",
        package="mace",
        load="mpprobe.models.mace:load",
        recognises="mpprobe.models.families:is_mace",
        models=_MACE_MODELS,
        fused_on_cpu=True,
        note="mace's conversions to cuEquivariance and OpenEquivariance copy parameters only, "
        "which gives wrong numbers under e3nn 0.5: not used",
    ),
)


def is_sevennet(file: CheckpointFile) -> bool:
    """A dict with a configuration and a state dict, as sevenn's trainer writes it."""
    return {"config", "model_state_dict", "cutoff"} <= file.strings


def is_mace(file: CheckpointFile) -> bool:
    """A whole pickled module of mace's own classes."""
    return file.mentions("mace")
