"""One small Dask cluster, of real processes, for all tests that need one."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def two_workers():
    """An executor on two worker processes of this machine."""
    pytest.importorskip("distributed", reason='needs Dask (pip install "mpprobe[scale]")')
    from mpprobe.scale import dask_executor

    with dask_executor(workers=2) as executor:
        yield executor
