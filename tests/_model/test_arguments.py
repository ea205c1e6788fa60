"""Invalid arguments are rejected before anything is done, with the expectation and the remedy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

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
    ScoreError,
    SpaceError,
    UnknownFormatError,
)
from support.scripted import PLANE, ScriptedEnv, buffer_of, collected, listing


pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.*assumed that"),
]

SPACES: dict[str, Any] = {"observation_space": PLANE, "action_space": spaces.Discrete(3)}
PLACE = "lab/here-v0"


@pytest.fixture
def dataset() -> minari.MinariDataset:
    made: minari.MinariDataset = collected(None, 3).create_dataset(PLACE)
    return made


class Counting(StepDataCallback):
    def __init__(self, first: int = 0) -> None:
        self.count = first


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
        ({"resume": 4}, ArgumentTypeError, "name of a recording is 4"),
        ({"resume": "x"}, FileNotFoundError, "There is no recording 'x' in .* has none"),
    ],
)
def test_wrong_arguments_of_the_collector_are_refused(
    arguments: dict[str, Any], error: type[Exception], words: str, datasets_root: Path
) -> None:
    with pytest.raises(error, match=words):
        DataCollector(ScriptedEnv(), **arguments)
    assert listing(datasets_root) == {}


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"seed": "7"}, ArgumentTypeError, "seed is"),
        ({"seed": 1.5}, ArgumentTypeError, "seed is"),
        ({"seed": -1}, ValueError, "seed is"),
        ({"options": ["low"]}, ArgumentTypeError, r"options is \['low'\], expected a dict"),
    ],
)
def test_wrong_arguments_of_a_reset_do_not_reach_the_environment(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    collector = collected(ScriptedEnv(), step_data_callback=partial(Counting, 3))  # what makes one need not be a class
    with pytest.raises(error, match=words):
        collector.reset(**arguments)
    assert len(collector.env.resets) == 1
    assert collector.total_episodes == 1


@pytest.mark.parametrize(
    ("dataset_id", "arguments", "error", "words"),
    [
        (f"{PLACE}/inner-v0", {}, DatasetExistsError, "inside the dataset"),
        (f"{PLACE}/deep/er/inner-v0", {}, DatasetExistsError, "inside the dataset"),
        ("new-v0", {"expert_policy": "greedy"}, ArgumentTypeError, "expert_policy is 'greedy', expected a f"),
        ("new-v0", {"num_episodes_average_score": 0}, ScoreError, "is 0, expected a whole number from 1"),
        ("new-v0", {"num_episodes_average_score": "9"}, ArgumentTypeError, "num_episodes_average_score is '9'"),
        ("new-v0", {"ref_min_score": "low"}, ArgumentTypeError, "ref_min_score is 'low', expected a number"),
        ("new-v0", {"ref_max_score": np.nan}, ArgumentError, "ref_max_score is nan, expected a number"),
    ],
)
def test_wrong_arguments_of_a_new_dataset_are_refused(
    dataset: minari.MinariDataset,
    datasets_root: Path,
    dataset_id: str,
    arguments: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    before, collector = listing(datasets_root), collected(None, 3)
    arrays = np.zeros((3, 2), np.float32), [0, 1], [0.0, 1.0], [False, True]
    for make in (
        collector.create_dataset,
        lambda name, **more: minari.create_dataset_from_buffers(name, [buffer_of()], **SPACES, **more),
        lambda name, **more: minari.create_dataset_from_arrays(name, *arrays, **SPACES, **more),
    ):
        with pytest.raises(error, match=words):
            make(dataset_id, **arguments)
    assert listing(datasets_root) == before
    made = collector.create_dataset("new-v0", ref_min_score=np.float32(0.5), ref_max_score=np.int64(3))
    assert (made.storage.metadata["ref_min_score"], len(made)) == (0.5, 3)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"data_format": "hdf6"}, UnknownFormatError),
        ({"compression": "zip"}, CompressionError),
        ({"observation_space": 3}, SpaceError),
    ],
)
def test_no_policy_plays_for_a_dataset_that_cannot_be_made(arguments: dict[str, Any], error: type[Exception]) -> None:
    arguments = {**SPACES, "env": "CartPole-v1", "expert_policy": lambda _: pytest.fail("it was played"), **arguments}
    with pytest.raises(error):
        minari.create_dataset_from_buffers("new-v0", [buffer_of()], **arguments)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda dataset: PLACE, f"load it with minari.load_dataset\\('{PLACE}'\\)"),
        (lambda dataset: "some/where", "open it with minari.open_dataset\\('some/where'\\)"),
        (lambda dataset: Path("/data/x-v0"), "open it with minari.open_dataset\\('/data/x-v0'\\)"),
        (lambda dataset: dataset.storage, r"minari.MinariDataset\(storage\)"),
        (lambda dataset: [dataset], "one by one"),
        (lambda dataset: None, r"is None, expected a MinariDataset; load one with minari.load_dataset\(ID\)"),
    ],
)
def test_what_is_no_dataset_is_refused(dataset: minari.MinariDataset, make: Callable[[Any], Any], words: str) -> None:
    value, collector = make(dataset), collected()
    for call in (
        lambda: collector.add_to_dataset(value),
        lambda: minari.split_dataset(value, [1]),
        lambda: minari.get_normalized_score(value, 3.0),
    ):
        with pytest.raises(TypeError, match=words):
            call()
    if not isinstance(value, list):
        with pytest.raises(CombineError, match=words):
            minari.combine_datasets([dataset, value], "both-v0")
    assert collector.total_episodes == 1


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda d: minari.combine_datasets(d, "b-v0"), CombineError, "expected a list of MinariDataset"),
        (lambda d: minari.combine_datasets(PLACE, "b-v0"), CombineError, "expected a list of MinariDataset"),
        (lambda d: minari.combine_datasets([d]), DatasetIdError, "must be a string, got None"),
        (lambda d: minari.create_dataset_from_buffers([buffer_of()], "x-v0"), DatasetIdError, "must be a string"),
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
        (lambda d: minari.get_normalized_score(d, ["2"]), ArgumentTypeError, "The returns are"),
    ],
)
def test_other_wrong_arguments_are_refused(
    dataset: minari.MinariDataset, call: Callable[[Any], Any], error: type[Exception], words: str, datasets_root: Path
) -> None:
    dataset.storage.update_metadata({"ref_min_score": 0.0, "ref_max_score": 4.0})
    before = listing(datasets_root)
    with pytest.raises(error, match=words):
        call(dataset)
    assert listing(datasets_root) == before


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        *(
            ("autor", "author"),
            ("authors", "author"),
            ("code_permlink", "code_permalink"),
            ("desciption", "description"),
        ),
        *(("Requirements", "requirements"), ("weather", None), ("author", None)),
    ],
)
def test_mistyped_keys_of_metadata_are_corrected(dataset: minari.MinariDataset, key: str, meant: str | None) -> None:
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


def test_mistyped_keys_of_a_namespace_are_corrected() -> None:
    with pytest.warns(UserWarning, match="Did you mean 'description'?"):
        minari.namespace.create_namespace("field", descripton="x")
    with pytest.warns(UserWarning, match="Did you mean 'description'?"):
        minari.namespace.update_namespace_metadata("field", descripion="x")
