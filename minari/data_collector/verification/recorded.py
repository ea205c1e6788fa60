"""Episodes as they are recorded, with what is needed to start them again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from minari._base.json_text import shortened
from minari._storages.base import MinariStorage
from minari._storages.images import is_encoded_in
from minari.data_collector.verification.report import EpisodeVerification
from minari.spaces import FRAMES, ColumnPath, Columns


__all__ = ["EpisodeReplay", "RecordedEpisode", "chains_of", "read_recorded"]


@dataclass(frozen=True, slots=True)
class RecordedEpisode:
    """An episode to replay.

    Attributes:
        index: its number in the whole dataset.
        columns: its columns, with frames decoded and stacks rebuilt.
        total_steps: number of its steps, or joint steps.
        seed: seed of its reset; None if it continues another episode.
        options: options of its reset.
        lossy: paths of the columns whose values are not those of the environment, since they are JPEG.
    """

    index: int
    columns: Columns
    total_steps: int
    seed: int | None
    options: dict[str, Any] | None
    lossy: frozenset[ColumnPath]


class EpisodeReplay(Protocol):
    """An environment that replays episodes, one after the other."""

    #: Sentences about what is not compared.
    notes: list[str]

    def replay(self, recorded: RecordedEpisode) -> EpisodeVerification:
        """Replay an episode from its reset, until it ends or diverges."""

    def close(self) -> None:
        """Close the environment."""


def read_recorded(storage: MinariStorage, index: int) -> RecordedEpisode:
    """Read an episode.

    Raises:
        DatasetCorruptError: its values do not fit the spaces.
    """
    ((_, stored),) = storage.stored_columns([index])
    columns = storage.with_frames(stored)
    total_steps = int(storage.get_episode_lengths([index])[0])
    storage.episode_codec.decode(index, columns, total_steps)  # rejects what is damaged
    (metadata,) = storage.get_episode_metadata([index])
    lossy = frozenset(
        leaf.path[1:] if leaf.path[0] == FRAMES else leaf.path
        for leaf in storage.frame_leaves
        if is_encoded_in(stored, leaf)
    )
    options = metadata.get("options")
    return RecordedEpisode(
        index, columns, total_steps, _seed_of(metadata), dict(options) if isinstance(options, Mapping) else None, lossy
    )


def _seed_of(metadata: Mapping[str, Any]) -> int | None:
    """Return the recorded seed of an episode; None if there is none that a reset takes."""
    seed = metadata.get("seed")
    if isinstance(seed, (bool, np.bool_)) or not isinstance(seed, (int, np.integer)) or seed < 0:
        return None
    return int(seed)


def chains_of(storage: MinariStorage, indices: Sequence[int]) -> Iterator[tuple[list[int], str | None]]:
    """Yield episodes that have to be replayed one after the other, in the same environment.

    An episode with a seed stands alone. One without a seed follows the episodes of the same environment before it, from
    the last one with a seed: a vector environment resets its sub-environments without seeds, and the generator of each
    goes on.

    Args:
        storage: the dataset.
        indices: the episodes to verify.

    Yields:
        The episodes, the last one of which is to be verified, or several; and the reason why they cannot be replayed,
        None if they can.
    """
    wanted = dict.fromkeys(indices)
    seeds = {
        index: _seed_of(metadata)
        for index, metadata in zip(wanted, storage.get_episode_metadata(list(wanted)), strict=True)
    }
    if None not in seeds.values():
        yield from (([index], None) for index in wanted)
        return
    chains: dict[Any, list[int]] = {}
    of_episode: dict[int, list[int]] = {}
    reasons: dict[int, str] = {}
    for index, metadata in enumerate(storage.get_episode_metadata(range(storage.total_episodes))):
        env = metadata.get("env_index")
        key = int(env) if isinstance(env, (int, np.integer)) else None
        if _seed_of(metadata) is not None:
            chains[key] = []
        reason = _reason(metadata, has_chain=bool(key in chains))
        if reason is not None:
            chains.pop(key, None)
            reasons[index] = reason
            continue
        chains[key].append(index)
        of_episode[index] = chains[key]
    done: set[int] = set()
    for index in wanted:
        if index in reasons:
            yield [index], reasons[index]
        elif index not in done:
            chain = of_episode[index]
            last = max(position for position, member in enumerate(chain) if member in wanted)
            # An episode with a seed needs none of those before it.
            first = 0 if any(member in wanted for member in chain[1:]) else last
            done.update(chain[first : last + 1])
            yield chain[first : last + 1], None


def _reason(metadata: Mapping[str, Any], *, has_chain: bool) -> str | None:
    """Return why an episode cannot be started again; None if it can, or if it continues another one."""
    if _seed_of(metadata) is not None or has_chain:
        return None
    if metadata.get("seed") is not None:
        return f"its seed is {shortened(metadata['seed'])}, expected a whole number from 0"
    if metadata.get("vector_seed") is not None:
        return "its environment shared a generator with others, which a single environment does not"
    return "no seed is recorded"
