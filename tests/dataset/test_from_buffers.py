"""create_dataset_from_buffers: what is stored, and every kind of bad input refused with nothing left behind."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable
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
from support.cases import SPACES
from support.checks import assert_holds
from support.operations import METADATA, dump, record
from support.scripted import PLANE, buffer_of, listing
from support.values import assert_identical


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")

ACTIONS = spaces.Discrete(3)
SPACE_ARGUMENTS: dict[str, Any] = {"observation_space": PLANE, "action_space": ACTIONS}


def create(dataset_id: str = "test/new-v0", buffer: Any = None, **arguments: Any) -> minari.MinariDataset:
    buffers = [buffer_of(3)] if buffer is None else buffer
    return minari.create_dataset_from_buffers(dataset_id, buffers, **{**SPACE_ARGUMENTS, **arguments})


# What is stored


@pytest.mark.parametrize("how", ["buffers", "steps"])
@pytest.mark.parametrize("case", list(SPACES)[::3])
def test_every_space_as_columns_and_step_by_step(case: str, how: str) -> None:
    truth = record("test/space-v0", case, how=how, infos=True, options={"level": 2})
    assert_holds(dump("test/space-v0", case), truth)


def test_everything_a_dataset_can_say_of_itself() -> None:
    create(env="CartPole-v1", eval_env=gym.make("CartPole-v1", max_episode_steps=7), **METADATA)
    loaded = minari.load_dataset("test/new-v0")
    metadata = loaded.storage.metadata
    for key, value in METADATA.items():
        assert metadata[key] == value, key
    assert metadata["num_episodes_average_score"] == 100
    assert (metadata["dataset_id"], metadata["minari_version"]) == ("test/new-v0", "0.5.4")
    assert (loaded.env_spec.id, loaded.eval_env_spec.max_episode_steps) == ("CartPole-v1", 7)
    assert (metadata["total_episodes"], metadata["total_steps"]) == (1, 3)
    assert metadata["dataset_size"] == loaded.storage.get_size()


@pytest.mark.parametrize("author", ["Ann", {"Ann"}, ["Ann"], ("Ann",)])
def test_one_author_or_several(author: Any) -> None:
    metadata = create(author=author, author_email={"b@x", "a@x"}, requirements="numpy").storage.metadata
    assert (metadata["author"], metadata["author_email"]) == ({"Ann"}, {"a@x", "b@x"})
    assert metadata["requirements"] == ["numpy"]


@pytest.mark.filterwarnings("default:`.*` is set to None")
def test_what_is_worth_giving_is_asked_for() -> None:
    with pytest.warns(UserWarning, match="is set to None") as caught:
        create()
    (warning,) = caught
    asked = re.findall(r"`(\w+)` is set to None: \w+", str(warning.message))
    assert sorted(asked) == sorted(
        ["code_permalink", "author", "author_email", "algorithm_name", "description", "eval_env"]
    )
    assert warning.filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        create("test/new-v1", env="CartPole-v1", eval_env="CartPole-v1", **METADATA)


@pytest.mark.parametrize("env", ["CartPole-v1", gym.spec("CartPole-v1"), "made"])
def test_spaces_of_the_environment(env: Any) -> None:
    made = gym.make("CartPole-v1")
    buffer = buffer_of(2, observations=np.zeros((3, 4), np.float32), actions=[0, 1])
    dataset = minari.create_dataset_from_buffers("test/env-v0", [buffer], env=made if env == "made" else env)
    assert (dataset.observation_space, dataset.action_space) == (made.observation_space, made.action_space)
    assert dataset.env_spec.id == "CartPole-v1"
    other = minari.create_dataset_from_buffers(
        "test/env-v1", [buffer_of(2)], env=env if env != "made" else made, observation_space=PLANE
    )
    assert (other.observation_space, other.action_space) == (PLANE, made.action_space)


def test_empty_spaces_are_spaces() -> None:
    empty = spaces.Dict()
    dataset = create(buffer=[buffer_of(2, observations={})], observation_space=empty)
    assert dataset.observation_space == empty
    assert dataset[0].observations == {}


def test_arguments_by_position() -> None:
    """As older programs give them."""
    dataset = minari.create_dataset_from_buffers(
        "test/position-v0", [buffer_of(2)], None, "CartPole-v1", "algo", "Ann", "a@x", "https://code", ACTIONS, PLANE
    )
    metadata = dataset.storage.metadata
    assert (metadata["algorithm_name"], metadata["author"], metadata["code_permalink"]) == (
        "algo",
        {"Ann"},
        "https://code",
    )
    assert dataset.action_space == ACTIONS


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


def test_seeds_options_and_extra_metadata() -> None:
    dataset = create(
        buffer=[buffer_of(2, seed=2**64 - 1, options={"a": {"b": np.arange(3)}}), buffer_of(2)],
        extra_metadata={"sensor": {"rate": 5.0}},
    )
    first, second = dataset.storage.get_episode_metadata([0, 1])
    assert first["seed"] == 2**64 - 1
    assert_identical(first["options"]["a"]["b"], np.arange(3))
    assert "seed" not in second
    assert minari.load_dataset("test/new-v0").storage.metadata["sensor"] == {"rate": 5.0}


def test_another_root(tmp_path: Path, datasets_root: Path) -> None:
    dataset = create("deep/down/new-v0", root=tmp_path)
    assert dataset.storage.data_path == tmp_path / "deep" / "down" / "new-v0" / "data"
    assert list(minari.list_local_datasets(root=tmp_path)) == ["deep/down/new-v0"]
    assert listing(datasets_root) == {}
    create("deep/down/new-v0")  # another root, another dataset


def test_a_home_that_is_made_when_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "not" / "yet"))
    assert minari.list_local_datasets() == {}
    create()
    assert list(minari.list_local_datasets()) == ["test/new-v0"]


# What is refused, with one clear error and nothing left behind

BAD_IDS = [
    "", ".", "..", "/", "../x-v0", "/abs/x-v0", "a/../x-v0", "a//x-v0", "x-v0/", "/x-v0", "a b-v0", "x", "x-v", "x-v-1",
    "x-v1.0", "x-vone", "-v0", "a\\x-v0", "x-v0\n", "C:/x-v0", "~/x-v0", ".hidden-v0", "a/.b/x-v0", "x-v01", "a\0b-v0",
    "x" * 300 + "-v0",
]  # fmt: skip


@pytest.mark.parametrize("dataset_id", BAD_IDS)
def test_malformed_ids(dataset_id: str, datasets_root: Path) -> None:
    before = listing(datasets_root.parent)
    with pytest.raises((DatasetIdError, OSError)) as caught:
        create(dataset_id)
    if len(dataset_id) < 100:  # one that is too long is well-formed, and the system's to refuse
        assert isinstance(caught.value, DatasetIdError)
        assert isinstance(caught.value, ValueError)
        assert repr(dataset_id) in str(caught.value)
    assert listing(datasets_root.parent) == before


@pytest.mark.parametrize("dataset_id", [None, 3, b"x-v0", Path("x-v0")])
def test_ids_that_are_no_text(dataset_id: Any) -> None:
    with pytest.raises(TypeError, match="must be a string"):
        create(dataset_id)


@pytest.mark.parametrize("dataset_id", ["test/taken-v0", "test", "test/taken-v0/inside-v0", "test/taken-v0/deep/in-v0"])
def test_ids_that_are_taken(dataset_id: str, datasets_root: Path) -> None:
    create("test/taken-v0")
    before = listing(datasets_root)
    with pytest.raises((DatasetExistsError, DatasetIdError)):
        create(dataset_id)
    assert listing(datasets_root) == before


def test_a_file_in_the_way(datasets_root: Path) -> None:
    (datasets_root / "test").touch()
    with pytest.raises(OSError, match="test"):
        create()
    assert list(listing(datasets_root)) == ["test"]


BAD_EPISODES: dict[str, Callable[[], Any]] = {
    "no-step": lambda: [buffer_of(0)],
    "empty-buffer": lambda: [EpisodeBuffer()],
    "fewer-actions": lambda: [buffer_of(3, actions=[0, 1])],
    "more-actions": lambda: [buffer_of(3, actions=[0, 1, 2, 0])],
    "fewer-rewards": lambda: [buffer_of(3, rewards=[0.0])],
    "fewer-observations": lambda: [buffer_of(3, observations=np.zeros((3, 2), np.float32))],
    "more-observations": lambda: [buffer_of(3, observations=np.zeros((5, 2), np.float32))],
    "no-observations": lambda: [buffer_of(3, observations=None)],
    "no-actions": lambda: [buffer_of(3, actions=None)],
    "fewer-terminations": lambda: [buffer_of(3, terminations=[True])],
    "no-terminations": lambda: [buffer_of(3, terminations=[])],
    "more-truncations": lambda: [buffer_of(3, truncations=[False] * 4)],
    "other-shape": lambda: [buffer_of(3, observations=np.zeros((4, 5), np.float32))],
    "scalar-observations": lambda: [buffer_of(3, observations=np.zeros(4, np.float32))],
    "matrix-of-actions": lambda: [buffer_of(3, actions=np.zeros((3, 2), int))],
    "ragged": lambda: [buffer_of(3, observations=[[1, 2], [1, 2], [1], [1, 2]])],
    "text-for-numbers": lambda: [buffer_of(3, observations=[["a", "b"]] * 4)],
    "objects": lambda: [buffer_of(3, observations=[[object(), 1]] * 4)],
    "fractions-for-choices": lambda: [buffer_of(3, actions=[0.5, 1, 2])],
    "text-rewards": lambda: [buffer_of(3, rewards=["a", "b", "c"])],
    "missing-rewards": lambda: [buffer_of(3, rewards=[1.0, None, 2.0])],
    "number-flags": lambda: [buffer_of(3, terminations=[0, 2, 1])],
    "text-flags": lambda: [buffer_of(3, terminations=["no", "no", "yes"])],
    "dict-for-a-box": lambda: [buffer_of(3, observations={"a": np.zeros((4, 2))})],
    "number-for-observations": lambda: [buffer_of(3, observations=3)],
    "nan-seed": lambda: [buffer_of(3, seed=float("nan"))],
    "text-seed": lambda: [buffer_of(3, seed="7")],
    "bool-seed": lambda: [buffer_of(3, seed=True)],
    "list-options": lambda: [buffer_of(3, options=[1])],
    "object-in-options": lambda: [buffer_of(3, options={"a": object()})],
    "fewer-infos": lambda: [buffer_of(3, infos={"k": [1, 2, 3]})],
    "object-infos": lambda: [buffer_of(3, infos={"k": [object()] * 4})],
    "number-for-an-info": lambda: [buffer_of(3, infos={"k": 3})],
    "wrong-id": lambda: [buffer_of(3, id=5)],
    "second-of-three": lambda: [buffer_of(3), buffer_of(3, rewards=[1.0]), buffer_of(3)],
    "number": lambda: [3],
    "no-list": lambda: buffer_of(3),
    "none-at-all": lambda: 3,
}


@pytest.mark.parametrize("name", BAD_EPISODES)
def test_bad_episodes(name: str, datasets_root: Path) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        create(buffer=BAD_EPISODES[name]())
    assert isinstance(caught.value, MinariError)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert listing(datasets_root) == {}
    create()  # the id is free


def test_the_episode_that_is_bad_is_named() -> None:
    with pytest.raises(EpisodeError, match=r"^Episode 1 cannot be stored\. The episode has 2 actions, expected 3"):
        create(buffer=[buffer_of(3), buffer_of(3, actions=[0, 1])])
    with pytest.raises(EpisodeTypeError, match=r"^Episode 0 cannot be stored\. The actions at step 1"):
        create(buffer=[buffer_of(3, actions=[0, 0.5, 1])])


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
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], text: str, datasets_root: Path) -> None:
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
def test_a_full_disk(datasets_root: Path) -> None:
    import resource
    import signal

    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    noise = np.random.default_rng(0).random((4, 100_000))
    large = buffer_of(3, observations=noise)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, old[1]))
        with pytest.raises(OSError, match=r"[Ll]arge|[Ww]rit|[Ff]ile"):
            create(buffer=[large], observation_space=spaces.Box(0, 1, (100_000,), np.float64))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert listing(datasets_root) == {}


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "root").touch()
    with pytest.raises(OSError, match="root"):
        create(root=tmp_path / "root")


def test_a_root_on_which_nothing_can_be_written() -> None:
    """As on a read-only disk; the process file system refuses even the superuser."""
    if not Path("/proc/self").is_dir():
        pytest.skip("there is no file system here that refuses everybody")
    with pytest.raises(OSError, match="proc"):
        create(root="/proc/self/task")


def test_an_episode_that_goes_on_in_the_next_buffer() -> None:
    dataset = create(buffer=[buffer_of(3, seed=4)])
    more = buffer_of(2, id=0, observations=np.full((2, 2), 9, np.float32))
    dataset.update_dataset_from_buffer([more])
    assert (len(dataset), dataset.total_steps) == (1, 5)
    episode = minari.load_dataset(dataset.id)[0]
    assert episode.observations[:, 0].tolist() == [0, 1, 2, 3, 9, 9]
    assert next(iter(dataset.storage.get_episode_metadata([0])))["seed"] == 4


class TestValuesOutsideTheirSpaces:
    """One warning a leaf, with the number of steps and the worst value; all is stored as it is."""

    SPACE = spaces.Dict(a=spaces.Box(-1, 1, (2,), np.float32), b=spaces.Tuple([spaces.Discrete(3)]))

    def warnings_of(self, make: Callable[[], Any]) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warnings.filterwarnings("ignore", "`.*` is set to None")
            make()
        assert {warning.filename for warning in caught} <= {__file__}
        return [str(warning.message) for warning in caught]

    @pytest.mark.parametrize("as_lists", [False, True])
    def test_of_buffers(self, as_lists: bool) -> None:
        def buffer(scale: float) -> EpisodeBuffer:
            a = np.array([[0, 0], [scale, 0], [0, -2 * scale], [0.5, 1]], np.float32)
            b = np.array([0, 1, 2, int(scale)])
            return buffer_of(3, observations={"a": list(a) if as_lists else a, "b": (list(b) if as_lists else b,)})

        texts = self.warnings_of(
            lambda: create(buffer=[buffer(1), buffer(4), buffer(0)], observation_space=self.SPACE, action_space=ACTIONS)
        )
        first, second = texts
        assert "Observation is not in observation space, in episode 0 first at step 2 at a; 3 steps are" in first
        assert "the worst value is -8.0" in first
        assert "in episode 1 first at step 3 at b/0; 1 step is outside up to now, and the worst value is 4." in second

    def test_of_arrays(self) -> None:
        def make() -> None:
            dataset = minari.create_dataset_from_arrays(
                "test/arrays-v0",
                observations=np.array([0, 7, np.nan, 1, 2, 3], np.float32)[:, None],
                actions=np.array([0, 1, 5, 9]),
                rewards=np.ones(4),
                terminations=np.array([False, True, False, True]),
                observation_space=spaces.Box(-5, 5, (1,)),
                action_space=spaces.Discrete(3),
            )
            assert dataset[1].actions.tolist() == [5, 9]

        observation, action = self.warnings_of(make)
        assert "first at step 1; 2 steps are outside up to now, and the worst value is nan" in observation
        assert "Action is not in action space, in episode 1 first at step 0; 2 steps" in action
        assert "the worst value is 9." in action

    def test_as_errors_nothing_is_made(self, datasets_root: Path) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", ".* is not in .* space")
            with pytest.raises(UserWarning, match="Action is not in action space"):
                create(buffer=[buffer_of(3, actions=[7, 8, 9])])
        assert list(minari.list_local_datasets()) == []
