"""Where a number comes from: atoms, features and layers that it depends on."""

from mpprobe.attribution.conductance import conductance
from mpprobe.attribution.edges import EdgeAttribution, attribute_edges
from mpprobe.attribution.influence import (
    Influence,
    influence,
    influence_graph,
    influence_through,
)
from mpprobe.attribution.lens import energy_lens
from mpprobe.attribution.maps import BASELINES, METHODS, Attribution, attribute
from mpprobe.attribution.scalars import Decoded, ForceComponent, Scalar, SiteEnergy, TotalEnergy
from mpprobe.attribution.study import (
    Attributed,
    AttributionPlan,
    fit_decoded,
    make_attribution,
    parse_number,
)

__all__ = [
    "BASELINES",
    "METHODS",
    "Attributed",
    "Attribution",
    "AttributionPlan",
    "Decoded",
    "EdgeAttribution",
    "ForceComponent",
    "Influence",
    "Scalar",
    "SiteEnergy",
    "TotalEnergy",
    "attribute",
    "attribute_edges",
    "conductance",
    "energy_lens",
    "fit_decoded",
    "influence",
    "influence_graph",
    "influence_through",
    "make_attribution",
    "parse_number",
]
