"""Any sequence of operations on datasets gives what the same operations give on plain lists.

An episode is known by its seed, which is also in its arrays; the model of a dataset is the list of
seeds, and that of a view the positions in it.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

import minari
from minari.data_collector import EpisodeBuffer
from minari.testing.comparison import assert_same


OBSERVATION_SPACE = gym.spaces.Dict({"x": gym.spaces.Box(0, 1e6, (2,)), "t": gym.spaces.Text(8)})
ACTION_SPACE = gym.spaces.Tuple((gym.spaces.Discrete(10),))


def create(name: str, seeds: list[int]) -> minari.MinariDataset:
    return minari.create_dataset_from_buffers(
        name, map(buffer, seeds), observation_space=OBSERVATION_SPACE, action_space=ACTION_SPACE
    )


def buffer(seed: int) -> EpisodeBuffer:
    steps = 1 + seed % 3
    ends = np.zeros(steps, np.bool_)
    ends[-1] = True
    return EpisodeBuffer(
        seed=seed,
        options={"level": seed % 7, "start": np.full(2, seed)},
        observations={"x": np.full((steps + 1, 2), seed, np.float32), "t": [str(seed)] * (steps + 1)},
        actions=(np.full(steps, seed % 10),),
        rewards=np.full(steps, float(seed)),
        terminations=ends,
        truncations=np.zeros(steps, np.bool_),
        infos={"seed": np.full(steps + 1, seed)},
    )


def seed_of(episode: minari.EpisodeData) -> int:
    """The seed of an episode, once every part of it has been found to agree."""
    seed = int(episode.rewards[0])
    expected = buffer(seed)
    for name in ("observations", "actions", "rewards", "terminations", "infos"):
        assert_same(getattr(episode, name), getattr(expected, name), name)
    return seed


@dataclass
class View:
    """A dataset or view, beside its model."""

    dataset: minari.MinariDataset
    stored: list[int]  # the seeds of the whole dataset; shared by its views
    positions: list[int]

    @property
    def seeds(self) -> list[int]:
        return [self.stored[position] for position in self.positions]

    def view(self, dataset: minari.MinariDataset, positions: list[int]) -> View:
        return View(dataset, self.stored, positions)


class DatasetOperations(RuleBasedStateMachine):
    views = Bundle("views")

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.before = os.environ.get("MINARI_DATASETS_PATH")
        os.environ["MINARI_DATASETS_PATH"] = self.directory.name
        self.seeds = itertools.count()
        self.names = (f"model/run-v{number}" for number in itertools.count())
        self.catalog: dict[str, list[int]] = {}

    def teardown(self) -> None:
        if self.before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = self.before
        self.directory.cleanup()

    def new_seeds(self, count: int) -> list[int]:
        return list(itertools.islice(self.seeds, count))

    @rule(target=views, count=st.integers(1, 5))
    def create(self, count: int) -> View:
        name, stored = next(self.names), self.new_seeds(count)
        dataset = create(name, stored)
        self.catalog[name] = stored
        return View(dataset, stored, list(range(count)))

    @rule(view=views, count=st.integers(1, 3))
    def append(self, view: View, count: int) -> None:
        seeds = self.new_seeds(count)
        view.dataset.update_dataset_from_buffer([buffer(seed) for seed in seeds])
        view.positions = view.positions + list(range(len(view.stored), len(view.stored) + count))
        view.stored.extend(seeds)

    @rule(view=views, wrong=st.sampled_from(["observations", "rewards"]))
    def a_refused_append_changes_nothing(self, view: View, wrong: str) -> None:
        bad = buffer(0)
        parts = {**vars(bad), wrong: {"x": np.zeros((9, 2)), "t": [""]} if wrong == "observations" else []}
        with pytest.raises(minari.errors.EpisodeError):
            view.dataset.update_dataset_from_buffer([buffer(1), EpisodeBuffer(**parts)])

    @rule(target=views, view=views, divisor=st.integers(1, 4))
    def filter(self, view: View, divisor: int) -> View:
        filtered = view.dataset.filter_episodes(lambda episode: episode.rewards[0] % divisor == 0)
        kept = [position for position in view.positions if view.stored[position] % divisor == 0]
        return view.view(filtered, kept)

    @rule(target=views, view=views, part=st.slices(6))
    def slice(self, view: View, part: slice) -> View:
        return view.view(view.dataset[part], view.positions[part])

    @rule(target=views, view=views, data=st.data())
    def pick(self, view: View, data: st.DataObject) -> View:
        size = len(view.positions)
        chosen = data.draw(st.lists(st.integers(-size, size - 1), max_size=4)) if size else []
        return view.view(view.dataset[chosen], [view.positions[position] for position in chosen])

    @rule(target=views, view=views, seed=st.integers(0, 99), data=st.data())
    def split(self, view: View, seed: int, data: st.DataObject) -> Any:
        first = data.draw(st.integers(0, len(view.positions)))
        sizes = [first, len(view.positions) - first]
        order = np.random.default_rng(seed).permutation(view.positions).astype(int).tolist()
        parts = minari.split_dataset(view.dataset, sizes, seed=seed)
        return multiple(view.view(parts[0], order[:first]), view.view(parts[1], order[first:]))

    @rule(target=views, chosen=st.lists(views, min_size=1, max_size=3))
    def combine(self, chosen: list[View]) -> View:
        name = next(self.names)
        combined = minari.combine_datasets([view.dataset for view in chosen], name)
        stored = [seed for view in chosen for seed in view.seeds]
        assert combined.combined_datasets == [view.dataset.id for view in chosen]
        self.catalog[name] = stored
        return View(combined, stored, list(range(len(stored))))

    @rule(target=views, view=views)
    def save(self, view: View) -> Any:
        name = next(self.names)
        if not view.positions:
            with pytest.raises(minari.errors.EpisodeError):
                view.dataset.save(name)
            return multiple()
        self.catalog[name] = stored = view.seeds
        return View(view.dataset.save(name), stored, list(range(len(stored))))

    @rule(target=views, data=st.data())
    def reopen(self, data: st.DataObject) -> Any:
        if not self.catalog:
            return multiple()
        name = data.draw(st.sampled_from(sorted(self.catalog)))
        stored = self.catalog[name]
        return View(minari.load_dataset(name), stored, list(range(len(stored))))

    @rule(view=views, seed=st.integers(0, 99), data=st.data())
    def sample(self, view: View, seed: int, data: st.DataObject) -> None:
        count = data.draw(st.integers(0, len(view.positions)))
        view.dataset.set_seed(seed)
        expected = np.random.default_rng(seed).choice(np.array(view.positions, int), count, replace=False)
        assert [episode.id for episode in view.dataset.sample_episodes(count)] == expected.tolist()

    @rule(view=consumes(views))
    def compare(self, view: View) -> None:
        assert view.dataset.episode_indices.tolist() == view.positions
        assert [seed_of(episode) for episode in view.dataset] == view.seeds
        assert view.dataset.total_steps == sum(1 + seed % 3 for seed in view.seeds)
        metadata = list(view.dataset.storage.get_episode_metadata(view.positions))
        assert [item["seed"] for item in metadata] == view.seeds
        assert [item["options"]["start"].tolist() for item in metadata] == [[seed, seed] for seed in view.seeds]

    @invariant()
    def the_catalog_is_what_was_made(self) -> None:
        listed = minari.list_local_datasets()
        assert {name: item["total_episodes"] for name, item in listed.items()} == {
            name: len(stored) for name, stored in self.catalog.items()
        }


@pytest.mark.filterwarnings("ignore::UserWarning")
class TestDatasetOperations(DatasetOperations.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(max_examples=max(10, settings().max_examples // 2), stateful_step_count=25)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_comparison_notices_a_wrong_episode() -> None:
    episode = create("model/wrong-v0", [3])[0].copy()
    assert seed_of(episode) == 3
    episode.observations["x"][0, 0] += 1
    with pytest.raises(AssertionError):
        seed_of(episode)
