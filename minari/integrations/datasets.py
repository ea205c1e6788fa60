"""Hugging Face Datasets: transitions, windows and episodes as tables, and tables as Minari datasets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._base.warnings import warn
from minari._model.episode_buffer import EpisodeBuffer
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import ArgumentError, ArgumentTypeError, MissingDependencyError, SpaceError
from minari.integrations._replay import FinalObservation, Steps, create_dataset, leaves, names
from minari.sampling.samples import Samples


try:
    import datasets
except ImportError as error:
    raise MissingDependencyError(
        "minari.integrations.datasets needs Hugging Face Datasets, which is not installed; run pip install "
        '"minari[datasets]".',
        name="datasets",
    ) from error


__all__ = ["from_hf", "to_hf"]

_CHUNK_BYTES: Final = 64 * 2**20
_SPACES: Final = ("observations", "actions", "next_observations")
_STEPS: Final = ("rewards", "terminations", "truncations")


def to_hf(source: Samples | MinariDataset) -> datasets.Dataset:
    """Return transitions, windows or episodes as a dataset of Hugging Face.

    Nested values become one column for each leaf, named by its path such as ``observations/camera``, as ``fields``
    names them. The table is in memory; ``save_to_disk`` and ``push_to_hub`` store it.

    Args:
        source: transitions or windows, which give one row each; or a dataset or view of one, which gives a row for
            each episode, with ``episode_ids``, T+1 ``observations``, T ``actions``, ``rewards`` and flags.

    Returns:
        A table with the dtypes of the stored values: ``Value`` columns for numbers and texts, ``List`` for vectors,
        ``Array2D`` to ``Array5D`` for arrays.

    Warns:
        UserWarning: infos of episodes are left out. For transitions and windows, ``infos`` adds them.

    Raises:
        SpaceError: values have no fixed shape and are not texts, or have more than five dimensions.
    """
    if isinstance(source, MinariDataset):
        return _table(_episode_rows(source), per_episode=True)
    if isinstance(source, Samples):
        return _table(_sample_rows(source), per_episode=False)
    raise ArgumentTypeError(
        f"source is {shortened(source)}, expected a dataset, or its transitions() or windows(length)."
    )


def _sample_rows(samples: Samples) -> Iterator[dict[str, Any]]:
    size = sum(_size(values) for _, values in leaves(samples[:1], ""))
    count = max(1, _CHUNK_BYTES // max(1, size))
    for start in range(0, len(samples), count):
        yield _flat(samples[start : start + count])


def _size(values: Any) -> int:
    return values.nbytes if isinstance(values, np.ndarray) else 64


def _episode_rows(dataset: MinariDataset) -> Iterator[dict[str, Any]]:
    if not len(dataset):
        raise ArgumentError(f"{dataset.id} has no episode, expected at least one.")
    infos = set[str]()
    for episode in dataset.iterate_episodes():
        infos |= episode.infos.keys()
        fields = {name: getattr(episode, name) for name in ("observations", "actions", *_STEPS)}
        yield {"episode_ids": episode.id, **_flat(fields)}
    if infos:
        warn(f"The infos of {dataset.id} ({names(infos)}) are left out; transitions(infos=[…]) keeps them.")


def _flat(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the leaves by their paths, without the parts of a tuple that were not selected."""
    return {path[1:]: values for path, values in leaves(dict(batch), "") if values is not None}


def _table(chunks: Iterator[dict[str, Any]], *, per_episode: bool) -> datasets.Dataset:
    """Return the table of chunks of rows, or of single rows of episodes."""
    tables, rows, size = [], list[dict[str, Any]](), 0
    features: datasets.Features | None = None
    for chunk in chunks:
        if features is None:
            features = datasets.Features(_features(chunk, per_episode))
        if not per_episode:
            tables.append(datasets.Dataset.from_dict(chunk, features=features))
            continue
        rows.append(chunk)
        size += sum(map(_size, chunk.values()))
        if size > _CHUNK_BYTES:
            tables.append(_episode_table(rows, features))
            rows, size = [], 0
    if rows:
        tables.append(_episode_table(rows, features))
    return datasets.concatenate_datasets(tables)


def _episode_table(rows: list[dict[str, Any]], features: Any) -> datasets.Dataset:
    return datasets.Dataset.from_dict({name: [row[name] for row in rows] for name in rows[0]}, features=features)


