"""Transitions and windows as random-access sources of Grain, with the real library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minari import MinariDataset
from support.programs import run
from support.sampling_model import assert_same, make


grain = pytest.importorskip("grain")
pytestmark = pytest.mark.integrations


@pytest.mark.parametrize("space", ["vector", "nested"])
@pytest.mark.parametrize("kind", ["transitions", "windows"])
def test_a_map_dataset_has_the_elements_in_its_order(space: str, kind: str) -> None:
    dataset = make("sampled/grain-v0", (5, 1, 12), space)
    samples: Any = dataset.transitions() if kind == "transitions" else dataset.windows(4, pad="left")
    assert isinstance(samples, grain.sources.RandomAccessDataSource)
    source = grain.MapDataset.source(samples)
    assert len(source) == len(samples)
    for number in range(len(samples)):
        assert_same(source[number], samples[number])
    batch = source.batch(4)[1]
    assert_same(batch, samples[4:8])


def test_shuffled_epochs_have_every_element_once(dataset: MinariDataset) -> None:
    transitions = dataset.transitions()
    batches = list(grain.MapDataset.source(transitions).shuffle(seed=3).to_iter_dataset().batch(13))
    steps = np.concatenate([batch["actions"] for batch in batches]).astype(int)
    assert sorted(steps) == list(range(65))
    assert list(steps) != list(range(65))
    for batch in batches:
        assert_same(batch, transitions[batch["actions"].astype(int)])


@pytest.mark.parametrize("workers", [0, 2])
def test_the_data_loader_with_and_without_workers(dataset: MinariDataset, workers: int) -> None:
    program = """
    import sys
    from absl import flags
    import grain

    import minari
    import numpy as np

    if __name__ == "__main__":
        transitions = minari.open_dataset(sys.argv[1]).transitions()
        flags.FLAGS.mark_as_parsed()  # as absl.app.run does, which Grain expects of programs with workers
        sampler = grain.samplers.IndexSampler(len(transitions), shuffle=True, seed=1, num_epochs=1)
        operations = [grain.transforms.Batch(5)]
        loader = grain.DataLoader(
            data_source=transitions, sampler=sampler, operations=operations, worker_count=int(sys.argv[2])
        )
        seen = []
        for batch in loader:
            steps = batch["actions"].astype(int)
            np.testing.assert_array_equal(batch["next_observations"], transitions[steps]["next_observations"])
            seen += steps.tolist()
        print(len(seen), sorted(seen) == list(range(65)))
    """
    out = run(program, str(dataset.storage.data_path.parent), str(workers))
    assert out.split() == ["65", "True"]
