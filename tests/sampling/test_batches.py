"""Batches: their order, which can be saved, split over processes and weighted."""

from __future__ import annotations

import json
import os
import pickle
from itertools import chain, islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minari import MinariDataset
from minari.errors import ArgumentError, SampleIndexError
from minari.sampling.sum_tree import SumTree
from support.programs import run
from support.sampling_model import assert_same, make


ORDERS: dict[str, dict[str, Any]] = {
    "shuffled": {},
    "in order": {"shuffle": False},
    "blocks": {"order": "blocks"},
    "replacing": {"replace": True},
    "weighted": {"weights": "return"},
}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

each_order = pytest.mark.parametrize("options", ORDERS.values(), ids=ORDERS.keys())
each_once = pytest.mark.parametrize("options", [ORDERS[name] for name in ("shuffled", "in order", "blocks")])


def steps(batches: Any, count: int | None = None) -> list[list[int]]:
    """Return the numbers of the steps of each batch, which are its actions."""
    return [batch["actions"].astype(int).tolist() for batch in islice(batches, count)]


@each_once
@pytest.mark.parametrize("drop_last", [True, False])
def test_an_epoch_has_each_element_once(dataset: MinariDataset, options: dict[str, Any], drop_last: bool) -> None:
    batches = dataset.transitions().batches(8, seed=3, epochs=2, drop_last=drop_last, **options)
    found = steps(batches)
    assert len(found) == len(batches) == 2 * batches.batches_per_epoch == (16 if drop_last else 18)
    first, second = found[: len(found) // 2], found[len(found) // 2 :]
    for epoch in (first, second):
        assert [len(batch) for batch in epoch] == [8] * 8 + ([] if drop_last else [1])
        flat = list(chain.from_iterable(epoch))
        assert len(set(flat)) == len(flat) == (64 if drop_last else 65)
    assert (first == second) == (options == ORDERS["in order"])


@each_order
def test_a_seed_gives_the_same_batches_whatever_is_read_ahead(frames: MinariDataset, options: dict[str, Any]) -> None:
    transitions = frames.transitions(fields=["observations", "actions"])
    expected = list(islice(transitions.batches(64, seed=7, prefetch=0, **options), 12))
    with transitions.batches(64, seed=7, prefetch=3, **options) as batches:
        for found, wanted in zip(islice(batches, 12), expected, strict=True):
            assert_same(found, wanted)
    assert steps(transitions.batches(64, seed=8, **options), 1) != steps(iter(expected), 1) or "shuffle" in options


@each_order
def test_a_saved_state_resumes_in_another_process(dataset: MinariDataset, options: dict[str, Any]) -> None:
    states, expected = [], []
    for after in (0, 3, 8, 20):
        batches = dataset.transitions().batches(8, seed=5, **options)
        steps(batches, after)
        states.append(pickle.dumps(batches.state_dict()).hex())
        expected.append(steps(batches, 12))
    program = """
        import itertools, json, pickle, sys
        import minari
        dataset, options = minari.open_dataset(sys.argv[1]), json.loads(sys.argv[2])
        for state in sys.argv[3:]:
            batches = dataset.transitions().batches(8, seed=5, **options)
            batches.load_state_dict(pickle.loads(bytes.fromhex(state)))
            print(json.dumps([batch["actions"].astype(int).tolist() for batch in itertools.islice(batches, 12)]))
    """
    place = str(dataset.storage.data_path.parent)
    lines = run(program, place, json.dumps(options), *states).splitlines()
    assert [json.loads(line) for line in lines] == expected


def test_the_state_is_that_after_the_last_batch_although_others_are_read_ahead(frames: MinariDataset) -> None:
    batches = frames.transitions().batches(64, seed=1, prefetch=4)
    steps(batches, 3)
    state = batches.state_dict()
    expected = steps(batches, 5)
    again = frames.transitions().batches(64, prefetch=0)  # any seed takes that of the state
    again.load_state_dict(state)
    assert steps(again, 5) == expected
    batches.load_state_dict(state)  # also while others are read ahead
    assert steps(batches, 5) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_continues_without_the_thread(frames: MinariDataset) -> None:
    program = """
        import itertools, os, sys, minari
        transitions = minari.open_dataset(sys.argv[1]).transitions()
        batches = transitions.batches(64, seed=1, prefetch=4)
        next(batches), next(batches)
        child = os.fork()
        sums = [batch["actions"].sum() for batch in itertools.islice(batches, 3)]
        os.write(1, f"{sums}\\n".encode())  # at once, as both write
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
    """
    one, other = run(program, str(frames.storage.data_path.parent)).splitlines()
    assert one == other


@each_order
@pytest.mark.parametrize("world", [2, 3])
def test_shards_are_disjoint_and_equally_long(frames: MinariDataset, options: dict[str, Any], world: int) -> None:
    transitions = frames.transitions(fields=["actions"])
    shards = [
        transitions.batches(50, seed=1, epochs=1, drop_last=False, shard=(rank, world), **options)
        for rank in range(world)
    ]
    found = [[set(batch) for batch in steps(shard)] for shard in shards]
    assert len({len(shard) for shard in found}) == 1
    sizes = [
        [
            len(batch)
            for batch in steps(
                transitions.batches(50, seed=1, epochs=1, drop_last=False, shard=(rank, world), **options)
            )
        ]
        for rank in range(world)
    ]
    assert sizes == [sizes[0]] * world
    seen = [set().union(*shard) for shard in found]
    assert sum(map(len, seen)) == len(set().union(*seen))
    if options in (ORDERS["shuffled"], ORDERS["in order"]):
        assert len(set().union(*seen)) == len(transitions) // world * world


def test_blocks_are_neighbors_shuffled_together(frames: MinariDataset) -> None:
    batches = frames.transitions(fields=["actions"]).batches(2048, seed=1, order="blocks", epochs=1, drop_last=False)
    for batch in steps(batches):
        starts = {step // 64 for step in batch}
        assert len(starts) <= 33
        assert batch != sorted(batch)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_sum_tree_finds_what_a_cumulative_sum_finds(data: st.DataObject) -> None:
    count = data.draw(st.sampled_from([1, 2, 63, 64, 65, 4096, 5000]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    weights = rng.integers(0, 5, count).astype(float)
    weights[data.draw(st.integers(0, count - 1))] = 3
    tree = SumTree(weights)
    for _ in range(3):
        assert tree.total == weights.sum()
        fractions = np.append(rng.random(50), [0.0, np.nextafter(1, 0)])
        expected = np.searchsorted(np.cumsum(weights), fractions * weights.sum(), side="right")
        np.testing.assert_array_equal(tree.find(fractions), expected)
        changed = rng.integers(0, count, min(count, 20))
        values = rng.integers(0, 9, len(changed)).astype(float) + 1
        tree.set(changed, values)
        weights[changed] = values


class TestWeights:
    def test_elements_are_drawn_in_proportion(self, dataset: MinariDataset) -> None:
        weights = np.zeros(65)
        weights[[3, 10, 64]] = 1, 2, 1
        batches = dataset.transitions().batches(4000, seed=1, weights=weights)
        batch = next(batches)
        drawn, counts = np.unique(batch["actions"], return_counts=True)
        assert drawn.tolist() == [3, 10, 64]
        np.testing.assert_allclose(counts / 4000, [0.25, 0.5, 0.25], atol=0.04)
        expected = np.where(batch["actions"] == 10, 0.5, 0.25)
        np.testing.assert_array_equal(batch["probabilities"], expected)

    def test_new_weights_count_from_the_next_batch_on(self, frames: MinariDataset) -> None:
        count = frames.total_steps
        batches = frames.transitions().batches(64, seed=1, weights=np.ones(count), prefetch=4)
        steps(batches, 3)
        batches.set_weights(np.arange(1, count), np.zeros(count - 1))
        assert steps(batches, 1) == [[0] * 64]
        batches.set_weights([5, 0, 5], [9, 0, 1])
        assert steps(batches, 2) == [[5] * 64] * 2

    def test_changed_weights_are_saved(self, dataset: MinariDataset) -> None:
        batches = dataset.transitions().batches(8, seed=1, weights=np.ones(65))
        batches.set_weights([1], [40])
        state = batches.state_dict()
        other = dataset.transitions().batches(8, seed=1, weights=np.ones(65))
        other.load_state_dict(state)
        assert steps(other, 3) == steps(batches, 3)

    def test_a_function_of_the_metadata_of_an_episode(self, dataset: MinariDataset) -> None:
        batches = dataset.transitions().batches(200, seed=1, weights=lambda episode: episode["total_steps"] == 7)
        assert set(chain.from_iterable(steps(batches, 1))) == set(range(18, 25))

    def test_returns_are_scaled_from_zero_to_one(self, dataset: MinariDataset) -> None:
        returns = np.array([episode.rewards.sum() for episode in dataset])
        of_episodes = (returns - returns.min()) / (returns.max() - returns.min())
        weights = np.repeat(of_episodes, [len(episode) for episode in dataset])
        expected = next(dataset.transitions().batches(50, seed=1, weights=weights))
        assert_same(next(dataset.transitions().batches(50, seed=1, weights="return")), expected)

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            (np.zeros(65), "All weights are 0"),
            (np.full(65, -1.0), r"weight 0 is -1\.0"),
            (np.full(65, np.nan), "weight 0 is nan"),
            (np.full(65, np.inf), "weight 0 is inf"),
            (np.ones(3), r"shape \(3,\), expected \(65,\)"),
            (["a"] * 65, "expected 65 numbers"),
            ("returns", "'returns', expected 'return'"),
            (lambda episode: -1, r"weight 0 is -1\.0"),
        ],
    )
    def test_invalid_weights(self, dataset: MinariDataset, weights: Any, message: str) -> None:
        with pytest.raises(ArgumentError, match=message):
            dataset.transitions().batches(8, weights=weights)

    def test_invalid_new_weights_change_nothing(self, dataset: MinariDataset) -> None:
        batches = dataset.transitions().batches(8, seed=1, weights=np.ones(65))
        for indices, weights in (([0], [-1]), (range(65), [0] * 65), ([0, 1], [1])):
            with pytest.raises(ArgumentError):
                batches.set_weights(list(indices), weights)
        with pytest.raises(SampleIndexError):
            batches.set_weights([65], [1])
        assert steps(batches, 2) == steps(dataset.transitions().batches(8, seed=1, weights=np.ones(65)), 2)
        with pytest.raises(ArgumentError, match="not drawn by weights"):
            dataset.transitions().batches(8).set_weights([0], [1])


@pytest.mark.parametrize("options", [{}, {"weights": "return"}, {"order": "blocks"}])
def test_a_given_batch_is_filled(frames: MinariDataset, options: dict[str, Any]) -> None:
    windows = frames.windows(4, pad="left")
    expected = list(islice(windows.batches(16, seed=2, **options), 3))
    out = next(windows.batches(16, seed=9, **options))
    places = {name: value.ctypes.data for name, value in out.items()}
    for wanted, found in zip(expected, windows.batches(16, seed=2, out=out, **options), strict=False):
        assert {name: value.ctypes.data for name, value in found.items()} == places
        assert_same(found, wanted)
    with pytest.raises(ArgumentError, match=r"out\['observations'\] is a.* array of shape \(16,"):
        next(windows.batches(8, out=out, **options))


def test_batches_belong_to_the_caller(dataset: MinariDataset) -> None:
    transitions = dataset.transitions()
    batch = transitions[[0, 0, 3]]
    for name in ("observations", "next_observations", "actions", "rewards", "terminations", "timesteps"):
        batch[name] += 1 if name != "terminations" else True
    assert_same(transitions[[0, 0, 3]], dataset.transitions()[[0, 0, 3]])


@pytest.mark.parametrize("cache", [None, "memory"])
@pytest.mark.parametrize("compression", ["none", None])
def test_batches_of_frames_keep_their_values_while_others_are_drawn(compression: str | None, cache: Any) -> None:
    frames = make("sampled/kept-v0", (300, 200), "frames", compression=compression)
    observations = np.concatenate([episode.observations[:-1] for episode in frames])
    kept = {}
    for number, batch in enumerate(frames.transitions(cache=cache).batches(200, seed=0, epochs=6)):
        batch["next_observations"][:] = number
        if number % 3:  # a view only, of the last elements
            kept[number] = batch["actions"][-20:].astype(int), batch["observations"][-20:], batch["next_observations"]
    assert len(kept) == 8
    for number, (chosen, found, overwritten) in kept.items():
        np.testing.assert_array_equal(found, observations[chosen])
        assert (overwritten == number).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 66}, "batch_size is 66 and there are 65 elements"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2.5}, r"batch_size is 2\.5"),
        ({"shard": (2, 2)}, r"shard is \(2, 2\)"),
        ({"shard": 1}, "shard is 1"),
        ({"batch_size": 40, "shard": (0, 2)}, "32 elements in this shard"),
        *(({"shard": (1, 66), **more}, "65 elements, fewer than shards") for more in ({}, {"replace": True})),
        ({"order": "random"}, "order is 'random'"),
        ({"order": "blocks", "replace": True}, "order='blocks' shuffles without replacement"),
        ({"epochs": -1}, "epochs is -1"),
        ({"prefetch": -1}, "prefetch is -1"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_invalid_arguments(dataset: MinariDataset, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        dataset.transitions().batches(**{"batch_size": 8, **options})


def test_a_batch_larger_than_the_data_with_replacement(dataset: MinariDataset) -> None:
    assert len(steps(dataset.transitions().batches(100, replace=True, epochs=1))[0]) == 100


def test_the_state_of_other_batches_is_refused(dataset: MinariDataset) -> None:
    state = dataset.transitions().batches(8, seed=1).state_dict()
    for other in (
        dataset[:4].transitions().batches(8, seed=1),
        dataset.windows(2).batches(8, seed=1),
        dataset.transitions().batches(8, seed=2),
        dataset.transitions().batches(9, seed=1),
        dataset.transitions().batches(8, seed=1, replace=True),
        dataset.transitions().batches(8, seed=1, shard=(0, 2)),
    ):
        with pytest.raises(ArgumentError, match="The state is of batches with"):
            other.load_state_dict(state)
    for wrong in (None, {}, {**state, "epoch": -1}, {**state, "batch": "x"}):
        with pytest.raises(ArgumentError):
            dataset.transitions().batches(8, seed=1).load_state_dict(wrong)  # type: ignore[arg-type]


def test_endless_batches_have_no_length(dataset: MinariDataset) -> None:
    with pytest.raises(TypeError, match="no end"):
        len(dataset.transitions().batches(8))
