"""Tensors of PyTorch: TensorDict and TorchRL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rivals.rival import Content, Draw, Rival, Starts
from benchmarks.rivals.source import FIELDS, Source


_NAMES = (*FIELDS, "lengths")


class TensorDict(Rival):
    """Memory-mapped tensors."""

    NAME = "tensordict"
    TITLE = "TensorDict, memory-mapped"
    NOTE = "`TensorDict.memmap` and `load_memmap`, with one tensor for each field, and indexing of tensors."
    REQUIREMENTS = ("torch==2.13.0", "torchrl==0.14.1", "tianshou==2.0.1", "datasets==5.2.0")
    ENVIRONMENT = "torch"

    def prepare(self) -> None:
        import torch  # noqa: F401
        from tensordict import TensorDict  # noqa: F401

    def write(self, source: Source, path: Path) -> None:
        import torch
        from tensordict import TensorDict

        TensorDict({name: torch.from_numpy(getattr(source, name)) for name in _NAMES}).memmap(str(path / "episodes"))

    def open(self, path: Path) -> Any:
        from tensordict import TensorDict

        return TensorDict.load_memmap(str(path / "episodes"))

    def read_all(self, opened: Any) -> Content:
        whole = opened.clone()
        return {name: whole[name] for name in _NAMES}

    def transitions(self, opened: Any, count: int, rng: np.random.Generator) -> Draw:
        import torch

        columns = _Tensors(opened)
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))

        def draw() -> Mapping[str, Any]:
            at = torch.randint(0, columns.steps, (count,), generator=generator)
            seen = at + columns.episodes[at]
            batch = {name: values[at] for name, values in columns.fields.items()}
            following = columns.observations[seen + 1]
            return {**batch, "observations": columns.observations[seen], "next_observations": following}

        return draw

    def windows(self, opened: Any, count: int, length: int, rng: np.random.Generator) -> Draw:
        import torch

        columns = _Tensors(opened)
        starts = Starts(opened["lengths"].numpy(), length)
        offsets = torch.arange(length + 1)

        def draw() -> Mapping[str, Any]:
            start, episode = (torch.from_numpy(values) for values in starts.draw(count, rng))
            at = start[:, None] + offsets[:-1]
            seen = (start + episode)[:, None] + offsets
            batch = {name: values[at] for name, values in columns.fields.items()}
            return {**batch, "observations": columns.observations[seen]}

        return draw


class _Tensors:
    """The mapped tensors, and the episode of each step."""

    def __init__(self, opened: Any) -> None:
        import torch

        self.observations = opened["observations"]
        self.fields = {name: opened[name] for name in FIELDS[1:]}
        self.steps = len(self.fields["rewards"])
        self.episodes = torch.repeat_interleave(torch.arange(len(opened["lengths"])), opened["lengths"])


class TorchRL(Rival):
    """A replay buffer, dumped to memory-mapped tensors."""

    NAME = "torchrl"
    TITLE = "TorchRL"
    NOTE = "`TensorDictReplayBuffer` with a `LazyMemmapStorage`, `dumps` and `loads`; windows by `SliceSampler`."
    REQUIREMENTS = TensorDict.REQUIREMENTS
    ENVIRONMENT = "torch"
    COLLECTOR = "torchrl"

    def prepare(self) -> None:
        import torch  # noqa: F401
        from tensordict import TensorDict  # noqa: F401
        from torchrl.data import LazyMemmapStorage, SliceSampler, TensorDictReplayBuffer  # noqa: F401

    def write(self, source: Source, path: Path) -> None:
        import torch
        from tensordict import TensorDict

        rows = {name: torch.from_numpy(values) for name, values in source.transitions().items()}
        (path / "storage").mkdir()
        buffer = _buffer(source.steps, path / "storage")
        buffer.extend(
            TensorDict(
                {
                    "observation": rows["observations"],
                    "action": rows["actions"],
                    "episode": torch.from_numpy(source.numbers),
                    "next": {
                        "observation": rows["next_observations"],
                        "reward": rows["rewards"][:, None],
                        "terminated": rows["terminations"][:, None],
                        "truncated": rows["truncations"][:, None],
                        "done": (rows["terminations"] | rows["truncations"])[:, None],
                    },
                },
                batch_size=[source.steps],
            )
        )
        buffer.dumps(str(path))

    def open(self, path: Path) -> Path:
        return path

    def read_all(self, opened: Path) -> Content:
        found = self._load(opened)[:].clone()
        return {**_named(found), "lengths": np.unique(found["episode"].numpy(), return_counts=True)[1]}

    def transitions(self, opened: Path, count: int, rng: np.random.Generator) -> Draw:
        buffer = self._load(opened)
        return lambda: _named(buffer.sample(count))

    def windows(self, opened: Path, count: int, length: int, rng: np.random.Generator) -> Draw:
        from torchrl.data import SliceSampler

        sampler = SliceSampler(slice_len=length, traj_key="episode", truncated_key=None, cache_values=True)
        buffer = self._load(opened, sampler=sampler, batch_size=count * length)

        def draw() -> Mapping[str, Any]:
            batch = _named(buffer.sample(count * length))
            return {name: values.reshape(count, length, *values.shape[1:]) for name, values in batch.items()}

        return draw

    def _load(self, path: Path, **options: Any) -> Any:
        count = json.loads((path / "storage" / "storage_metadata.json").read_text(encoding="utf-8"))["len"]
        buffer = _buffer(int(count), path / "storage", **options)
        buffer.loads(str(path))
        return buffer


def _buffer(size: int, scratch: Path, **options: Any) -> Any:
    from torchrl.data import LazyMemmapStorage, TensorDictReplayBuffer

    storage = LazyMemmapStorage(size, scratch_dir=str(scratch), existsok=True)
    return TensorDictReplayBuffer(storage=storage, **{"batch_size": 1, **options})


def _named(batch: Any) -> dict[str, Any]:
    following = batch["next"]
    return {
        "observations": batch["observation"],
        "actions": batch["action"],
        "next_observations": following["observation"],
        "rewards": following["reward"].squeeze(-1),
        "terminations": following["terminated"].squeeze(-1),
        "truncations": following["truncated"].squeeze(-1),
    }
