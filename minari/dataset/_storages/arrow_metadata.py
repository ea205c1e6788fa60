"""The metadata of an episode as JSON, ``metadata.json`` beside its table; see :mod:`json_metadata`.

>>> import numpy as np
>>> to_json(0, 9, {"seed": 3, "options": {"start": np.float32([0.5, 1.0])}})
'{"id": 0, "total_steps": 9, "seed": 3, "options": {"start": [0.5, 1.0]}, "_dtypes": {"options": \
{"start": ["float32", [2]]}}}'
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from minari.dataset._storages import json_metadata
from minari.errors import DatasetCorruptError


METADATA_NAME: Final = "metadata.json"


def to_json(index: int, total_steps: int, metadata: Mapping[str, Any]) -> str:
    """The text of the metadata of an episode.

    Args:
        index: the number of the episode.
        total_steps: the number of its steps.
        metadata: whatever else there is; ``id`` and ``total_steps`` in it are passed over.

    Raises:
        MetadataError: a value that cannot be stored.
    """
    others = {key: value for key, value in metadata.items() if key not in ("id", "total_steps")}
    return json_metadata.to_json({"id": index, "total_steps": total_steps} | others)


def read(path: Path) -> dict[str, Any]:
    """The metadata in a file, with ``id`` and ``total_steps``.

    Raises:
        DatasetCorruptError: the file is missing or damaged.
    """
    try:
        metadata = json_metadata.from_json(path.read_bytes())
        if not isinstance(metadata["total_steps"], int):
            raise TypeError(f"{metadata['total_steps']!r} steps")
    except FileNotFoundError as error:
        raise DatasetCorruptError(
            f"The file {path} of an episode is missing; copy or download the dataset again."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetCorruptError(
            f"{path} is damaged, expected the metadata of an episode as a JSON object with its "
            f"'total_steps' ({error}); copy or download it again."
        ) from error
    return metadata
