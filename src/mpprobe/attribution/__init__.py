"""Where a number comes from: atoms, features and layers that it depends on."""

from mpprobe.attribution.influence import Influence, influence, influence_graph
from mpprobe.attribution.lens import energy_lens
from mpprobe.attribution.maps import BASELINES, METHODS, Attribution, attribute
from mpprobe.attribution.scalars import Decoded, ForceComponent, Scalar, SiteEnergy, TotalEnergy

__all__ = [
    "BASELINES",
    "METHODS",
    "Attribution",
    "Decoded",
    "ForceComponent",
    "Influence",
    "Scalar",
    "SiteEnergy",
    "TotalEnergy",
    "attribute",
    "energy_lens",
    "influence",
    "influence_graph",
]
