"""Spaces as JSON, in the form of ``metadata.json``; custom spaces can be registered with both functions."""

from minari.spaces.serialization import deserialize_space, serialize_space


__all__ = ["deserialize_space", "serialize_space"]
