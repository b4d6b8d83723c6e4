"""Where a potential's forces hold, domain by domain and far away, against reference data."""

from mpprobe.explain.domains import METRICS, by_domain
from mpprobe.explain.encoding import EncodingErrors, encoding_errors
from mpprobe.explain.forces import ForceErrors, force_errors
from mpprobe.explain.nonlocal_forces import (
    NonlocalForces,
    by_distance,
    by_part,
    check_groups,
    nonlocal_forces,
)
from mpprobe.explain.questions import (
    benjamini_hochberg,
    held_out_domains,
    mixed_model,
    partial_correlations,
)
from mpprobe.explain.rulers import potential_rulers
from mpprobe.explain.study import Explained, ExplainingPlan, explain, make_explaining
from mpprobe.targets.reference import Reference, reference_of

__all__ = [
    "METRICS",
    "EncodingErrors",
    "Explained",
    "ExplainingPlan",
    "ForceErrors",
    "NonlocalForces",
    "Reference",
    "benjamini_hochberg",
    "by_distance",
    "by_domain",
    "by_part",
    "check_groups",
    "encoding_errors",
    "explain",
    "force_errors",
    "held_out_domains",
    "make_explaining",
    "mixed_model",
    "nonlocal_forces",
    "partial_correlations",
    "potential_rulers",
    "reference_of",
]
