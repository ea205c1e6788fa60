"""Transitions and windows of random datasets, in every format, beside slow code over whole episodes."""

from __future__ import annotations

import itertools
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minari
from minari import MinariDataset
from minari.errors import (
    ArgumentError,
    ChecksumError,
    DatasetChangedError,
    DatasetCorruptError,
    EpisodeError,
    SampleIndexError,
)
from support.copies import require_format
from support.programs import run
from support.sampling_model import (
    SPACES,
    assert_same,
    episode,
    info_at,
    make,
    row,
    rows_around,
    stacked,
    starts,
    steps_of,
    transition,
    window,
)


FORMATS = ("hdf5", "arrow", "parquet", "zarr")
COMPRESSIONS = (None, "gzip", "none")
_numbers = itertools.count()

pytestmark = pytest.mark.filterwarnings("ignore::minari.errors.MissingMetadataWarning", "ignore::UserWarning")


@st.composite
def datasets(draw: st.DrawFn) -> MinariDataset:
    """A dataset, or a view of one, or a combination of two."""
    observation_space = SPACES[draw(st.sampled_from(sorted(SPACES)))]
    action_space = SPACES[draw(st.sampled_from(["vector", "discrete", "number", "nested"]))]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    reward_shape = draw(st.sampled_from([(), (), (2,)]))
    data_format = draw(st.sampled_from(FORMATS))
    compression = draw(st.sampled_from(COMPRESSIONS)) if data_format in ("hdf5", "zarr") else None

    def made(lengths: list[int]) -> MinariDataset:
        buffers = [
            episode(
                observation_space,
                action_space,
                length,
                rng,
                ends=draw(st.sampled_from(["terminated", "truncated", "cut"])),
                reward_shape=reward_shape,
                infos=True,
            )
            for length in lengths
        ]
        return minari.create_dataset_from_buffers(
            f"samples/{next(_numbers)}-v0",
            buffers,
            observation_space=observation_space,
            action_space=action_space,
            data_format=data_format,
            compression=compression,
        )

    lengths = st.lists(st.one_of(st.integers(1, 5), st.just(4), st.integers(33, 70)), min_size=1, max_size=5)
    dataset = made(draw(lengths))
    if draw(st.booleans()):
        dataset = minari.combine_datasets([dataset, made(draw(lengths))], f"samples/{next(_numbers)}-v0")
    if draw(st.booleans()):
        positions = st.integers(0, len(dataset) - 1)
        dataset = dataset[draw(st.lists(positions, min_size=1, max_size=4))]
        dataset = dataset[draw(st.permutations(range(len(dataset))))]
    return dataset


@settings(max_examples=40, deadline=None)
@given(data=st.data(), dataset=datasets())
def test_transitions_are_the_steps_of_the_episodes(data: st.DataObject, dataset: MinariDataset) -> None:
    n_step = data.draw(st.integers(1, 6))
    discount = data.draw(st.sampled_from([1.0, 0.9, 0.0]))
    found = dataset.transitions(n_step=n_step, discount=discount, returns_to_go=True, infos=["clock", "deep/word"])
    steps = steps_of(dataset)
    assert len(found) == len(steps) == dataset.total_steps
    assert found.episode_starts.tolist() == [0, *itertools.accumulate(map(len, dataset))]
    indices = data.draw(st.lists(st.integers(-len(steps), len(steps) - 1), min_size=1, max_size=20))
    expected = []
    for index in indices:
        of, step = steps[index]
        following = min(step + n_step, len(of))
        expected.append(
            {
                **transition(of, step, n_step, discount),
                "infos": {name: info_at(of, name, step) for name in ("clock", "deep/word")},
                "next_infos": {name: info_at(of, name, following) for name in ("clock", "deep/word")},
            }
        )
    assert_same(found[indices], stacked(expected))
    assert_same(found[indices[0]], expected[0])
    assert_same(pickle.loads(pickle.dumps(found))[indices], stacked(expected))


@settings(max_examples=40, deadline=None)
@given(data=st.data(), dataset=datasets())
def test_windows_are_parts_of_the_episodes(data: st.DataObject, dataset: MinariDataset) -> None:
    pad = data.draw(st.sampled_from([None, "left", "right"]))
    longest = max(map(len, dataset))
    length = data.draw(st.integers(1, longest if pad is None else longest + 3))
    stride, edge = data.draw(st.integers(1, 4)), data.draw(st.booleans())
    final, discount = data.draw(st.booleans()), data.draw(st.sampled_from([1.0, 0.9]))
    found = dataset.windows(
        length,
        stride=stride,
        pad=pad,
        pad_value="edge" if edge else "zero",
        discount=discount,
        returns_to_go=True,
        final_observation=final,
    )
    places = [(of, start) for of in dataset for start in starts(length, len(of), stride, pad)]
    assert len(found) == len(places)
    indices = data.draw(st.lists(st.integers(0, len(places) - 1), min_size=1, max_size=12))
    expected = [window(*places[index], length, edge=edge, final=final, discount=discount) for index in indices]
    assert_same(found[indices], stacked(expected))
    assert_same(found[indices[-1]], expected[-1])


