"""``minari.verify``: selects the episodes, replays them, and keeps the report."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, TypeAlias

import numpy as np

from minari._base.json_text import shortened
from minari._base.warnings import warn
from minari._model.arguments import check_count, check_seed
from minari._model.episode_codec import ACTIONS
from minari._model.recorded_with import RECORDED_WITH, VERIFICATION, versions_of
from minari._storages.base import MinariStorage, PathLike
from minari.data_collector.verification.environments import EnvironmentSource, GivenEnvironment, replay_in
from minari.data_collector.verification.recorded import EpisodeReplay, chains_of, read_recorded
from minari.data_collector.verification.report import EpisodeVerification, VerificationReport
from minari.data_collector.verification.workers import map_in_processes
from minari.dataset.minari_dataset import MinariDataset
from minari.dataset.validation import find_data_path
from minari.errors import ArgumentError, ArgumentTypeError, EpisodeIndexError, MinariError
from minari.progress import progress
from minari.spaces import field_of, path_name


__all__ = ["verify"]

#: Episodes to replay one after the other, those among them to report, and why they cannot be replayed, if so.
Chain: TypeAlias = "tuple[list[int], frozenset[int], str | None]"
#: Results, and sentences about what was not compared.
Verified: TypeAlias = tuple[list[EpisodeVerification], list[str]]


def verify(
    dataset: MinariDataset | PathLike,
    *,
    episodes: Iterable[int] | None = None,
    sample: int | None = None,
    seed: int | None = None,
    tolerance: float = 0.0,
    env: GivenEnvironment | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    processes: int = 1,
    keep_report: bool = True,
) -> VerificationReport:
    """Replay the actions of a dataset in its environment, and compare what comes of them with what is recorded.

    Each episode is reset with its recorded seed and options, and its actions are taken. Observations, rewards,
    terminations and truncations are compared step by step, the global state of many agents as well; infos are not. An
    episode ends at the first value that differs. If it has been replayed after others and diverges, it is tried again
    in a fresh environment.

    This creates the environment that the dataset names, which runs the code of its packages.

    Args:
        dataset: the dataset or view, the id of a local dataset, or the path of its directory.
        episodes: numbers of episodes in the whole dataset; by default all of the dataset or view.
        sample: number of episodes to draw from these; by default all.
        seed: seed of the sample.
        tolerance: floating-point values may be off by ``tolerance * (1 + abs(recorded))``, the absolute and the
            relative difference together; other values must be equal.
        env: a function that makes the environment, ``"package.module:function"``, or an id; by default the environment
            that the dataset names. Required for many agents.
        env_kwargs: arguments of the environment, or of the function.
        processes: number of processes that replay episodes.
        keep_report: True to keep a summary in the metadata of the dataset, where ``minari show`` and dataset cards
            find it.

    Returns:
        The report.

    Warns:
        UserWarning: the report cannot be kept, as in a dataset that is read-only.

    Raises:
        EnvironmentModuleError: a module of the environment is not installed.
        EnvironmentSpecError: the dataset names no environment, it cannot be made, or takes other actions.
        EpisodeIndexError: there is no episode with one of the numbers.
        ArgumentError: an argument is invalid.
        VerificationError: one of several processes has failed.

    Example:
        >>> import gymnasium as gym, minari
        >>> env = minari.DataCollector(gym.make("CartPole-v1"))
        >>> for number in range(3):
        ...     observation, info = env.reset(seed=number)
        ...     over = False
        ...     while not over:
        ...         observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        ...         over = terminated or truncated
        >>> dataset = env.create_dataset(
        ...     "docs/verified-v0", algorithm_name="random", author="Ada", author_email="ada@example.org",
        ...     description="three episodes", code_permalink="https://example.org", eval_env="CartPole-v1",
        ... )
        >>> minari.verify(dataset).counts["exact"]
        3
    """
    if not isinstance(dataset, MinariDataset):
        dataset = MinariDataset(find_data_path(dataset))
    check_count("processes", processes, 1)
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0 <= tolerance < math.inf:
        raise ArgumentError(f"tolerance is {shortened(tolerance)}, expected a number from 0.")
    indices = _selected(dataset, episodes, sample, seed)
    source = EnvironmentSource(env, dict(env_kwargs or {}))
    storage, wanted = dataset.storage, frozenset(indices)
    chains: list[Chain] = [(chain, wanted & frozenset(chain), reason) for chain, reason in chains_of(storage, indices)]
    runner = _Runner(storage, source, float(tolerance))
    if any(reason is None for _, _, reason in chains):
        runner.start()  # a wrong environment is reported before anything else, and only once
    notes, replayed_with = list(runner.notes), runner.versions
    results: dict[int, EpisodeVerification] = {}
    found: Iterable[Verified] = map(runner, chains)
    with closing(runner), ExitStack() as stack, progress(f"verifying {dataset.id}", len(indices)) as advance:
        if processes > 1 and len(chains) > 1:
            runner.close()
            arguments = storage, source, float(tolerance)
            found = stack.enter_context(closing(map_in_processes(_started, arguments, chains, processes)))
        for verified, further in found:
            results.update((result.episode, result) for result in verified)
            notes += [note for note in further if note not in notes]
            advance(len(verified))
    report = VerificationReport(
        dataset=dataset.id,
        episodes=tuple(results[index] for index in indices),
        total_episodes=storage.total_episodes,
        total_steps=storage.total_steps,
        tolerance=float(tolerance),
        date=datetime.now(timezone.utc).date().isoformat(),
        env=source.name,
        recorded_with=_recorded_versions(storage),
        replayed_with=replayed_with,
        notes=tuple(notes),
    )
    if keep_report:
        _keep(storage, report)
    return report


def _selected(
    dataset: MinariDataset, episodes: Iterable[int] | None, sample: int | None, seed: int | None
) -> list[int]:
    """Return the numbers of the episodes to verify.

    Raises:
        EpisodeIndexError: there is no such episode.
        ArgumentError: the sample is not a number of episodes.
    """
    indices = dataset.episode_indices.tolist()
    if episodes is not None:
        if isinstance(episodes, (str, int)) or not isinstance(episodes, Iterable):
            raise ArgumentTypeError(f"episodes is {shortened(episodes)}, expected a list of numbers of episodes.")
        indices, total = list(episodes), dataset.storage.total_episodes
        for index in indices:
            if isinstance(index, bool) or not isinstance(index, (int, np.integer)) or not 0 <= index < total:
                raise EpisodeIndexError(
                    f"There is no episode {shortened(index)} in {dataset.id}, expected a number from 0 to {total - 1}."
                )
    indices = list(dict.fromkeys(map(int, indices)))
    check_seed("seed", seed)
    if sample is None:
        return indices
    check_count("sample", sample, 1)
    if sample > len(indices):
        raise ArgumentError(f"sample is {sample}, expected at most the {len(indices)} episodes that there are.")
    return sorted(np.random.default_rng(seed).choice(indices, sample, replace=False).tolist())


class _Runner:
    """Environment of one process, which is made again after an episode has diverged.

    Args:
        storage: the dataset.
        source: how to make the environment.
        tolerance: the tolerated difference.
    """

    def __init__(self, storage: MinariStorage, source: EnvironmentSource, tolerance: float) -> None:
        self._storage, self._source, self._tolerance = storage, source, tolerance
        self.versions = versions_of()
        self.notes: list[str] = []
        self._replay: EpisodeReplay | None = None

    def start(self) -> EpisodeReplay:
        """Make the environment.

        Raises:
            EnvironmentSpecError: it cannot be made, or is not that of the dataset.
        """
        self._replay, self._is_fresh = self._made(), True
        self._note(self._replay.notes)
        return self._replay

    def _made(self) -> EpisodeReplay:
        env = self._source.make(self._storage)
        self.versions = versions_of(env)
        try:
            return replay_in(self._storage, env, self._tolerance)
        except BaseException:
            with suppress(Exception):  # the first error counts
                env.close()
            raise

    def close(self) -> None:
        """Close the environment."""
        with suppress(Exception):  # environments may raise anything, and all episodes are done
            if self._replay is not None:
                self._replay.close()

    def __call__(self, chain: Chain) -> Verified:
        """Return the results of the episodes to report of a chain, and the notes so far."""
        members, wanted, reason = chain
        if reason is not None:
            return [_lost(index, reason) for index in members if index in wanted], self.notes
        replay = self.start() if self._replay is None else self._replay
        was_fresh = self._is_fresh
        results = self._run(replay, members)
        if not was_fresh and any(result.status == "diverged" for result in results):
            self.close()
            replay = self.start()
            again = self._run(replay, members)
            results = [
                replace(later, note=_joined(later.note, _LEAKS))
                if earlier.status == "diverged" and later.status in ("exact", "within tolerance")
                else later
                for earlier, later in zip(results, again, strict=True)
            ]
        self._note(replay.notes)
        return [result for result in results if result.episode in wanted], self.notes

    def _note(self, notes: Iterable[str]) -> None:
        self.notes += [note for note in notes if note not in self.notes]

    def _run(self, replay: EpisodeReplay, members: Sequence[int]) -> list[EpisodeVerification]:
        self._is_fresh = False
        results: list[EpisodeVerification] = []
        for index in members:
            failed = next((result for result in results if result.status == "diverged"), None)
            if failed is not None or (results and results[-1].status == "not reproducible"):
                before = results[-1].episode if failed is None else failed.episode
                results.append(_lost(index, f"no seed is recorded, and episode {before} before it is not reproduced"))
                continue
            recorded = read_recorded(self._storage, index)
            self._note(
                f"The {path_name(path)} were not compared: they are stored as JPEG, which is lossy."
                for path in sorted(recorded.lossy, key=path_name)
            )
            if any(field_of(path) == ACTIONS for path in recorded.lossy):
                results.append(_lost(index, "its actions are stored as JPEG, which is lossy"))
                continue
            result = replay.replay(recorded)
            if results and result.divergence is not None and result.divergence.step is None:
                result = _lost(index, f"no seed is recorded, and it does not go on from episode {results[-1].episode}")
            results.append(result)
        return results


_LEAKS = "only in a fresh environment, as this one keeps a state from the episodes before"


def _lost(index: int, reason: str) -> EpisodeVerification:
    return EpisodeVerification(index, "not reproducible", note=reason)


def _joined(first: str | None, second: str) -> str:
    return f"{first}; {second}" if first else second


def _started(storage: MinariStorage, source: EnvironmentSource, tolerance: float) -> Callable[[Chain], Verified]:
    """Return what replays episodes in another process, which opens the dataset itself."""
    warnings.simplefilter("ignore")  # the first process has shown them
    return _Runner(storage, source, tolerance)


def _recorded_versions(storage: MinariStorage) -> dict[str, Any]:
    found = storage.current_metadata.raw.get(RECORDED_WITH)
    return dict(found) if isinstance(found, Mapping) else {}


def _keep(storage: MinariStorage, report: VerificationReport) -> None:
    """Keep the summary of a report in the metadata, or warn."""
    try:
        storage.update_metadata({VERIFICATION: report.summary()})
    except (MinariError, OSError) as error:
        warn(f"The report of the verification is not kept in the metadata of {report.dataset}: {error}")
