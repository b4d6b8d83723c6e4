"""mpprobe: open pretrained graph-neural-network interatomic potentials and probe what is inside.

In a few lines::

    import mpprobe as mp

    frames = mp.read("ionic")
    potential = mp.load("sevenn-0")
    study = mp.probe(potential, frames, layers="all", targets="potential", splits="compound")
    print(study.scores)

Names are imported when they are first used, so that ``import mpprobe`` is quick.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Activations": "mpprobe.activations",
    "Batch": "mpprobe.models.graph",
    "Erasing": "mpprobe.interventions",
    "Explained": "mpprobe.explain",
    "Failure": "mpprobe.structures",
    "ForceErrors": "mpprobe.explain",
    "Frame": "mpprobe.structures",
    "MPProbeError": "mpprobe.errors",
    "NonlocalForces": "mpprobe.explain",
    "Patched": "mpprobe.interventions",
    "Plan": "mpprobe.probes",
    "Potential": "mpprobe.models.potential",
    "Response": "mpprobe.response",
    "Settings": "mpprobe.probes",
    "Store": "mpprobe.activations",
    "Steered": "mpprobe.interventions",
    "Study": "mpprobe.probes",
    "by_distance": "mpprobe.explain",
    "by_domain": "mpprobe.explain",
    "by_part": "mpprobe.explain",
    "check_potential": "mpprobe.testing",
    "dask_executor": "mpprobe.scale",
    "erase": "mpprobe.interventions",
    "extract": "mpprobe.activations",
    "force_constants": "mpprobe.response",
    "force_errors": "mpprobe.explain",
    "get_target": "mpprobe.targets",
    "load": "mpprobe.models",
    "make_plan": "mpprobe.probes",
    "make_split": "mpprobe.probes",
    "merge_stores": "mpprobe.activations",
    "named_models": "mpprobe.models",
    "nonlocal_forces": "mpprobe.explain",
    "patch": "mpprobe.interventions",
    "potential_rulers": "mpprobe.explain",
    "probe": "mpprobe.probes",
    "read": "mpprobe.structures",
    "register_target": "mpprobe.targets",
    "steer": "mpprobe.interventions",
    "stream": "mpprobe.activations",
    "target_names": "mpprobe.targets",
    "usable": "mpprobe.structures",
    "write_erasing": "mpprobe.report.erasing",
    "write_explained": "mpprobe.report.explaining",
    "write_force_errors": "mpprobe.report.domains",
    "write_nonlocal_forces": "mpprobe.report.nonlocal_forces",
    "write_patched": "mpprobe.report.patch",
    "write_report": "mpprobe.report.page",
    "write_response": "mpprobe.report.response",
    "write_steered": "mpprobe.report.steering",
    "write_study": "mpprobe.report.files",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mpprobe' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
