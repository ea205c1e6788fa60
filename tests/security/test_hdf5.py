"""Hostile and damaged HDF5 files: nothing of other files is read, and every failure is an error of ours."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium import spaces

from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetCorruptError, MinariError, UnsafePathError
from minari.testing.examples import as_buffer, draw_truth
from support.stored import index_files


FILE = "main_data.hdf5"
SPACE = spaces.Dict({"x": spaces.Box(-1.0, 1.0, (4,), np.float64), "t": spaces.Text(6)})
ACTIONS = spaces.Box(-1.0, 1.0, (2,), np.float32)


def make(directory: Path, space: Any = SPACE, **options: Any) -> MinariStorage:
    storage = MinariStorage.new(directory / "data", space, ACTIONS, **options)
    infos = [{"note": [f"{step}" for step in range(steps + 1)]} for steps in (3, 6)]
    truths = [draw_truth(space, ACTIONS, steps, steps, info) for steps, info in zip((3, 6), infos, strict=True)]
    storage.update_episodes(as_buffer(truth, seed=1, options={"a": {"b": "text"}}) for truth in truths)
    return storage


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The data file of a dataset."""
    return make(tmp_path).data_path / FILE


def edit(file: Path) -> h5py.File:
    return h5py.File(file, "r+", libver=("earliest", "latest"))


def without_index(data_path: Path) -> MinariStorage:
    for file in index_files(data_path):
        file.unlink()
    return MinariStorage.read(data_path)


def read(file: Path, *episodes: int) -> None:
    list(without_index(file.parent).get_episodes(episodes or [0]))


# Other files


def external(group: h5py.Group, secret: Path, name: str) -> None:
    shape, dtype = group[name].shape, group[name].dtype
    del group[name]
    group.create_dataset(name, shape, dtype, external=[(str(secret), 0, 1000)])


def external_text(group: h5py.Group, secret: Path, name: str) -> None:
    rows = len(group["observations/t"])
    del group["observations/t"]
    group.create_dataset("observations/t", (rows,), h5py.string_dtype(), external=[(str(secret), 0, 1000)])


def other_file(group: h5py.Group, secret: Path, name: str) -> tuple[int, ...]:
    shape: tuple[int, ...] = group[name].shape
    with h5py.File(secret, "w") as file:
        file["x"] = np.full(shape, 0.5, group[name].dtype)
        group.copy("observations", file, "o")
    return shape


def virtual(group: h5py.Group, secret: Path, name: str) -> None:
    shape, dtype = other_file(group, secret, name), group[name].dtype
    del group[name]
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource(str(secret), "x", shape)
    group.create_virtual_dataset(name, layout)


def linked(group: h5py.Group, secret: Path, name: str) -> None:
    other_file(group, secret, name)
    del group[name]
    group[name] = h5py.ExternalLink(str(secret), "x")


def linked_group(group: h5py.Group, secret: Path, name: str) -> None:
    other_file(group, secret, name)
    del group["observations"]
    group["observations"] = h5py.ExternalLink(str(secret), "o")


@pytest.mark.parametrize("name", ["observations/x", "rewards"])
@pytest.mark.parametrize("lead", [external, external_text, virtual, linked, linked_group])
def test_values_of_other_files_are_not_read(
    tmp_path: Path, file: Path, lead: Callable[[h5py.Group, Path, str], None], name: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"a secret of somebody else " * 40)
    with edit(file) as opened:
        lead(opened["episode_0"], secret, name)
    reader = without_index(file.parent)
    with pytest.raises(UnsafePathError, match=FILE):
        list(reader.get_episodes([0]))
    target = MinariStorage.new(tmp_path / "copy" / "data", SPACE, ACTIONS)
    with pytest.raises(DatasetCorruptError):
        target.update_from_storage(reader)
    assert target.total_episodes == 0
    list(reader.get_episodes([1]))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
@pytest.mark.parametrize("kind", ["pipe", "link", "missing", "chain"])
def test_file_beside_must_be_a_regular_one(tmp_path: Path, file: Path, kind: str) -> None:
    """``additional_data_N.hdf5`` is opened as a regular file beside, and only from the main file."""
    secret, beside = tmp_path / "secret", file.with_name("additional_data_0.hdf5")
    with h5py.File(secret, "w") as opened:
        opened["episode_0"] = h5py.ExternalLink("additional_data_1.hdf5", "/x")
    if kind == "pipe":
        os.mkfifo(beside)
    elif kind == "link":
        beside.symlink_to(secret)
    elif kind == "chain":
        shutil.copy(secret, beside)
    with edit(file) as opened:
        del opened["episode_0"]
        opened["episode_0"] = h5py.ExternalLink("additional_data_0.hdf5", "/episode_0")
    with pytest.raises(DatasetCorruptError if kind == "missing" else UnsafePathError):
        read(file)


