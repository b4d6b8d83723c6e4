"""index.parquet: which atom each row of a store is, and where it lies, for people's own tools."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mpprobe.activations.manifest import Shard
from mpprobe.activations.rows import Rows
from mpprobe.activations.stored_frames import LABELS
from mpprobe.structures import Frame


def encode_index(frames: Sequence[Frame], shards: Sequence[Shard]) -> bytes:
    """A Parquet table with a row an atom, in the order of the features.

    Columns: ``frame``, ``atom`` (within it), ``species`` (atomic number), ``shard``, ``row``
    (within the shard), and the frame's ``source``, ``compound``, ``domain`` and ``group``.
    mpprobe itself derives all of it from the structures and the manifest.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = Rows.of(frames)
    sizes = [shard.n_rows for shard in shards]
    columns = {
        "frame": pa.array(rows.frame, pa.int64()),
        "atom": pa.array(rows.atom, pa.int64()),
        "species": pa.array(rows.species, pa.int16()),
        "shard": pa.array(np.repeat(np.arange(len(shards)), sizes), pa.int64()),
        "row": pa.array(np.concatenate([np.arange(n) for n in sizes]), pa.int64()),
    }
    for label in LABELS:
        names, codes = np.unique([getattr(f, label) for f in frames], return_inverse=True)
        columns[label] = pa.DictionaryArray.from_arrays(
            pa.array(codes[rows.frame], pa.int32()), pa.array(names.tolist())
        )
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    return sink.getvalue().to_pybytes()
