"""The table of episodes: their lengths, returns, flags and metadata, without their arrays."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._base.plain_values import to_json
from minari._model.multi_agent import MultiAgentCodec
from minari._storages.base import MinariStorage
from minari.errors import ArgumentError, MissingDependencyError
from minari.progress import track
from minari.sampling.episode_statistics import EpisodeOutcomes, outcomes_of
from minari.spaces import AGENTS, is_utf8_text


__all__ = ["TableLibrary", "episode_columns", "episodes_table"]

TableLibrary: TypeAlias = Literal["pandas", "arrow", "numpy"]

_MODULES: Final = {"pandas": "pandas", "arrow": "pyarrow", "numpy": "numpy"}
_METADATA: Final = "metadata"  # before the name of metadata that has the name of another column
_DERIVED: Final = frozenset({"id", "total_steps"})


def episodes_table(storage: MinariStorage, numbers: npt.NDArray[np.int_], library: TableLibrary) -> Any:
    """Return the table of some episodes; see :meth:`minari.MinariDataset.episodes_table`."""
    if library not in _MODULES:
        raise ArgumentError(f"library is {shortened(library)}, expected one of {', '.join(map(repr, _MODULES))}.")
    try:
        module: Any = importlib.import_module(_MODULES[library])
    except ImportError as error:
        raise MissingDependencyError(
            f"A table of {library} needs {_MODULES[library]}, which is not installed; run pip install "
            f"{_MODULES[library]}, or give library='numpy'.",
            name=_MODULES[library],
        ) from error
    columns = episode_columns(storage, numbers)
    if library == "pandas":
        return module.DataFrame({name: _pandas_column(module, values) for name, values in columns.items()})
    if library == "arrow":
        return module.table({name: _arrow_column(module, values) for name, values in columns.items()})
    return columns


def episode_columns(
    storage: MinariStorage, numbers: npt.NDArray[np.int_], outcomes: EpisodeOutcomes | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of the table of some episodes, by their names.

    Args:
        storage: of the dataset.
        numbers: of the episodes.
        outcomes: of these episodes, if they are known.

    Returns:
        Arrays with an element for each episode, shape (E,), or (E, k) for rewards of k components. Those of metadata
        that has other types than numbers of one type, or is missing in an episode, are object arrays, with None where
        it is missing.
    """
    outcomes = outcomes_of(storage, numbers) if outcomes is None else outcomes
    columns: dict[str, npt.NDArray[Any]] = {"id": np.asarray(numbers, np.int64), **_columns_of(outcomes)}
    codec = storage.episode_codec
    for agent, one in outcomes.agents.items():
        name = codec.names[agent] if isinstance(codec, MultiAgentCodec) else agent
        columns.update({f"{AGENTS}/{name}/{key}": values for key, values in _columns_of(one).items()})
    found: dict[str, dict[int, Any]] = {}
    metadatas = track(storage.get_episode_metadata(numbers), "reading metadata", total=len(numbers))
    for place, metadata in enumerate(metadatas):
        for key, value in _flat(metadata):
            found.setdefault(key, {})[place] = value
    # The columns whose names every dataset has come first, as in `seed`, which recorders store.
    for key in sorted(found, key=lambda key: (key != "seed", key.startswith("options"))):
        name = f"{_METADATA}/{key}" if key in columns else key
        columns[name] = _column([found[key].get(place) for place in range(len(numbers))])
    return columns


def _columns_of(outcomes: EpisodeOutcomes) -> dict[str, npt.NDArray[Any]]:
    return {
        "length": outcomes.lengths,
        "return": outcomes.returns,
        "terminated": outcomes.terminated,
        "truncated": outcomes.truncated,
    }


def _flat(metadata: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested metadata with their keys joined by slashes, except those that follow from the data."""
    is_of_agent = prefix.startswith(f"{AGENTS}/") and prefix.count("/") == 2
    for key, value in metadata.items():
        if isinstance(value, Mapping) and value and all(isinstance(inner, str) for inner in value):
            yield from _flat(value, f"{prefix}{key}/")
        elif key not in _DERIVED or not (not prefix or is_of_agent):
            yield f"{prefix}{key}", value


def _column(values: list[Any]) -> npt.NDArray[Any]:
    """Return values as an array: of numbers if all are of one type, otherwise of objects."""
    kinds = {type(value) for value in values}
    if len(kinds) == 1 and issubclass(next(iter(kinds)), (bool, int, float, np.number, np.bool_)):
        array = np.array(values)
        is_rounded = kinds == {int} and array.dtype.kind == "f"  # some above and some below what 64 bits hold
        if array.dtype.kind in "biuf" and not is_rounded:
            return array
    column = np.empty(len(values), object)
    column[:] = [_without_numpy(value) for value in values]
    return column


def _without_numpy(value: Any) -> Any:
    """Return a NumPy number as one of Python, so that a column has values of one type if they are alike."""
    return value.item() if isinstance(value, (np.number, np.bool_)) else value


def _pandas_column(pandas: Any, values: npt.NDArray[Any]) -> Any:
    if values.ndim > 1:
        return list(values)
    kinds = {type(value) for value in values if value is not None} if values.dtype == object else set()
    if kinds == {int} and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return pandas.array(values, dtype="Int64")  # floats would round large seeds where one is missing
    if kinds == {float}:
        return values.astype(np.float64)
    if kinds == {str} and not all(value is None or is_utf8_text(value) for value in values):
        return pandas.Series(values, dtype=object)
    return values


def _arrow_column(pyarrow: Any, values: npt.NDArray[Any]) -> Any:
    if values.dtype.char == "g":  # which Arrow does not have
        values = values.astype(np.float64)
    if values.dtype != object:
        return pyarrow.array(values.tolist() if values.ndim > 1 else values)
    plain = [value.tolist() if isinstance(value, np.ndarray) else value for value in values]
    try:
        return pyarrow.array(plain)
    except (pyarrow.ArrowException, OverflowError, UnicodeEncodeError):
        return pyarrow.array([None if value is None else to_json(value) for value in values])
