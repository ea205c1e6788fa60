"""Any sequence of edits gives what the same edits give on plain lists and dicts, in every format.

An episode is known by its seed. A leaf of its observations, and an info, has the seed and the number under which the
leaf was made, whatever its name is now.
"""

from __future__ import annotations

import copy
import itertools
import os
import tempfile
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, multiple, rule

import minari
from minari.data_collector import EpisodeBuffer
from minari.errors import DatasetChangedError, EpisodeError
from support.copies import FORMATS, is_installed


LASTING = [name for name in FORMATS if name != "memory" and is_installed(name)]
NAMES = st.sampled_from(["a", "b", "c", "d", "0", "_index_0", "_a", "é"])
KEYS = st.sampled_from(["p", "q", "r"])
VALUES = st.sampled_from([1, "text", [1, 2], 0.5])


@dataclass
class Model:
    """A dataset as plain lists and dicts.

    Attributes:
        seeds: of the episodes.
        leaves: the numbers of the leaves of the observations, by name.
        inner: those of a dict in the observations.
        infos: those of infos; one with an odd number is in the episodes with an odd seed only.
        metadata: of the dataset.
        of_episodes: metadata of each episode.
    """

    seeds: list[int]
    leaves: dict[str, int] = field(default_factory=lambda: {"a": 1, "b": 2})
    inner: dict[str, int] = field(default_factory=lambda: {"a": 3, "b": 4, "c": 5})
    infos: dict[str, int] = field(default_factory=lambda: {"a": 6, "b": 7})
    metadata: dict[str, Any] = field(default_factory=dict)
    of_episodes: list[dict[str, Any]] = field(default_factory=list)

    def space(self) -> spaces.Dict:
        inner = spaces.Dict({name: leaf(number) for name, number in self.inner.items()})
        return spaces.Dict({**{name: leaf(number) for name, number in self.leaves.items()}, "in": inner})

    def infos_of(self, seed: int) -> dict[str, int]:
        return {name: number for name, number in self.infos.items() if number % 2 <= seed % 2}

    def buffer(self, seed: int) -> EpisodeBuffer:
        steps = 1 + seed % 3
        inner = {name: values(number, seed, steps) for name, number in self.inner.items()}
        return EpisodeBuffer(
            seed=seed,
            observations={**{name: values(n, seed, steps) for name, n in self.leaves.items()}, "in": inner},
            actions=np.full(steps, seed % 9),
            rewards=np.full(steps, float(seed)),
            terminations=np.arange(steps) == steps - 1,
            truncations=np.zeros(steps, np.bool_),
            infos={"in": {name: values(n, seed, steps)[:, 0] for name, n in self.infos_of(seed).items()}},
        )


def leaf(number: int) -> spaces.Box:
    return spaces.Box(0, 1e9, (number,), np.float64)


def values(number: int, seed: int, steps: int) -> Any:
    return np.arange((steps + 1) * number, dtype=np.float64).reshape(steps + 1, number) + 100 * seed + 0.5


