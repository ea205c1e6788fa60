"""Small programs over the public interface, whose outcome is compared with that of the released package.

Each is run twice, by the library at hand and by the released package in its own environment, on a root
without datasets. What it returns, raises and warns is its outcome. Those of one line stand in tables.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

import minari
from minari import DataCollector, EpisodeData, EpisodeMetadataCallback, MinariDataset, StepDataCallback, namespace
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_dataset import gen_dataset_id, parse_dataset_id
from minari.dataset.minari_storage import MinariStorage, is_image_space
from minari.serialization import deserialize_space, serialize_space
from minari.storage import get_dataset_path
from minari.storage.local import dataset_id_sort_key, list_non_hidden_dirs
from minari.storage.remotes import get_cloud_storage
from minari.utils import RandomPolicy, get_average_reference_score, validate_datasets_to_combine
from support.scripted import ScriptedEnv


@dataclass(frozen=True)
class Behavior:
    """A program.

    Attributes:
        run: what it does; returns what is compared.
        words: what the message of its error, or one of its warnings, says on both sides.
        row: of the table of differences, where the outcomes differ on purpose; words of it.
    """

    run: Callable[[], Any]
    words: tuple[str, ...] = ()
    row: str | None = None


#: The programs by their names.
BEHAVIORS: dict[str, Behavior] = {}
#: The messages of errors that a program has seen.
SEEN: list[str] = []


def behavior(*words: str, row: str | None = None) -> Callable[[Any], Any]:
    """Register a program."""

    def register(run: Callable[[], Any]) -> Callable[[], Any]:
        BEHAVIORS[run.__name__] = Behavior(run, words, row)
        return run

    return register


def behaviors(**programs: Callable[[], Any] | Behavior) -> None:
    """Register programs of one line."""
    BEHAVIORS.update({name: run if isinstance(run, Behavior) else Behavior(run) for name, run in programs.items()})


def outcome(name: str) -> dict[str, Any]:
    """Run a program and return what came of it, for `support.exchange`."""
    SEEN.clear()
    told: dict[str, Any] = {"result": None, "error": None}
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("always")
        try:
            told["result"] = plain(BEHAVIORS[name].run())
        except Exception as error:
            told["error"] = [kind.__name__ for kind in type(error).__mro__]
            SEEN.append(str(error))
    relevant = [note for note in caught if issubclass(note.category, UserWarning)]
    told["warnings"] = sorted(note.category.__name__ for note in relevant if "\x1b" not in str(note.message))  # ours
    told["messages"] = [*SEEN, *(str(note.message) for note in relevant)]
    return told


def plain(value: Any) -> Any:
    """Return a value as what `support.exchange` can send: NumPy scalars as Python's, spaces and specs as text.

    The order of keys is no part of an outcome.
    """
    if isinstance(value, dict):
        return {key: plain(value[key]) for key in sorted(value)}
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, (list, tuple, set)) and not hasattr(value, "_fields"):
        return type(value)(plain(part) for part in value)
    if value is None or isinstance(value, (bool, int, float, str, bytes, np.ndarray)):
        return value
    if isinstance(value, EpisodeData):
        return {name: plain(getattr(value, name)) for name in ("id", *_FIELDS)}
    return repr(value)


_FIELDS = ("observations", "actions", "rewards", "terminations", "truncations", "infos")


def seen(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Return the result of a call, or the kinds of its error that Python itself has."""
    try:
        return call(*arguments, **options)
    except Exception as error:
        SEEN.append(str(error))
        return {"raises": [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]}


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Leave out the warnings about metadata that a program does not give."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


BOX = spaces.Box(-9, 9, (2,), np.float64)
CHOICE = spaces.Discrete(3)


def cartpole(dataset_id: str = "toy/cart-v0", episodes: int = 3, **options: Any) -> MinariDataset:
    """Record CartPole with pushes to one side, so that every episode ends."""
    collector = DataCollector(gym.make("CartPole-v1", max_episode_steps=6), **options)
    for number in range(episodes):
        collector.reset(seed=number)
        for _ in range(4 + number):
            collector.step(number % 2)
    with silent():
        return collector.create_dataset(dataset_id)


