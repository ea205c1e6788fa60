"""Base of the collectors of every kind of environment: it saves, discards and counts their episodes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from minari._base.json_text import shortened
from minari._base.warnings import warn
from minari._catalog.layout import free_dataset_path
from minari._model.arguments import check_whole_number, no_dataset
from minari._model.episode_codec import size_of_value
from minari._storages.base import PathLike
from minari._storages.core import warn_about_whole_stacks
from minari.data_collector.episode_queue import EpisodeQueue
from minari.data_collector.exit_handlers import RunningEpisodes, leave, warn_unsaved
from minari.dataset.from_buffers import DatasetDescription, EnvLike
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import ArgumentError, ArgumentTypeError


if TYPE_CHECKING:
    from gymnasium.envs.registration import EnvSpec


OnError: TypeAlias = Literal["raise", "skip"]


class OutsideSummary(Protocol):
    """Values outside their spaces so far."""

    def take_summary(self) -> list[str]:
        """Return a sentence for each leaf with the totals, and reset the counts."""


#: Environments that use NumPy's legacy seeding accept at most 32 bits.
AUTOSEED_BIT_SIZE = 32
#: Steps of an episode after which their size is measured.
FIRST_LOOK = 256

_AUTOSEED_OPTION = "minari_autoseed"


def drawn_seed() -> int:
    """Return a random seed for a reset without one."""
    return secrets.randbits(AUTOSEED_BIT_SIZE)


def split_options(options: Any) -> tuple[dict[str, Any] | None, bool]:
    """Return the options of a reset for the environment, and whether a seed is to be drawn if none is given.

    Raises:
        ArgumentTypeError: the options are not a dict.
    """
    if options is not None and not isinstance(options, Mapping):
        raise ArgumentTypeError(f"options is {shortened(options)}, expected a dict or None.")
    if options is None or _AUTOSEED_OPTION not in options:
        return options, True  # type: ignore[return-value] # of the type that was given
    others = {key: value for key, value in options.items() if key != _AUTOSEED_OPTION}
    return others or None, bool(options[_AUTOSEED_OPTION])


class EpisodeCollector:
    """Base of a wrapper that records episodes: it saves, discards and counts those that have ended.

    It comes before the class of the wrapper among the bases, and closes the environment through it.

    Attributes set by the subclass:
        _queue: queue of the finished episodes.
        _running: the episodes in progress.
        _outside: values outside their spaces so far.
        _root: root of the catalog, as given.
    """

    _queue: EpisodeQueue
    _running: RunningEpisodes
    _outside: OutsideSummary
    _root: PathLike | None
    _capacity = 0  # number of steps that the current episode may have before finished ones must be written

    def _recorded_spec(self) -> EnvSpec | None:
        """Return the spec of the environment in which an episode takes place."""
        raise NotImplementedError

    def _interrupt(self) -> None:
        """End the episodes in progress; steps without a reset begin new ones."""
        raise NotImplementedError

    def _free_memory(self, steps: int, values: Any) -> None:
        """Write the finished episodes to disk if memory holds the maximum of steps or bytes.

        Args:
            steps: number of steps of the current episode.
            values: values of its last step, to estimate its size.
        """
        row_bytes = 0
        with suppress(Exception):  # values may be nested endlessly, or have a length that raises
            row_bytes = size_of_value(values)
        warnings = self._queue.free_memory(steps) if steps >= self._queue.capacity_for(row_bytes) else []
        self._capacity = min(self._queue.capacity_for(row_bytes), 2 * steps)
        for warning in warnings:
            warn(warning)

    def create_dataset(
        self,
        dataset_id: str,
        eval_env: EnvLike | None = None,
        algorithm_name: str | None = None,
        author: str | Iterable[str] | None = None,
        author_email: str | Iterable[str] | None = None,
        code_permalink: str | None = None,
        ref_min_score: float | None = None,
        ref_max_score: float | None = None,
        expert_policy: Callable[[Any], Any] | None = None,
        num_episodes_average_score: int = 100,
        description: str | None = None,
        requirements: Sequence[str] | None = None,
        *,
        on_error: OnError = "raise",
    ) -> MinariDataset:
        """Save all recorded episodes as a dataset; the collector is empty afterwards.

        The current episode ends here, truncated. If saving fails, the episodes stay recorded, and `minari
        recover` has the id, the author and all other metadata. The arguments are those of
        :func:`minari.create_dataset_from_buffers`; ``on_error`` selects what to do about episodes that cannot
        be stored: ``"raise"`` reports all of them, ``"skip"`` omits them with one warning.

        Warns:
            UserWarning: lists missing recommended metadata, and episodes that were skipped.

        Raises:
            DatasetIdError: the id is malformed.
            DatasetExistsError: a dataset with this id already exists.
            EpisodeError: nothing was recorded, or an episode cannot be stored.
            ArgumentError: ``on_error`` has another value.
        """
        skips = _skips(on_error)
        description_of_dataset = DatasetDescription(
            eval_env=eval_env,
            algorithm_name=algorithm_name,
            author=author,
            author_email=author_email,
            code_permalink=code_permalink,
            ref_min_score=ref_min_score,
            ref_max_score=ref_max_score,
            expert_policy=expert_policy,
            num_episodes_average_score=num_episodes_average_score,
            description=description,
            requirements=requirements,
        )
        versions = self._queue.recorded_with
        with self._queue.saving(dataset_id, {**description_of_dataset.given(), **versions}):
            free_dataset_path(dataset_id, root=self._root)
            metadata = {**description_of_dataset.metadata(dataset_id, self._recorded_spec()), **versions}
            self._interrupt()
            self._sum_up_outside()
            dataset = self._queue.publish(dataset_id, metadata, skips)
        warn_about_whole_stacks(dataset.storage)
        return dataset

    def add_to_dataset(self, dataset: MinariDataset, *, on_error: OnError = "raise") -> None:
        """Append all recorded episodes to a dataset; the collector is empty afterwards.

        The current episode ends here, truncated. If appending fails, the episodes stay recorded.

        Args:
            dataset: the dataset.
            on_error: what to do about episodes that cannot be stored, as in :meth:`create_dataset`.

        Raises:
            EpisodeError: an episode cannot be stored.
            CombineError: the spaces of the dataset are different.
            ArgumentError: ``on_error`` has another value.
        """
        if not isinstance(dataset, MinariDataset):
            raise no_dataset("dataset", dataset)
        skips = _skips(on_error)
        self._interrupt()
        self._sum_up_outside()
        self._queue.append_to(dataset, skips)
        warn_about_whole_stacks(dataset.storage)

    def _settle(self) -> None:
        """Move all episodes that have ended to the queue."""

    def discard_episode(self, index: int) -> None:
        """Drop one of the recorded episodes that have not been saved.

        Args:
            index: its number among them, as in warnings; negative ones count from the end. The numbers of
                later episodes decrease.

        Raises:
            ArgumentTypeError: ``index`` is not an integer.
            EpisodeIndexError: there is no such episode.
        """
        check_whole_number("index", index)
        self._settle()
        self._queue.discard_episode(index)

    def _sum_up_outside(self) -> None:
        """Warn about values outside their spaces if there were more than the first warnings reported."""
        for warning in self._outside.take_summary():
            warn(warning)

    def discard_info(self, name: str) -> None:
        """Drop an info from all recorded episodes, such as one that cannot be stored.

        Args:
            name: the key, of any type; keys of nested infos are joined by ``/``.

        Warns:
            UserWarning: an episode that could not be stored because of it cannot be stored for another reason.
        """
        name = str(name)
        self._settle()
        self._running.discard_info(name)
        for warning in self._queue.discard_info(name):
            warn(warning)

    @property
    def total_episodes(self) -> int:
        """Return the number of finished episodes that have not been saved."""
        self._settle()
        return self._queue.total_episodes

    @property
    def total_steps(self) -> int:
        """Return the number of steps of the finished episodes that have not been saved."""
        self._settle()
        return self._queue.total_steps

    def close(self, **kwargs: Any) -> None:
        """Close the environment and write the episodes in memory. Unsaved episodes can be recovered.

        Args:
            kwargs: arguments of the environment.

        Warns:
            UserWarning: explains how to recover unsaved episodes, if any.
        """
        try:
            super().close(**kwargs)  # type: ignore[misc] # of the wrapper
        finally:
            sentence = leave(self._running, self._queue, "closed")
            for warning in self._queue.take_warnings():
                warn(warning)
            self._sum_up_outside()
            if sentence is not None:
                warn_unsaved(self._queue, sentence)


def _skips(on_error: str) -> bool:
    if on_error not in ("raise", "skip"):
        raise ArgumentError(f"on_error is {shortened(on_error)}, expected 'raise' or 'skip'.")
    return on_error == "skip"
