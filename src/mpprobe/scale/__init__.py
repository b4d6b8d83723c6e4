"""The same work on many processes or machines."""

from mpprobe.scale.executor import DaskExecutor, dask_executor

__all__ = ["DaskExecutor", "dask_executor"]