# Structures that do not end, and sizes that are not there


def links_to_links(file: h5py.File) -> None:
    del file["episode_0/rewards"]
    file["episode_0/rewards"] = h5py.SoftLink("/episode_0/again")
    file["episode_0/again"] = h5py.SoftLink("/episode_0/rewards")


def group_within_itself(file: h5py.File) -> None:
    file["episode_0/infos/deeper"] = file["episode_0/infos"]


def groups_without_end(file: h5py.File) -> None:
    """Two links each to the next group make 2 to the power of 40 arrays of a small file."""
    group = file["episode_0/infos"]
    for _ in range(40):
        following = file.create_group(None)
        group["a"], group["b"] = following, following
        group = following
    group["x"] = np.zeros(4)


def arrays_never_written(file: h5py.File) -> None:
    group = file["episode_0"]
    for name, options in (("observations/x", {}), ("rewards", {"chunks": (2**20,)})):
        shape = (2**33, *group[name].shape[1:])
        del group[name]
        group.create_dataset(name, shape, "f8", fillvalue=1.0, **options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (links_to_links, "Episode 0"),
        (group_within_itself, "within itself"),
        (groups_without_end, "again and again"),
        (arrays_never_written, "Episode 0"),
    ],
)
def test_structure_without_end_is_refused(file: Path, change: Callable[[h5py.File], None], words: str) -> None:
    with h5py.File(file, "r+") as opened:
        change(opened)
    with pytest.raises(DatasetCorruptError, match=words):
        read(file)


def test_object_of_a_heap_outside_of_it_is_refused(file: Path) -> None:
    """Sizes that make the next object the same one, or one outside the heap."""
    content = file.read_bytes()
    at = content.index(b"GCOL") + 24
    for size in (2**64 - 16, 2**64 - 8, 2**63, 2**32, len(content), 0):
        file.write_bytes(content[:at] + struct.pack("<Q", size) + content[at + 8 :])
        with pytest.raises(DatasetCorruptError, match="Episode"):
            read(file, 0, 1)


def test_texts_that_share_one_object_are_refused(file: Path) -> None:
    """A table of a hundred thousand elements that are one and the same text of a megabyte."""
    with h5py.File(file, "r+") as opened:
        del opened["episode_0/observations/t"]
        texts = opened["episode_0"].create_dataset("observations/t", (100_000,), h5py.string_dtype())
        texts[0] = "x" * 1_000_000
        offset = texts.id.get_offset()
    with file.open("r+b") as raw:
        raw.seek(offset)
        element = raw.read(16)
        raw.seek(offset)
        raw.write(element * 100_000)
    with pytest.raises(DatasetCorruptError, match="again and again"):
        read(file)


@pytest.mark.parametrize("value", [-1, 2**63 - 1, "many", np.arange(3), 1.5])
def test_odd_number_of_steps_is_refused(file: Path, value: Any) -> None:
    with h5py.File(file, "r+") as opened:
        opened["episode_0"].attrs["total_steps"] = value
    for get in (MinariStorage.get_episodes, MinariStorage.get_episode_metadata):
        reader = without_index(file.parent)
        try:
            found = list(get(reader, [0]))
        except DatasetCorruptError:
            continue
        assert value == 2**63 - 1, found


# Changes


def test_damaged_episode_is_not_changed(file: Path) -> None:
    """It is refused before HDF5 is let at the file, which stays as it is."""
    with h5py.File(file) as opened:
        header = h5py.h5o.get_info(opened["episode_0"].id).addr
    content = bytearray(file.read_bytes())
    content[header + 13 : header + 15] = b"\xff\xff"  # the size of its first message
    file.write_bytes(content)
    with pytest.raises(DatasetCorruptError, match="Episode 0"):
        without_index(file.parent).update_episode_metadata([{"note": 1}], [0])
    assert file.read_bytes() == content


@pytest.mark.parametrize("signature", [b"TREE", b"HEAP", b"SNOD"])
def test_appending_to_a_damaged_list_does_not_crash(file: Path, signature: bytes) -> None:
    content = file.read_bytes()
    truth = draw_truth(SPACE, ACTIONS, 2, 2)
    at = content.index(signature)
    for position in range(at, at + 40):
        for value in (b"\xff", b"\x01"):
            file.write_bytes(content[:position] + value + content[position + 1 :])
            with contextlib.suppress(MinariError):
                MinariStorage.read(file.parent).update_episodes([as_buffer(truth)])


# Mutants, beside those of tests/fuzz: also of files that other versions of HDF5 write, with other filters