class Edits(RuleBasedStateMachine):
    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.before = os.environ.get("MINARI_DATASETS_PATH")
        os.environ["MINARI_DATASETS_PATH"] = self.directory.name
        self.seeds = itertools.count(1)
        self.names = (f"model/run-v{number}" for number in itertools.count())
        self.catalog: dict[str, Model] = {}

    def teardown(self) -> None:
        if self.before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = self.before
        self.directory.cleanup()

    @rule(target=ids, data_format=st.sampled_from(LASTING), count=st.integers(1, 5))
    def create(self, data_format: str, count: int) -> str:
        name, model = next(self.names), Model(list(itertools.islice(self.seeds, count)))
        minari.create_dataset_from_buffers(
            name,
            map(model.buffer, model.seeds),
            observation_space=model.space(),
            action_space=spaces.Discrete(9),
            data_format=data_format,
        )
        model.of_episodes = [{} for _ in model.seeds]
        self.catalog[name] = model
        return name

    @rule(name=ids, count=st.integers(1, 3))
    def append(self, name: str, count: int) -> None:
        model, new = self.catalog[name], list(itertools.islice(self.seeds, count))
        minari.load_dataset(name).update_dataset_from_buffer([model.buffer(seed) for seed in new])
        model.seeds += new
        model.of_episodes += [{} for _ in new]

    @rule(target=ids, name=ids, data=st.data(), as_new=st.booleans())
    def edit(self, name: str, data: st.DataObject, as_new: bool) -> Any:
        model = copy.deepcopy(self.catalog[name])
        wanted = {**self._episodes(data, model), **self._fields(data, model), **self._metadata(data, model)}
        opened, new_id = minari.load_dataset(name), next(self.names) if as_new else None
        wanted["new_dataset_id"] = new_id
        if not model.seeds:
            with pytest.raises(EpisodeError):
                opened.edit(**wanted)
            return multiple()
        if not any(wanted.values()):
            return multiple()
        tried = opened.edit(**wanted, dry_run=True)
        self.check(opened, self.catalog[name])
        report = opened.edit(**wanted)
        assert (tried.episodes_after, tried.steps_after) == (report.episodes_after, report.steps_after)
        assert report.episodes_after == len(model.seeds)
        assert tried.dropped_fields == report.dropped_fields
        if as_new or not (report.drops_data or report.renamed_fields or wanted["remove_episode_metadata"]):
            assert opened.total_steps
        else:
            with pytest.raises(DatasetChangedError):
                list(opened)
        self.catalog[new_id or name] = model
        assert report.dataset is not None
        self.check(report.dataset, model)
        return new_id or multiple()

    def _episodes(self, data: st.DataObject, model: Model) -> dict[str, Any]:
        dropped = (
            data.draw(st.sets(st.integers(0, len(model.seeds) - 1), max_size=2)) if data.draw(st.booleans()) else ()
        )
        divisor = data.draw(st.sampled_from([None, None, 2, 3]))
        left = [
            number
            for number, seed in enumerate(model.seeds)
            if number not in dropped and (divisor is None or seed % divisor)
        ]
        wanted: dict[str, Any] = {"drop_episodes": sorted(dropped), "keep": None, "episode_metadata": {}}
        if divisor is not None:
            wanted["keep"] = lambda episode: episode.rewards[0] % divisor > 0
        key = data.draw(KEYS)
        has_key = any(key in metadata for metadata in model.of_episodes)
        removed = [key] if has_key and data.draw(st.booleans()) else []
        for metadata in model.of_episodes:
            for each in removed:
                metadata.pop(each, None)
        for number in data.draw(st.sets(st.sampled_from(left), max_size=2)) if left else ():
            wanted["episode_metadata"][number] = data.draw(st.dictionaries(KEYS, VALUES, min_size=1, max_size=2))
            model.of_episodes[number].update(wanted["episode_metadata"][number])
        model.seeds = [model.seeds[number] for number in left]
        model.of_episodes = [model.of_episodes[number] for number in left]
        return {**wanted, "remove_episode_metadata": removed}

    def _fields(self, data: st.DataObject, model: Model) -> dict[str, Any]:
        drop: list[str] = []
        rename: dict[str, str] = {}
        present = {name for seed in self.catalog_seeds(model) for name in model.infos_of(seed)}
        for prefix, fields in (
            ("observations/", model.leaves),
            ("observations/in/", model.inner),
            ("infos/in/", model.infos),
        ):
            known = [name for name in fields if fields is not model.infos or name in present]
            if len(known) > 1 and data.draw(st.integers(0, 3)) == 0:
                dropped = data.draw(st.sampled_from(known))
                drop.append(f"{prefix}{dropped}")
                del fields[dropped]
                known.remove(dropped)
            old, new = data.draw(st.tuples(NAMES, NAMES))
            if old in known and new not in fields:
                rename[f"{prefix}{old}"] = f"{prefix}{new}"
                renamed = {new if name == old else name: number for name, number in fields.items()}
                fields.clear()
                fields.update(renamed)
        return {"drop_fields": drop, "rename_fields": rename}

    def catalog_seeds(self, model: Model) -> list[int]:
        return [seed for each in self.catalog.values() if set(model.seeds) <= set(each.seeds) for seed in model.seeds]

    def _metadata(self, data: st.DataObject, model: Model) -> dict[str, Any]:
        key = data.draw(KEYS)
        removed = [key] if key in model.metadata and data.draw(st.booleans()) else []
        new = data.draw(st.dictionaries(KEYS.filter(lambda each: each not in removed), VALUES, max_size=2))
        for each in removed:
            del model.metadata[each]
        model.metadata.update(new)
        return {"set_metadata": new, "remove_metadata": removed}

    @rule(name=ids)
    def look(self, name: str) -> None:
        self.check(minari.load_dataset(name), self.catalog[name])

    def check(self, dataset: minari.MinariDataset, model: Model) -> None:
        assert dataset.observation_space == model.space()
        assert dataset.total_steps == sum(1 + seed % 3 for seed in model.seeds)
        assert len(dataset) == len(model.seeds)
        metadatas = dataset.storage.get_episode_metadata(range(len(model.seeds)))
        for episode, metadata, seed, own in zip(dataset, metadatas, model.seeds, model.of_episodes, strict=True):
            expected = model.buffer(seed)
            assert episode.rewards.tolist() == list(expected.rewards)
            assert _plain(episode.observations) == _plain(expected.observations)
            if model.infos_of(seed):  # otherwise the dict is empty, or was dropped with its last key
                assert _plain(episode.infos) == _plain(expected.infos)
            assert metadata["seed"] == seed
            assert {key: _plain(metadata[key]) for key in "pqr" if key in metadata} == own
        stored = dataset.storage.metadata
        assert {key: stored[key] for key in "pqr" if key in stored} == model.metadata


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


@pytest.mark.filterwarnings("ignore::UserWarning")
class TestEdits(Edits.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(max_examples=max(6, settings().max_examples // 4), stateful_step_count=10, deadline=None)