def rising(steps: int = 3, start: float = 0.0, **fields: Any) -> EpisodeBuffer:
    """Fill a buffer step by step with observations that rise."""
    buffer = EpisodeBuffer(observations=np.full(2, start), **fields)
    for step in range(1, steps + 1):
        buffer = buffer.add_step_data(step_data(np.full(2, start + step), terminated=step == steps))
    return buffer


def step_data(observation: Any, action: Any = 1, reward: float = 0.5, terminated: bool = False, **info: Any) -> Any:
    """The data of a step."""
    return {
        "observation": observation, "action": action, "reward": reward, "terminated": terminated,
        "truncated": False, "info": info,
    }  # fmt: skip


def stored(*buffers: EpisodeBuffer, dataset_id: str = "toy/made-v0", space: Any = BOX, **options: Any) -> MinariDataset:
    """Make a dataset of buffers."""
    options = {"observation_space": space, "action_space": CHOICE, **options}
    with silent():
        return minari.create_dataset_from_buffers(dataset_id, list(buffers), **options)


def collected(
    steps: int = 1,
    *,
    env: Any = None,
    seed: int | None = 1,
    options: Any = None,
    limit: int | None = None,
    **given: Any,
) -> DataCollector:
    """A collector of an environment, CartPole unless another one is given, with one episode."""
    collector = DataCollector(gym.make("CartPole-v1", max_episode_steps=limit) if env is None else env, **given)
    collector.reset(seed=seed, options=options)
    for _ in range(steps):
        collector.step(0)
    return collector


def created(collector: DataCollector, dataset_id: str = "toy/new-v0", **options: Any) -> MinariDataset:
    with silent():
        return collector.create_dataset(dataset_id, **options)


def metadata_of(dataset: MinariDataset, indices: Any = (0,)) -> list[dict[str, Any]]:
    return [dict(one) for one in dataset.storage.get_episode_metadata(list(indices))]


def ids_of(episodes: Any) -> list[int]:
    return [int(episode.id) for episode in episodes]


DESCRIPTION: dict[str, Any] = {
    "algorithm_name": "pushing", "author": "Ann Author", "author_email": "ann@example.org",
    "code_permalink": "https://example.org", "description": "Pushes.", "requirements": ["numpy"],
    "ref_min_score": 1.0, "ref_max_score": 9.0,
}  # fmt: skip


# DataCollector


@behavior()
def collector_returns_what_the_environment_returns() -> Any:
    collector = DataCollector(gym.make("CartPole-v1"))
    return collector.reset(seed=1), collector.step(0), collector.observation_space, collector.action_space


@behavior()
def statistics_of_episodes() -> Any:
    (metadata,) = metadata_of(cartpole(), [2])
    return {key: float(value) for key, value in metadata.items() if key.startswith("rewards_")}


@behavior("already exists")
def an_id_that_is_taken() -> None:
    cartpole()
    cartpole()


@behavior()
def values_outside_their_space_are_warned_about() -> Any:
    unit = spaces.Box(0, 1, (1,), np.float32)
    env = ScriptedEnv(lambda time: np.full(1, 0.5 if time else 5, np.float32), length=1, observation_space=unit)
    return created(collected(env=env))[0].observations


behaviors(
    recorded_episodes=lambda: list(cartpole()),
    recording_without_a_reset=lambda: seen(DataCollector(gym.make("CartPole-v1")).step, 0),
    expert_policy_and_ref_max_score_exclude_each_other=lambda: collected().create_dataset(
        "toy/scores-v0", **{**DESCRIPTION, "expert_policy": lambda _: 0}
    ),
    missing_metadata_is_warned_about=Behavior(
        lambda: collected().create_dataset("toy/plain-v0").id, row="One warning lists all of them"
    ),
    recording_nothing=Behavior(
        lambda: seen(lambda: created(DataCollector(gym.make("CartPole-v1"))).total_episodes),
        row="A collector that has recorded nothing",
    ),
)


# Callbacks


class Doubling(StepDataCallback):
    def __call__(self, env: Any, obs: Any, info: Any, action: Any = None, rew: Any = None, terminated: Any = None,
                 truncated: Any = None) -> Any:  # fmt: skip
        step = super().__call__(env, obs, info, action, rew, terminated, truncated)
        step["observation"] = step["observation"][:2] * 2
        return step