PICTURES = spaces.Dict({"p": spaces.Box(0, 255, (32, 32, 3), np.uint8), "x": spaces.Box(-1.0, 1.0, (3,), np.float32)})
LARGEST = [0, 1, 64, 127, 128, 255, 2**16 - 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 16, 2**64 - 8, 2**64 - 1]
SIGNATURES = [b"GCOL", b"TREE", b"HEAP", b"SNOD", b"OHDR", b"FRHP", b"FHDB", b"BTLF", b"BTHD", b"FAHD", b"FADB"]


def rewrite(source: Path, library: str) -> None:
    """Rewrite a file through h5py, with other settings."""
    packed = {"chunks": True, "compression": "gzip", "shuffle": True, "fletcher32": True}
    new_file = source.with_suffix(".new")
    with h5py.File(source) as old, h5py.File(new_file, "w", libver=library) as file:
        for name, episode in old.items():
            group = file.create_group(name)
            group.attrs.update(episode.attrs)

            def copy(leaf: str, item: Any, group: h5py.Group = group) -> None:
                if isinstance(item, h5py.Dataset):
                    settings = packed if item.dtype != object else {"chunks": True, "maxshape": (None,)}
                    group.create_dataset(leaf, data=item[()], dtype=item.dtype, **settings)

            episode.visititems(copy)
    new_file.replace(source)


def mutant(content: bytes, rng: random.Random) -> bytes:
    """A file in which a few bytes, integers or pieces are others, or the end is missing."""
    changed = bytearray(content)
    places = [at for signature in SIGNATURES if (at := content.find(signature)) >= 0]
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        near = rng.random() < 0.4
        at = min(len(changed) - 9, rng.choice(places) + rng.randrange(120) if near else rng.randrange(len(changed) - 8))
        width, kind = rng.choice([1, 2, 4, 8]), rng.random()
        if kind < 0.4:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind < 0.8:
            value = rng.choice([*LARGEST, len(content), rng.randrange(len(content)), rng.randrange(len(content)) & ~7])
            changed[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
        elif kind < 0.95:
            start = rng.randrange(len(content) - 64)
            changed[at : at + 32] = content[start : start + 32][: len(changed) - at]
        else:
            return bytes(changed[: rng.randrange(100, len(changed))])
    return bytes(changed)


def use(data_path: Path, copies: bool, changes: bool) -> None:
    """Read everything, and copy or change it."""
    storage = MinariStorage.read(data_path)
    for index in range(storage.total_episodes):
        for get in (storage.get_episodes, storage.get_episode_metadata):
            with contextlib.suppress(MinariError):
                list(get([index]))
    if changes:
        storage.update_episode_metadata([{"note": "x" * 50}] * storage.total_episodes)
    if copies:
        target = MinariStorage.new(data_path.with_name("copy"), storage.observation_space, storage.action_space)
        target.update_from_storage(storage)


def run_mutants(directory: Path, seed: int, count: int) -> None:
    """Use mutants of all kinds; an error that is none of ours gets out."""
    rng = random.Random(seed)
    kinds = {"text": {}, "frames": {"space": PICTURES, "jpeg_encoding": True}, "earliest": {}, "v108": {}}
    kinds |= {codec: {"space": PICTURES, "compression": codec} for codec in ("gzip", "zstd", "lz4")}
    paths = [make(directory / kind, **options).data_path for kind, options in kinds.items()]
    for library in ("earliest", "v108"):
        rewrite(directory / library / "data" / FILE, library)
    for number in range(count):
        source = rng.choice(paths)
        content = mutant((source / FILE).read_bytes(), rng)
        target = directory / "mutant" / "data"
        shutil.rmtree(target.parent, ignore_errors=True)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(".index*"))
        (target / FILE).write_bytes(content)
        with contextlib.suppress(MinariError):
            use(target, copies=number % 5 == 0, changes=number % 7 == 0)


PROGRAM = """
import sys
sys.path[:0] = sys.argv[4:]
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
except ImportError:
    pass
from pathlib import Path
from security.test_hdf5 import run_mutants
run_mutants(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
"""


@pytest.mark.parametrize(
    ("seed", "count"), [(20, 300), *(pytest.param(1000 + n, 500, marks=pytest.mark.soak) for n in range(40))]
)
def test_mutants_end_in_errors_of_ours(tmp_path: Path, seed: int, count: int) -> None:
    """A process reads mutants without a crash, a hang, or an error that is none of ours."""
    arguments = [str(tmp_path), str(seed), str(count), str(Path(__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, *arguments],
        capture_output=True, text=True, timeout=60 + count, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (seed, done.returncode, done.stderr[-3000:])
