"""mpprobe: open pretrained graph-neural-network interatomic potentials and probe what is inside."""

from mpprobe.errors import MPProbeError
from mpprobe.models import load, named_models

__version__ = "0.1.0"

__all__ = ["MPProbeError", "__version__", "load", "named_models"]