@behavior()
def a_callback_takes_part_of_the_observation() -> Any:
    space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    dataset = cartpole(step_data_callback=Doubling, observation_space=space)
    return dataset.observation_space, dataset[0].observations


class EveryOther(StepDataCallback):
    def __call__(self, env: Any, **values: Any) -> Any:
        step = super().__call__(env, **values)
        if step["action"] is not None:
            self.time = getattr(self, "time", 0) + 1
            step["truncated"] = self.time % 2 == 0
        return step


@behavior()
def a_callback_ends_episodes() -> Any:
    dataset = created(collected(4, step_data_callback=EveryOther))
    return [(len(episode), episode.truncations, episode.observations) for episode in dataset]


class Described(EpisodeMetadataCallback):
    def __call__(self, episode: Any) -> Any:
        return {**super().__call__(episode), "length": len(episode["rewards"]), "label": "short"}


@behavior()
def a_callback_describes_episodes() -> Any:
    metadata = metadata_of(cartpole(episode_metadata_callback=Described), [0, 2])
    return [(int(one["length"]), str(one["label"]), float(one["rewards_sum"])) for one in metadata]


class Naming(StepDataCallback):
    """A callback that adds a text to the infos."""

    def __call__(self, env: Any, **values: Any) -> Any:
        step = super().__call__(env, **values)
        step["info"] = {**step["info"], "name": "north"}
        return step


@behavior(row="Keys that a `StepDataCallback` adds")
def keys_that_a_callback_adds() -> Any:
    class Adding(StepDataCallback):
        def __call__(self, env: Any, **values: Any) -> Any:
            return {**super().__call__(env, **values), "extra": 3}

    return cartpole(episodes=1, step_data_callback=Adding)[0].infos


behaviors(
    texts_in_infos_of_parquet=Behavior(
        lambda: cartpole(episodes=1, data_format="parquet", record_infos=True, step_data_callback=Naming)[0].infos[
            "name"
        ],
        row="arrays of NumPy's text type from Arrow and Parquet",
    )
)


# EpisodeBuffer


@behavior()
def a_buffer_begins_with_the_first_observation() -> Any:
    buffer = rising(seed=3, options={"a": 1}, infos=None)
    return len(buffer), buffer.seed, buffer.options, buffer.observations, buffer.actions, buffer.rewards


@behavior()
def a_buffer_begins_with_nested_values() -> Any:
    buffer = EpisodeBuffer(observations={"a": 1, "b": ("x", np.zeros(1))}, infos={"i": {"j": 0}, "n": None})
    buffer = buffer.add_step_data(step_data({"a": 2, "b": ("y", np.ones(1))}, (0, {"k": 1.5}), i={"j": 1}, n=2))
    return buffer.observations, buffer.infos


@behavior()
def a_buffer_goes_on_with_lists() -> Any:
    buffer = EpisodeBuffer(observations=[np.zeros(2)], actions=[], infos={"a": [1]})
    buffer = buffer.add_step_data(step_data(np.ones(2), a=2))
    return buffer.observations, buffer.actions, buffer.infos


@behavior()
def a_buffer_shares_its_lists() -> Any:
    first = EpisodeBuffer(observations=0).add_step_data(step_data(1))
    second = first.add_step_data(step_data(2))
    return len(first), first.rewards is second.rewards, EpisodeBuffer().rewards is EpisodeBuffer().rewards


def extended(data: Any, **fields: Any) -> Any:
    """The observations of a buffer with another step, or the error."""
    return seen(lambda: EpisodeBuffer(**fields).add_step_data(data).observations)


behaviors(
    an_array_is_the_first_value=lambda: extended(step_data(1), observations=np.zeros((1, 2)), actions=np.zeros(2)),
    a_buffer_refuses_more_keys=lambda: extended(step_data({"a": 1, "b": 2}), observations={"a": 1}),
    a_buffer_refuses_fewer_keys=lambda: extended(step_data({"a": 1}), observations={"a": 1, "b": 2}),
    a_step_needs_all_keys=lambda: extended({"observation": 1, "action": 1, "reward": 0.5}, observations=0),
    a_buffer_is_frozen=lambda: (seen(setattr, EpisodeBuffer(), "id", 3), seen(hash, EpisodeBuffer())),
    infos_of_a_buffer_with_new_keys=Behavior(
        lambda: seen(lambda: EpisodeBuffer(observations=0, infos={}).add_step_data(step_data(1, a=1)).infos),
        row="Info dicts given to `EpisodeBuffer.add_step_data`",
    ),
)


