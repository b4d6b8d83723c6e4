"""Names for what SevenNet, MACE and e3nn give us, which have no types of their own."""

from __future__ import annotations

from typing import Any, TypeAlias

#: A torch module of theirs. (Torch has every attribute of a module be a tensor or a module.)
ForeignModule: TypeAlias = Any

#: e3nn's ``Irreps``.
ForeignIrreps: TypeAlias = Any
