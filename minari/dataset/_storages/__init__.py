"""Storage formats: one module each, and what they share."""

from minari._storages.registry import get_minari_storage, get_storage_keys, register_storage


__all__ = ["get_minari_storage", "get_storage_keys", "register_storage"]