# Datasets of buffers


def _values(space: Any) -> list[Any]:
    space.seed(4)
    return [space.sample() for _ in range(4)]


NESTED = spaces.Dict({"t": spaces.Tuple((spaces.Discrete(4), spaces.Text(3))), "x": spaces.Box(0, 1, (2,), np.float64)})
COLUMNS = {"rewards": [1.0, 2.0], "terminations": [False, True], "truncations": [False, False]}
ONE_STEP = {"actions": np.array([1]), "rewards": [1.0], "terminations": [True], "truncations": [False]}


@behavior()
def buffers_need_spaces_or_an_environment() -> None:
    with silent():
        minari.create_dataset_from_buffers("toy/none-v0", [rising()])


@behavior(row="Creating a dataset of buffers without an environment")
def buffers_without_an_environment() -> Any:
    given = {"observation_space": BOX, "action_space": CHOICE, "eval_env": "CartPole-v1", **DESCRIPTION}
    return minari.create_dataset_from_buffers("toy/bare-v0", [rising()], **given).total_steps


def infos_stored(first: dict[str, Any], then: dict[str, Any]) -> Any:
    buffer = EpisodeBuffer(observations=np.zeros(2), infos=first)
    return stored(buffer.add_step_data(step_data(np.ones(2), **then)))[0].infos


behaviors(
    a_buffer_without_a_step=Behavior(
        lambda: seen(stored, EpisodeBuffer(observations=np.zeros(2))), row="without a single step"
    ),
    a_buffer_without_the_first_observation=Behavior(
        lambda: seen(lambda: stored(EpisodeBuffer().add_step_data(step_data(np.zeros(2)))).total_steps),
        row="as many observations as actions",
    ),
    texts_in_infos=Behavior(lambda: list(infos_stored({"t": "a"}, {"t": "b"})["t"]), row="Texts in infos"),
    tuples_in_infos=Behavior(lambda: infos_stored({"t": (1, 2)}, {"t": (3, 4)})["t"], row="Tuples in infos"),
    an_episode_without_infos=Behavior(
        lambda: stored(EpisodeBuffer(observations=np.zeros((2, 2)), **ONE_STEP))[0].infos,
        row="`infos` is an empty dict",
    ),
)


# Reading


@behavior()
def properties_of_a_dataset() -> Any:
    dataset = cartpole()
    spec = dataset.spec
    return {
        "id": dataset.id, "episodes": dataset.total_episodes, "steps": dataset.total_steps, "len": len(dataset),
        "indices": dataset.episode_indices, "spaces": (dataset.observation_space, dataset.action_space),
        "combined": dataset.combined_datasets, "version": dataset.minari_version, "spec": (
            spec.dataset_id, spec.namespace, spec.dataset_name, spec.version, spec.total_episodes, spec.total_steps,
            spec.combined_datasets, type(spec.data_path).__name__,
        ),
    }  # fmt: skip


@behavior()
def types_of_an_episode() -> Any:
    episode = cartpole()[1]
    kinds = {name: type(getattr(episode, name)).__name__ for name in _FIELDS[:-1]}
    return kinds, type(episode.id).__name__ in ("int", "int64"), len(episode), repr(episode)


@behavior()
def getting_items() -> Any:
    dataset = cartpole()
    found = ids_of(dataset[index] for index in (0, 2, -1, np.int64(1)))
    return found, seen(lambda: dataset[3]), seen(lambda: dataset[-4])


@behavior()
def iterating() -> Any:
    dataset = cartpole()
    return ids_of(dataset), ids_of(dataset.iterate_episodes([2, 0])), ids_of(dataset.iterate_episodes(iter([1])))


@behavior()
def filtering_a_view_again() -> Any:
    view = cartpole(episodes=6).filter_episodes(lambda e: e.id > 1).filter_episodes(lambda e: e.id % 2 == 0)
    return view.episode_indices, int(view[1].id), view.total_episodes