@settings(max_examples=30, deadline=None)
@given(data=st.data(), dataset=datasets())
def test_offsets_are_rows_around_a_step(data: st.DataObject, dataset: MinariDataset) -> None:
    some = st.lists(st.integers(-5, 9), min_size=1, max_size=5)
    offsets = {"observations": data.draw(some), "actions": data.draw(some), "rewards": data.draw(some)}
    edge = data.draw(st.booleans())
    found = dataset.windows(offsets=offsets, pad_value="edge" if edge else "zero")
    steps = steps_of(dataset)
    assert len(found) == len(steps)
    indices = data.draw(st.lists(st.integers(0, len(steps) - 1), min_size=1, max_size=12))
    expected = []
    for index in indices:
        of, step = steps[index]
        element: dict[str, Any] = {"episode_ids": np.int64(of.id), "timesteps": np.int64(step)}
        for name, more in (("observations", 1), ("actions", 0), ("rewards", 0)):
            values, mask = rows_around(
                lambda number, name=name, of=of: row(getattr(of, name), number),  # type: ignore[misc]
                [step + offset for offset in offsets[name]],
                0,
                len(of) - 1 + more,
                edge,
            )
            element |= {name: values, f"{name}_mask": mask}
        expected.append(element)
    assert_same(found[indices], stacked(expected))


class TestIndexing:
    def test_an_int_has_no_batch_dimension_and_arrays_of_its_own(self, dataset: MinariDataset) -> None:
        transitions = dataset.transitions()
        one = transitions[3]
        assert one["observations"].shape == (3,)
        assert one["rewards"].shape == () == one["timesteps"].shape
        one["observations"][:] = 99
        assert_same(transitions[3], dataset.transitions()[3])
        assert_same(transitions[-1], transitions[64])
        assert_same(transitions[np.int32(3)], transitions[3])

    @pytest.mark.parametrize(
        ("index", "expected"),
        [
            (slice(2, 8), range(2, 8)),
            (slice(None), range(65)),
            (slice(60, 99), range(60, 65)),
            (slice(-2, None), [63, 64]),
            (slice(8, 2, -2), [8, 6, 4]),
            ([3, 1, 3], [3, 1, 3]),
            (np.array([-1], np.int8), [64]),
            (np.array([4], np.uint64), [4]),
            (np.arange(65) == 7, [7]),
            ((5, 6), [5, 6]),
            ([], []),
            (np.zeros(65, bool), []),
            (slice(5, 5), []),
        ],
        ids=str,
    )
    def test_batches_by_index(self, dataset: MinariDataset, index: Any, expected: Any) -> None:
        batch = dataset.transitions()[index]
        assert batch["actions"].tolist() == list(expected)
        assert batch["observations"].shape == (len(expected), 3)
        assert {len(values) for values in batch.values()} == {len(expected)}

    @pytest.mark.parametrize(
        "index",
        [65, -66, [0, 65], [-66], 1.0, [1.5], "a", [[1]], np.zeros(3, bool), True, None, np.array(["1"]), 2**70],
    )
    def test_there_is_no_such_element(self, dataset: MinariDataset, index: Any) -> None:
        for sequence in (dataset.transitions(), dataset.windows(1)):
            with pytest.raises(SampleIndexError, match=r"There is no (transition|window)|The index is"):
                sequence[index]

    def test_getitems_is_what_a_data_loader_asks_for(self, dataset: MinariDataset) -> None:
        transitions = dataset.transitions()
        found = transitions.__getitems__([5, 1])
        assert_same(stacked(found), transitions[[5, 1]])

    def test_iteration_and_arrays(self, dataset: MinariDataset) -> None:
        transitions = dataset.transitions()
        assert_same(stacked(list(transitions)), transitions.arrays())
        assert_same(stacked(list(dataset.windows(3))), dataset.windows(3).arrays())


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        (["rewards", "observations/arm/1"], {"rewards": None, "observations": {"arm": (False, True)}}),
        (["next_observations/camera"], {"next_observations": {"camera": True}}),
        (["observations/arm", "observations/camera"], {"observations": {"camera": True, "arm": (True, True)}}),
        (["timesteps"], {"timesteps": None}),
    ],
)
def test_only_selected_fields_are_read(
    monkeypatch: pytest.MonkeyPatch, fields: list[str], keys: dict[str, Any]
) -> None:
    dataset = make("sampled/fields-v0", (4, 9), "nested")
    read: set[Any] = set()
    read_rows = type(dataset.storage).read_rows

    def watched(self: Any, requests: Any) -> Any:
        read.update(request.path for request in requests)
        return read_rows(self, requests)

    monkeypatch.setattr(type(dataset.storage), "read_rows", watched)
    whole = dataset.transitions()
    batch = dataset.transitions(fields=fields)[[5, 2]]
    assert list(batch) == list(keys)
    expected_paths = {
        tuple(int(part) if part.isdecimal() else part for part in field.removeprefix("next_").split("/"))
        for field in fields
    }
    assert all(any(path[: len(wanted)] == wanted for wanted in expected_paths) for path in read)
    expected = whole[[5, 2]]
    for name, shape in keys.items():
        if not isinstance(shape, dict):
            assert_same(batch[name], expected[name])
        else:
            assert batch[name].keys() == shape.keys()
            for key, parts in shape.items():
                if isinstance(parts, tuple):
                    for found, wanted, is_there in zip(batch[name][key], expected[name][key], parts, strict=True):
                        assert (found is not None) == is_there
                        assert found is None or np.array_equal(found, wanted)
                else:
                    assert_same(batch[name][key], expected[name][key])


