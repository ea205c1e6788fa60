"""Public import path of the lock of a dataset, for authors of formats."""

from minari._base.locks import folder_lock


__all__ = ["folder_lock"]
