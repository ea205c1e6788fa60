"""Files of records, each with an episode: ArrayRecord and TFRecord, and RLDS, which is made of the latter."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rivals.rival import FLOAT32, Content, Draw, Rival, Starts
from benchmarks.rivals.source import FIELDS, Array, Episode, Source


def packed(episode: Episode) -> bytes:
    """Return the values of an episode after a line that describes them."""
    columns = [np.ascontiguousarray(getattr(episode, name)) for name in FIELDS]
    about = [[column.dtype.str, column.shape] for column in columns]
    return b"\n".join([json.dumps(about).encode(), b"".join(column.tobytes() for column in columns)])


def unpacked(record: bytes) -> dict[str, Array]:
    """Return views of the values of an episode."""
    at = record.index(b"\n") + 1
    found: dict[str, Array] = {}
    for name, (dtype, shape) in zip(FIELDS, json.loads(record[: at - 1]), strict=True):
        count = int(np.prod(shape))
        found[name] = np.frombuffer(record, dtype, count, at).reshape(shape)
        at += found[name].nbytes
    return found


def gathered(episodes: Sequence[Mapping[str, Array]]) -> Content:
    """Return the content of episodes."""
    content: dict[str, Any] = {name: [episode[name] for episode in episodes] for name in FIELDS}
    return {**content, "lengths": [len(episode["rewards"]) for episode in episodes]}


def parts_of_episodes(
    lengths: Array, count: int, length: int, rng: np.random.Generator, read: Callable[[list[int]], list[Any]]
) -> Draw:
    """Return batches of windows for which whole episodes are read.

    Args:
        lengths: steps of each episode.
        count: windows of a batch.
        length: steps of a window.
        rng: chooses.
        read: returns the values of some episodes by field, in their order.
    """
    starts, begins = Starts(lengths, length), np.cumsum(lengths) - lengths

    def draw() -> Mapping[str, Any]:
        start, chosen = starts.draw(count, rng)
        parts: dict[str, list[Any]] = {name: [] for name in FIELDS}
        for first, values in zip((start - begins[chosen]).tolist(), read(chosen.tolist()), strict=True):
            for name in FIELDS:
                parts[name].append(values[name][first : first + length + (name == "observations")])
        return {name: np.stack(values) for name, values in parts.items()}

    return draw


def as_transitions(windows: Draw) -> Draw:
    """Return windows of one step as transitions."""

    def draw() -> Mapping[str, Any]:
        batch = windows()
        found = {name: values[:, 0] for name, values in batch.items()}
        if "next_observations" not in batch:
            found["next_observations"] = batch["observations"][:, 1]
        return found

    return draw


class ArrayRecord(Rival):
    """One record for each episode, which is read by its number."""

    NAME = "array-record"
    TITLE = "ArrayRecord, by hand"
    NOTE = "One record with the bytes of all fields for each episode, in groups of one, with its default compression."
    REQUIREMENTS = ("array_record>=0.8",)

    def prepare(self) -> None:
        from array_record.python import array_record_module  # noqa: F401

    def write(self, source: Source, path: Path) -> None:
        from array_record.python import array_record_module

        writer = array_record_module.ArrayRecordWriter(str(path / "episodes.array_record"), "group_size:1")
        for episode in source.episodes():
            writer.write(packed(episode))
        writer.close()
        np.save(path / "lengths.npy", source.lengths)

    def open(self, path: Path) -> tuple[Any, Array]:
        from array_record.python import array_record_module

        reader = array_record_module.ArrayRecordReader(str(path / "episodes.array_record"))
        return reader, np.load(path / "lengths.npy")

    def read_all(self, opened: tuple[Any, Array]) -> Content:
        return gathered([unpacked(record) for record in opened[0].read_all()])

    def transitions(self, opened: tuple[Any, Array], count: int, rng: np.random.Generator) -> Draw:
        return as_transitions(self.windows(opened, count, 1, rng))

    def windows(self, opened: tuple[Any, Array], count: int, length: int, rng: np.random.Generator) -> Draw:
        reader, lengths = opened
        return parts_of_episodes(
            lengths, count, length, rng, lambda chosen: [unpacked(record) for record in reader.read(chosen)]
        )


class TFRecord(Rival):
    """One record for each episode, which are read one after the other."""

    NAME = "tfrecord"
    TITLE = "TFRecord, by hand"
    NOTE = "The same records by `tf.io.TFRecordWriter`, with gzip for frames; everything is loaded to draw from."
    REQUIREMENTS = ("tensorflow-cpu==2.21.0", "tensorflow-datasets==4.9.10", "importlib_resources")
    ENVIRONMENT = "tf"

    def prepare(self) -> None:
        os.environ |= {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
        import tensorflow  # noqa: F401

    def write(self, source: Source, path: Path) -> None:
        import tensorflow as tf

        name = f"episodes.{'gzip' if source.has_frames else 'none'}"
        with tf.io.TFRecordWriter(str(path / name), "GZIP" if source.has_frames else "") as writer:
            for episode in source.episodes():
                writer.write(packed(episode))

    def open(self, path: Path) -> Any:
        import tensorflow as tf

        (file,) = path.iterdir()
        return tf.data.TFRecordDataset(str(file), "GZIP" if file.suffix == ".gzip" else "")

    def read_all(self, opened: Any) -> Content:
        return gathered([unpacked(record) for record in opened.as_numpy_iterator()])


class RLDS(Rival):
    """TFDS datasets of episodes with nested steps."""

    NAME = "rlds"
    TITLE = "RLDS, tfds"
    NOTE = (
        "`store_as_tfds_dataset` with a last step that holds the final observation, frames as PNG, and "
        "`builder_from_directory` with the steps of an episode in one batch; everything is loaded to draw from."
    )
    REQUIREMENTS = TFRecord.REQUIREMENTS
    ENVIRONMENT = "tf"
    LOSES = frozenset({FLOAT32})

    def prepare(self) -> None:
        os.environ |= {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
        import tensorflow  # noqa: F401
        import tensorflow_datasets  # noqa: F401

    def write(self, source: Source, path: Path) -> None:
        import tensorflow_datasets as tfds

        def tensor(values: Array) -> Any:
            if values.ndim == 4:
                return tfds.features.Image(shape=values.shape[1:], encoding_format="png")
            return tfds.features.Tensor(shape=values.shape[1:], dtype=values.dtype)

        steps = {
            "observation": tensor(source.observations),
            "action": tensor(source.actions),
            "reward": tensor(source.rewards),
            **dict.fromkeys(("is_first", "is_last", "is_terminal"), np.bool_),
        }
        tfds.dataset_builders.store_as_tfds_dataset(
            name="episodes",
            version="1.0.0",
            data_dir=str(path),
            features=tfds.features.FeaturesDict({"steps": tfds.features.Dataset(steps)}),
            split_datasets={
                "train": [(number, {"steps": list(_steps(one))}) for number, one in enumerate(source.episodes())]
            },
            disable_shuffling=True,
        )

    def open(self, path: Path) -> Any:
        import tensorflow_datasets as tfds

        (directory,) = [file.parent for file in path.rglob("dataset_info.json")]
        return tfds.builder_from_directory(str(directory))

    def read_all(self, opened: Any) -> Content:
        import tensorflow as tf
        import tensorflow_datasets as tfds

        episodes = opened.as_dataset(
            split="train", shuffle_files=False, read_config=tfds.ReadConfig(try_autocache=False)
        )
        options = tf.data.Options()
        options.deterministic = True
        whole = episodes.with_options(options).map(lambda one: one["steps"].batch(100_000).get_single_element())
        found: list[dict[str, Array]] = []
        for steps in tfds.as_numpy(whole):
            length = len(steps["reward"]) - 1
            is_last = np.arange(length) == length - 1
            found.append(
                {
                    "observations": steps["observation"],
                    "actions": steps["action"][:-1],
                    "rewards": steps["reward"][:-1],
                    "terminations": is_last & steps["is_terminal"][-1],
                    "truncations": is_last & ~steps["is_terminal"][-1],
                }
            )
        return gathered(found)


def _steps(episode: Episode) -> Iterator[dict[str, Any]]:
    """Yield the steps of RLDS, whose last one has only an observation."""
    last = len(episode.rewards)
    for number, observation in enumerate(episode.observations):
        is_last = number == last
        yield {
            "observation": observation,
            "action": np.zeros_like(episode.actions[0]) if is_last else episode.actions[number],
            "reward": np.float64(0) if is_last else episode.rewards[number],
            "is_first": number == 0,
            "is_last": is_last,
            "is_terminal": bool(is_last and episode.terminations[-1]),
        }