def test_stored_dtypes_are_kept_and_joined_without_loss() -> None:
    def made(name: str, dtype: Any) -> MinariDataset:
        return minari.create_dataset_from_arrays(
            name,
            observation_space=gym.spaces.Box(-9, 2**40, (), np.float64),
            observations=np.array([1, 2, 2**30 + 1], dtype),
            actions=np.zeros(2),
            rewards=np.zeros(2, np.float32),
            terminations=np.array([False, True]),
        )

    small, wide = made("sampled/small-dtype-v0", np.float32), made("sampled/wide-dtype-v0", np.float64)
    assert small.transitions()[:]["rewards"].dtype == np.float32
    both = minari.combine_datasets([small, wide], "sampled/dtypes-v0").transitions()[:]
    assert both["next_observations"].dtype == np.float64
    assert both["next_observations"].tolist() == [2, 2**30, 2, 2**30 + 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_step": 0}, "n_step is 0, expected a whole number from 1"),
        ({"n_step": 1.5}, r"n_step is 1\.5"),
        ({"n_step": True}, "n_step is True"),
        ({"discount": 1.1}, r"discount is 1\.1, expected a number from 0 to 1"),
        ({"discount": float("nan")}, "discount is nan"),
        ({"discount": "1"}, "discount is '1'"),
        ({"fields": ["reward"]}, "There is no field 'reward'; the nearest names are 'rewards'"),
        ({"fields": ["observations/x"]}, "There is no field 'observations/x'; the nearest names are"),
        ({"fields": "rewards"}, "fields is 'rewards', expected a list of names"),
        ({"fields": [1]}, "fields holds 1"),
        ({"infos": "x"}, "infos is 'x', expected a list of names"),
    ],
)
def test_invalid_transitions(dataset: MinariDataset, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        dataset.transitions(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 41}, "length is 41 and the longest episode has 40 steps"),
        ({"length": 0}, "length is 0"),
        ({"length": 2, "stride": 0}, "stride is 0"),
        ({"length": 2, "pad": "both"}, "pad is 'both', expected None, 'left' or 'right'"),
        ({"length": 2, "pad_value": 0}, "pad_value is 0, expected 'zero' or 'edge'"),
        ({}, "length is None and offsets is None, expected one of them"),
        ({"length": 2, "offsets": {"actions": [0]}}, "expected one of them"),
        ({"offsets": {}}, "offsets is empty"),
        ({"offsets": [0]}, r"offsets is \[0\], expected a dict"),
        ({"offsets": {"actions": [0.5]}}, r"offsets of 'actions' hold 0\.5, expected a list of ints"),
        ({"offsets": {"actions": 3}}, "offsets of 'actions' are 3"),
        ({"offsets": {"actions": []}}, r"offsets of 'actions' are \[\]"),
        ({"offsets": {"action": [0]}}, "There is no field 'action'; the nearest names are 'actions'"),
        ({"offsets": {"actions": [0]}, "pad": "left"}, "go with length"),
        ({"length": 2, "fields": ["observation"]}, "the nearest names are 'observations'"),
    ],
)
def test_invalid_windows(dataset: MinariDataset, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        dataset.windows(**options)


def test_an_empty_view(dataset: MinariDataset) -> None:
    for made in (dataset[[]].transitions, lambda: dataset[[]].windows(1)):
        with pytest.raises(EpisodeError, match="The view of sampled/small-v0 has no episode"):
            made()


def test_an_info_that_some_episodes_lack() -> None:
    rng = np.random.default_rng(0)
    buffers = [episode(SPACES["vector"], SPACES["number"], 4, rng, infos=number == 1) for number in range(2)]
    dataset = minari.create_dataset_from_buffers(
        "sampled/infos-v0", buffers, observation_space=SPACES["vector"], action_space=SPACES["number"]
    )
    transitions = dataset.transitions(infos=["clock"])
    assert transitions[5]["infos"]["clock"] == dataset[1].infos["clock"][1]
    with pytest.raises(EpisodeError, match="Episode 0 has no info 'clock'; select the episodes that have it"):
        transitions[2]


class TestChanges:
    def test_appended_episodes_are_not_part_of_a_sequence(self, dataset: MinariDataset) -> None:
        transitions = dataset.transitions()
        before = transitions[:]
        rng = np.random.default_rng(1)
        dataset.update_dataset_from_buffer([episode(SPACES["vector"], SPACES["number"], 3, rng)])
        assert len(transitions) == 65
        assert_same(transitions[:], before)
        assert len(dataset.transitions()) == 68

    @pytest.mark.parametrize("data_format", FORMATS)
    def test_rewritten_files_have_the_same_rows(self, data_format: str) -> None:
        dataset = make("sampled/rewritten-v0", data_format=data_format)
        transitions = dataset.transitions()
        before = transitions[:]
        dataset.storage.repack(compression="none")
        assert_same(transitions[:], before)

    def test_another_dataset_in_its_place(self, dataset: MinariDataset) -> None:
        state = pickle.dumps(dataset.transitions())
        minari.delete_dataset(dataset.id)
        make(dataset.id, (3, 3))
        with pytest.raises(DatasetCorruptError, match="have other lengths than when they were selected"):
            pickle.loads(state)

    def test_a_file_that_has_been_cut_off(self, dataset: MinariDataset) -> None:
        transitions = dataset.transitions()
        transitions[:]
        path = dataset.storage.data_path / "main_data.hdf5"
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(DatasetCorruptError):
            transitions[:]

    def test_checksums_are_verified_once(self, dataset: MinariDataset) -> None:
        transitions = minari.load_dataset(dataset.id, verify_checksums=True).transitions()
        assert_same(transitions[[0, 64]], dataset.transitions()[[0, 64]])
        path = dataset.storage.data_path / "main_data.hdf5"
        value = dataset[2].observations[7].tobytes()
        path.write_bytes(path.read_bytes().replace(value, bytes(len(value))))
        verified = minari.load_dataset(dataset.id, verify_checksums=True).transitions()
        assert_same(verified[[0, 64]], dataset.transitions()[[0, 64]])
        with pytest.raises(ChecksumError, match="episode 2"):
            verified[7]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_threads_and_forked_processes(dataset: MinariDataset) -> None:
    transitions = dataset.transitions()
    expected = transitions[:]
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: transitions[:], range(40)):
            assert_same(found, expected)
    program = """
        import os, sys, minari
        transitions = minari.open_dataset(sys.argv[1]).transitions()
        expected = transitions[:]["observations"].sum()
        for _ in range(4):
            child = os.fork()
            if not child:
                os._exit(int(transitions[:]["observations"].sum() != expected))
            assert os.waitpid(child, 0)[1] == 0
        print("done")
    """
    assert run(program, str(dataset.storage.data_path.parent)).split() == ["done"]


