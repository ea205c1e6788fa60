"""The adapter to PyTorch, with the real library."""

from __future__ import annotations

import pickle
import warnings
from importlib.util import find_spec
from itertools import islice
from typing import Any

import numpy as np
import pytest

from minari import MinariDataset
from minari.errors import ArgumentError
from support.programs import run
from support.sampling_model import assert_same, make


if find_spec("torch") is None:
    pytest.skip("PyTorch is not installed", allow_module_level=True)

import torch

from minari.integrations import torch as adapter


pytestmark = [
    pytest.mark.integrations,
    pytest.mark.filterwarnings(
        "ignore::minari.errors.MissingMetadataWarning", "ignore:Action is not in", "ignore:This DataLoader will create"
    ),
]


def to_numpy(batch: Any) -> Any:
    if isinstance(batch, dict):
        return {key: to_numpy(value) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)) and not (batch and isinstance(batch[0], str)):
        return tuple(map(to_numpy, batch))
    return batch.numpy() if isinstance(batch, torch.Tensor) else batch


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("space", ["vector", "frames", "nested", "text"])
def test_a_plain_data_loader_works_without_warnings(space: str, workers: int) -> None:
    transitions = make("sampled/loaded-v0", (40, 3, 21), space).transitions()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batches = list(torch.utils.data.DataLoader(transitions, 16, num_workers=workers))
    assert len(batches) == 4
    for start, batch in zip(range(0, 64, 16), batches, strict=True):
        assert_same(to_numpy(batch), transitions[start : start + 16])
        assert batch["rewards"].dtype == torch.float64


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("options", [{}, {"order": "blocks"}, {"weights": "return"}, {"shard": (1, 2)}])
def test_the_loader_gives_the_same_batches_with_any_number_of_workers(
    dataset: MinariDataset, workers: int, options: dict[str, Any]
) -> None:
    transitions = dataset.transitions()
    expected = transitions.batches(8, seed=4, **options)
    loader = adapter.loader(transitions, 8, seed=4, num_workers=workers, **options)
    for _ in range(2):  # epochs
        found = list(loader)
        assert len(found) == len(loader) == expected.batches_per_epoch
        for batch, wanted in zip(found, expected, strict=False):
            assert isinstance(batch["observations"], torch.Tensor)
            assert_same(to_numpy(batch), wanted)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_resumes_in_the_middle_of_an_epoch(dataset: MinariDataset, workers: int) -> None:
    windows = dataset.windows(3, pad="left")
    loader = adapter.loader(windows, 8, seed=4, num_workers=workers)
    list(loader)
    first = list(islice(loader, 3))
    assert len(first) == 3
    state = pickle.loads(pickle.dumps(loader.state_dict()))
    expected = [*islice(windows.batches(8, seed=4, epochs=2), 11, None)]
    again = adapter.loader(windows, 8, seed=4, num_workers=2 - workers)
    again.load_state_dict(state)
    found = list(again)
    assert len(found) == len(expected) == 5
    for batch, wanted in zip(found, expected, strict=True):
        assert_same(to_numpy(batch), wanted)
    with pytest.raises(ArgumentError, match="The state is of batches with seed 4"):
        adapter.loader(windows, 8, seed=5).load_state_dict(state)


def test_processes_of_a_group_read_disjoint_parts(dataset: MinariDataset, tmp_path: Any) -> None:
    program = """
        import json, sys
        import torch.distributed as dist
        import torch.multiprocessing as mp
        import minari
        from minari.integrations.torch import loader

        def work(rank, place, store):
            dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
            transitions = minari.open_dataset(place).transitions()
            steps = [int(one) for batch in loader(transitions, 8, seed=1) for one in batch["actions"]]
            gathered = [None, None]
            dist.all_gather_object(gathered, steps)
            if rank == 0:
                print(json.dumps(gathered))
            dist.destroy_process_group()

        if __name__ == "__main__":
            processes = [mp.get_context("fork").Process(target=work, args=(rank, *sys.argv[1:])) for rank in range(2)]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
    """
    out = run(program, str(dataset.storage.data_path.parent), str(tmp_path / "store"))
    one, other = eval(out.strip().splitlines()[-1])
    assert len(one) == len(other) == 32
    assert not set(one) & set(other)


def test_a_view_on_a_device(dataset: MinariDataset) -> None:
    transitions = dataset.transitions()
    found = adapter.to_device(transitions, "cpu")
    assert len(found) == 65
    assert_same(to_numpy(found[torch.tensor([5, 5, 0])]), transitions[[5, 5, 0]])
    batch = found.sample(1000, torch.Generator().manual_seed(1))
    steps = batch["actions"].long().numpy()
    assert set(steps) == set(range(65))
    assert_same(to_numpy(batch), transitions[steps])
    again = found.sample(1000, torch.Generator().manual_seed(1))
    assert torch.equal(batch["actions"], again["actions"])


def test_invalid_arguments(dataset: MinariDataset) -> None:
    transitions = dataset.transitions()
    for made, message in (
        (lambda: adapter.loader(transitions, 66), "batch_size is 66"),
        (lambda: adapter.loader(transitions, 8, num_workers=-1), "num_workers is -1"),
        (lambda: adapter.loader(transitions, 8, collate_fn=list), "collate_fn"),
        (lambda: adapter.to_device(make("sampled/texts-v0", (3,), "text").transitions(), "cpu"), "cannot be tensors"),
        (lambda: adapter.to_device(transitions, "cpu").sample(0), "batch_size is 0"),
    ):
        with pytest.raises(ArgumentError, match=message):
            made()  # type: ignore[no-untyped-call]


def test_tensors_share_memory_and_are_writable(dataset: MinariDataset) -> None:
    batch = dataset.transitions()[:4]
    tensors = adapter.to_tensors(batch)
    tensors["observations"][:] = 3
    assert (batch["observations"] == 3).all()
    assert isinstance(np.asarray(tensors["rewards"]), np.ndarray)
