"""The datasets that are damaged: small ones of every format and kind of value, and others' as well.

A *scene* is a directory with all that one mutant needs::

    root/fuzz/namespace_metadata.json
    root/fuzz/subject-v0     the dataset that is damaged
    root/fuzz/other-v0       one like it, with other values; stays as it is
    outside/                 what nobody may read or change: a copy of other-v0, and two texts
    remote/                  where the subject was uploaded to, for the subjects that are downloaded

:func:`build_scene` makes one with the library, :class:`Stage` keeps it in memory and sets it up again for
every mutant, which takes less time than to make it.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

import minari
from minari.testing.examples import as_buffer, draw_truth
from support.official import fixtures_directory

from .fingerprints import Fingerprint, fingerprint_of


SUBJECT, OTHER = "fuzz/subject-v0", "fuzz/other-v0"
DATA = "root/fuzz/subject-v0/data"
#: What must stay as it is, whatever is done to the dataset.
AROUND = ("outside", f"root/{OTHER}")

#: What a seed is divided by: one after the other.
FAMILIES = ("hdf5", "arrow", "parquet", "zarr", "remote")

_VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)
_KINDS: dict[str, tuple[Any, Any, int]] = {  # spaces, and how long an episode is at least
    "vectors": (spaces.Dict({"x": _VECTOR, "mode": spaces.Discrete(5)}), spaces.Discrete(4, start=-1), 3),
    "long": (spaces.Box(-1e9, 1e9, (8,), np.float64), spaces.MultiDiscrete([3, 4]), 160),
    "text": (spaces.Dict({"t": spaces.Text(9), "x": _VECTOR}), spaces.Text(4), 3),
    "frames": (spaces.Box(0, 255, (32, 32, 3), np.uint8), _VECTOR, 2),
    "ragged": (
        spaces.Dict(
            {
                "s": spaces.Sequence(_VECTOR),
                "g": spaces.Graph(_VECTOR, spaces.Discrete(3)),
                "o": spaces.OneOf((spaces.Discrete(3), spaces.Text(3))),
            }
        ),
        spaces.Tuple((spaces.Discrete(3), spaces.MultiBinary(2))),
        3,
    ),
}


@dataclass(frozen=True)
class Subject:
    """A dataset to be damaged.

    Attributes:
        name: such as ``hdf5/text``; the first part is the family.
        kind: of the values.
        options: for creating it.
        released: the release and the ids of two datasets that it wrote, where it is not ours.
        pending: whether a writer was killed in the middle of a change.
        is_remote: whether it is read by downloading it.
        checksums: whether checksums are added to what a release wrote without them.
    """

    name: str
    kind: str = "vectors"
    options: dict[str, Any] = field(default_factory=dict)
    released: tuple[str, str, str] | None = None
    pending: str = ""
    is_remote: bool = False
    checksums: bool = False

    @property
    def family(self) -> str:
        return self.name.partition("/")[0]

    @property
    def missing(self) -> str:
        """Return the reason why it cannot be created here, if any."""
        if self.options.get("data_format") == "zarr" and sys.version_info < (3, 11):
            return "zarr 3 needs Python 3.11"
        if self.released is not None and _released_directory(*self.released[:2]) is None:
            return "there are no recorded datasets: set MINARI_FIXTURES"
        return ""


def _of_format(name: str, compressed: tuple[str, ...], released: tuple[tuple[str, str, str], ...]) -> list[Subject]:
    ours = [
        Subject(f"{name}/vectors"),
        *(Subject(f"{name}/{codec}", "long", {"compression": codec}) for codec in compressed),
        Subject(f"{name}/text", "text"),
        Subject(f"{name}/frames", "frames"),
        Subject(f"{name}/jpeg", "frames", {"jpeg_encoding": True}),
        Subject(f"{name}/ragged", "ragged"),
        Subject(f"{name}/pending-append", pending="append"),
        Subject(f"{name}/pending-metadata", pending="metadata"),
    ]
    theirs = [
        Subject(f"{name}/released-{r[0]}-{r[1].replace('/', '-')}", released=r, checksums=number % 2 == 1)
        for number, r in enumerate(released)
    ]
    return [Subject(s.name, s.kind, {"data_format": name, **s.options}, s.released, s.pending) for s in ours] + theirs


#: By family.
SUBJECTS: dict[str, list[Subject]] = {
    "hdf5": _of_format(
        "hdf5",
        ("gzip", "zstd", "lz4"),
        (
            ("0.5.4", "cartpole/random-v1", "cartpole/more-v0"),
            ("0.5.4", "toy/simpledict-v0", "toy/dict-v0"),
            ("0.5.4", "toy/text-v0", "toy/text-v0"),
            ("0.5.4", "toy/frames-v0", "toy/frames-v0"),
            ("0.4.3", "toy-text-v0", "toy-text-v0"),
            ("0.3.1", "cartpole-random-v0", "cartpole-random-v1"),
        ),
    ),
    "arrow": _of_format(
        "arrow",
        ("zstd",),
        (("0.5.4", "cartpole/arrow-v0", "cartpole/arrow-v0"), ("0.5.4", "toy/arrowdict-v0", "toy/arrowdict-v0")),
    ),
    "parquet": _of_format(
        "parquet",
        ("zstd",),
        (
            ("0.5.4", "cartpole/parquet-v0", "cartpole/parquet-v0"),
            ("0.5.4", "toy/parquetdict-v0", "toy/parquetdict-v0"),
        ),
    ),
    "zarr": _of_format("zarr", ("gzip", "zstd"), ()),
    "remote": [
        Subject(f"remote/{name}", options={"data_format": name}, is_remote=True)
        for name in ("hdf5", "arrow", "parquet", "zarr")
    ],
}


def buffers_of(kind: str, seed: int) -> list[Any]:
    """Two episodes of that kind of value; the same for the same seed."""
    observation_space, action_space, steps = _KINDS[kind]
    buffers = []
    for number in range(2):
        rows = steps + 2 * number + 1
        infos = {"n": {"k": np.arange(rows) * 0.5, "deep": {"flag": np.arange(rows) % 2 == 0}}, "i": np.arange(rows)}
        if kind == "text":
            infos["words"] = np.array([f"w{row}é" for row in range(rows)], object)
        truth = draw_truth(observation_space, action_space, rows - 1, seed + number, infos)
        buffers.append(as_buffer(truth, seed=seed + number, options={"level": number}))
    return buffers


def build_scene(subject: Subject, scene: Path) -> None:
    """Make a scene with the library; the dataset is as its writer, killed or not, has left it."""
    root = scene / "root"
    root.mkdir(parents=True)
    if subject.released is not None:
        release, first, second = subject.released
        for name, dataset_id in ((SUBJECT, first), (OTHER, second)):
            directory = _released_directory(release, dataset_id)
            if directory is None:
                raise FileNotFoundError(f"{dataset_id} of {release}")
            shutil.copytree(directory, root / name, copy_function=shutil.copy)
        (root / "fuzz" / "namespace_metadata.json").write_text("{}")
        if subject.checksums:
            minari.load_dataset(SUBJECT, root=root).storage._add_missing_checksums()
    else:
        minari.namespace.create_namespace("fuzz", "mutants", root=root, display_name="Fuzz")
        create(subject, SUBJECT, 0, root)
        create(subject, OTHER, 100, root)
    outside = scene / "outside"
    shutil.copytree(root / OTHER, outside / "dataset", copy_function=shutil.copy)
    (outside / "secret.txt").write_text("secret")
    (outside / "empty").mkdir()
    if subject.is_remote:
        (scene / "remote").mkdir()
        for dataset_id in (SUBJECT, OTHER):
            minari.upload_dataset(dataset_id, remote=f"file://{scene / 'remote'}", root=root, validate=False)
        shutil.rmtree(root / SUBJECT)
        (root / "fuzz" / "namespace_metadata.json").unlink()
    elif subject.pending:
        _leave_pending(subject, scene)


def create(subject: Subject, dataset_id: str, seed: int, root: Path) -> Any:
    """Make the dataset itself."""
    observation_space, action_space, _ = _KINDS[subject.kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return minari.create_dataset_from_buffers(
            dataset_id,
            buffers_of(subject.kind, seed),
            env="CartPole-v1",
            eval_env="CartPole-v0",
            observation_space=observation_space,
            action_space=action_space,
            description="foreign" if seed else "original",
            author="Ada",
            requirements=["nothing>=1"],
            root=root,
            **subject.options,
        )


@dataclass(frozen=True)
class Known:
    """Facts about the datasets of a scene before anything is damaged.

    Attributes:
        accepted: the fingerprints that the subject may have.
        other: the fingerprint of its sibling.
        verifiable: whether all episodes of the subject have checksums.
    """

    accepted: list[Fingerprint]
    other: Fingerprint
    verifiable: bool


def known_of(subject: Subject, scene: Path) -> Known:
    """Mutable facts about a scene."""
    accepted = _accepted_fingerprints(subject, scene)
    other = fingerprint_of(minari.load_dataset(OTHER, root=scene / "root"))
    storage = minari.load_dataset(SUBJECT, root=scene / "root").storage
    return Known(accepted, other, not storage._episodes_without_checksums(range(storage.total_episodes)))


def _accepted_fingerprints(subject: Subject, scene: Path) -> list[Fingerprint]:
    """Valid results of reading the undamaged scene; with a pending change, also those without it."""
    root = scene / "root"
    if subject.is_remote:
        minari.download_dataset(SUBJECT, remote=f"file://{scene / 'remote'}", root=root)
    found = [fingerprint_of(minari.load_dataset(SUBJECT, root=root))]
    if subject.pending:
        dataset = create(subject, "fuzz/before-v0", 0, root)
        found.append(fingerprint_of(dataset))
        _change(subject, dataset)
        found.append(fingerprint_of(dataset))
    return found


def _change(subject: Subject, dataset: Any) -> None:
    if subject.pending == "append":
        dataset.update_dataset_from_buffer(buffers_of(subject.kind, 7))
    else:
        dataset.storage.update_episode_metadata([{"mine": number, "t": "changed"} for number in range(2)])


def _leave_pending(subject: Subject, scene: Path) -> None:
    """Let a child die in the middle of a change, where what it was about to do lies in a hidden file."""
    data, before = scene / DATA, scene / "before"
    shutil.copytree(data, before)
    plain = _hidden(data)

    def committed() -> bool:
        return any(".staged" not in name for name in _hidden(data) - plain)

    def begun() -> bool:
        return bool(_hidden(data) - plain)

    for reached in (committed, begun):
        child = os.fork()
        if child == 0:
            try:
                dataset = minari.load_dataset(SUBJECT, root=scene / "root")
                sys.addaudithook(_dying(reached))
                _change(subject, dataset)
                os._exit(0)
            finally:
                os._exit(1)
        if os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 9:
            break
        shutil.rmtree(data)
        shutil.copytree(before, data)
    shutil.rmtree(before)


def _hidden(data: Path) -> set[str]:
    """Hidden files and directories that tell of a change, whatever they are called."""
    names = {path.name for path in data.iterdir() if path.name.startswith(".")}
    return {name for name in names if not name.endswith((".partial", ".lock")) and ".index" not in name}


def _dying(reached: Callable[[], bool]) -> Callable[[str, Any], None]:
    """A hook that ends the process before the first change of a file when that is reached."""

    def hook(event: str, _: Any) -> None:
        changes = ("os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree", "os.utime", "os.mkdir")
        if event in changes and reached():
            os._exit(9)

    return hook


def _released_directory(release: str, dataset_id: str) -> Path | None:
    fixtures = fixtures_directory()
    directory = None if fixtures is None else fixtures / "official" / release / dataset_id
    return directory if directory is not None and directory.is_dir() else None


class Stage:
    """A scene in memory, and the place where it is set up.

    Args:
        master: the scene as it was made.
        place: where mutants of it will lie.
    """

    def __init__(self, master: Path, place: Path) -> None:
        self.place = place
        self._directories: list[str] = []
        self._files: list[tuple[str, bytes, int]] = []
        for path, _, names in os.walk(master):
            relative = os.path.relpath(path, master)
            self._directories.append(relative)
            for name in names:
                file = Path(path, name)
                self._files.append((f"{relative}/{name}", file.read_bytes(), file.stat().st_mtime_ns))

    def set_up(self, *, around: bool = True) -> None:
        """Put the scene in its place, as new; without what is around the dataset where that is still as it was."""
        if around:
            self.clear()
        else:
            self._clear_dataset()
        for directory in self._directories:
            if around or not directory.startswith(AROUND):
                path = f"{self.place}/{directory}".removesuffix("/.")
                with suppress(FileExistsError):
                    os.mkdir(path)  # noqa: PTH102 (there are many, and path objects take longer)
        for name, content, mtime in self._files:
            if around or not name.startswith(AROUND):
                path = f"{self.place}/{name}"
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
                os.write(descriptor, content)
                os.close(descriptor)
                os.utime(path, ns=(mtime, mtime))

    def _clear_dataset(self) -> None:
        """Take away everything but what is around the dataset."""
        kept = {f"{self.place}/{name}" for name in AROUND}
        for directory in (str(self.place), f"{self.place}/root", f"{self.place}/root/fuzz"):
            for entry in list(os.scandir(directory)):
                if entry.path in kept or any(path.startswith(f"{entry.path}/") for path in kept):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)  # noqa: PTH108

    def clear(self) -> None:
        """Take away what is in the place."""
        for _ in range(3):
            shutil.rmtree(self.place, ignore_errors=True)
            if not os.path.lexists(self.place):
                return
            time.sleep(0.05)  # a child that was just killed may still be writing