def create_replaced(lengths: list[int], **options: Any) -> MinariDataset:
    ends = np.cumsum(lengths)
    return minari.create_dataset_from_arrays(
        "test/replaced-v0",
        observations=np.arange(float(ends[-1] + len(lengths))),
        actions=np.arange(float(ends[-1])),
        rewards=np.arange(float(ends[-1])),
        terminations=np.isin(np.arange(ends[-1]), ends - 1),
        **options,
    )


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("lengths", [[2, 3, 20], [2, 4, 1, 30], [40]])
def test_another_dataset_in_the_place_of_one_is_not_read_as_that(compression: str, lengths: list[int]) -> None:
    """Rows beyond the end of an episode would be those of another one, or bytes of another column."""
    transitions = create_replaced([3, 4, 5], compression=compression).transitions()
    assert transitions.arrays()["rewards"].tolist() == list(range(12))
    minari.delete_dataset("test/replaced-v0")
    create_replaced(lengths, compression=compression)
    with pytest.raises(DatasetChangedError):
        transitions.arrays()


@pytest.mark.parametrize("data_format", ["arrow", "parquet", "zarr"])
def test_a_smaller_dataset_in_the_place_of_one_is_refused(data_format: str) -> None:
    require_format(data_format)
    transitions = create_replaced([3, 4, 5], data_format=data_format).transitions()
    assert len(transitions[:]["rewards"]) == 12
    minari.delete_dataset("test/replaced-v0")
    create_replaced([40], data_format=data_format)
    with pytest.raises(DatasetChangedError):
        transitions.arrays()
