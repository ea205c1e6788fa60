"""Spaces as JSON, in the form of ``metadata.json``; both functions are open for the registration of custom spaces."""

from minari.spaces.serialization import deserialize_space, serialize_space


__all__ = ["deserialize_space", "serialize_space"]
