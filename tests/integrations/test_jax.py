"""The adapter to JAX, with the real library, in programs of their own, since JAX forbids forks."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from minari import MinariDataset
from support.programs import run
from support.sampling_model import make


pytestmark = [
    pytest.mark.integrations,
    pytest.mark.skipif(find_spec("jax") is None, reason="JAX is not installed"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

BEGINNING = """
    import sys
    import jax
    import numpy as np
    import minari
    from minari.integrations import jax as adapter

    transitions = minari.open_dataset(sys.argv[1]).transitions()
"""


def run_on(dataset: MinariDataset, program: str) -> str:
    return run(BEGINNING + program, str(dataset.storage.data_path.parent)).strip()


def test_batches_are_sampled_inside_jit(dataset: MinariDataset) -> None:
    program = """
    placed = adapter.to_device(transitions)
    assert len(placed) == 65

    @jax.jit
    def step(samples, key):
        batch = samples.sample(key, 500)
        return batch["actions"], batch["next_observations"].sum(axis=1)

    actions, sums = step(placed, jax.random.PRNGKey(1))
    steps = np.asarray(actions).astype(int)
    assert set(steps) == set(range(65))
    np.testing.assert_allclose(sums, transitions[steps]["next_observations"].sum(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(step(placed, jax.random.PRNGKey(1))[0], actions)
    print("done")
    """
    assert run_on(dataset, program) == "done"


def test_batches_are_pytrees_as_they_are() -> None:
    program = """
    batch = transitions[[3, 1]]
    assert jax.tree_util.tree_map(jax.numpy.asarray, batch)["observations"]["arm"][0].shape == (2, 2, 2)
    placed = adapter.to_device(transitions)[np.array([3, 1])]
    for found, wanted in zip(jax.tree_util.tree_leaves(placed), jax.tree_util.tree_leaves(batch), strict=True):
        np.testing.assert_array_equal(found, wanted)
    print("done")
    """
    assert run_on(make("sampled/nested-v0", (4, 30), "nested"), program) == "done"


def test_values_without_a_fixed_shape_cannot_be_placed() -> None:
    program = """
    try:
        adapter.to_device(transitions)
    except minari.errors.ArgumentError as error:
        print(error)
    """
    assert "cannot be arrays; leave it out of fields" in run_on(make("sampled/texts-v0", (3,), "text"), program)


def test_whole_numbers_are_not_cut(dataset: MinariDataset) -> None:
    program = """
    arrays = transitions.arrays()
    transitions.arrays = lambda: {**arrays, "timesteps": arrays["timesteps"] + 2**40}
    try:
        adapter.to_device(transitions)
    except minari.errors.ArgumentError as error:
        print(error)
    """
    assert "which JAX would cut to int32; set jax_enable_x64" in run_on(dataset, program)
