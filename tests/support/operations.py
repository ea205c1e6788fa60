"""Operations of a program on a dataset, through the public interface of every release since 0.5.

The tests call these functions on the library at hand; the released package runs the very same functions in
an environment of its own. What records returns what the environment really gave, never what was stored.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np

import minari
from minari.data_collector import EpisodeBuffer
from support import kinds
from support.cases import spaces_of
from support.scripted import buffer_of
from support.scripted import play as play_scripted
from support.toys import ToyEnv, Witness, draw


#: Everything that a dataset can say about itself when it is created.
METADATA: dict[str, Any] = {
    "algorithm_name": "toy policy",
    "author": {"Ann Author", "Bo Author"},
    "author_email": {"ann@example.org", "bo@example.org"},
    "code_permalink": "https://example.org/code",
    "description": "Zufällige Schritte 🎲, recorded by a test",
    "requirements": ["numpy>=1", "gymnasium"],
    "ref_min_score": -1.5,
    "ref_max_score": 2.0,
}

#: As they were played, one dict of columns an episode.
Episodes = list[dict[str, Any]]

FIELDS = ("observations", "actions", "rewards", "terminations", "truncations", "infos")


def outcome(name: str) -> dict[str, Any]:
    """Return the outcome of a program of `support.behaviors`."""
    from support import behaviors

    return behaviors.outcome(name)


def version() -> str:
    """The release of the package in this process."""
    return minari.__version__


def record(
    dataset_id: str,
    case: str,
    *,
    how: str = "collector",
    data_format: str = "hdf5",
    jpeg_encoding: bool = False,
    **play: Any,
) -> list[dict[str, Any]]:
    """Record episodes as a new dataset and return them as they were played.

    Args:
        dataset_id: The id of the new dataset.
        case: The name of the pair of spaces.
        how: ``collector``, ``buffers`` (whole columns) or ``steps`` (buffers filled step by step).
        data_format: The storage format.
        jpeg_encoding: Whether frames become JPEG.
        **play: What the toy environment does (`episode_length`, `smooth_images`) and how it is played (`_play`).
    """
    options: dict[str, Any] = {"data_format": data_format, "jpeg_encoding": jpeg_encoding, **_for_both(data_format)}
    collector, truth, buffers = _played(case, how, options, play)
    with _unasked_metadata_left_out():
        if collector is not None:
            collector.create_dataset(dataset_id, **METADATA)
        else:
            options |= dict(zip(("observation_space", "action_space"), spaces_of(case), strict=True))
            minari.create_dataset_from_buffers(dataset_id, buffers, **options, **METADATA)
    return truth


def _for_both(data_format: str) -> dict[str, Any]:
    """The options with which this release writes a format as the other one reads it."""
    known = inspect.signature(minari.create_dataset_from_buffers).parameters
    return {"compatible_with": "0.5"} if data_format == "parquet" and "compatible_with" in known else {}


def append(dataset_id: str, case: str, *, how: str = "collector", **play: Any) -> list[dict[str, Any]]:
    """Record further episodes into an existing dataset and return them as they were played."""
    dataset = minari.load_dataset(dataset_id)
    storage = dataset.storage
    options = {"data_format": storage.FORMAT, "jpeg_encoding": bool(storage.jpeg_encoding)}
    collector, truth, buffers = _played(case, how, options, play)
    if collector is not None:
        collector.add_to_dataset(dataset)
    else:
        dataset.update_dataset_from_buffer(buffers)
    return truth


def _played(
    case: str, how: str, options: dict[str, Any], play: dict[str, Any]
) -> tuple[Any, list[dict[str, Any]], Any]:
    """Play episodes; the collector, where there is one, what was played, and its buffers, where there is none."""
    witness = _toy(case, play)
    if how != "collector":
        truth = _play(witness, witness, **play)
        return None, truth, _buffers(witness, truth, how)
    collector = minari.DataCollector(witness, record_infos=bool(play.get("infos")), **options)
    return collector, _play(collector, witness, **play), None


def record_kind(dataset_id: str, *, info: str = "", reward: str = "", data_format: str = "hdf5") -> None:
    """Record an episode whose infos, or rewards, are of one of `support.kinds`; append another one."""
    collector = minari.DataCollector(kinds.environment(info, reward), record_infos=True, data_format=data_format)
    for _ in range(2):
        play_scripted(collector, action=1, seed=3)
        with _unasked_metadata_left_out():
            if dataset_id not in minari.list_local_datasets():
                collector.create_dataset(dataset_id)
            else:
                collector.add_to_dataset(minari.load_dataset(dataset_id))


def values_of_kind(dataset_id: str) -> list[Any]:
    """The rewards and the info of each episode that `record_kind` has recorded."""
    return [(episode.rewards, episode.infos["value"]) for episode in minari.load_dataset(dataset_id)]


def record_environment(dataset_id: str, env_id: str, *, seed: int = 0, **make: Any) -> list[dict[str, Any]]:
    """Record one episode of a registered environment, made with the arguments `make`."""
    witness = Witness(gym.make(env_id, **make))
    collector = minari.DataCollector(witness, jpeg_encoding=False)
    rng = np.random.default_rng(seed)
    collector.reset(seed=seed)
    done = False
    while not done:
        *_, terminated, truncated, _ = collector.step(draw(collector.action_space, rng))
        done = terminated or truncated
    with _unasked_metadata_left_out():
        collector.create_dataset(dataset_id, **METADATA)
    collector.close()
    return witness.columns()


def create_empty(dataset_id: str, data_format: str) -> None:
    """Create a dataset without an episode."""
    spaces = {"observation_space": gym.spaces.Box(-9, 9, (2,)), "action_space": gym.spaces.Discrete(3)}
    with _unasked_metadata_left_out():
        minari.create_dataset_from_buffers(dataset_id, [], data_format=data_format, **spaces)


def fill(dataset_id: str, steps: int) -> list[int]:
    """Append an episode to a dataset of :func:`create_empty`, and return how long its episodes are."""
    minari.load_dataset(dataset_id).update_dataset_from_buffer([buffer_of(steps, infos={})])
    return [len(episode.rewards) for episode in minari.load_dataset(dataset_id)]


def recover(dataset_id: str) -> dict[str, Any]:
    """Return the description of the recovered environment, and the first observation of its first episode."""
    dataset = minari.load_dataset(dataset_id)
    env = dataset.recover_environment()
    seed = next(iter(dataset.storage.get_episode_metadata([0]))).get("seed")
    observation, _ = env.reset(seed=seed)
    env.close()
    return {"id": env.spec.id, "max_episode_steps": env.spec.max_episode_steps, "observation": observation}


def combine(dataset_ids: list[str], new_dataset_id: str) -> None:
    """Combine whole datasets."""
    minari.combine_datasets([minari.load_dataset(dataset_id) for dataset_id in dataset_ids], new_dataset_id)


def dump(dataset_id: str, case: str | None = None, indices: list[int] | None = None) -> dict[str, Any]:
    """Everything the package reads out of a dataset, and whether its spaces are those of `case`."""
    dataset = minari.load_dataset(dataset_id)
    spec = dataset.spec
    metadata = dict(dataset.storage.metadata)
    read_spaces = (metadata.pop("observation_space"), metadata.pop("action_space"))
    chosen = list(range(dataset.total_episodes)) if indices is None else indices
    return {
        "id": spec.dataset_id,
        "total_episodes": int(dataset.total_episodes),
        "total_steps": int(dataset.total_steps),
        "combined_datasets": list(dataset.combined_datasets),
        "minari_version": dataset.minari_version,
        "env_spec": None if dataset.env_spec is None else json.loads(dataset.env_spec.to_json()),
        "metadata": metadata,
        "same_spaces": case is None or read_spaces == spaces_of(case),
        "episodes": [
            {field: getattr(episode, field) for field in FIELDS} | {"id": int(episode.id)}
            for episode in dataset.iterate_episodes(chosen)
        ],
        "episode_metadata": [dict(one) for one in dataset.storage.get_episode_metadata(chosen)],
    }


def update_metadata(dataset_id: str, changes: dict[str, Any], episodes: list[dict[str, Any]]) -> None:
    """Add metadata to a dataset and to each of its episodes."""
    storage = minari.load_dataset(dataset_id).storage
    storage.update_metadata(changes)
    storage.update_episode_metadata(episodes)


def split(dataset_id: str, sizes: list[int], seed: int) -> list[list[int]]:
    """Return the episodes of the parts of a seeded split."""
    parts = minari.split_dataset(minari.load_dataset(dataset_id), sizes=sizes, seed=seed)
    return [[int(index) for index in part.episode_indices] for part in parts]


def sample(dataset_id: str, n_episodes: int, seed: int, calls: int) -> list[list[int]]:
    """Return the episodes that a seeded dataset draws."""
    dataset = minari.load_dataset(dataset_id)
    dataset.set_seed(seed)
    return [[int(episode.id) for episode in dataset.sample_episodes(n_episodes)] for _ in range(calls)]


def filter_by_return(dataset_id: str, at_least: float) -> list[int]:
    """Return the episodes with a return of `at_least`."""
    view = minari.load_dataset(dataset_id).filter_episodes(lambda episode: bool(episode.rewards.sum() >= at_least))
    return [int(index) for index in view.episode_indices]


def listing() -> dict[str, dict[str, Any]]:
    """The local datasets, each with its totals."""
    return {
        dataset_id: {"total_episodes": int(one["total_episodes"]), "total_steps": int(one["total_steps"])}
        for dataset_id, one in minari.list_local_datasets().items()
    }


def save_view(dataset_id: str, new_dataset_id: str, indices: list[int] | None = None) -> None:
    """Make a dataset of its own out of some episodes, or all. 0.5.4 cannot do this."""
    dataset = minari.load_dataset(dataset_id)
    if indices is not None:
        dataset = minari.MinariDataset(dataset.storage, episode_indices=np.array(indices))
    dataset.save(new_dataset_id)


def delete(dataset_id: str) -> None:
    """Delete a local dataset."""
    minari.delete_dataset(dataset_id)


def create_namespace(name: str, description: str) -> None:
    """Make a namespace."""
    from minari.namespace import create_namespace

    create_namespace(name, description=description, display_name=name.title())


def namespaces() -> dict[str, dict[str, Any]]:
    """All local namespaces with their metadata."""
    from minari.namespace import get_namespace_metadata, list_local_namespaces

    return {name: get_namespace_metadata(name) for name in list_local_namespaces()}


@contextlib.contextmanager
def _unasked_metadata_left_out() -> Iterator[None]:
    """Let pass the warnings about what a toy has none of: an evaluation environment, an environment spec."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _toy(case: str, play: dict[str, Any]) -> Witness:
    observation_space, action_space = spaces_of(case)
    smooth = play.pop("smooth_images", False)
    length = play.pop("episode_length", 4)
    env = ToyEnv(observation_space, action_space, length, infos=bool(play.get("infos")), smooth_images=smooth)
    return Witness(env)


