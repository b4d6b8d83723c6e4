"""Speed and memory of mpprobe, measured against its peers in one run: ``python -m benchmarks``."""
