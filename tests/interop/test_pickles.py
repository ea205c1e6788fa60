"""Pickles that programs with the released package have left."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import minari
from support import operations


def test_what_the_release_has_pickled_opens(released: Any, datasets_root: Path, tmp_path: Path) -> None:
    operations.record("pickled-v0", "box-unbounded", seed=0, episodes=4)
    program = f"""
        import pickle, numpy as np
        dataset = minari.load_dataset("pickled-v0")
        view = minari.MinariDataset(dataset.storage, np.array([3, 1]))
        view.set_seed(4)
        things = {{"view": view, "storage": dataset.storage, "episode": dataset[2]}}
        pickle.dump(things, open({str(tmp_path / "things")!r}, "wb"))
        """
    released(program, datasets_root)
    things = pickle.loads((tmp_path / "things").read_bytes())
    dataset = minari.load_dataset("pickled-v0")
    assert [episode.id for episode in things["view"]] == [3, 1]
    again = dataset[[3, 1]]
    again.set_seed(4)
    assert [e.id for e in things["view"].sample_episodes(2)] == [e.id for e in again.sample_episodes(2)]
    assert things["storage"].total_episodes == 4
    assert things["episode"].observations.tolist() == dataset[2].observations.tolist()
