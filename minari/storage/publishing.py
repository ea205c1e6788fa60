"""Public import path of atomic writes, for authors of formats."""

from minari._base.atomic import write_atomically


__all__ = ["write_atomically"]
