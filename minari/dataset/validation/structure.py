"""Checks of the structure of an episode: its columns, their shapes and types, and the number of their rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from minari._base.json_text import shortened
from minari._model.episode_codec import REWARDS
from minari.dataset.validation.examined import Examined, ReadEpisode, RunningCheck
from minari.dataset.validation.findings import Finding, failure
from minari.dataset.validation.tally import Tally, episodes_text
from minari.spaces import Column, ColumnPath, Leaf, field_of, has_no_space, path_name, without_ones


__all__ = ["DtypeCheck", "check_columns", "check_rows"]


def check_columns(examined: Examined, episode: ReadEpisode) -> Iterator[Finding]:
    """Compare the columns with the spaces: their presence and shapes."""
    codec, index = examined.storage.episode_codec, episode.index
    yield from _check_frames(examined, episode)
    columns = episode.columns
    expected = codec.required_paths(columns)
    for path in expected - columns.keys():
        yield Finding("error", "column", f"Episode {index} has no {path_name(path)}.", index, path_name(path))
    for path in columns.keys() - expected:
        if not has_no_space(path):
            message = f"Episode {index} has {path_name(path)}, which the spaces of the dataset do not have."
            yield Finding("warning", "column", message, index, path_name(path))
    yield from _check_rewards(examined, episode)
    for leaf in examined.leaves:
        if leaf.path in columns:
            yield from _check_leaf(index, leaf, columns[leaf.path])


def _check_rewards(examined: Examined, episode: ReadEpisode) -> Iterator[Finding]:
    wanted, columns = examined.reward_shape, episode.columns
    if wanted is None:
        return
    for path in sorted(examined.storage.episode_codec.outcomes & columns.keys(), key=path_name):
        shape = columns[path].shape[1:]
        if field_of(path) == REWARDS[0] and len(columns[path]) and without_ones(shape) != without_ones(wanted):
            message = (
                f"The {path_name(path)} of episode {episode.index} have the shape {shape} a step, expected {wanted} "
                f"as in the rest of the dataset."
            )
            yield Finding("error", "shape", message, episode.index, path_name(path))


def _check_frames(examined: Examined, episode: ReadEpisode) -> Iterator[Finding]:
    """Compare the columns of stacks of frames with the numbers in the metadata, which readers rely on."""
    metadata, index = examined.storage.current_metadata, episode.index
    for leaf in examined.storage.frame_stacks:
        count = metadata.deduplicated.get(leaf.name, 0)
        if count == (0 if leaf.frames.path in episode.stored else metadata.total_episodes):
            stored = "single frames" if leaf.frames.path in episode.stored else "whole stacks"
            message = f"Episode {index} has {stored} of {leaf.name}, and the metadata claims that {count} have frames."
            yield Finding("error", "frames", message, index, leaf.name)


def _check_leaf(index: int, leaf: Leaf, column: Column) -> Iterator[Finding]:
    name = path_name(leaf.path)
    if column.shape[1:] != leaf.shape:
        message = f"The {name} of episode {index} have the shape {column.shape[1:]} a step, expected {leaf.shape}."
        yield Finding("error", "shape", message, index, name)
    if column.dtype.kind not in "biufc":
        message = f"The {name} of episode {index} are {column.dtype} values, expected {leaf.dtype}."
        yield Finding("error", "dtype", message, index, name)


def check_rows(examined: Examined, episode: ReadEpisode) -> Iterator[Finding]:
    """Report values that cannot be decoded, and compare the number of steps with that in the metadata.

    Decoding requires T+1 observations and infos, and T of everything else.
    """
    index = episode.index
    if episode.problem is not None:
        yield failure(episode.problem, episode=index)
        return
    if not episode.metadata:
        return
    for key, counted in examined.storage.episode_codec.steps_of(episode.columns, episode.length).items():
        *outer, last = key.split("/")
        node: Any = episode.metadata
        for part in outer:
            node = node.get(part, {}) if isinstance(node, Mapping) else {}
        claims = {node.get(last) if isinstance(node, Mapping) else None, *(() if outer else (episode.length,))}
        for told in claims:
            if told != counted:
                of_agent = f" of the agent {shortened(outer[1])}" if outer else ""
                message = f"Episode {index} has {counted} rewards{of_agent}, and its metadata claims {told} steps."
                yield Finding("error", "rows", message, index, "/".join([*outer, path_name(REWARDS)]))


class DtypeCheck(RunningCheck):
    """Counts the episodes whose numbers have another type than the space says, which readers get as they are."""

    def __init__(self, examined: Examined) -> None:
        super().__init__(examined)
        self._leaves = {leaf.path: leaf for leaf in examined.leaves}
        self._found: dict[tuple[ColumnPath, str], Tally] = {}

    def add(self, episode: ReadEpisode) -> None:
        """Compare the types of an episode."""
        for path, leaf in self._leaves.items():
            column = episode.columns.get(path)
            if column is not None and column.dtype != leaf.dtype and column.dtype.kind in "biufc":
                self._found.setdefault((path, str(column.dtype)), Tally()).add(episode.index)

    def findings(self) -> Iterator[Finding]:
        """Yield a note for each leaf and type."""
        for (path, dtype), tally in self._found.items():
            message = (
                f"The {path_name(path)} are {dtype} values in {episodes_text(tally)}, and the space says "
                f"{self._leaves[path].dtype}."
            )
            yield Finding("note", "dtype", message, tally.episode, path_name(path), count=tally.episodes)
