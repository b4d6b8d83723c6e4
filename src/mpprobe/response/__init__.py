"""Forces between distant atoms, without labels: do they follow Coulomb's law?"""

from mpprobe.response.coulomb import coulomb_fit, pair_table, unit_charge_constants
from mpprobe.response.crystals import CRYSTALS, METAL, Crystal, crystal
from mpprobe.response.force_constants import force_constants, pair_shares
from mpprobe.response.study import (
    SHELLS,
    SITES,
    Response,
    ResponsePlan,
    make_response,
    response,
)

__all__ = [
    "CRYSTALS",
    "METAL",
    "SHELLS",
    "SITES",
    "Crystal",
    "Response",
    "ResponsePlan",
    "coulomb_fit",
    "crystal",
    "force_constants",
    "make_response",
    "pair_shares",
    "pair_table",
    "response",
    "unit_charge_constants",
]
