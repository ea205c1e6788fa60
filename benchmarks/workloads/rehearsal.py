"""Warm-up: every operation once on a tiny scale, so that first uses, such as lazy imports, are never timed."""

from __future__ import annotations

import warnings
from pathlib import Path

import minari
from benchmarks.workloads.data import AUTHORSHIP, EPISODES, MORE, episodes, store
from benchmarks.workloads.recording import roll
from benchmarks.workloads.toys import vector_env
from benchmarks.workloads.workload import root_at


def rehearse(root: Path) -> None:
    """Record, write, append, combine and read a few steps."""
    root.mkdir()
    with root_at(root), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = vector_env()
        action = env.action_space.sample()
        collector = minari.DataCollector(env, data_format="hdf5", jpeg_encoding=False)
        roll(collector, lambda: action, 2)
        collector.create_dataset("bench/recorded-v0", **AUTHORSHIP)
        written = [store(dataset_id, episodes(2, steps=3)) for dataset_id in (EPISODES, MORE)]
        written[0].update_dataset_from_buffer(episodes(1, steps=3))
        combined = minari.combine_datasets(written, "bench/combined-v0")
        for episode in combined:
            float(episode.observations.sum())
