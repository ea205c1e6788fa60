"""Selection of episodes by a condition, for which only what it names is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from minari._model.multi_agent import MultiAgentCodec
from minari._storages.base import MinariStorage
from minari.dataset.condition import NAMES, Condition, Lookup, find, unknown
from minari.dataset.field_values import field_values
from minari.progress import track
from minari.sampling.episode_statistics import EpisodeOutcomes, outcomes_of
from minari.spaces import AGENTS


__all__ = ["select_episodes"]

_OUTCOMES: Final = ("return", "terminated", "truncated")
_MOST_NAMES = 1000  # that are kept for suggestions


class View(Protocol):
    """Episodes of a storage."""

    @property
    def storage(self) -> MinariStorage:
        """Return the storage of the episodes."""

    @property
    def episode_indices(self) -> npt.NDArray[np.int_]:
        """Return the numbers of the episodes."""


def select_episodes(dataset: View, text: str, outcomes: EpisodeOutcomes | None = None) -> list[int]:
    """Return the numbers of the episodes of a view for which a condition is true, in its order.

    Args:
        dataset: the view.
        text: the condition, see :class:`~minari.dataset.condition.Condition`.
        outcomes: of the episodes of the view, if they are known.

    Raises:
        ArgumentTypeError: the condition is not a text.
        ArgumentError: it is not a condition, no episode has a name in it, or it computes with values of different
            kinds.
    """
    condition = Condition.parse(text)
    storage, numbers = dataset.storage, dataset.episode_indices.tolist()
    missing = [_Missing(lookup) for lookup in condition.lookups if len(lookup) > 1 or lookup[0] not in NAMES]
    found = []
    values = _values(storage, numbers, condition, outcomes)
    for number, one in zip(numbers, track(values, "selecting", total=len(numbers)), strict=True):
        missing = [lookup for lookup in missing if lookup.is_missing_in(one)] if missing else missing
        if condition(one):
            found.append(number)
    if missing and numbers:
        first = min(missing, key=lambda one: repr(one.lookup))
        own = [name for name in NAMES if name != AGENTS or storage.is_multi_agent] if not first.depth else []
        raise unknown(condition, first.lookup[: first.depth + 1], [*own, *first.names])
    return found


def _values(
    storage: MinariStorage, numbers: list[int], condition: Condition, known: EpisodeOutcomes | None
) -> Iterator[dict[Any, Any]]:
    """Yield the values that a condition needs of each episode."""
    names = condition.names
    has_agents = storage.is_multi_agent and AGENTS in names
    is_metadata = has_agents or bool(names.difference(_OUTCOMES, {"id", "length"}))
    is_outcome = has_agents or not names.isdisjoint(_OUTCOMES)
    lengths = storage.get_episode_lengths(numbers).tolist() if "length" in names else [None] * len(numbers)
    metadata: Iterable[dict[str, Any]] = storage.get_episode_metadata(numbers) if is_metadata else ({} for _ in numbers)
    outcomes = _outcomes(storage, numbers, known) if is_outcome else ({} for _ in numbers)
    fields = field_values(storage, numbers, condition.fields) if condition.fields else ({} for _ in numbers)
    for number, length, described, outcome, of_fields in zip(numbers, lengths, metadata, outcomes, fields, strict=True):
        described.setdefault("seed", None)
        described.pop("total_steps", None)  # which is the length
        values = {**described, "metadata": described, **outcome, **of_fields, "id": number, "length": length}
        if has_agents:
            values[AGENTS] = _of_agents(storage, described.get(AGENTS), outcome.get(AGENTS, {}))
        yield values


def _outcomes(storage: MinariStorage, numbers: list[int], known: EpisodeOutcomes | None) -> Iterator[dict[str, Any]]:
    """Yield the return and the flags of the last step of each episode; for many agents also those of each that acts."""
    outcomes = outcomes_of(storage, np.array(numbers, np.int_)) if known is None else known
    rows = {agent: zip(one.lengths.tolist(), _rows(one), strict=True) for agent, one in outcomes.agents.items()}
    for row in _rows(outcomes):
        of_agents = {agent: next(own) for agent, own in rows.items()}
        yield {**row, AGENTS: {agent: own for agent, (length, own) in of_agents.items() if length}} if rows else row


def _rows(outcomes: EpisodeOutcomes) -> Iterator[dict[str, Any]]:
    """Yield the return, a number or a list of several, and the flags of each episode."""
    returns = outcomes.returns
    if returns.ndim > 1 and returns[:1].size == 1:
        returns = returns.reshape(-1)
    columns = (returns.tolist(), outcomes.terminated.tolist(), outcomes.truncated.tolist())
    return (dict(zip(_OUTCOMES, row, strict=True)) for row in zip(*columns, strict=True))


def _of_agents(storage: MinariStorage, metadata: Any, outcomes: Mapping[Any, Any]) -> dict[Any, dict[str, Any]]:
    """Return the values of each of many agents, by its id if that is a text or a number, otherwise by its name."""
    codec = storage.episode_codec
    names = codec.names if isinstance(codec, MultiAgentCodec) else {}
    described = metadata if isinstance(metadata, Mapping) else {}
    values = {}
    for agent, name in names.items():
        own = described.get(name)
        if isinstance(own, Mapping):
            key = agent if type(agent) in (str, int) else name
            values[key] = {**own, "length": own.get("total_steps"), **outcomes.get(agent, {})}
    return values


class _Missing:
    """A value that no episode had up to now.

    Args:
        lookup: its path.

    Attributes:
        depth: the number of its first parts that an episode had.
        names: what was there instead of the next part.
    """

    def __init__(self, lookup: Lookup) -> None:
        self.lookup, self.depth, self.names = lookup, 0, dict[str, None]()

    def is_missing_in(self, values: Mapping[Any, Any]) -> bool:
        """Return whether an episode does not have the value either, and note what it has instead."""
        if find(values, self.lookup)[0]:
            return False
        depth = next(end for end in reversed(range(len(self.lookup))) if find(values, self.lookup[:end])[0])
        if depth > self.depth:
            self.depth, self.names = depth, {}
        if depth == self.depth and len(self.names) < _MOST_NAMES:
            around = find(values, self.lookup[:depth])[1] if depth else values
            if isinstance(around, Mapping):
                self.names.update((str(key), None) for key in around if isinstance(key, (str, int)))
            elif isinstance(around, (list, tuple, np.ndarray)) and len(around):
                self.names[f"[0] to [{len(around) - 1}]"] = None
        return True
