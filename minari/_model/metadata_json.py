"""``metadata.json`` in its stored form: parsed and checked.

Nothing here needs Gymnasium or NumPy, so that thousands of datasets are listed quickly.
:mod:`minari._model.metadata` interprets the descriptions of spaces and environments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minari._base.json_text import parse_json, shortened
from minari.errors import DatasetCorruptError


__all__ = [
    "MOST_METADATA",
    "SPACES",
    "TOTALS",
    "check_metadata",
    "damaged",
    "parse_metadata",
    "size_of",
    "size_text",
    "texts_of",
    "with_id_of_place",
]

#: Maximum size of the metadata of a dataset; the largest images need a third of it.
MOST_METADATA = 1 << 26

TOTALS = ("total_episodes", "total_steps")
SPACES = ("observation_space", "action_space")

_MOST = 2**63 - 1  # largest total
_LEAST = 0.05  # MB; less is rounded to zero
_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    **dict.fromkeys(("data_format", "env_spec", "eval_env_spec", "dataset_id", "minari_version"), (str, "a string")),
    **dict.fromkeys(SPACES, ((str, dict), "the description of a space")),
    "jpeg_encoding": (bool, "true or false"),
    "multi_agent": (bool, "true or false"),
    "combined_datasets": (list, "a list of dataset ids"),
    "deduplicated_stacks": (dict, "numbers of episodes by the names of observations"),
}
_FRAME_STACKS = ("keep", "deduplicate")


def parse_metadata(text: str | bytes, source: object) -> dict[str, Any]:
    """Return the checked object of the text of a metadata file.

    Args:
        text: the content of the file.
        source: its path, for messages.

    Raises:
        DatasetCorruptError: the text is not a JSON object, or a key is missing or has an invalid value.
    """
    if len(text) > MOST_METADATA:
        raise DatasetCorruptError(
            f"The metadata of {source} is larger than {MOST_METADATA:,} bytes, which no dataset needs; download it "
            f"again, or leave it alone."
        )
    try:
        value = parse_json(text)
    except ValueError as error:
        raise DatasetCorruptError(f"The metadata file {source} is damaged, it is not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise DatasetCorruptError(f"The metadata file {source} must hold a JSON object, got {shortened(value)}.")
    return check_metadata(value, source)


def check_metadata(raw: dict[str, Any], source: object) -> dict[str, Any]:
    """Return the object after checking everything that the library relies on.

    Args:
        raw: the object of a metadata file, with spaces and specs as JSON strings.
        source: its origin, for messages.

    Raises:
        DatasetCorruptError: a key is missing or has an invalid value.
    """
    for key in TOTALS:
        value = raw.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
            raise damaged(source, key, "a count from 0", raw)
    for key in SPACES:
        # Datasets of 0.3 leave the spaces to the environment.
        if key not in raw and raw.get("env_spec") is None:
            raise damaged(source, key, "the description of a space, as there is no 'env_spec' to take it from", raw)
    for key, (kind, expected) in _KINDS.items():
        value = raw.get(key)
        if value is not None and not isinstance(value, kind):
            raise damaged(source, key, expected, raw)
    if not all(isinstance(dataset_id, str) for dataset_id in raw.get("combined_datasets") or []):
        raise damaged(source, "combined_datasets", "a list of dataset ids", raw)
    if raw.get("frame_stack", _FRAME_STACKS[0]) not in _FRAME_STACKS:
        raise damaged(source, "frame_stack", f"one of {_FRAME_STACKS}", raw)
    if raw.get("frame_layout", "bytes") != "bytes":
        raise damaged(source, "frame_layout", "'bytes'", raw)
    if not all(type(count) is int and 0 <= count <= _MOST for count in (raw.get("deduplicated_stacks") or {}).values()):
        raise damaged(source, "deduplicated_stacks", "counts from 0 by the names of observations", raw)
    return raw


def size_of(raw: Mapping[str, Any]) -> float | None:
    """Return the size of a dataset in MB from its metadata; None if it is missing or invalid."""
    size = raw.get("dataset_size")
    if isinstance(size, bool) or not isinstance(size, (int, float)) or not 0 <= size < _MOST:
        return None
    return float(size)


def size_text(size: float) -> str:
    """Return a size in MB, which metadata gives to one decimal, for display.

    >>> size_text(12.34), size_text(0.3), size_text(0.0)
    ('12.3 MB', '300 kB', '< 50 kB')
    """
    if size >= 1:
        return f"{size:.1f} MB"
    return f"{1000 * size:.0f} kB" if size >= _LEAST else "< 50 kB"


def texts_of(value: object) -> list[str]:
    """Return the texts of a metadata key of any type: several in a list, one, or none.

    >>> texts_of(["Ada", 3]), texts_of("Ada"), texts_of(None)
    (['Ada', '3'], ['Ada'], [])
    """
    if isinstance(value, (list, tuple, set, frozenset)):
        return [str(item) for item in value]
    return [] if value is None else [str(value)]


def with_id_of_place(raw: dict[str, Any], dataset_id: str) -> dict[str, Any]:
    """Return metadata with the id that follows from the location, as the dataset may have been moved or copied."""
    return {**raw, "dataset_id": dataset_id} if raw.get("dataset_id") else raw


def damaged(source: object, key: str, expected: str, raw: Mapping[str, Any]) -> DatasetCorruptError:
    """Return the error for a key of the metadata."""
    found = f"got {shortened(raw[key])}" if key in raw else "which is missing"
    return DatasetCorruptError(f"The metadata in {source} is damaged: {key!r} must be {expected}, {found}.")
