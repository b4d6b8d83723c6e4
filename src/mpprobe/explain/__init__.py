"""Where a potential's forces hold, domain by domain, against reference data."""

from mpprobe.explain.domains import METRICS, by_domain
from mpprobe.explain.forces import ForceErrors, force_errors
from mpprobe.explain.reference import Reference, reference_of
from mpprobe.explain.rulers import potential_rulers

__all__ = [
    "METRICS",
    "ForceErrors",
    "Reference",
    "by_domain",
    "force_errors",
    "potential_rulers",
    "reference_of",
]