def _play(
    env: Any,
    witness: Witness,
    *,
    seed: int | None = 0,
    episodes: int = 2,
    infos: bool = False,
    options: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Play episodes through `env`, every other one ending truncated, and return what the witness saw.

    Args:
        env: The collector, or the witness itself.
        witness: The wrapper that keeps every value.
        seed: The first episode is reset with this seed, the next with the one after it; None gives none.
        episodes: How many episodes.
        infos: Whether the environment gives infos and the truth should hold them.
        options: The options of every reset.
    """
    rng = np.random.default_rng(0 if seed is None else seed)
    for number in range(episodes):
        witness.unwrapped.truncate = bool(number % 2)
        env.reset(seed=None if seed is None else seed + number, options=options)
        done = False
        while not done:
            *_, terminated, truncated, _ = env.step(draw(env.action_space, rng))
            done = terminated or truncated
    given = {key: value for key, value in (options or {}).items() if key != "minari_autoseed"}
    return [
        episode | ({"options": given} if given else {}) | ({} if infos else {"infos": {}})
        for episode in witness.columns()
    ]


def _buffers(witness: Witness, truth: list[dict[str, Any]], how: str) -> list[Any]:
    """The played episodes as buffers: filled at once with columns, or step by step."""
    if how == "buffers":
        return [EpisodeBuffer(**_column_arguments(episode)) for episode in truth]
    return [
        _filled_step_by_step(steps, episode["seed"], episode.get("options"))
        for steps, episode in zip(witness.episodes, truth, strict=True)
    ]


def _column_arguments(episode: dict[str, Any]) -> dict[str, Any]:
    columns = {field: episode[field] for field in ("observations", "actions")}
    # 0.5.4 takes these three as lists only.
    flags = {field: episode[field].tolist() for field in ("rewards", "terminations", "truncations")}
    infos = episode["infos"] or None
    return columns | flags | {"infos": infos, "seed": episode["seed"], "options": episode.get("options")}


def _filled_step_by_step(steps: dict[str, Any], seed: int | None, options: dict[str, Any] | None) -> Any:
    first_observation, first_info = _in_lists(steps["observations"][0]), _in_lists(steps["infos"][0])
    buffer = EpisodeBuffer(seed=seed, options=options, observations=first_observation, infos=first_info)
    for time, action in enumerate(steps["actions"]):
        buffer = buffer.add_step_data(
            {
                "observation": steps["observations"][time + 1],
                "action": action,
                "reward": steps["rewards"][time],
                "terminated": steps["terminations"][time],
                "truncated": steps["truncations"][time],
                "info": steps["infos"][time + 1],
            }
        )
    return buffer


def _in_lists(value: Any) -> Any:
    """A nested value with every leaf in a list of one."""
    if isinstance(value, dict):
        return {key: _in_lists(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_in_lists(part) for part in value)
    return [value]
