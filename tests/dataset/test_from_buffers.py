"""create_dataset_from_buffers: what is stored, and every kind of bad input refused with nothing left behind."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari.data_collector import EpisodeBuffer
from minari.errors import (
    DatasetExistsError,
    DatasetIdError,
    EnvironmentSpecError,
    EpisodeError,
    EpisodeTypeError,
    MetadataError,
    MinariError,
    ScoreError,
    SpaceError,
    UnknownFormatError,
    UnknownSpaceError,
)
from minari.testing.comparison import assert_same
from support.cases import SPACES
from support.checks import assert_holds
from support.operations import METADATA, dump, record
from support.scripted import PLANE, buffer_of, listing, seeds


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")

ACTIONS = spaces.Discrete(3)


def create(dataset_id: str = "test/new-v0", buffer: Any = None, **arguments: Any) -> minari.MinariDataset:
    buffers = [buffer_of(3)] if buffer is None else buffer
    return minari.create_dataset_from_buffers(
        dataset_id, buffers, **{"observation_space": PLANE, "action_space": ACTIONS, **arguments}
    )


# What is stored


@pytest.mark.parametrize("how", ["buffers", "steps"])
@pytest.mark.parametrize("case", list(SPACES)[::3])
def test_every_space_is_stored_as_columns_and_step_by_step(case: str, how: str) -> None:
    truth = record("test/space-v0", case, how=how, infos=True, options={"level": 2})
    assert_holds(dump("test/space-v0", case), truth)


def test_everything_that_is_said_of_a_dataset_is_stored() -> None:
    extra = {"sensor": {"rate": 5.0}}
    more = {**METADATA, "extra_metadata": METADATA.get("extra_metadata", {}) | extra}
    create(env="CartPole-v1", eval_env=gym.make("CartPole-v1", max_episode_steps=7), **more)
    loaded = minari.load_dataset("test/new-v0")
    metadata = loaded.storage.metadata
    for key, value in {**METADATA, **extra, "num_episodes_average_score": 100}.items():
        assert metadata[key] == value, key
    assert (metadata["dataset_id"], metadata["minari_version"]) == ("test/new-v0", "0.5.4")
    assert (loaded.env_spec.id, loaded.eval_env_spec.max_episode_steps) == ("CartPole-v1", 7)
    assert (metadata["total_episodes"], metadata["total_steps"]) == (1, 3)
    assert metadata["dataset_size"] == loaded.storage.get_size()


@pytest.mark.parametrize("author", ["Ann", {"Ann"}, ["Ann"], ("Ann",)])
def test_one_author_or_several_are_a_set(author: Any) -> None:
    metadata = create(author=author, author_email={"b@x", "a@x"}, requirements="numpy").storage.metadata
    assert (metadata["author"], metadata["author_email"]) == ({"Ann"}, {"a@x", "b@x"})
    assert metadata["requirements"] == ["numpy"]


@pytest.mark.filterwarnings("default:`.*` is set to None")
def test_what_is_worth_giving_is_asked_for() -> None:
    with pytest.warns(UserWarning, match="is set to None") as caught:
        create()
    (warning,) = caught
    asked = re.findall(r"`(\w+)` is set to None: \w+", str(warning.message))
    worth = ["code_permalink", "author", "author_email", "algorithm_name", "description", "eval_env"]
    assert sorted(asked) == sorted(worth)
    assert warning.filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        create("test/new-v1", env="CartPole-v1", eval_env="CartPole-v1", **METADATA)


@pytest.mark.parametrize("env", ["CartPole-v1", gym.spec("CartPole-v1"), gym.make("CartPole-v1")])
def test_spaces_that_are_not_given_are_those_of_the_environment(env: Any) -> None:
    made = gym.make("CartPole-v1")
    buffer = buffer_of(2, observations=np.zeros((3, 4), np.float32), actions=[0, 1])
    dataset = minari.create_dataset_from_buffers("test/env-v0", [buffer], env=env)
    assert (dataset.observation_space, dataset.action_space) == (made.observation_space, made.action_space)
    assert dataset.env_spec.id == "CartPole-v1"
    other = minari.create_dataset_from_buffers("test/env-v1", [buffer_of(2)], env=env, observation_space=PLANE)
    assert (other.observation_space, other.action_space) == (PLANE, made.action_space)


def test_older_programs_give_arguments_by_position() -> None:
    description = {"algorithm_name": "algo", "author": {"Ann"}, "author_email": {"a@x"}, "code_permalink": "https://x"}
    given = ("algo", "Ann", "a@x", "https://x", ACTIONS, PLANE)
    dataset = minari.create_dataset_from_buffers("test/new-v0", [buffer_of(2)], None, "CartPole-v1", *given)
    assert {key: dataset.storage.metadata[key] for key in description} == description
    assert (dataset.action_space, dataset.observation_space) == (ACTIONS, PLANE)


def test_buffers_of_a_generator_are_written_as_they_come() -> None:
    rows: list[int] = []

    def episodes() -> Any:
        for length in range(1, 6):
            rows.append(length)
            yield buffer_of(length)

    assert [len(episode) for episode in create(buffer=episodes())] == rows == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet", "zarr"])
def test_a_dataset_without_an_episode_can_be_filled_later(data_format: str) -> None:
    empty = create(buffer=[], data_format=data_format)
    assert (len(empty), empty.total_steps, list(empty), empty[:].total_episodes) == (0, 0, [], 0)
    assert empty.statistics().returns.shape == (0,)
    assert minari.validate(empty.id, checksums=True).findings == ()
    assert len(minari.combine_datasets([empty, empty], "test/both-v0")) == 0
    empty.update_dataset_from_buffer([buffer_of(3), buffer_of(2)])
    assert [len(episode) for episode in minari.load_dataset(empty.id)] == [3, 2]
    assert minari.validate(empty.id, checksums=True).ok


def test_datasets_of_another_root_are_apart(
    tmp_path: Path, datasets_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = create("deep/down/new-v0", root=tmp_path)
    assert dataset.storage.data_path == tmp_path / "deep" / "down" / "new-v0" / "data"
    assert list(minari.list_local_datasets(root=tmp_path)) == ["deep/down/new-v0"]
    assert listing(datasets_root) == {}
    create("deep/down/new-v0")  # another root, another dataset
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "not" / "yet"))
    assert minari.list_local_datasets() == {}
    create()  # the home is made when it is needed
    assert list(minari.list_local_datasets()) == ["test/new-v0"]


EMPTY = spaces.Dict()
STORED: dict[str, tuple[Any, Any]] = {
    "ints": ({"rewards": [1, 2, 3]}, np.array([1, 2, 3])),
    "floats": ({"rewards": [np.float32(1), np.float32(2), np.float32(3)]}, np.array([1, 2, 3], np.float32)),
    "column": ({"rewards": np.array([[1.0], [2.0], [3.0]])}, np.array([1.0, 2.0, 3.0])),
    "arrays": ({"rewards": [np.array([1.0]), 2.0, np.float64(3)]}, np.array([1.0, 2.0, 3.0])),
    "flags": ({"rewards": [True, False, True]}, np.array([True, False, True])),
    "not-finite": ({"rewards": [np.nan, np.inf, 0.0]}, np.array([np.nan, np.inf, 0.0])),
    "number-flags": ({"terminations": [0, 0, 1]}, np.array([False, False, True])),
    "float-flags": ({"terminations": [0.0, 0.0, 1.0]}, np.array([False, False, True])),
    "column-of-flags": ({"terminations": np.array([[False], [False], [True]])}, np.array([False, False, True])),
    "numpy-flags": ({"truncations": [np.False_, np.False_, np.True_]}, np.array([False, False, True])),
    "nothing": ({"observations": {}}, {}),
    "infos": ({"infos": {"n": [1, 2, 3, 4]}}, {"n": np.array([1, 2, 3, 4])}),
}


@pytest.mark.parametrize("kind", STORED)
def test_columns_of_many_kinds_are_stored(kind: str) -> None:
    fields, expected = STORED[kind]
    dataset = create(buffer=[buffer_of(3, **fields)], observation_space=EMPTY if kind == "nothing" else PLANE)
    assert_same(getattr(dataset[0], *fields), expected)
    assert minari.load_dataset("test/new-v0").total_steps == 3


@pytest.mark.parametrize("seed", [0, np.int32(5), np.uint64(2**64 - 1), 2**100])
def test_seeds_and_options_are_stored(seed: Any) -> None:
    options = {"a": {"b": 1}, "c/d": np.arange(2)}
    dataset = create(buffer=[buffer_of(2, seed=seed, options=options), buffer_of(2, options={})])
    assert seeds(dataset) == [int(seed), None]
    assert type(seeds(dataset)[0]) is int
    first, second = dataset.storage.get_episode_metadata([0, 1])
    assert_same(first["options"]["c"]["d"], np.arange(2))
    assert first["options"]["a"] == {"b": 1}
    assert "options" not in second


def test_metadata_of_a_buffer_is_stored_beside_its_seed() -> None:
    given = {"task": "pick", "pose/x": np.arange(3.0)}
    dataset = create(buffer=[buffer_of(2, seed=3, metadata=given), buffer_of(2, metadata={"seed": 4})])
    assert seeds(dataset) == [3, 4]
    first, second = dataset.storage.get_episode_metadata([0, 1])
    assert first["task"] == "pick"
    assert_same(first["pose"]["x"], np.arange(3.0))
    assert second.keys() == first.keys() - given.keys() - {"pose"}


def test_a_buffer_with_the_id_of_an_episode_continues_it() -> None:
    dataset = create(buffer=[buffer_of(3, seed=4)])
    dataset.update_dataset_from_buffer([buffer_of(2, id=0, observations=np.full((2, 2), 9, np.float32))])
    assert (len(dataset), dataset.total_steps) == (1, 5)
    assert minari.load_dataset(dataset.id)[0].observations[:, 0].tolist() == [0, 1, 2, 3, 9, 9]
    assert seeds(dataset) == [4]


# What is refused, with one clear error and nothing left behind

BAD_IDS = [
    *("", ".", "..", "/", "../x-v0", "/abs/x-v0", "a/../x-v0", "a//x-v0", "x-v0/", "/x-v0", "a b-v0", "x", "x-v"),
    *("x-v-1", "x-v1.0", "x-vone", "-v0", "a\\x-v0", "x-v0\n", "C:/x-v0", "~/x-v0", ".hidden-v0", "a/.b/x-v0"),
    *("x-v01", "a\0b-v0", None, 3, b"x-v0", Path("x-v0")),
]


@pytest.mark.parametrize("dataset_id", BAD_IDS)
def test_malformed_ids_are_refused(dataset_id: Any, datasets_root: Path) -> None:
    before = listing(datasets_root.parent)
    with pytest.raises(ValueError if isinstance(dataset_id, str) else TypeError) as caught:
        create(dataset_id)
    assert isinstance(caught.value, DatasetIdError)
    assert (repr(dataset_id) if isinstance(dataset_id, str) else "must be a string") in str(caught.value)
    assert listing(datasets_root.parent) == before


@pytest.mark.parametrize(
    "dataset_id",
    ["test/taken-v0", "test", "test/taken-v0/inside-v0", "test/taken-v0/deep/in-v0", "file/new-v0", "x" * 300 + "-v0"],
)
def test_places_that_are_taken_or_too_long_are_refused(dataset_id: str, datasets_root: Path) -> None:
    create("test/taken-v0")
    (datasets_root / "file").touch()
    before = listing(datasets_root)
    with pytest.raises((DatasetExistsError, DatasetIdError, OSError)):
        create(dataset_id)
    assert listing(datasets_root) == before


#: What is given instead of one field or of all episodes, the kind of the error and words of it.
BAD_EPISODES: dict[str, tuple[Any, type[Exception], str]] = {
    "no-step": ([buffer_of(0)], EpisodeError, "no step"),
    "empty-buffer": ([EpisodeBuffer()], EpisodeError, "no step"),
    "fewer-actions": ({"actions": [0, 1]}, EpisodeError, "2 actions, expected 3 for its 3 rewards."),
    "more-actions": ({"actions": [0, 1, 2, 0]}, EpisodeError, "4 actions, expected 3 for its 3 rewards."),
    "fewer-rewards": ({"rewards": [0.0]}, EpisodeError, "4 observations, expected 2 for its 1 rewards .one more"),
    "fewer-observations": ({"observations": np.zeros((3, 2), np.float32)}, EpisodeError, "3 observations, expected 4"),
    "more-observations": ({"observations": np.zeros((5, 2), np.float32)}, EpisodeError, "5 observations, expected 4"),
    "no-observations": ({"observations": None}, EpisodeError, "no observations, expected 4"),
    "no-actions": ({"actions": None}, EpisodeError, "no actions, expected 3"),
    "more-truncations": ({"truncations": [False] * 4}, EpisodeError, "truncations of shape .* expected .3"),
    "other-shape": ({"observations": np.zeros((4, 5), np.float32)}, EpisodeError, "observations"),
    "scalar-observations": ({"observations": np.zeros(4, np.float32)}, EpisodeError, "observations"),
    "matrix-of-actions": ({"actions": np.zeros((3, 2), int)}, EpisodeError, "actions"),
    "ragged": ({"observations": [[1, 2], [1, 2], [1], [1, 2]]}, EpisodeError, "observations at step 2"),
    "text-for-numbers": ({"observations": [["a", "b"]] * 4}, EpisodeTypeError, "observations"),
    "objects": ({"observations": [[object(), 1]] * 4}, EpisodeTypeError, "observations"),
    "fractions-for-choices": ({"actions": [0, 0.5, 2]}, EpisodeTypeError, "The actions at step 1"),
    "dict-for-a-box": ({"observations": {"a": np.zeros((4, 2))}}, EpisodeTypeError, "observations"),
    "number-for-observations": ({"observations": 3}, EpisodeError, "observations"),
    "empty-rewards": ({"rewards": np.zeros((3, 0))}, EpisodeError, r"shape \(3, 0\)"),
    "ragged-rewards": (
        {"rewards": [[1.0], [2.0, 3.0], [1.0]]},
        EpisodeError,
        r"in shape .* \(2,\) at step 1 and \(1,\)",
    ),
    "nested-rewards": ({"rewards": [1.0, [2.0], 1.0]}, EpisodeError, "differ in shape"),
    "one-reward": ({"rewards": 3.0}, EpisodeError, r"shape \(\)"),
    "text-rewards": ({"rewards": ["a", "b", "c"]}, EpisodeTypeError, "<U1 values, expected one number"),
    "missing-rewards": ({"rewards": [1.0, None, 2.0]}, EpisodeTypeError, "object values"),
    "complex-rewards": ({"rewards": [1j, 2, 3]}, EpisodeTypeError, "complex128 values"),
    **{
        f"{name}-{number}": ({name: flags}, error, name)
        for name in ("terminations", "truncations")
        for number, (flags, error) in enumerate(
            [
                *(
                    (flags, EpisodeTypeError)
                    for flags in ([0, 2, 1], [0.5, 1, 1], ["no", "no", "y"], [None, True, True])
                ),
                *((flags, EpisodeError) for flags in ([[True] * 2] * 3, True, [True], [])),
            ]
        )
    },
    **{
        f"seed-{seed}": ({"seed": seed}, EpisodeTypeError, "The seed of the episode is")
        for seed in (float("nan"), 1.0, "7", True, np.True_, [1])
    },
    "list-options": ({"options": [1]}, EpisodeTypeError, "The options of the episode are"),
    **{
        f"options-{number}": ({"options": options}, MetadataError, "options")
        for number, options in enumerate(({"a": object()}, {3: 1}, {"": 1}))
    },
    "list-metadata": ({"metadata": [1]}, EpisodeTypeError, "The metadata of the episode is"),
    "own-metadata": ({"metadata": {"id": 3}}, MetadataError, "'id' follows from the data"),
    "two-seeds": ({"metadata": {"seed": 3}, "seed": 4}, EpisodeError, "the seed 3 in its metadata"),
    "object-metadata": ({"metadata": {"a": object()}}, MetadataError, "metadata"),
    "fewer-infos": ({"infos": {"k": [1, 2, 3]}}, EpisodeError, "'infos/k' has 3 values, expected 4"),
    "object-infos": ({"infos": {"k": [object()] * 4}}, EpisodeTypeError, "infos/k"),
    "number-for-an-info": ({"infos": {"k": 3}}, EpisodeTypeError, "infos/k"),
    "wrong-id": ({"id": 5}, EpisodeError, "5"),
    "second-of-three": ([buffer_of(3), buffer_of(3, actions=[0]), buffer_of(3)], EpisodeError, "^Episode 1 cannot be"),
    "number": ([3], EpisodeTypeError, "Episode 0 is 3"),
    "no-list": (buffer_of(3), EpisodeTypeError, "expected a list"),
    "none-at-all": (3, EpisodeTypeError, "expected a list"),
}


@pytest.mark.parametrize("name", BAD_EPISODES)
def test_bad_episodes_are_refused(name: str, datasets_root: Path) -> None:
    given, error, message = BAD_EPISODES[name]
    with pytest.raises(error, match=message) as caught:
        create(buffer=[buffer_of(3, **given)] if isinstance(given, dict) else given)
    assert type(caught.value) is error
    assert isinstance(caught.value, MinariError)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert listing(datasets_root) == {}
    create()  # the id is free


class Torus(spaces.Space[Any]):
    """A space that nobody has described."""

    def __init__(self) -> None:
        super().__init__(None, None)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"observation_space": None}, SpaceError, "give them"),
        ({"action_space": None}, SpaceError, "give them"),
        ({"observation_space": Torus()}, UnknownSpaceError, "Torus"),
        ({"observation_space": "Box"}, ValueError, "Box"),
        ({"data_format": "parrot"}, UnknownFormatError, "'parrot'.*hdf5"),
        ({"env": "NoSuchEnv-v0"}, EnvironmentSpecError, "NoSuchEnv-v0"),
        ({"env": 3}, EnvironmentSpecError, "3"),
        ({"eval_env": "NoSuchEnv-v0"}, EnvironmentSpecError, "NoSuchEnv-v0"),
        ({"description": object()}, MetadataError, "'description' holds a value of type object"),
        ({"algorithm_name": b"PPO"}, MetadataError, "'algorithm_name'"),
        ({"extra_metadata": {"mine": {1, object()}}}, MetadataError, "'mine'"),
        ({"extra_metadata": {"total_steps": 3}}, MetadataError, "'total_steps' is protected"),
        ({"author": 3}, MetadataError, "author is 3"),
        ({"author_email": [1]}, MetadataError, "author_email"),
        ({"requirements": [1]}, MetadataError, "requirements"),
        ({"ref_max_score": 1.0}, ScoreError, "no environment to play in"),
        ({"expert_policy": lambda _: 0, "ref_max_score": 1.0}, ScoreError, "Both expert_policy and ref_max_score"),
    ],
)
def test_bad_arguments_are_refused(arguments: Any, error: type[Exception], text: str, datasets_root: Path) -> None:
    with pytest.raises(error, match=text) as caught:
        create(**arguments)
    assert isinstance(caught.value, MinariError)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)
    assert listing(datasets_root) == {}


def test_an_exception_from_elsewhere_leaves_nothing(datasets_root: Path) -> None:
    def episodes() -> Any:
        yield buffer_of(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create(buffer=episodes())
    assert listing(datasets_root) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_full_disk_leaves_nothing(datasets_root: Path) -> None:
    import resource
    import signal

    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    large = buffer_of(3, observations=np.random.default_rng(0).random((4, 100_000)))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, old[1]))
        with pytest.raises(OSError, match=r"[Ll]arge|[Ww]rit|[Ff]ile"):
            create(buffer=[large], observation_space=spaces.Box(0, 1, (100_000,), np.float64))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert listing(datasets_root) == {}


@pytest.mark.parametrize("root", ["a file", "/proc/self/task"])
def test_a_root_that_takes_nothing_is_named(root: str, tmp_path: Path) -> None:
    """A file, and a place that refuses even the superuser, as a read-only disk does."""
    if not Path("/proc/self").is_dir():
        pytest.skip("there is no file system here that refuses everybody")
    (tmp_path / "a file").touch()
    with pytest.raises(OSError, match=root):
        create(root=tmp_path / root)


# Values outside their spaces: one warning a leaf, with the number of steps and the worst value


def warnings_of(caught: list[warnings.WarningMessage]) -> list[str]:
    assert {warning.filename for warning in caught} <= {__file__}
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("as_lists", [False, True])
def test_values_of_buffers_outside_their_spaces_are_told_and_stored(as_lists: bool) -> None:
    def buffer(scale: float) -> EpisodeBuffer:
        a = np.array([[0, 0], [scale, 0], [0, -2 * scale], [0.5, 1]], np.float32)
        b = np.array([0, 1, 2, int(scale)])
        return buffer_of(3, observations={"a": list(a) if as_lists else a, "b": (list(b) if as_lists else b,)})

    space = spaces.Dict(a=spaces.Box(-1, 1, (2,), np.float32), b=spaces.Tuple([spaces.Discrete(3)]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", ".* is not in .* space")
        create(buffer=[buffer(1), buffer(4), buffer(0)], observation_space=space)
    first, second = warnings_of(caught)
    assert "Observation is not in observation space, in episode 0 first at step 2 at a; 3 steps are" in first
    assert "the worst value is -8.0" in first
    assert "in episode 1 first at step 3 at b/0; 1 step is outside up to now, and the worst value is 4." in second


def test_values_of_arrays_outside_their_spaces_are_told_and_stored() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", ".* is not in .* space")
        dataset = minari.create_dataset_from_arrays(
            "test/arrays-v0",
            observations=np.array([0, 7, np.nan, 1, 2, 3], np.float32)[:, None],
            actions=np.array([0, 1, 5, 9]),
            rewards=np.ones(4),
            terminations=np.array([False, True, False, True]),
            observation_space=spaces.Box(-5, 5, (1,)),
            action_space=ACTIONS,
        )
    assert dataset[1].actions.tolist() == [5, 9]
    observation, action = warnings_of(caught)
    assert "first at step 1; 2 steps are outside up to now, and the worst value is nan" in observation
    assert "Action is not in action space, in episode 1 first at step 0; 2 steps" in action
    assert "the worst value is 9." in action


def test_nothing_is_made_where_warnings_are_errors() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".* is not in .* space")
        with pytest.raises(UserWarning, match="Action is not in action space"):
            create(buffer=[buffer_of(3, actions=[7, 8, 9])])
    assert minari.list_local_datasets() == {}