def _features(chunk: Mapping[str, Any], per_episode: bool) -> dict[str, Any]:
    if not per_episode:
        return {name: _feature(name, values) for name, values in chunk.items()}
    steps = {name: datasets.List(_feature(name, values)) for name, values in chunk.items() if name != "episode_ids"}
    return {"episode_ids": datasets.Value("int64"), **steps}


def _feature(name: str, values: Any) -> Any:
    """Return the feature of one step or element of a column."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        dtype, shape = values.dtype.name, values.shape[1:]
        if not shape:
            return datasets.Value(dtype)
        if 0 not in shape and len(shape) == 1:
            return datasets.List(datasets.Value(dtype), length=shape[0])
        if 0 not in shape and len(shape) <= 5:
            return getattr(datasets, f"Array{len(shape)}D")(shape, dtype)
    elif isinstance(values, (list, np.ndarray)) and all(isinstance(value, str) for value in values):
        return datasets.Value("string")
    kind = "of no fixed shape"
    if isinstance(values, np.ndarray):
        kind = f"{values.dtype} values of shape {values.shape[1:]}"
    raise SpaceError(
        f"The {name} are {kind}, expected numbers, texts, or arrays of up to five dimensions, which are the columns of "
        f"Hugging Face's datasets; leave them out with transitions(fields=[…])."
    )


def from_hf(
    table: datasets.Dataset,
    dataset_id: str,
    *,
    columns: Mapping[str, str] | None = None,
    observation_space: gym.Space[Any] | None = None,
    action_space: gym.Space[Any] | None = None,
    final_observation: FinalObservation = "error",
    **options: Any,
) -> MinariDataset:
    """Create a dataset of a table with one row for each transition, or for each episode.

    Rows of transitions belong to the episode of their ``episode_ids`` and are put in the order of their ``timesteps``.
    An episode is split where steps are missing. Without ``terminations`` or ``truncations``, all are False.

    Args:
        table: a table with the columns of :func:`to_hf`, from transitions or episodes.
        dataset_id: of the new dataset.
        columns: the name in the table of each column that is named otherwise there, such as
            ``{"observations": "observation.state", "actions": "action", "episode_ids": "episode_index"}``.
        observation_space: by default that of ``env``, or inferred.
        action_space: by default that of ``env``, or inferred.
        final_observation: what to do with transitions without ``next_observations``: ``"error"`` raises, ``"repeat"``
            repeats the last one, ``"drop_last_step"`` leaves out the last step of each episode.
        **options: arguments of :func:`minari.create_dataset_from_buffers`, such as ``env`` and ``author``.

    Warns:
        UserWarning: a space is inferred, steps are missing, or there are columns that a dataset has no place for.

    Raises:
        ArgumentError: a column is missing, the rows are windows, or the last observations are not known.
    """
    if not isinstance(table, datasets.Dataset):
        raise ArgumentTypeError(
            f"table is {shortened(table)}, expected a datasets.Dataset, such as one split of load_dataset()."
        )
    if not len(table):
        raise ArgumentError("The table has no row, expected at least one.")
    table = _renamed(table, columns)
    known = {*_SPACES, *_STEPS, "episode_ids", "timesteps"}
    lost = [name for name in table.column_names if name.partition("/")[0] not in known]
    if lost:
        warn(f"The columns {names(lost)} of the table are left out, as a dataset has no place for them.")
        table = table.remove_columns(lost)
    missing = [
        name
        for name in ("observations", "actions", "rewards")
        if not any(column.partition("/")[0] == name for column in table.column_names)
    ]
    if missing:
        raise ArgumentError(
            f"The table has the columns {sorted(table.column_names)}, expected also {names(missing)}; give their names "
            f"there with columns={{{missing[0]!r}: …}}."
        )
    per_episode = "timesteps" not in table.column_names and _is_list(table.features["rewards"])
    if per_episode:
        episodes = _episodes_of_rows(table, observation_space, action_space)
    else:
        episodes = _steps_of_rows(table, observation_space, action_space).episodes(final_observation)
    return create_dataset(
        dataset_id, episodes, observation_space=observation_space, action_space=action_space, options=options
    )


def _renamed(table: datasets.Dataset, columns: Mapping[str, str] | None) -> datasets.Dataset:
    for name, there in (columns or {}).items():
        if there not in table.column_names:
            raise ArgumentError(f"columns names {there!r}, and the table has {table.column_names}; choose one of them.")
        if name != there:
            table = table.rename_column(there, name)
    return table


def _is_list(feature: Any) -> bool:
    return isinstance(feature, datasets.List) and feature.length == -1


def _steps_of_rows(table: datasets.Dataset, observation_space: Any, action_space: Any) -> Steps:
    needed = [name for name in ("episode_ids", "timesteps") if name not in table.column_names]
    if needed:
        raise ArgumentError(
            f"The table has no column {names(needed)}, expected one value a step; give its name there with columns="
            f"{{{needed[0]!r}: …}}."
        )
    values = _arrays_of(table, slice(None))
    ids, steps = values["episode_ids"], values["timesteps"]
    if ids.ndim != 1 or values["rewards"].ndim > 2 or steps.ndim != 1:
        raise ArgumentError(
            "The rows of the table are windows, which may overlap, expected transitions or episodes; make the table of "
            "one of these."
        )
    _, first, episode = np.unique(ids, return_index=True, return_inverse=True)
    order = np.lexsort((steps, first[episode]))
    ids, steps = ids[order], steps[order]
    changes = ids[1:] != ids[:-1]
    gaps = ~changes & (steps[1:] != steps[:-1] + 1)
    if gaps.any():
        warn(f"Steps are missing or repeated in the table, so that episodes are split in {int(gaps.sum())} places.")
    if (order[1:] != order[:-1] + 1).any():
        values = {name: column[order] for name, column in values.items()}
    never = np.zeros(len(ids), bool)
    return Steps(
        observations=_nested(values, "observations", observation_space),
        actions=_nested(values, "actions", action_space),
        rewards=values["rewards"],
        terminations=values.get("terminations", never).astype(bool),
        truncations=values.get("truncations", never).astype(bool),
        ends=np.append(changes | gaps, True),
        next_observations=_nested(values, "next_observations", observation_space),
    )


def _episodes_of_rows(table: datasets.Dataset, observation_space: Any, action_space: Any) -> list[EpisodeBuffer]:
    episodes = []
    for number in range(len(table)):
        found = _arrays_of(table, slice(number, number + 1))
        values = {name: column[0] for name, column in found.items()}
        never = np.zeros(len(values["rewards"]), bool)
        episodes.append(
            EpisodeBuffer(
                observations=_nested(values, "observations", observation_space),
                actions=_nested(values, "actions", action_space),
                rewards=values["rewards"],
                terminations=values.get("terminations", never),
                truncations=values.get("truncations", never),
            )
        )
    return episodes


def _arrays_of(table: datasets.Dataset, rows: slice) -> dict[str, npt.NDArray[Any]]:
    arrow = table.with_format("arrow")[rows]
    return {
        name: _array(arrow.column(name).combine_chunks(), table.features[name], name) for name in table.column_names
    }


def _array(column: Any, feature: Any, name: str) -> npt.NDArray[Any]:
    """Return a column of PyArrow as an array (N, …) with the dtype that it has there."""
    if column.null_count:
        raise ArgumentError(f"The column {name} has {column.null_count} empty values, expected none; fill them first.")
    if isinstance(feature, datasets.List):
        inner = _array(column.flatten(), feature.feature, name)
        if feature.length != -1:
            return inner.reshape(-1, feature.length, *inner.shape[1:])
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        if len(lengths) and (lengths == lengths[0]).all():
            return inner.reshape(-1, int(lengths[0]), *inner.shape[1:])
        raise ArgumentError(f"The values of the column {name} differ in length, expected arrays of one shape.")
    if isinstance(feature, (datasets.Array2D, datasets.Array3D, datasets.Array4D, datasets.Array5D)):
        flat = column.storage
        for _ in feature.shape:
            flat = flat.flatten()
        return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(-1, *feature.shape)
    if isinstance(feature, datasets.Value):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    raise SpaceError(f"The column {name} is a {feature}, expected numbers, texts or arrays; convert it first.")


def _nested(values: Mapping[str, Any], field: str, space: Any) -> Any:
    """Return the columns of a field nested as its space is; None if there are none."""
    if field in values:
        return values[field]
    prefix = f"{field}/"
    keys = list(dict.fromkeys(name[len(prefix) :].partition("/")[0] for name in values if name.startswith(prefix)))
    if not keys:
        return None
    if isinstance(space, gym.spaces.Dict):
        return {key: _nested(values, f"{prefix}{key}", inner) for key, inner in space.spaces.items()}
    if isinstance(space, gym.spaces.Tuple):
        return tuple(_nested(values, f"{prefix}{place}", inner) for place, inner in enumerate(space.spaces))
    nested = {key: _nested(values, prefix + key, None) for key in keys}
    is_tuple = keys == [str(place) for place in range(len(keys))]
    return tuple(nested.values()) if is_tuple else nested
