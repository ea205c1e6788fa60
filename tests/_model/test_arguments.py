"""Invalid arguments are rejected before anything is done, with the expectation and the remedy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari import DataCollector, EpisodeMetadataCallback, StepDataCallback
from minari.errors import (
    ArgumentError,
    ArgumentTypeError,
    CombineError,
    CompressionError,
    DataPathError,
    DatasetExistsError,
    DatasetIdError,
    EpisodeError,
    EpisodeIndexError,
    MinariError,
    ScoreError,
    SpaceError,
    UnknownFormatError,
)
from support.scripted import PLANE, ScriptedEnv, buffer_of, listing, play


pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.*assumed that"),
]

SPACES: dict[str, Any] = {"observation_space": PLANE, "action_space": spaces.Discrete(3)}
PLACE = "lab/here-v0"


def collected(episodes: int = 3) -> DataCollector:
    play(collector := DataCollector(ScriptedEnv()), episodes)
    return collector


def untouchable(observation: Any) -> Any:
    raise AssertionError("the policy was played")


@pytest.fixture
def dataset() -> minari.MinariDataset:
    return collected().create_dataset(PLACE)


class Counting(StepDataCallback):
    def __init__(self, first: int = 0) -> None:
        self.count = first


class TestCollector:
    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            ({"step_data_callback": Counting()}, ArgumentTypeError, "is an instance of Counting, expected a class"),
            ({"episode_metadata_callback": EpisodeMetadataCallback()}, ArgumentTypeError, "without parentheses"),
            ({"step_data_callback": EpisodeMetadataCallback}, ArgumentTypeError, "expected a class like StepDataC"),
            ({"episode_metadata_callback": Counting}, ArgumentTypeError, "expected a class like EpisodeMetadataC"),
            ({"step_data_callback": lambda env, obs: obs}, ArgumentTypeError, "called without arguments"),
            ({"episode_metadata_callback": list}, ArgumentTypeError, "is not callable"),
            ({"observation_space": [4]}, SpaceError, r"observation_space is \[4\], expected a gymnasium space"),
            ({"action_space": int}, SpaceError, "action_space is"),
            ({"data_format": "parket"}, UnknownFormatError, "Did you mean 'parquet'?"),
            ({"compression": "gzp:3"}, CompressionError, "Did you mean 'gzip'?"),
            ({"compression": {"observation": "gzip"}}, CompressionError, "Did you mean 'observations'?"),
            ({"buffer_steps": 0}, ArgumentError, "buffer_steps is 0, expected a whole number from 1"),
            ({"buffer_steps": 2.0}, ArgumentTypeError, "buffer_steps is 2.0"),
            ({"buffer_steps": True}, ArgumentTypeError, "buffer_steps is True"),
        ],
    )
    def test_arguments_of_the_collector(
        self, arguments: dict[str, Any], error: type[Exception], words: str, datasets_root: Path
    ) -> None:
        with pytest.raises(error, match=words):
            DataCollector(ScriptedEnv(), **arguments)
        assert listing(datasets_root) == {}

    def test_what_makes_a_callback_need_not_be_a_class(self) -> None:
        play(collector := DataCollector(ScriptedEnv(), partial(Counting, 3)))
        assert collector.total_episodes == 1

    @pytest.mark.parametrize(("seed", "error"), [("7", ArgumentTypeError), (1.5, ArgumentTypeError), (-1, ValueError)])
    def test_seeds(self, seed: Any, error: type[Exception]) -> None:
        env = ScriptedEnv()
        with pytest.raises(error, match="seed is"):
            DataCollector(env).reset(seed=seed)
        assert env.resets == []

    @pytest.mark.parametrize(
        ("dataset_id", "arguments", "error", "words"),
        [
            (f"{PLACE}/inner-v0", {}, DatasetExistsError, "inside the dataset"),
            (f"{PLACE}/deep/er/inner-v0", {}, DatasetExistsError, "inside the dataset"),
            (
                "new-v0",
                {"expert_policy": "greedy"},
                ArgumentTypeError,
                "expert_policy is 'greedy', expected a f",
            ),
            ("new-v0", {"num_episodes_average_score": 0}, ScoreError, "is 0, expected a whole number from 1"),
            ("new-v0", {"num_episodes_average_score": "9"}, ArgumentTypeError, "num_episodes_average_score is '9'"),
            ("new-v0", {"ref_min_score": "low"}, ArgumentTypeError, "ref_min_score is 'low', expected a number"),
            ("new-v0", {"ref_max_score": np.nan}, ArgumentError, "ref_max_score is nan, expected a number"),
        ],
    )
    def test_arguments_of_a_new_dataset(
        self,
        dataset: minari.MinariDataset,
        datasets_root: Path,
        dataset_id: str,
        arguments: dict[str, Any],
        error: type[Exception],
        words: str,
    ) -> None:
        before, collector = listing(datasets_root), collected()
        for make in (
            collector.create_dataset,
            lambda name, **more: minari.create_dataset_from_buffers(name, [buffer_of()], **SPACES, **more),
            lambda name, **more: minari.create_dataset_from_arrays(
                name, np.zeros((3, 2), np.float32), [0, 1], [0.0, 1.0], [False, True], **SPACES, **more
            ),
        ):
            with pytest.raises(error, match=words):
                make(dataset_id, **arguments)
        assert listing(datasets_root) == before
        assert collector.total_episodes == 3

    def test_numpy_numbers_are_numbers(self) -> None:
        made = collected().create_dataset("new-v0", ref_min_score=np.float32(0.5), ref_max_score=np.int64(3))
        assert made.storage.metadata["ref_min_score"] == 0.5

    def test_no_policy_plays_for_a_dataset_that_cannot_be_made(self) -> None:
        for wrong, error in (
            ({"data_format": "hdf6"}, UnknownFormatError),
            ({"compression": "zip"}, CompressionError),
            ({"observation_space": 3}, SpaceError),
        ):
            with pytest.raises(error):
                minari.create_dataset_from_buffers(
                    "new-v0", [buffer_of()], env="CartPole-v1", expert_policy=untouchable, **{**SPACES, **wrong}
                )


def not_datasets(dataset: minari.MinariDataset) -> list[tuple[Any, str]]:
    return [
        (PLACE, f"load it with minari.load_dataset\\('{PLACE}'\\)"),
        ("some/where", "open it with minari.open_dataset\\('some/where'\\)"),
        (Path("/data/x-v0"), "open it with minari.open_dataset\\('/data/x-v0'\\)"),
        (dataset.storage, r"minari.MinariDataset\(storage\)"),
        ([dataset], "one by one"),
        (None, r"is None, expected a MinariDataset; load one with minari.load_dataset\(ID\)"),
    ]


@pytest.mark.parametrize("number", range(6))
def test_what_is_no_dataset(dataset: minari.MinariDataset, number: int) -> None:
    value, words = not_datasets(dataset)[number]
    collector = collected()
    for call in (
        lambda: collector.add_to_dataset(value),
        lambda: minari.split_dataset(value, [1]),
        lambda: minari.get_normalized_score(value, 3.0),
    ):
        with pytest.raises(TypeError, match=words):
            call()
    if number != 4:
        with pytest.raises(CombineError, match=words):
            minari.combine_datasets([dataset, value], "both-v0")
    assert collector.total_episodes == 3


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda d: minari.combine_datasets(d, "b-v0"), CombineError, "expected a list of MinariDataset"),
        (lambda d: minari.combine_datasets(PLACE, "b-v0"), CombineError, "expected a list of MinariDataset"),
        (lambda d: minari.combine_datasets([d]), DatasetIdError, "must be a string, got None"),
        (lambda d: minari.combine_datasets([d], f"{PLACE}/b-v0"), DatasetExistsError, "inside the dataset"),
        (lambda d: minari.split_dataset(d, 2), ArgumentTypeError, "sizes is 2, expected a list"),
        (lambda d: minari.split_dataset(d, [1], seed=-4), ArgumentError, "seed is -4"),
        (lambda d: minari.split_dataset(d, [1], seed="a"), ArgumentTypeError, "seed is 'a'"),
        (lambda d: d.set_seed(0.5), ArgumentTypeError, "seed is 0.5"),
        (lambda d: d.sample_episodes("2"), ArgumentTypeError, "n_episodes is '2'"),
        (lambda d: d.sample_episodes(1.0), ArgumentTypeError, "n_episodes is 1.0"),
        (lambda d: d.sample_episodes(-1), EpisodeError, "-1 episodes were asked for"),
        (lambda d: d.iterate_episodes(1), ArgumentTypeError, "episode_indices is 1, expected a list"),
        (lambda d: d.iterate_episodes("01"), ArgumentTypeError, "episode_indices is '01'"),
        (lambda d: list(d.iterate_episodes([True])), EpisodeIndexError, "no episode True"),
        (lambda d: d.filter_episodes([0]), ArgumentTypeError, r"condition is \[0\], expected a function"),
        (lambda d: minari.list_local_datasets(prefix=7), ArgumentTypeError, "prefix is 7"),
        (lambda d: minari.load_dataset(Path(d.spec.data_path)), DatasetIdError, r"minari.open_dataset\(PATH\)"),
        (lambda d: minari.load_dataset("~/data/x-v0"), DatasetIdError, r"minari.open_dataset\(PATH\)"),
        (lambda d: minari.open_dataset(PLACE), DataPathError, f"minari.load_dataset\\('{PLACE}'\\)"),
        (lambda d: minari.open_dataset(4), ArgumentTypeError, "path is 4"),
        (lambda d: minari.load_dataset("lab/hree-v0"), FileNotFoundError, "Did you mean 'lab/here-v0'?"),
        (lambda d: minari.delete_dataset("lab/here-v1"), FileNotFoundError, "Did you mean 'lab/here-v0'?"),
        (lambda d: minari.MinariDataset(PLACE), DataPathError, f"minari.load_dataset\\('{PLACE}'\\)"),
        (lambda d: minari.MinariDataset(5), ArgumentTypeError, "data path is 5, expected the path"),
        (lambda d: minari.validate(d), ArgumentTypeError, "dataset is MinariDataset.*, expected the id"),
        (lambda d: minari.load_dataset("s3://lab/here-v0"), DatasetIdError, "is an address; expected an id"),
        (lambda d: minari.delete_dataset("/data/here-v0"), DatasetIdError, "is a path; expected"),
        (lambda d: minari.load_dataset("lab/here-V0"), DatasetIdError, "such as 'lab/here-v0'"),
        (lambda d: d.convert("lab/there-v0", compression=2.5), CompressionError, "2.5 is not a codec"),
        (lambda d: d.storage.update_metadata([("a", 1)]), ArgumentTypeError, "metadata is .*, expected a dict"),
        (lambda d: minari.upload_dataset("LAB/here-v0"), FileNotFoundError, "Did you mean 'lab/here-v0'?"),
    ],
)
def test_other_arguments(
    dataset: minari.MinariDataset,
    datasets_root: Path,
    call: Callable[[minari.MinariDataset], Any],
    error: type[Exception],
    words: str,
) -> None:
    before = listing(datasets_root)
    with pytest.raises(error, match=words):
        call(dataset)
    assert listing(datasets_root) == before


def test_returns_are_numbers() -> None:
    dataset = collected().create_dataset("new-v0", ref_min_score=0.0, ref_max_score=4.0)
    assert minari.get_normalized_score(dataset, [2, 4]).tolist() == [0.5, 1.0]
    with pytest.raises(ArgumentTypeError, match="The returns are"):
        minari.get_normalized_score(dataset, ["2"])


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("autor", "author"),
        ("authors", "author"),
        ("code_permlink", "code_permalink"),
        ("desciption", "description"),
        ("Requirements", "requirements"),
        ("weather", None),
        ("author", None),
    ],
)
def test_keys_of_metadata_that_look_mistyped(dataset: minari.MinariDataset, key: str, meant: str | None) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset.storage.update_metadata({key: ["x"]})
        dataset.storage.update_metadata({key: ["y"]})
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == (meant is not None), "once it is there, it is meant"
    if meant:
        assert f"{key!r} is none that this library knows, and is stored. Did you mean {meant!r}?" in texts[0]
        assert caught[0].filename == __file__
    assert key in dataset.storage.metadata


def test_keys_of_a_namespace_that_look_mistyped() -> None:
    with pytest.warns(UserWarning, match="Did you mean 'description'?"):
        minari.namespace.create_namespace("field", descripton="x")
    with pytest.warns(UserWarning, match="Did you mean 'description'?"):
        minari.namespace.update_namespace_metadata("field", descripion="x")


class TestWhatDiffers:
    """Datasets that cannot be combined: the leaf, or the key of the env_spec, with both values."""

    def test_a_leaf(self) -> None:
        def of(leaf: spaces.Space[Any], name: str) -> minari.MinariDataset:
            space = spaces.Dict(a=spaces.Discrete(3), b=spaces.Tuple([spaces.Discrete(2), leaf]))
            env = ScriptedEnv(lambda time: space.sample(), observation_space=space)
            play(collector := DataCollector(env))
            return collector.create_dataset(name)

        first, other = of(spaces.Box(-1, 1, (2,)), "a-v0"), of(spaces.Box(-1, 1, (3,)), "b-v0")
        with pytest.raises(
            CombineError, match=r"of a-v0 and of b-v0 .* observations/b/1 is Box\(.*\(2,\), float32\) and Box\(.*\(3,"
        ):
            minari.combine_datasets([first, other], "both-v0")
        with pytest.raises(CombineError, match=r"observations.* is .*Box"):
            collected().add_to_dataset(first)

    def test_keys(self) -> None:
        def of(key: str, name: str) -> minari.MinariDataset:
            space = spaces.Dict({key: spaces.Discrete(3)})
            play(collector := DataCollector(ScriptedEnv(lambda time: {key: 1}, observation_space=space)))
            return collector.create_dataset(name)

        with pytest.raises(CombineError, match=r"observations has the keys \['x'\] and \['y'\]"):
            minari.combine_datasets([of("x", "a-v0"), of("y", "b-v0")], "both-v0")

    def test_an_environment(self) -> None:
        def of(name: str, **arguments: Any) -> minari.MinariDataset:
            collector = DataCollector(gym.make("Pendulum-v1", **arguments))
            play(collector, steps=3, action=np.zeros(1, np.float32))
            return collector.create_dataset(name)

        with pytest.raises(CombineError, match=r"of a-v0 and of b-v0, kwargs/g is 9 and 3"):
            minari.combine_datasets([of("a-v0", g=9), of("b-v0", g=3)], "both-v0")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda c: c.discard_episode("1"), ArgumentTypeError, "index is '1', expected a whole number"),
        (lambda c: c.reset(options=["low"]), ArgumentTypeError, r"options is \['low'\], expected a dict"),
        (lambda c: c.create_dataset("lab/more-v0", on_error="drop"), ArgumentError, "on_error is 'drop'"),
        (lambda c: DataCollector(ScriptedEnv(), resume=4), ArgumentTypeError, "name of a recording is 4"),
        (
            lambda c: DataCollector(ScriptedEnv(), resume="x"),
            FileNotFoundError,
            "There is no recording 'x' in .* has none",
        ),
    ],
)
def test_arguments_of_a_collector_that_records(
    datasets_root: Path, call: Callable[[DataCollector], Any], error: type[Exception], words: str
) -> None:
    collector = DataCollector(ScriptedEnv())
    play(collector, 2)
    with pytest.raises(error, match=words):
        call(collector)
    assert collector.total_episodes == 2


def test_a_step_data_callback_that_returns_nothing(datasets_root: Path) -> None:
    class Forgetful(StepDataCallback):
        def __call__(self, env: Any, **values: Any) -> Any:
            super().__call__(env, **values)

    with pytest.raises(TypeError, match="The StepDataCallback returned None, expected a dict"):
        DataCollector(ScriptedEnv(), step_data_callback=Forgetful).reset()


def test_an_episode_metadata_callback_that_returns_a_number(datasets_root: Path) -> None:
    class Counting(EpisodeMetadataCallback):
        def __call__(self, episode: Any) -> Any:
            return len(episode["rewards"])

    collector = DataCollector(ScriptedEnv(), episode_metadata_callback=Counting)
    with pytest.warns(UserWarning, match=r"callback returned \d, expected a dict"):
        play(collector, 1)
    with pytest.raises(MinariError, match=r"callback returned \d, expected a dict"):
        collector.create_dataset("lab/counted-v0")


def test_a_step_that_lacks_a_key() -> None:
    step = {"observation": 1.0, "action": 0, "reward": 1.0, "terminated": False, "info": {}}
    with pytest.raises(KeyError, match=r"^The step has the keys .*'info'.* expected all of .*'truncated'"):
        minari.data_collector.EpisodeBuffer(observations=0.0).add_step_data(step)


def test_buffers_in_the_place_of_an_id() -> None:
    with pytest.raises(DatasetIdError, match="A dataset id must be a string"):
        minari.create_dataset_from_buffers([buffer_of(3)], "lab/swapped-v0")


def test_one_episode_that_is_left_behind_is_spoken_of_in_the_singular(datasets_root: Path) -> None:
    collector = DataCollector(ScriptedEnv())
    play(collector, 1)
    with pytest.warns(UserWarning, match="^1 recorded episode was not saved as a dataset. It is kept"):
        collector.close()
