"""Stores of one configuration, made in different places, joined into a whole one."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from mpprobe.activations.capture import Progress
from mpprobe.activations.manifest import differences
from mpprobe.activations.shards import FOLDER, SUFFIX, ShardFile
from mpprobe.activations.store import INDEX, MANIFEST, STRUCTURES, Store, listed
from mpprobe.errors import StoreError
from mpprobe.files import clear_away, replacing_folder
from mpprobe.structures.failures import FILE


def merge_stores(
    parts: Sequence[str | Path],
    folder: str | Path | None = None,
    *,
    progress: Progress = lambda done, total: None,
) -> Store:
    """Join stores of the same configuration into one that is complete.

    Every shard of every part is read and checked. The parts are left as they are.

    Args:
        parts: stores, or folders that hold one each.
        folder: in which the whole store's own folder is made, all at once. None only checks. If
            that store is the only part, it is checked too, and swept of what killed runs left.
        progress: called with the number of shards checked, and of all.

    Returns:
        The whole store; without ``folder`` the first part.

    Raises:
        StoreError: a shard is missing, damaged, of another store, or in two parts with different
            content; parts of different configurations; or the store is in ``folder`` already.
    """
    stores = [Store.open(part) for part in parts]
    if not stores:
        raise StoreError("nothing to merge: give one or more stores")
    target = None if folder is None else Path(folder) / stores[0].configuration.folder_name
    if target is not None and target.parent.is_dir():
        clear_away(target)
    own = target if target is not None and target.exists() else None
    if own and not (len(stores) == 1 and own.samefile(stores[0].folder)):
        raise StoreError(f"{own}: is there already; remove it, or choose another --output")
    files = check_parts(stores, progress)
    if target is None:
        return stores[0]
    if own:
        stores[0].sweep()
        return stores[0]
    return _build(target, stores[0], files)


def check_parts(stores: Sequence[Store], progress: Progress) -> list[ShardFile]:
    """One file for each shard, from whichever store has it.

    Raises:
        StoreError: as :func:`merge_stores`.
    """
    first = stores[0]
    for store in stores:
        _check_same(first, store)
        _check_strays(store)
        _ = store.frames  # reads and checks the structures
    files = []
    for shard in first.shards:
        files.append(
            _agreed([s for s in stores if s.file(shard.number).path.exists()], shard.number)
        )
        progress(len(files), len(first.shards))
    missing = [number for number, file in enumerate(files) if file is None]
    if missing:
        place = "missing" if len(stores) == 1 else "in none of the parts"
        raise StoreError(
            f"{first.folder}: {len(missing)} of {len(files)} shards {place} ({listed(missing)}); "
            "run the same `mpprobe extract` again"
        )
    return [file for file in files if file is not None]


def _check_same(one: Store, other: Store) -> None:
    if one.configuration != other.configuration:
        raise StoreError(
            f"{other.folder}: is of another configuration than {one.folder}; they differ in "
            f"{differences(one.configuration, other.configuration)}"
        )


def _check_strays(store: Store) -> None:
    """Refuse files among the shards that the plan doesn't know."""
    known = {store.file(shard.number).path.name for shard in store.shards}
    for path in sorted((store.folder / FOLDER).glob(f"[!.]*{SUFFIX}")):
        if path.name not in known:
            raise StoreError(f"{path}: is no shard of this store; move it away")


def _agreed(stores: Sequence[Store], number: int) -> ShardFile | None:
    """The shard's file, the same wherever there are several; None where there is none."""
    stores = [store for store in stores if store.file(number).path.exists()]
    digests = [store.check_shard(number) for store in stores]
    for store, digest in zip(stores, digests, strict=True):
        if digest != digests[0]:
            raise StoreError(
                f"{store.file(number).path}: differs from {stores[0].file(number).path}, and one "
                "can't be told to be right; remove one of them"
            )
    return stores[0].file(number) if stores else None


def _build(target: Path, part: Store, files: Sequence[ShardFile]) -> Store:
    """Copy everything beside the target, then rename."""
    with replacing_folder(target) as new:
        (new / FOLDER).mkdir()
        for name in (MANIFEST, STRUCTURES, INDEX):
            shutil.copyfile(part.folder / name, new / name)
        if (part.folder / FILE).exists():
            shutil.copyfile(part.folder / FILE, new / FILE)
        for file in files:
            shutil.copyfile(file.path, new / FOLDER / file.path.name)
        _check_copies(Store(new, part.configuration), target)
    return Store.open(target)


def _check_copies(copied: Store, target: Path) -> None:
    """Read what has been copied: a part may have been changed since it was checked."""
    for shard in copied.shards:
        try:
            copied.check_shard(shard.number)
        except StoreError as error:
            raise StoreError(
                f"{target}: shard {shard.number} was changed or damaged while it was copied; "
                "merge again"
            ) from error
