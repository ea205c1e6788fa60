"""Public import path of the registry of formats."""

from minari._storages.registry import get_minari_storage, get_storage_keys, register_storage


__all__ = ["get_minari_storage", "get_storage_keys", "register_storage"]
