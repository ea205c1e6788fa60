"""The metadata of an episode as JSON, ``metadata.json`` beside its table.

Numbers, strings, lists and dicts are what they are in JSON, arrays are nested lists. The key
``_dtypes`` says what they were: it is nested like the metadata, and has ``["float32", [2, 3]]`` (the
NumPy name of the type, and the shape) in the place of an array, or of a number of a type that JSON
does not know. Complex numbers are lists of two.

>>> to_json(0, 9, {"seed": 3, "options": {"start": np.float32([0.5, 1.0])}})
'{"id": 0, "total_steps": 9, "seed": 3, "options": {"start": [0.5, 1.0]}, "_dtypes": {"options": \
{"start": ["float32", [2]]}}}'
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from minari.errors import DatasetCorruptError, MetadataError


METADATA_NAME: Final = "metadata.json"
_DTYPES = "_dtypes"
_JSON_SCALARS = (np.bool_, np.int64, np.float64)  # these come back as Python's own


def to_json(index: int, total_steps: int, metadata: Mapping[str, Any]) -> str:
    """The text of the metadata of an episode.

    Args:
        index: the number of the episode.
        total_steps: the number of its steps.
        metadata: whatever else there is; ``id`` and ``total_steps`` in it are passed over.

    Raises:
        MetadataError: a value that cannot be stored.
    """
    if _DTYPES in metadata:
        raise MetadataError(f"The episode metadata have the key {_DTYPES!r}, which the format uses; rename it.")
    plain, dtypes = _plain_dict(metadata)
    text = {**plain, **({_DTYPES: dtypes} if dtypes else {})}
    return json.dumps({"id": index, "total_steps": total_steps} | _without_own(text), default=_to_list)


def _without_own(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key not in ("id", "total_steps")}


def _plain_dict(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What JSON holds, and the types of what it holds otherwise."""
    plain: dict[str, Any] = {}
    dtypes: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            plain[key], inner = _plain_dict(value)
            if inner:
                dtypes[key] = inner
        elif isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc":
            plain[key] = _numbers(key, value)
            if not isinstance(value, _JSON_SCALARS):
                dtypes[key] = [value.dtype.name, list(value.shape)]
        else:
            plain[key] = value
    return plain, dtypes


def _numbers(key: str, value: Any) -> Any:
    if value.dtype.itemsize > (16 if value.dtype.kind == "c" else 8):
        raise MetadataError(
            f"The episode metadata {key!r} have the type {value.dtype}, which JSON cannot hold; convert them "
            f"to {'complex128' if value.dtype.kind == 'c' else 'float64'}."
        )
    return np.stack([value.real, value.imag], -1).tolist() if value.dtype.kind == "c" else value.tolist()


def _to_list(value: Any) -> Any:
    """Arrays and numbers of NumPy inside lists become lists and numbers."""
    return value.tolist()


def read(path: Path) -> dict[str, Any]:
    """The metadata in a file, with ``id`` and ``total_steps``.

    Raises:
        DatasetCorruptError: the file is missing or damaged.
    """
    try:
        metadata = json.loads(path.read_bytes())
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
    return _typed_dict(metadata, metadata.pop(_DTYPES, {}))


def _typed_dict(values: dict[str, Any], dtypes: Mapping[str, Any]) -> dict[str, Any]:
    for key, dtype in dtypes.items():
        if isinstance(dtype, dict):
            _typed_dict(values[key], dtype)
        else:
            values[key] = _typed(values[key], *dtype)
    return values


def _typed(value: Any, name: str, shape: list[int]) -> Any:
    dtype = np.dtype(name)
    if dtype.kind != "c":
        return np.array(value, dtype).reshape(shape)[()]
    pairs = np.array(value, f"f{dtype.itemsize // 2}").reshape(*shape, 2)
    return pairs.view(dtype)[..., 0]
