"""Combining datasets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from minari._base.json_text import shortened
from minari._base.warnings import warn
from minari._catalog.layout import free_dataset_path, get_dataset_path, new_dataset
from minari._model.arguments import expected_dataset
from minari._model.compression import CompressionChoice
from minari._model.dataset_id import DatasetId
from minari._model.env_spec import (
    difference_up_to_max_episode_steps,
    merge_max_episode_steps,
)
from minari._model.format_version import combine_versions
from minari._model.frame_stack import DEDUPLICATE, KEEP, FrameStackChoice
from minari._model.metadata_json import texts_of
from minari._model.multi_agent import MultiAgentCodec
from minari._model.recorded_with import RECORDED_WITH, merged_versions
from minari._storages.base import PathLike, create_storage
from minari._storages.write_session import append_stored
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import CombineError, SpaceError
from minari.spaces import without_ones
from minari.spaces.differences import differing_leaf


def validate_datasets_to_combine(datasets_to_combine: Sequence[MinariDataset]) -> EnvSpec | None:
    """Check that datasets have the same environment.

    Returns:
        Its spec, with the largest ``max_episode_steps``, or None if one has no limit; None if no dataset has a spec.

    Raises:
        CombineError: there is no dataset, or they have different environments, or only some of them have a
            spec, or the shapes of their rewards differ.
    """
    if isinstance(datasets_to_combine, (MinariDataset, str, os.PathLike)):
        raise CombineError(
            f"The datasets to combine are {shortened(datasets_to_combine)}, expected a list of MinariDataset, such as "
            f"[minari.load_dataset(ID), minari.load_dataset(ID)]."
        )
    if not datasets_to_combine:
        raise CombineError("There are no datasets to combine; give at least one.")
    for dataset in datasets_to_combine:
        if not isinstance(dataset, MinariDataset):
            raise CombineError(expected_dataset("A dataset to combine", dataset))
    _check_rewards(datasets_to_combine)
    specs = [(dataset.id, dataset.env_spec) for dataset in datasets_to_combine]
    known = [spec for _, spec in specs if spec is not None]
    if not known:
        return None
    if len(known) < len(specs):
        without = [name for name, spec in specs if spec is None]
        raise CombineError(f"The datasets {without} have no env_spec and the others have one; combine like with like.")
    first = known[0]
    for name, other in specs:
        difference = "" if other is None else difference_up_to_max_episode_steps(first, other)
        if difference:
            raise CombineError(
                f"The datasets were recorded in different environments: in the env_spec of "
                f"{datasets_to_combine[0].id} and of {name}, {difference}."
            )
    return replace(first, max_episode_steps=merge_max_episode_steps(known))


def _check_rewards(datasets: Sequence[MinariDataset]) -> None:
    shapes = [(dataset.id, shape) for dataset in datasets if (shape := dataset.storage.reward_shape) is not None]
    for name, shape in shapes[1:]:
        first, expected = shapes[0]
        if without_ones(shape) != without_ones(expected):
            raise CombineError(
                f"The rewards of the datasets differ in shape: {expected} a step in {first}, and {shape} in {name}; "
                f"combine like with like."
            )


def combine_datasets(
    datasets_to_combine: list[MinariDataset],
    new_dataset_id: str | None = None,
    *,
    root: PathLike | None = None,
    new_dataset_name: str | None = None,
) -> MinariDataset:
    """Combine the episodes of several datasets into one, in their order.

    From a view, exactly its episodes are taken. A combination of datasets of many agents has the agents of all of
    them, whose spaces must be the same wherever they are. Episodes keep their seeds, options and other metadata; stored
    bytes are copied unchanged.

    Args:
        datasets_to_combine: datasets of one environment, up to its ``max_episode_steps``.
        new_dataset_id: id of the new dataset.
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.
        new_dataset_name: deprecated name of ``new_dataset_id``.

    Raises:
        CombineError: the datasets cannot be combined.
        DatasetIdError: the id is malformed.
        DatasetExistsError: a dataset with this id already exists.

    Example:
        >>> import minari, numpy as np
        >>> parts = [
        ...     minari.create_dataset_from_arrays(
        ...         f"docs/part-v{i}", observations=np.arange(3.0), actions=np.zeros(2),
        ...         rewards=np.ones(2), terminations=np.array([False, True]),
        ...     )
        ...     for i in range(2)
        ... ]
        >>> both = minari.combine_datasets(parts, "docs/both-v0")
        >>> both.total_episodes, both.combined_datasets
        (2, ['docs/part-v0', 'docs/part-v1'])
    """
    if new_dataset_name is not None:
        warn(
            "new_dataset_name is the older name of new_dataset_id; use that.",
            DeprecationWarning,
        )
    new_id = new_dataset_id if new_dataset_id is not None else new_dataset_name
    new_id = str(DatasetId.parse(new_id))  # type: ignore[arg-type]  # None is what it checks for
    free_dataset_path(new_id, root=root)
    if isinstance(datasets_to_combine, Iterator):
        datasets_to_combine = list(datasets_to_combine)
    env_spec = validate_datasets_to_combine(datasets_to_combine)
    observation_space, action_space = _common_spaces(datasets_to_combine)
    first = datasets_to_combine[0].storage
    with new_dataset(new_id, root) as data_path:
        storage = create_storage(
            data_path,
            observation_space,
            action_space,
            env_spec,
            first.FORMAT,
            jpeg_encoding=all(dataset.storage.jpeg_encoding for dataset in datasets_to_combine),
            compression=_common_compression(datasets_to_combine),
            frame_stack=_common_frame_stack(datasets_to_combine),
            like=[dataset.storage for dataset in datasets_to_combine],
            durable=False,
        )
        storage.update_metadata(_combined_metadata(datasets_to_combine, new_id))
        append_stored(storage, [(dataset.storage, dataset.episode_indices.tolist()) for dataset in datasets_to_combine])
    return MinariDataset(get_dataset_path(new_id, root=root) / "data")


def _common_spaces(datasets: Sequence[MinariDataset]) -> tuple[gym.Space[Any], gym.Space[Any]]:
    """Return the spaces of the first dataset; those of many agents have the agents of all datasets.

    Raises:
        CombineError: those of another one differ.
    """
    codecs = [dataset.storage.episode_codec for dataset in datasets]
    united = codecs[0]
    if not any(isinstance(codec, MultiAgentCodec) for codec in codecs):
        _refuse_other_spaces(datasets)
        return datasets[0].observation_space, datasets[0].action_space
    for dataset, codec in zip(datasets, codecs, strict=True):
        if not (isinstance(united, MultiAgentCodec) and isinstance(codec, MultiAgentCodec)):
            one = next(each for each in datasets if not each.storage.is_multi_agent)
            many = next(each for each in datasets if each.storage.is_multi_agent)
            raise CombineError(
                f"{many.id} has many agents and {one.id} has one; combine like with like, such as for_agent of the "
                f"first."
            )
        try:
            united = united.with_agents(codec.observation_spaces, codec.action_spaces)
        except SpaceError as error:
            raise CombineError(f"{dataset.id} does not go together with {datasets[0].id}: {error}") from error
    return united.spaces


def _refuse_other_spaces(datasets: Sequence[MinariDataset]) -> None:
    first = datasets[0]
    for dataset in datasets[1:]:
        for name, ours, theirs in (
            ("observations", first.observation_space, dataset.observation_space),
            ("actions", first.action_space, dataset.action_space),
        ):
            difference = differing_leaf(ours, theirs, (name,))
            if difference:
                raise CombineError(
                    f"The {name} of {first.id} and of {dataset.id} are of spaces that do not go together: {difference}."
                )


def _common_compression(datasets: Sequence[MinariDataset]) -> CompressionChoice:
    """Return the compression for later episodes: the common choice of all; combined episodes are copied unchanged."""
    first = datasets[0].storage
    is_common = all(
        dataset.storage.compression == first.compression and dataset.storage.FORMAT == first.FORMAT
        for dataset in datasets
    )
    return first.compression if is_common else None


def _common_frame_stack(datasets: Sequence[MinariDataset]) -> FrameStackChoice:
    """Return how stacks of frames are stored: once only if that is so in all datasets."""
    return DEDUPLICATE if all(dataset.storage.frame_stack == DEDUPLICATE for dataset in datasets) else KEEP


def _combined_metadata(datasets: Sequence[MinariDataset], new_id: str) -> dict[str, Any]:
    all_raw = [dataset.storage.current_metadata.raw for dataset in datasets]
    metadata: dict[str, Any] = {
        "dataset_id": new_id,
        "combined_datasets": [dataset.id for dataset in datasets],
        "minari_version": combine_versions([dataset.minari_version for dataset in datasets]),
    }
    for key in ("author", "author_email", "requirements"):
        united = {name for raw in all_raw for name in texts_of(raw.get(key))}
        if united or key != "requirements":
            metadata[key] = sorted(united)
    if any(raw.get("inferred_spaces") for raw in all_raw):
        metadata["inferred_spaces"] = True
    if all_raw[0].get("space_classes"):
        metadata["space_classes"] = all_raw[0]["space_classes"]  # the new dataset has its spaces
    versions = merged_versions(raw.get(RECORDED_WITH) for raw in all_raw)
    if versions is not None:
        metadata[RECORDED_WITH] = versions
    eval_specs = {raw.get("eval_env_spec") for raw in all_raw}
    if len(eval_specs) == 1 and None not in eval_specs:
        metadata["eval_env_spec"] = eval_specs.pop()
    return metadata
