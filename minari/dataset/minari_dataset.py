"""MinariDataset: the episodes of a storage, or a selection of them, for training code."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol, overload

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.envs.registration import EnvSpec

from minari._base.json_text import shortened
from minari._base.warnings import warn
from minari._model.arguments import check_callable, check_seed, check_whole_number
from minari._model.compression import CompressionChoice
from minari._model.dataset_id import gen_dataset_id, parse_dataset_id
from minari._model.dataset_spec import MinariDatasetSpec
from minari._model.env_spec import make_environment, parse_env_spec, warn_about_unmet
from minari._model.episode import EpisodeData
from minari._model.episode_buffer import AnyEpisodeBuffer, as_episode_buffers
from minari._model.format_version import FORMAT_VERSION, check_readable
from minari._model.frame_stack import FrameStackChoice
from minari._model.metadata_json import texts_of
from minari._model.multi_agent import AgentID, MultiAgentCodec, agent_name
from minari._storages.agent_storage import AgentStorage, steps_of_agents
from minari._storages.base import MinariStorage, PathLike
from minari._storages.core import warn_about_whole_stacks
from minari.dataset.arrays import arrays_of
from minari.dataset.convert import write_as_dataset
from minari.dataset.editing.report import EditReport
from minari.dataset.editing.run import EditRequest, run_edit
from minari.dataset.episode_reading import episodes_on_demand, whole_episode, whole_episodes
from minari.dataset.episodes_table import TableLibrary, episodes_table
from minari.dataset.selection import select_episodes
from minari.errors import (
    ArgumentError,
    ArgumentTypeError,
    DatasetChangedError,
    DatasetNotFoundError,
    EnvironmentSpecError,
    EpisodeError,
    EpisodeIndexError,
)
from minari.sampling.episode_statistics import DatasetStatistics, statistics_of
from minari.sampling.fields import checked_names
from minari.sampling.joint import JointTransitions
from minari.sampling.nested import EpisodeArrays
from minari.sampling.row_cache import CACHE_BYTES, CacheKind
from minari.sampling.statistics import FieldStatistics, Normalizer, statistics_of_fields
from minari.sampling.transitions import Transitions
from minari.sampling.windows import Pad, PadValue, Windows


__all__ = ["EpisodeData", "MinariDataset", "MinariDatasetSpec", "gen_dataset_id", "parse_dataset_id"]

logger = logging.getLogger(__name__)


class Collector(Protocol):
    """A recorder of episodes, such as :class:`minari.DataCollector`."""

    def add_to_dataset(self, dataset: MinariDataset) -> object:
        """Append the recorded episodes to a dataset."""


class MinariDataset:
    """The episodes of a dataset, or a view of some of them.

    Episodes are :class:`EpisodeData`; those of many agents are :class:`MultiAgentEpisodeData`, and the spaces are
    mappings by agent.

    Views share the storage and are almost free: filters, splits, slices and index lists can be applied to
    each other. An index always refers to the view, and ``episode.id`` is the number in the whole dataset.

    Args:
        data: a storage, or the ``data`` directory of a dataset.
        episode_indices: the episodes of the view, by default all.
        verify_checksums: True to verify the values of every episode that is read with the checksums from when
            they were written; False keeps the setting of a given storage.

    Example:
        >>> import minari
        >>> dataset = minari.create_dataset_from_arrays(
        ...     "docs/views-v0",
        ...     observations=np.arange(7.0), actions=np.zeros(5), rewards=np.arange(5.0),
        ...     terminations=np.array([0, 0, 1, 0, 1]),
        ... )
        >>> [len(episode) for episode in dataset], dataset[1:].total_steps
        ([3, 2], 2)
        >>> dataset.filter_episodes(lambda episode: episode.rewards.sum() > 3).episode_indices
        array([1])
    """

    def __init__(
        self,
        data: MinariStorage | PathLike,
        episode_indices: npt.ArrayLike | None = None,
        *,
        verify_checksums: bool = False,
    ) -> None:
        self._storage = data if isinstance(data, MinariStorage) else MinariStorage.read(data)
        if verify_checksums:
            self._storage.verify_checksums = True
        self._raw = self._storage.current_metadata  # for what never changes: id, environment, version
        check_readable(self._raw.minari_version, str(self._storage.data_path))
        self._generator: np.random.Generator | None = None  # made when it is used, which asks the system for entropy
        self._total_steps: int | None = None
        self._indices = (
            np.arange(self._raw.total_episodes) if episode_indices is None else self._checked_indices(episode_indices)
        )

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_raw"}  # the storage reads it again

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_data" in state:  # a pickle of 0.5
            self.__init__(state["_data"], state["_episode_indices"])  # type: ignore[misc]
            self._generator = state["_generator"]
        else:
            self.__dict__.update(state)
            self._raw = self._storage.current_metadata

    def _checked_indices(self, indices: npt.ArrayLike) -> npt.NDArray[np.int_]:
        array = np.asarray(indices)
        if array.size == 0:
            array = array.astype(np.int_)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise EpisodeIndexError(f"The episode indices are {indices!r}, expected a one-dimensional list of ints.")
        total = self._storage.total_episodes
        if array.size and (array.min() < 0 or array.max() >= total):
            raise EpisodeIndexError(
                f"The episode indices go from {array.min()} to {array.max()}, expected numbers from 0 to {total - 1}."
            )
        return array.astype(np.int_)

    # Properties

    @property
    def id(self) -> str:
        """Return the id of the dataset, which follows from its location, even after it was moved or copied."""
        return self._storage.dataset_id

    @property
    def storage(self) -> MinariStorage:
        """Return the storage of the episodes."""
        return self._storage

    @property
    def total_episodes(self) -> int:
        """Return the number of episodes of this view."""
        return len(self._indices)

    @property
    def total_steps(self) -> int:
        """Return the number of steps of all episodes of this view."""
        if self._total_steps is None:
            self._total_steps = int(self._storage.get_episode_lengths(self._indices).sum())
        return self._total_steps

    @property
    def episode_indices(self) -> npt.NDArray[np.int_]:
        """The numbers, in the whole dataset, of the episodes of this view; can be set."""
        return self._indices

    @episode_indices.setter
    def episode_indices(self, indices: npt.ArrayLike) -> None:
        self._indices = self._checked_indices(indices)
        self._total_steps = None

    @property
    def is_view(self) -> bool:
        """Return whether this selects some of the episodes, or has them in another order."""
        is_beginning = bool((self._indices == np.arange(len(self._indices))).all())
        return not is_beginning or len(self._indices) < self._raw.total_episodes  # others may have been appended since

    @property
    def observation_space(self) -> gym.Space[Any]:
        """Return the space of the observations."""
        return self._storage.observation_space

    @property
    def action_space(self) -> gym.Space[Any]:
        """Return the space of the actions."""
        return self._storage.action_space

    @property
    def agents(self) -> list[Any]:
        """Return the ids of the agents, if there are many; otherwise an empty list."""
        codec = self._storage.episode_codec
        return codec.agents if isinstance(codec, MultiAgentCodec) else []

    @property
    def agent_steps(self) -> dict[Any, int]:
        """Return the number of steps of each of many agents in all episodes of this view."""
        if not self._storage.is_multi_agent:
            return {}
        steps = steps_of_agents(self._storage, self._indices.tolist())
        return {agent: int(counts.sum()) for agent, counts in steps.items()}

    def for_agent(self, agent: AgentID) -> MinariDataset:
        """Return the trajectories of one of many agents, as the episodes of a dataset of one agent.

        The episodes have their numbers in the whole dataset, and those in which the agent does not act are left out.
        Sampling, statistics, filters, :meth:`convert` and so on work as ever; nothing can be appended. The joint steps
        at which the agent acts are in ``dataset[i][agent].timesteps``.

        Args:
            agent: the id of the agent.

        Raises:
            ArgumentError: there is no such agent.

        Example:
            >>> import minari, numpy as np
            >>> from gymnasium import spaces
            >>> from minari.data_collector import EpisodeBuffer, MultiAgentEpisodeBuffer
            >>> agents = {
            ...     name: EpisodeBuffer(
            ...         observations=np.zeros((steps + 1, 2)), actions=np.zeros(steps, int), rewards=np.ones(steps),
            ...         terminations=np.arange(steps) == steps - 1, truncations=np.zeros(steps, bool),
            ...     )
            ...     for name, steps in {"predator": 3, "prey": 2}.items()
            ... }
            >>> dataset = minari.create_dataset_from_buffers(
            ...     "docs/agents-v0", [MultiAgentEpisodeBuffer(agents)],
            ...     observation_space=dict.fromkeys(agents, spaces.Box(-1, 1, (2,), np.float64)),
            ...     action_space=dict.fromkeys(agents, spaces.Discrete(5)),
            ... )
            >>> dataset.agents, dataset.total_steps, dataset.agent_steps
            (['predator', 'prey'], 3, {'predator': 3, 'prey': 2})
            >>> dataset.for_agent("prey").transitions()[:]["rewards"]
            array([1., 1.])
        """
        storage = AgentStorage(self._storage, agent)
        lengths = storage.get_episode_lengths(self._indices)
        return MinariDataset(storage, self._indices[lengths > 0])

    @property
    def env_spec(self) -> EnvSpec | None:
        """Return the spec of the recorded environment, which need not be installed.

        Raises:
            EnvironmentSpecError: the stored spec is damaged.
        """
        text = self._raw.env_spec_json
        return None if text is None else parse_env_spec(text)

    @property
    def eval_env_spec(self) -> EnvSpec | None:
        """Return the spec of the evaluation environment, if one was given."""
        text = self._storage.current_metadata.eval_env_spec_json
        return None if text is None else parse_env_spec(text)

    @property
    def combined_datasets(self) -> list[str]:
        """Return the ids of the source datasets of a combination."""
        return self._storage.current_metadata.combined_datasets

    @property
    def minari_version(self) -> str:
        """Return the format version of the dataset, or a specifier of versions."""
        return self._raw.minari_version or FORMAT_VERSION

    @property
    def spec(self) -> MinariDatasetSpec:
        """Return the description of the dataset or view."""
        return MinariDatasetSpec(
            env_spec=self.env_spec,
            total_episodes=self.total_episodes,
            total_steps=self.total_steps,
            dataset_id=self.id,
            combined_datasets=self.combined_datasets,
            observation_space=self.observation_space,
            action_space=self.action_space,
            data_path=str(self._storage.data_path),
            minari_version=self.minari_version,
        )

    def __repr__(self) -> str:
        try:
            steps = f", total_steps={self.total_steps}"
        except DatasetChangedError:  # it has been edited, and is only to be named
            steps = ""
        return f"MinariDataset(id={self.id!r}, total_episodes={self.total_episodes}{steps})"

    # Episodes

    def set_seed(self, seed: int) -> None:
        """Seed :meth:`sample_episodes`."""
        check_seed("seed", seed)
        self._generator = np.random.default_rng(seed)

    def sample_episodes(self, n_episodes: int) -> list[EpisodeData]:
        """Return episodes drawn at random without replacement.

        Raises:
            EpisodeError: there are fewer than ``n_episodes``.
        """
        check_whole_number("n_episodes", n_episodes)
        if not 0 <= n_episodes <= self.total_episodes:
            raise EpisodeError(
                f"{n_episodes} episodes were asked for and the dataset has {self.total_episodes}; sampling is "
                f"without replacement, so ask for at most as many as there are."
            )
        if self._generator is None:
            self._generator = np.random.default_rng()
        chosen = self._generator.choice(self._indices, size=n_episodes, replace=False)
        return list(whole_episodes(self._storage, chosen))

    def iterate_episodes(
        self, episode_indices: Iterable[int] | None = None, *, copy: bool = True
    ) -> Iterator[EpisodeData]:
        """Yield the episodes one by one, without holding them all in memory.

        Args:
            episode_indices: numbers in the whole dataset; by default those of this view.
            copy: True if the arrays should belong to the caller. False returns read-only views of the files
                if the format supports it, which saves a copy. A view must not be used after another program
                has truncated or overwritten the file in place: its values change, or the process is killed by
                SIGBUS, which cannot be caught. Do not pass views to libraries that ignore the read-only flag,
                such as torch.
        """
        if episode_indices is not None and (
            isinstance(episode_indices, str) or not isinstance(episode_indices, Iterable)
        ):
            raise ArgumentTypeError(
                f"episode_indices is {shortened(episode_indices)}, expected a list of numbers of episodes."
            )
        indices = self._indices if episode_indices is None else episode_indices
        return whole_episodes(self._storage, indices, copy=copy)

    def __iter__(self) -> Iterator[EpisodeData]:
        return self.iterate_episodes()

    def __len__(self) -> int:
        return self.total_episodes

    @overload
    def __getitem__(self, idx: int | np.integer[Any]) -> EpisodeData: ...

    @overload
    def __getitem__(self, idx: slice | list[int] | npt.NDArray[Any]) -> MinariDataset: ...

    def __getitem__(self, idx: Any) -> EpisodeData | MinariDataset:
        """Return the episode at a position of this view, or a view for a slice, a list of positions or a mask.

        Raises:
            EpisodeIndexError: there is no such position.
        """
        try:
            if isinstance(idx, (slice, list, np.ndarray)) and np.ndim(idx if not isinstance(idx, slice) else [0]):
                positions = idx if isinstance(idx, slice) or len(idx) else np.array([], dtype=np.int_)
                return self._view(self._indices[positions])
            number = int(self._indices[idx])
        except (IndexError, TypeError, ValueError) as error:
            raise EpisodeIndexError(
                f"There is no episode {idx!r} in a dataset of {self.total_episodes}, expected an int below that, "
                f"a slice, a list of ints or a mask."
            ) from error
        return self._read_whole(number)

    def _view(self, indices: npt.ArrayLike) -> MinariDataset:
        return MinariDataset(self._storage, indices)

    def filter_episodes(self, condition: Callable[[EpisodeData], bool] | str) -> MinariDataset:
        """Return a view of the episodes for which the condition is true.

        Only what the condition uses is read: no arrays if it uses the metadata and the length of an episode, and no
        observations, actions and infos if it uses the rewards and flags too, so that no frames are decoded.

        Args:
            condition: called with each :class:`~minari.EpisodeData` of this view, in order; or a text such as
                ``"return > 100 and length < 500"``, see :doc:`/selecting`.

        Raises:
            ArgumentError: the text is not a condition, or no episode has a name in it.
        """
        if isinstance(condition, str):
            return self._view(select_episodes(self, condition))
        check_callable("condition", condition, "a function of an EpisodeData that returns a bool, or a text")
        episodes = episodes_on_demand(self._storage, self._indices.tolist())
        return self._view([episode.id for episode in episodes if condition(episode)])

    def _read_whole(self, index: int) -> EpisodeData:
        return whole_episode(self._storage, index)

    def statistics(self) -> DatasetStatistics:
        """Return the returns and lengths of the episodes of this view.

        Those of a whole local dataset are computed once from its rewards, in one pass, and stored in a hidden file
        beside the data, which is used until the data changes.
        """
        return statistics_of(self._storage, self._indices)

    def episodes_table(self, library: TableLibrary = "pandas") -> Any:
        """Return a table with a row for each episode of this view, without reading observations, actions and infos.

        The columns are ``id``, ``length``, ``return`` (the sum of the rewards), ``terminated`` and ``truncated`` (of
        the last step), ``seed``, and all other metadata of the episodes; keys of nested dicts are joined by ``/``, as
        in ``options/goal``. Metadata with the name of another column is preceded by ``metadata/``. With many agents,
        ``return`` is that of all together, and there are columns such as ``agents/NAME/return``.

        Args:
            library: ``"pandas"`` for a ``DataFrame``, ``"arrow"`` for a ``pyarrow.Table``, ``"numpy"`` for a dict of
                arrays. Where an episode lacks metadata of others, the table has a missing value, or None. Arrow has
                values of mixed types as JSON text.

        Raises:
            ArgumentError: ``library`` is none of these.
            MissingDependencyError: the library is not installed.
            EpisodeError: the number of reward components differs between episodes.

        Example:
            >>> import minari, numpy as np
            >>> dataset = minari.create_dataset_from_arrays(
            ...     "docs/table-v0",
            ...     observations=np.arange(7.0), actions=np.zeros(5), rewards=np.arange(5.0),
            ...     terminations=np.array([0, 0, 1, 0, 1]), episode_metadata=[{"task": "pick"}, {"task": "place"}],
            ... )
            >>> table = dataset.episodes_table("numpy")
            >>> table["length"], table["return"], table["task"]
            (array([3, 2]), array([3., 7.]), array(['pick', 'place'], dtype=object))
        """
        return episodes_table(self._storage, self._indices, library)

    def arrays(self, *, fields: Iterable[str] | None = None, infos: Iterable[str] = ()) -> EpisodeArrays:
        """Return all values of this view in memory, as one array for each leaf, the episodes one after the other.

        This is the fastest way to read a whole dataset. The arrays belong to the caller and have the dtypes of the
        stored values, or, where these differ between episodes, one that represents all of them. What the spaces give no
        fixed shape (text, sequences, graphs) is a list with an item for each row. The steps of the episode at position
        ``i`` of the view are the rows ``starts[i]:starts[i + 1]``, where ``starts`` is ``episode_starts``; its
        observations and infos, which have one more row, are ``starts[i] + i : starts[i + 1] + i + 1``. Memory is needed
        for the arrays, and beside them for no more than what the format reads at once.

        Args:
            fields: what to read, for example ``["observations/camera", "actions"]``; by default ``observations``,
                ``actions``, ``rewards``, ``terminations`` and ``truncations``.
            infos: names of infos, for ``infos``; keys of nested ones are joined by ``/``.

        Returns:
            A dict of the fields, of ``episode_ids``, shape (E,), int64, and ``episode_starts``, shape (E + 1,), int64,
            for E episodes of N steps. Observations are nested as their space is and have N + E rows, actions N.
            Rewards have the shape (N,), or (N, k) for several at each step, and flags (N,), bool.

        Raises:
            ArgumentError: a field does not exist, or the dataset has many agents and this is not a view
                :meth:`for_agent`.
            EpisodeError: the view is empty, or an episode does not have an info.
            MemoryError: the arrays do not fit in memory.

        Example:
            >>> import minari, numpy as np
            >>> dataset = minari.create_dataset_from_arrays(
            ...     "docs/arrays-v0", observations=np.arange(7.0), actions=np.arange(5), rewards=np.ones(5),
            ...     terminations=np.array([0, 0, 1, 0, 1]),
            ... )
            >>> arrays = dataset.arrays(fields=["observations", "actions"])
            >>> arrays["observations"], arrays["actions"], arrays["episode_starts"]
            (array([0., 1., 2., 3., 4., 5., 6.]), array([0, 1, 2, 3, 4]), array([0, 3, 5]))
            >>> starts, i = arrays["episode_starts"], 1
            >>> arrays["observations"][starts[i] + i : starts[i + 1] + i + 1]
            array([4., 5., 6.])
        """
        self._check_one_agent("arrays")
        return arrays_of(self._storage, self._indices, fields, infos)

    # Sampling

    @overload
    def transitions(self, *, fields: Iterable[str] | None = None, joint: Literal[True]) -> JointTransitions: ...

    @overload
    def transitions(
        self,
        *,
        fields: Iterable[str] | None = None,
        n_step: int = 1,
        discount: float = 1.0,
        returns_to_go: bool = False,
        infos: Iterable[str] = (),
        cache: CacheKind | None = None,
        cache_bytes: int = CACHE_BYTES,
        joint: Literal[False] = False,
    ) -> Transitions: ...

    def transitions(
        self,
        *,
        fields: Iterable[str] | None = None,
        n_step: int = 1,
        discount: float = 1.0,
        returns_to_go: bool = False,
        infos: Iterable[str] = (),
        cache: CacheKind | None = None,
        cache_bytes: int = CACHE_BYTES,
        joint: bool = False,
    ) -> Transitions | JointTransitions:
        """Return the steps of this view with their successors, as a flat sequence.

        Nothing is read before an element is asked for. ``t[3]`` is one transition, ``t[2:8]``, ``t[[3, 1, 1]]`` and
        ``t[mask]`` are batches; their arrays belong to the caller and have the dtypes of the stored values.

        Args:
            fields: what to read, for example ``["observations/camera", "actions", "rewards"]``; by default
                ``observations``, ``actions``, ``next_observations``, ``rewards``, ``terminations``, ``truncations``,
                ``episode_ids`` and ``timesteps``.
            n_step: number of steps from an observation to its successor; fewer at the end of an episode. With more
                than one, ``rewards`` is the discounted sum of their rewards in float64, ``terminations`` and
                ``truncations`` tell whether the episode ended within them.
            discount: the factor γ from 0 to 1 for n-step rewards and returns. If it is given, or ``n_step`` is more
                than one, batches have ``discounts``: γ to the power of the number of steps, which multiplies the
                value of ``next_observations``.
            returns_to_go: True to add ``returns_to_go``, the discounted sum of the rewards from the step to the end of
                its episode, in float64.
            infos: names of infos, for ``infos`` and ``next_infos``; keys of nested ones are joined by ``/``.
            cache: for compressed data, which a training run reads again and again: ``"memory"`` or ``"disk"`` to decode
                each row once and then serve it from memory or from files that all processes share, below
                ``MINARI_CACHE_PATH`` or ``~/.minari/cache``. Rows stored uncompressed in HDF5 need none.
            cache_bytes: the most bytes to keep; what does not fit is decoded each time.
            joint: True for the joint steps of a dataset of n agents, in arrays of shape (B, n, …): all fields but
                ``episode_ids`` and ``timesteps``, with zeros where an agent does not act. ``masks`` (B, n) tells who
                acts, and ``alive`` (B, n) who has an observation, which may be the last one. ``next_observations`` are
                those that an agent gets before it acts again, or in the end. Can be combined with ``fields`` only.

        Raises:
            ArgumentError: an argument is invalid, or there is no such field; or the dataset has many agents, and
                neither ``joint`` is True nor is this a view :meth:`for_agent`.
            SpaceError: the spaces of the agents differ and cannot be joined.
            EpisodeError: the view is empty.

        Example:
            >>> import minari, numpy as np
            >>> dataset = minari.create_dataset_from_arrays(
            ...     "docs/transitions-v0", observations=np.arange(7.0), actions=np.zeros(5), rewards=np.ones(5),
            ...     terminations=np.array([0, 0, 1, 0, 1]),
            ... )
            >>> batch = dataset.transitions(returns_to_go=True)[[2, 3]]
            >>> batch["observations"], batch["next_observations"], batch["returns_to_go"]
            (array([2., 4.]), array([3., 5.]), array([1., 2.]))
        """
        if joint:
            others = {"n_step": n_step != 1, "discount": discount != 1, "returns_to_go": returns_to_go}
            others.update(infos=bool(tuple(infos)), cache=cache is not None)
            if given := [name for name, is_given in others.items() if is_given]:
                raise ArgumentError(
                    f"{given[0]} is given together with joint, expected only fields; use for_agent with each agent."
                )
            return JointTransitions(self._storage, self._indices, fields=fields)
        self._check_one_agent("transitions", ", or transitions(joint=True)")
        return Transitions(
            self._storage,
            self._indices,
            fields=fields,
            n_step=n_step,
            discount=discount,
            returns_to_go=returns_to_go,
            infos=infos,
            cache=cache,
            cache_bytes=cache_bytes,
        )

    def windows(
        self,
        length: int | None = None,
        *,
        stride: int = 1,
        pad: Pad | None = None,
        pad_value: PadValue = "zero",
        fields: Iterable[str] | None = None,
        discount: float = 1.0,
        returns_to_go: bool = False,
        final_observation: bool = False,
        infos: Iterable[str] = (),
        offsets: Mapping[str, Iterable[int]] | None = None,
        cache: CacheKind | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> Windows:
        """Return the windows of ``length`` consecutive steps of this view, none across episodes, as a flat sequence.

        Batches have the keys of :meth:`transitions`, each of shape (B, length, …), and ``mask``, which is True for
        steps of the episode and False for padding.

        Args:
            length: the number of steps of a window.
            stride: the number of steps from a window to the next one.
            pad: None for whole windows only, which begin at the steps 0, stride, … of each episode; ``"left"`` for
                one window that ends at each of these steps; ``"right"`` for one that begins there.
            pad_value: ``"zero"`` for zeros (and False, empty text, and None for other values without a fixed shape)
                where there is padding, ``"edge"`` for the values of the nearest step. ``episode_ids`` is that of the
                window everywhere.
            fields: what to read; by default all fields, without ``next_observations`` if there is a final
                observation, in which case ``observations`` has all of them.
            discount: the factor γ from 0 to 1 for returns.
            returns_to_go: True to add the discounted sum of the rewards to the end of the episode, in float64.
            final_observation: True for ``length + 1`` observations, with the one after the last step.
            infos: names of infos, for ``infos`` and ``next_infos``; keys of nested ones are joined by ``/``.
            offsets: instead of a length, the rows of each field around every step: ``{"observations": (-1, 0),
                "actions": range(16)}``. Each field has a mask of its own, such as ``observations_mask``;
                ``episode_ids`` and ``timesteps``, of shape (B,), are those of the step.
            cache: see :meth:`transitions`.
            cache_bytes: see :meth:`transitions`.

        Raises:
            ArgumentError: an argument is invalid, no window is whole, or there is no such field.
            EpisodeError: the view is empty.

        Example:
            >>> import minari, numpy as np
            >>> dataset = minari.create_dataset_from_arrays(
            ...     "docs/windows-v0", observations=np.arange(7.0), actions=np.arange(5.0), rewards=np.ones(5),
            ...     terminations=np.array([0, 0, 1, 0, 1]),
            ... )
            >>> dataset.windows(2)[:]["actions"]
            array([[0., 1.],
                   [1., 2.],
                   [3., 4.]])
            >>> dataset.windows(2, pad="left")[0]["mask"]
            array([False,  True])
        """
        self._check_one_agent("windows")
        return Windows(
            self._storage,
            self._indices,
            length,
            stride=stride,
            pad=pad,
            pad_value=pad_value,
            fields=fields,
            discount=discount,
            returns_to_go=returns_to_go,
            final_observation=final_observation,
            infos=infos,
            offsets=offsets,
            cache=cache,
            cache_bytes=cache_bytes,
        )

    def _check_one_agent(self, what: str, other_way: str = "") -> None:
        """Raise if there are many agents.

        Raises:
            ArgumentError: there are.
        """
        if self._storage.is_multi_agent:
            raise ArgumentError(
                f"{self.id} has {len(self.agents)} agents, and {what} are those of one; use "
                f"for_agent({shortened(self.agents[0] if self.agents else 'agent')}).{what}(){other_way}."
            )

    def field_statistics(self, fields: Iterable[str] | None = None) -> dict[str, FieldStatistics]:
        """Return the mean, deviation, extremes and quantiles of every numeric leaf over the steps of this view.

        The data is read once, episode by episode. The result is stored in a hidden file beside the data of a local
        dataset, and used until the data changes. Observations are counted with those after the last step.

        Args:
            fields: names such as ``"observations"``, ``"observations/camera"``, ``"actions"`` and ``"rewards"``; by
                default all of them.

        Returns:
            The statistics by the names of the leaves. With many agents, each name is preceded by that of an agent, as
            in ``"agent_0/observations"``; a field that is given without is that of every agent.

        Raises:
            ArgumentError: there is no such field, or its values have no fixed shape.
            EpisodeError: the view is empty.

        Example:
            >>> import minari, numpy as np
            >>> dataset = minari.create_dataset_from_arrays(
            ...     "docs/statistics-v0", observations=np.arange(5.0), actions=np.zeros(4), rewards=np.ones(4),
            ...     terminations=np.arange(4) == 3,
            ... )
            >>> found = dataset.field_statistics()["observations"]
            >>> found.count, found.mean, found.max, found.quantiles[0.5]
            (5, array(2.), array(4.), np.float64(2.0))
        """
        if self._storage.is_multi_agent:
            return self._field_statistics_of_agents(fields)
        return statistics_of_fields(self._storage, self._indices, fields)

    def _field_statistics_of_agents(self, fields: Iterable[str] | None) -> dict[str, FieldStatistics]:
        if not len(self):
            raise EpisodeError(f"The view of {self.id} has no episode, expected at least one for statistics.")
        given = None if fields is None else checked_names("fields", fields)
        names = {agent: agent_name(agent) for agent in self.agents}
        found: dict[str, FieldStatistics] = {}
        for agent, name in names.items():
            view, chosen = self.for_agent(agent), None
            if given is not None:
                others = tuple(f"{other}/" for other in names.values() if other != name)
                chosen = [field.removeprefix(f"{name}/") for field in given if not field.startswith(others)]
            if len(view) and (chosen is None or chosen):
                of_agent = view.field_statistics(chosen)
                found.update({f"{name}/{field}": statistics for field, statistics in of_agent.items()})
        return found

    def normalizer(
        self,
        fields: Iterable[str] | None = None,
        method: Literal["mean_std", "min_max", "quantiles"] = "mean_std",
    ) -> Normalizer:
        """Return what scales the fields of batches by their statistics, and back.

        Args:
            fields: see :meth:`field_statistics`.
            method: ``"mean_std"`` for a mean of 0 and a standard deviation of 1, ``"min_max"`` for values from -1 to
                1, ``"quantiles"`` for values from -1 to 1 between the quantiles 0.01 and 0.99.

        Raises:
            ArgumentError: there is no such field, or its values have no fixed shape.
            EpisodeError: the view is empty.

        Example:
            >>> import minari, numpy as np
            >>> dataset = minari.create_dataset_from_arrays(
            ...     "docs/normalizer-v0", observations=np.arange(5.0), actions=np.zeros(4), rewards=np.ones(4),
            ...     terminations=np.arange(4) == 3,
            ... )
            >>> normalizer = dataset.normalizer(["observations"], "min_max")
            >>> normalizer.normalize(dataset.transitions()[:])["observations"]
            array([-1. , -0.5,  0. ,  0.5])
        """
        return Normalizer(self.field_statistics(fields), method)

    # Changing and saving

    def update_dataset_from_buffer(
        self, buffer: Sequence[AnyEpisodeBuffer], *, lock_timeout: float | None = None
    ) -> None:
        """Append episodes to the dataset, and to this view.

        Args:
            buffer: the episodes.
            lock_timeout: seconds to wait for another program that is writing to the dataset; by default
                ``MINARI_LOCK_TIMEOUT``, or 60.

        Raises:
            EpisodeError: an episode does not match the spaces; nothing is appended.
            DatasetNotFoundError: the dataset was deleted or replaced by another one.
            DatasetBusyError: another program is still writing to the dataset.
            StorageError: writing failed; nothing is changed.
        """
        episodes = as_episode_buffers(buffer)
        with self.appending():
            self._storage.update_episodes(episodes, lock_timeout=lock_timeout)
        warn_about_whole_stacks(self._storage)

    @contextmanager
    def appending(self) -> Iterator[None]:
        """Add the episodes that are appended to the storage inside the ``with`` block to this view.

        Raises:
            DatasetNotFoundError: another dataset has taken the place of this one.
        """
        before = self._storage.total_episodes
        if self._indices.size and self._indices.max() >= before:
            raise DatasetNotFoundError(
                f"{self.id} has been replaced by one with {before} episodes, fewer than there were when it was opened; "
                f"open it again. Nothing was appended."
            )
        yield
        new = np.arange(before, self._storage.total_episodes)
        self.episode_indices = np.concatenate([self._indices, new])

    def edit(
        self,
        *,
        set_metadata: Mapping[str, Any] | None = None,
        remove_metadata: Iterable[str] = (),
        drop_episodes: Iterable[int] = (),
        keep: Callable[[EpisodeData], bool] | str | None = None,
        drop_fields: Iterable[str] = (),
        rename_fields: Mapping[str, str] | None = None,
        episode_metadata: Mapping[int, Mapping[str, Any]] | None = None,
        remove_episode_metadata: Iterable[str] = (),
        new_dataset_id: str | None = None,
        dry_run: bool = False,
        root: PathLike | None = None,
        lock_timeout: float | None = None,
    ) -> EditReport[MinariDataset]:
        """Change metadata, episodes and fields of this dataset in place, or make an edited copy.

        See :func:`minari.edit_dataset`. After episodes or fields have changed in place, this object raises
        :class:`minari.errors.DatasetChangedError`; ``report.dataset`` is the dataset as it is then. A view can only be
        edited with ``new_dataset_id``, which takes exactly its episodes.

        Example:
            >>> import minari, numpy as np
            >>> dataset = minari.create_dataset_from_arrays(
            ...     "docs/edited-v0", observations=np.arange(7.0), actions=np.zeros(5), rewards=np.arange(5.0),
            ...     terminations=np.array([0, 0, 1, 0, 1]),
            ... )
            >>> report = dataset.edit(drop_episodes=[0], set_metadata={"description": "The second half."})
            >>> report.dataset.total_episodes, report.dataset[0].rewards
            (1, array([3., 4.]))
        """
        request = EditRequest(
            {} if set_metadata is None else set_metadata,
            remove_metadata,
            drop_episodes,
            keep,
            drop_fields,
            {} if rename_fields is None else rename_fields,
            {} if episode_metadata is None else episode_metadata,
            remove_episode_metadata,
            new_dataset_id,
            dry_run,
            root,
            lock_timeout,
        )
        return run_edit(self, request, MinariDataset)

    def save(self, dataset_id: str, *, root: PathLike | None = None) -> MinariDataset:
        """Create an independent dataset from this view, with all metadata of the episodes and the dataset.

        Args:
            dataset_id: id of the new dataset.
            root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.

        Raises:
            DatasetIdError: the id is malformed.
            DatasetExistsError: a dataset with this id already exists.
            EpisodeError: the view is empty.
        """
        return self.convert(dataset_id, root=root)

    def convert(
        self,
        dataset_id: str,
        data_format: str | None = None,
        *,
        compression: CompressionChoice = None,
        jpeg_encoding: bool | None = None,
        frame_stack: FrameStackChoice | None = None,
        compatible_with: str | None = None,
        root: PathLike | None = None,
    ) -> MinariDataset:
        """Create a dataset from this one, or from this view, with another format or compression.

        The values are the same bit for bit, and all metadata of the episodes and the dataset is kept. Only a
        few episodes are in memory at a time, so the dataset may be larger than memory. Data that does not
        change is copied as stored; JPEG frames are copied unchanged.

        Args:
            dataset_id: id of the new dataset.
            data_format: ``"hdf5"``, ``"arrow"``, ``"parquet"``, ``"zarr"``, or a format of another package;
                by default that of this dataset.
            compression: a codec for all columns, such as ``"gzip"`` or ``"gzip:9"``, or codecs for some
                (``{"observations/pixels": "gzip:9"}``). By default, the choice of this dataset if the format
                stays the same; otherwise only frames are compressed, without loss.
            jpeg_encoding: True if frames are JPEG, which is lossy; by default as in this dataset.
            frame_stack: ``"deduplicate"`` to store each frame of stacks once, where the stacks can be rebuilt exactly,
                or ``"keep"`` to store stacks as they are; by default as in this dataset, and ``"keep"`` for an earlier
                release.
            compatible_with: ``"0.5"`` for a dataset that 0.5.4 can read: every bound of camera spaces is
                written out, which takes megabytes and seconds.
            root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.

        Returns:
            The new dataset.

        Raises:
            DatasetIdError: the id is malformed.
            DatasetExistsError: a dataset with this id already exists.
            UnknownFormatError: no format has that name.
            CompressionError: the format does not support the codec, or there is no such column.
            MissingDependencyError: the format or the codec needs a package that is not installed.
            EpisodeError: the view is empty.
            DatasetVersionError: ``compatible_with`` is not a known release, or that release does not support
                the format or a space.

        Example:
            >>> import minari, numpy as np
            >>> dataset = minari.create_dataset_from_arrays(
            ...     "docs/logged-v0", observations=np.arange(3.0), actions=np.zeros(2),
            ...     rewards=np.ones(2), terminations=np.array([False, True]),
            ... )
            >>> smaller = dataset.convert("docs/smaller-v0", compression="gzip:9")
            >>> smaller[0].observations
            array([0., 1., 2.])
        """
        if not len(self):
            raise EpisodeError(f"The view of {self.id} has no episode, expected at least one to save.")
        data_path = write_as_dataset(
            self._storage,
            self._indices.tolist(),
            dataset_id,
            data_format,
            compression=compression,
            jpeg_encoding=jpeg_encoding,
            frame_stack=frame_stack,
            compatible_with=compatible_with,
            root=root,
        )
        return MinariDataset(data_path)

    def recover_environment(self, eval_env: bool = False, **kwargs: Any) -> gym.Env[Any, Any]:
        """Create the environment of the data.

        Args:
            eval_env: True for the evaluation environment; the recorded one if no other was given.
            **kwargs: arguments of :func:`gymnasium.make`.

        Raises:
            EnvironmentModuleError: a module of the environment is not installed; it is a ``ModuleNotFoundError``.
            EnvironmentSpecError: the dataset names no environment, or it cannot be created.
        """
        requirements = texts_of(self._storage.current_metadata.raw.get("requirements"))
        warn_about_unmet(requirements)
        spec = self.eval_env_spec if eval_env else None
        if spec is None:
            if eval_env:
                logger.info("%s names no environment for evaluation; the one it was recorded in is used.", self.id)
            spec = self.env_spec
        if spec is None:
            raise EnvironmentSpecError(
                f"The environment of {self.id} cannot be recovered: it was created without one and has no env_spec."
            )
        return make_environment(spec, requirements, **kwargs)

    # Deprecated names

    @property
    def name(self) -> str:
        """The id, under its name up to 0.3."""
        _deprecated("MinariDataset.name", "MinariDataset.id")
        return self.id

    def update_dataset_from_collector_env(self, collector_env: Collector) -> None:
        """Append recorded episodes, as up to 0.4."""
        _deprecated("MinariDataset.update_dataset_from_collector_env", "DataCollector.add_to_dataset")
        collector_env.add_to_dataset(self)


def _deprecated(old: str, new: str) -> None:
    warn(f"{old} is the older name of {new}; use that.", DeprecationWarning)
