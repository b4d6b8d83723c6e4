"""mpprobe: open pretrained graph-neural-network interatomic potentials and probe what is inside."""

__version__ = "0.1.0"