@behavior()
def appending_to_a_view() -> Any:
    view = stored(rising(), rising(2)).filter_episodes(lambda episode: len(episode) == 2)
    view.update_dataset_from_buffer([rising(1)])
    return [len(episode) for episode in view], view.episode_indices


@behavior()
def making_a_dataset_object() -> Any:
    stored_one = stored(rising(), rising(2), rising(1))
    whole = MinariDataset(stored_one.spec.data_path)
    part = MinariDataset(MinariStorage.read(stored_one.spec.data_path), episode_indices=np.array([2, 1]))
    return whole.id, len(whole), [len(e) for e in part], part.total_steps, part.storage.total_episodes


@behavior()
def making_an_episode() -> Any:
    values = np.zeros((3, 2)), np.zeros(2), np.ones(2), np.array([False, True]), np.zeros(2, bool)
    episode = EpisodeData(4, *values, infos={})
    return len(episode), repr(episode).startswith("EpisodeData("), seen(lambda: setattr(episode, "id", 3))


behaviors(slices=Behavior(lambda: seen(lambda: len(cartpole()[1:3])), row="`dataset[1:3]`"))


# Environments and scores


def _with_changed(dataset: MinariDataset, **changes: Any) -> MinariDataset:
    file = Path(dataset.spec.data_path, "metadata.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return minari.load_dataset(dataset.id)


def _spec(**changes: Any) -> str:
    return json.dumps({**json.loads(gym.spec("CartPole-v1").to_json()), **changes})


@behavior("No module named 'gymnasium.gone'")
def an_environment_for_evaluation_of_a_missing_module() -> None:
    dataset = _with_changed(cartpole(), eval_env_spec=_spec(id="Gone-v0", entry_point="gymnasium.gone:Env"))
    dataset.recover_environment(eval_env=True)


@behavior("Ignoring malformed requirement", "is not installed")
def requirements() -> Any:
    names = ["numpy", "bad<name@@1", "no-such-package>=2", "gymnasium>=999"]
    return _with_changed(cartpole(), requirements=names).recover_environment().spec.id


@behavior()
def normalized_scores() -> Any:
    dataset = collected().create_dataset("toy/scored-v0", **DESCRIPTION, eval_env="CartPole-v1")
    scores = minari.get_normalized_score(dataset, np.array([1.0, 3.0, 9.0, 17.0]))
    return scores, seen(minari.get_normalized_score, stored(rising()), np.zeros(1))


behaviors(
    a_dataset_without_an_environment=lambda: stored(rising()).recover_environment(),
    an_environment_of_a_missing_module=Behavior(
        lambda: _with_changed(
            cartpole(), env_spec=_spec(id="Gone-v0", entry_point="gone_module.envs:Env")
        ).recover_environment(),
        ("No module named 'gone_module'",),
    ),
    scores_without_an_environment=Behavior(
        lambda: seen(minari.get_normalized_score, stored(rising(), ref_min_score=-1.0, ref_max_score=3.0), np.zeros(1)),
        row="Reference scores of a dataset that names no environment",
    ),
)


# The catalog


@behavior()
def deleting() -> Any:
    stored(rising())
    minari.delete_dataset("toy/made-v0")
    missing = seen(minari.load_dataset, "toy/made-v0"), seen(minari.delete_dataset, "toy/made-v0")
    return list(minari.list_local_datasets()), missing


@behavior()
def sizes() -> Any:
    dataset = stored(rising(), *[rising(2) for _ in range(3)])
    told = dataset.storage.metadata["dataset_size"], dataset.storage.get_size()
    listed = minari.list_local_datasets()[dataset.id]["dataset_size"]
    return told[0] == told[1] == listed, type(listed).__name__


@behavior(row="Combining a filtered or split view")
def combining_a_view() -> Any:
    view = stored(rising(), rising(2)).filter_episodes(lambda episode: len(episode) == 2)
    return minari.combine_datasets([view], "toy/both-v0").total_episodes


behaviors(
    combining_what_does_not_fit=lambda: seen(minari.combine_datasets, [cartpole(), stored(rising())], "toy/both-v0")
)


# Ids and namespaces


@behavior("Malformed dataset ID")
def ids() -> Any:
    good = [parse_dataset_id(text) for text in ("door/human-v2", "aa/bb/cc-v10", "cart-v0", "a_b/c-d-v1")]
    made = gen_dataset_id("aa/bb", "cart", 3), gen_dataset_id(None, "cart", 0), gen_dataset_id("aa", "cart", None)
    return good, made, [seen(parse_dataset_id, text) for text in ("a b-v0", "aa//b-v0", "", "some where/x-v0")]


@behavior()
def namespaces_are_made_and_changed() -> Any:
    namespace.create_namespace("lab/arm", description="Arms.", robot="A1")
    before = namespace.get_namespace_metadata("lab/arm"), namespace.get_namespace_metadata("lab")
    namespace.update_namespace_metadata("lab/arm", description="Legs.")
    names = namespace.list_local_namespaces()
    namespace.delete_namespace("lab/arm")
    return before, namespace.get_namespace_metadata("lab"), names, namespace.list_local_namespaces()


@behavior("Namespace 'lab' already exists")
def a_namespace_that_exists() -> Any:
    namespace.create_namespace("lab")
    return seen(namespace.create_namespace, "lab")


@behavior()
def deleting_a_namespace_that_is_not_empty() -> Any:
    stored(rising())
    return seen(namespace.delete_namespace, "toy"), namespace.list_local_namespaces()


behaviors(
    no_namespace_at_all=lambda: seen(namespace.create_namespace, None),
    an_id_without_a_version=Behavior(
        lambda: seen(parse_dataset_id, "aa/bb"), row="an id without `-vN` fails with an error about `int`"
    ),
    one_letter_namespaces=Behavior(
        lambda: seen(parse_dataset_id, "a/b-v0"), row="Namespaces of one letter are refused"
    ),
    a_malformed_namespace=Behavior(lambda: seen(namespace.create_namespace, "../lab"), ("Malformed namespace",)),
    reading_a_namespace_that_does_not_exist=Behavior(
        lambda: seen(namespace.get_namespace_metadata, "lab/leg"), ("does not exist",)
    ),
    updating_a_namespace_that_does_not_exist=Behavior(
        lambda: seen(namespace.update_namespace_metadata, "lab/leg", description="x"), ("does not exist",)
    ),
    deleting_a_namespace_that_does_not_exist=Behavior(
        lambda: seen(namespace.delete_namespace, "lab/leg"), ("does not exist",)
    ),
)


# Storage


def _path(*parts: str) -> Path:
    return Path(os.environ["MINARI_DATASETS_PATH"], *parts)


def new_storage(name: str, **options: Any) -> MinariStorage:
    return MinariStorage.new(_path(name), observation_space=BOX, action_space=CHOICE, **options)


@behavior()
def a_new_storage() -> Any:
    storage = new_storage("new")
    keys = sorted(storage.metadata)
    storage.update_metadata({"note": "x", "number": 1.5})
    read = MinariStorage.read(_path("new"))
    return keys, sorted(read.metadata), read.metadata["number"], read.total_episodes, read.FORMAT, read.data_path.name


@behavior("No data found in data path")
def reading_a_path_without_data() -> None:
    _path("empty").mkdir()
    MinariStorage.read(_path("empty"))


@behavior()
def a_storage_that_cannot_be_made() -> Any:
    taken = stored(rising()).spec.data_path
    return seen(new_storage, taken), seen(new_storage, "x", data_format="zip"), seen(MinariStorage.new, _path("y"))


@behavior()
def protected_metadata() -> Any:
    storage = stored(rising()).storage
    keys = "dataset_id observation_space action_space env_spec data_format jpeg_encoding minari_version"
    return [seen(storage.update_metadata, {key: "x"}) for key in keys.split()]


@behavior(row="sets `total_episodes` and `total_steps` to anything")
def totals_of_the_metadata() -> Any:
    storage = stored(rising()).storage
    return [seen(storage.update_metadata, {key: 7}) for key in ("total_episodes", "total_steps")]


@behavior(row="The ids of episodes are NumPy integers")
def types_of_ids() -> Any:
    dataset = stored(rising())
    (metadata,) = metadata_of(dataset)
    return [type(value).__name__ for value in (dataset[0].id, metadata["id"], metadata["total_steps"])]


@behavior()
def getting_episodes_of_a_storage() -> Any:
    storage = stored(rising(), rising(2)).storage
    return [{name: episode[name] for name in ("id", *_FIELDS[:-1])} for episode in storage.get_episodes([1, 0])]


@behavior()
def applying_a_function() -> Any:
    storage = stored(rising(), rising(2)).storage
    sums = [float(total) for total in storage.apply(lambda episode: episode["rewards"].sum())]
    return sums, [len(actions) for actions in storage.apply(lambda e: e["actions"], episode_indices=[1])]


@behavior()
def updating_a_storage() -> Any:
    storage, other = new_storage("one"), new_storage("two")
    storage.update_episodes([rising(), rising(2)])
    other.update_episodes([rising(1)])
    other.update_from_storage(storage)
    lengths = [len(episode["rewards"]) for episode in other.get_episodes([0, 1, 2])]
    return storage.total_steps, other.total_episodes, other.total_steps, lengths


@behavior()
def image_spaces() -> Any:
    shapes = [(64, 64, 3), (64, 64), (32, 32, 1), (16, 64, 3), (64,), (64, 64, 3, 1)]
    found = [bool(is_image_space(spaces.Box(0, 255, shape, np.uint8))) for shape in shapes]
    return found, [bool(is_image_space(space)) for space in (spaces.Box(0, 1, (64, 64)), CHOICE)]


behaviors(
    reading_a_path_that_does_not_exist=Behavior(lambda: MinariStorage.read(_path("nowhere")), ("doesn't exist",)),
    nested_metadata_of_episodes=Behavior(
        lambda: seen(stored(rising()).storage.update_episode_metadata, [{"deep": {"er": "x"}}]),
        row="Metadata of episodes that are nested",
    ),
)


# Helpers


@behavior()
def paths_of_datasets() -> Any:
    stored(rising())
    _path(".hidden").mkdir()
    root = _path()
    paths = [Path(get_dataset_path(name)).relative_to(root).as_posix() for name in ("toy/made-v0", None)]
    in_order = sorted(["bb-v10", "aa/x-v1", "bb-v2", "aa-v0"], key=dataset_id_sort_key)
    return paths, in_order, sorted(list_non_hidden_dirs(root))


@behavior()
def estimating_a_score() -> Any:
    env = gym.make("CartPole-v1", max_episode_steps=4)
    score = get_average_reference_score(env, lambda _: 0, 2)
    return score, env.action_space.contains(RandomPolicy(env)(env.reset()[0]))


@behavior()
def checking_what_is_to_be_combined() -> Any:
    first, second = cartpole(), cartpole("toy/more-v0")
    spec = validate_datasets_to_combine([first, second])
    return spec.id if spec else None, seen(validate_datasets_to_combine, [first, stored(rising())])


behaviors(
    versions_that_are_supported=Behavior(
        lambda: sorted(minari.supported_dataset_versions), row="Datasets of 0.3 and 0.4"
    ),
    remotes_that_nobody_knows=Behavior(
        lambda: seen(get_cloud_storage, "nowhere://bucket"), row="an unknown remote is a `KeyError: 's3'`"
    ),
)


# Serialization


def _round_trip(space: Any) -> Any:
    text = serialize_space(space)
    return json.loads(text), deserialize_space(text) == space


@behavior()
def serialized_spaces() -> Any:
    return [
        _round_trip(space)
        for space in (
            spaces.Box(np.array([-1, -np.inf], np.float32), np.array([1, 2], np.float32)),
            spaces.Box(0, 255, (2,), np.uint8), spaces.Discrete(4, start=1), spaces.MultiDiscrete([2, 3]),
            spaces.MultiBinary(3), spaces.MultiBinary([2, 2]), spaces.Text(5, min_length=2, charset="ab"), NESTED,
        )
    ]  # fmt: skip


@behavior()
def a_space_that_nobody_knows() -> Any:
    class Odd(spaces.Space[Any]):
        pass

    return seen(lambda: serialize_space(Odd()))


# The command line


def minari_command(*arguments: str, answer: str = "") -> dict[str, Any]:
    """Run ``minari`` in a process of its own."""
    environment = {**os.environ, "COLUMNS": "200", "PYTHONPATH": str(Path(minari.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "from minari.cli import app; app()", *arguments],
        input=answer, capture_output=True, text=True, encoding="utf-8", env=environment, check=False,
        cwd=_path(),  # no directory that has the other package in it
    )  # fmt: skip
    return {"code": done.returncode, "out": done.stdout, "err": done.stderr}


def done_with(words: tuple[str, ...], *arguments: str, answer: str = "") -> Any:
    """The exit code of a command, and which of the words it prints."""
    done = minari_command(*arguments, answer=answer)
    return done["code"], [word in done["out"] for word in words]


@behavior()
def command_list() -> Any:
    stored(rising(), author="Ann Author")
    stored(rising(), dataset_id="field/other-v0")
    words = "toy/made-v0", "field/other-v0", "Ann Author", " 1 ", " 3 "
    return [done_with(words, "list", "local", *options) for options in ([], ["--all"], ["--prefix", "field"])]


@behavior()
def command_show() -> Any:
    stored(rising(), author="Ann Author", description="Rises.", algorithm_name="up")
    return done_with(("toy/made-v0", "Ann Author", "Rises.", "up", "Discrete(3)"), "show", "toy/made-v0")


@behavior()
def command_delete() -> Any:
    stored(rising())
    refused = done_with((), "delete", "toy/made-v0", answer="n\n"), list(minari.list_local_datasets())
    done = done_with(("Dataset toy/made-v0 deleted!",), "delete", "toy/made-v0", answer="y\n")
    return refused, done, list(minari.list_local_datasets())


# What the pages of the released documentation do, line by line


@behavior()
def page_basic_usage() -> Any:
    env = DataCollector(gym.make("CartPole-v1"), record_infos=True)
    for episode in range(4):
        env.reset(seed=123 + episode)
        env.action_space.seed(episode)
        while True:
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                break
    with silent():
        dataset = env.create_dataset(
            dataset_id="cartpole/test-v0", algorithm_name="Random-Policy", code_permalink="https://example.org",
            author="Farama", author_email="a@example.org",
        )  # fmt: skip
    dataset = minari.load_dataset("cartpole/test-v0")
    dataset.set_seed(seed=123)
    lengths = [len(episode) for episode in dataset.sample_episodes(n_episodes=3)]
    long = dataset.filter_episodes(lambda episode: episode.rewards.sum() > 15)
    halves = minari.split_dataset(dataset, sizes=[2, 2], seed=123)
    recovered = dataset.recover_environment()
    return (
        dataset.total_episodes, lengths, long.total_episodes, [half.total_episodes for half in halves],
        recovered.observation_space == dataset.observation_space,
        [episode.observations for episode in dataset.iterate_episodes([1])],
    )  # fmt: skip


@behavior()
def page_observation_subsets() -> Any:
    keys = {"observation": 1, "achieved_goal": 0, "desired_goal": 2}
    goal = spaces.Dict(dict.fromkeys(keys, BOX))

    class Subset(StepDataCallback):
        def __call__(self, env: Any, **values: Any) -> Any:
            step = super().__call__(env, **values)
            del step["observation"]["achieved_goal"]
            return step

    def observe(time: int) -> Any:
        return {key: np.full(2, time + place, float) for key, place in keys.items()}

    env = ScriptedEnv(observe, length=3, observation_space=goal)
    kept = spaces.Dict({"observation": BOX, "desired_goal": BOX})
    dataset = created(collected(3, env=env, step_data_callback=Subset, observation_space=kept))
    return dataset.observation_space == kept, dataset[0].observations


@behavior()
def page_callbacks() -> Any:
    class Angles(StepDataCallback):
        def __call__(self, env: Any, **values: Any) -> Any:
            step = super().__call__(env, **values)
            step["info"]["state"] = np.asarray(env.unwrapped.state, np.float64)
            return step

    class Heavy(EpisodeMetadataCallback):
        def __call__(self, episode: Any) -> Any:
            return {**super().__call__(episode), "gravity": 9.8, "rewards_min": 3.0}

    env = collected(3, seed=0, step_data_callback=Angles, episode_metadata_callback=Heavy, record_infos=True)
    env.reset(seed=1)
    for _ in range(3):
        env.step(0)
    dataset = created(env, "cartpole/callbacks-v0")
    metadata = metadata_of(dataset, [0, 1])
    return dataset[1].infos, [(float(one["gravity"]), float(one["rewards_min"])) for one in metadata]
