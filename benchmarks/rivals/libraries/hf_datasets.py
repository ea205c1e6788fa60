"""Tables of Hugging Face Datasets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rivals.libraries.torch_tensors import TensorDict
from benchmarks.rivals.rival import FLOAT32, Content, Draw, Rival, Starts
from benchmarks.rivals.source import FIELDS, Array, Source


class HuggingFace(Rival):
    """One row for each transition."""

    NAME = "hf-datasets"
    TITLE = "Hugging Face Datasets"
    NOTE = (
        "One row for each transition, with the next observation; `Dataset.save_to_disk` and `load_from_disk` with the "
        "format of NumPy, which makes float64 float32; frames as images (PNG); windows by their rows."
    )
    REQUIREMENTS = TensorDict.REQUIREMENTS
    ENVIRONMENT = "torch"
    LOSES = frozenset({FLOAT32})

    def prepare(self) -> None:
        import datasets

        datasets.disable_progress_bars()

    def write(self, source: Source, path: Path) -> None:
        import datasets

        def feature(values: Array) -> Any:
            if values.ndim == 4:
                return datasets.Image()
            value = datasets.Value(values.dtype.name)
            return value if values.ndim == 1 else datasets.List(value, length=values.shape[1])

        rows = {**source.transitions(), "episode": source.numbers}
        features = datasets.Features({name: feature(values) for name, values in rows.items()})
        if source.has_frames:

            def generate() -> Iterator[dict[str, Any]]:
                for step in range(source.steps):
                    yield {name: values[step] for name, values in rows.items()}

            cache = str(path / "cache")
            table = datasets.Dataset.from_generator(generate, features=features, cache_dir=cache)
            table.save_to_disk(str(path / "table"))
        else:
            datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(path / "table"))

    def open(self, path: Path) -> Any:
        import datasets

        return datasets.load_from_disk(str(path / "table")).with_format("numpy")

    def read_all(self, opened: Any) -> Content:
        rows = opened[:]
        content = {name: _array(rows[name]) for name in (*FIELDS, "next_observations")}
        return {**content, "lengths": np.unique(rows["episode"], return_counts=True)[1]}

    def transitions(self, opened: Any, count: int, rng: np.random.Generator) -> Draw:
        def draw() -> Mapping[str, Any]:
            rows = opened[rng.integers(0, len(opened), count).tolist()]
            return {name: _array(rows[name]) for name in (*FIELDS, "next_observations")}

        return draw

    def windows(self, opened: Any, count: int, length: int, rng: np.random.Generator) -> Draw:
        lengths = np.unique(np.asarray(opened["episode"][:]), return_counts=True)[1]
        starts = Starts(lengths, length)

        def draw() -> Mapping[str, Any]:
            at = starts.draw(count, rng)[0][:, None] + np.arange(length)
            rows = opened[at.reshape(-1).tolist()]
            found = {name: _array(rows[name]) for name in (*FIELDS, "next_observations")}
            return {name: values.reshape(count, length, *values.shape[1:]) for name, values in found.items()}

        return draw


def _array(values: Any) -> Array:
    return np.stack(values) if isinstance(values, list) else np.asarray(values)
