"""Public import paths of the storage formats."""

from minari._storages.registry import get_minari_storage, get_storage_keys, register_storage


__all__ = ["get_minari_storage", "get_storage_keys", "register_storage"]
