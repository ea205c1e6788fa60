"""The HDF5 file: its layout, which is a contract with other programs, what reading it gives, and its neighbors."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari._storages.hdf5 import storage as hdf5_storage
from minari._storages.hdf5.names import from_hdf5_name, group_name, to_hdf5_name
from minari._storages.mapped_file import MappedFile
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetBusyError, DatasetCorruptError, EpisodeIndexError
from minari.testing.comparison import assert_episode, assert_same
from minari.testing.examples import as_buffer, as_continuation, draw_truth
from minari.testing.storage_suites.suite import ACTIONS, OBSERVATIONS
from support.programs import run
from support.stored import (
    TRUTHS,
    as_nobody,
    assert_holds,
    edit_metadata,
    index_files,
    read_all,
    rewrite_index,
    store,
    without_index,
)


RICH = spaces.Dict(
    {
        "x": spaces.Box(-1.0, 1.0, (2, 3), np.float32),
        "t": spaces.Text(4),
        "pair": spaces.Tuple((spaces.Discrete(3), spaces.Dict({"flag": spaces.MultiBinary(2)}))),
        "empty": spaces.Box(-1.0, 1.0, (0,), np.float32),
        "camera": spaces.Box(0, 255, (40, 40, 3), np.uint8),
    }
)
PAIR = spaces.Tuple((spaces.Discrete(5), spaces.Box(-1.0, 1.0, (), np.float64)))
INFOS = {"n": {"a": np.arange(4), "b": np.array([f"{i}" for i in range(4)], object)}, "flag": np.array([True] * 4)}
RICH_TRUTHS = [draw_truth(RICH, PAIR, 3, seed, INFOS if seed else None) for seed in range(3)]


@pytest.fixture
def data_path(tmp_path: Path) -> Path:
    return store(tmp_path)


def rich(directory: Path, **options: Any) -> Path:
    given = {"level": 3, "deep": {"array": np.arange(2.0)}}
    buffers = [as_buffer(truth, seed=seed or None, options=given) for seed, truth in enumerate(RICH_TRUTHS)]
    return store(directory, "hdf5", buffers, RICH, PAIR, **options)


def opened(data_path: Path, mode: str = "r", **options: Any) -> h5py.File:
    return h5py.File(data_path / "main_data.hdf5", mode, **options)


# Layout


def layout(group: h5py.Group) -> dict[str, tuple[str, tuple[int, ...]]]:
    found: dict[str, Any] = {}

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            text = h5py.check_string_dtype(item.dtype)
            found[name] = (text.encoding if text else str(item.dtype), item.shape)
        else:
            found[f"{name}/"] = ("group", ())

    group.visititems(add)
    return found


def test_layout_and_attributes_are_those_of_the_format(tmp_path: Path) -> None:
    data_path = rich(tmp_path)
    own = {"mean": 0.5, "name": "a", "mine": {"x": [1, 2]}, "none": None}
    MinariStorage.read(data_path).update_episode_metadata([own], [1])
    groups = ("observations/", "observations/pair/", "observations/pair/_index_1/", "actions/", "infos/", "infos/n/")
    with opened(data_path) as file:
        assert list(file) == ["episode_0", "episode_1", "episode_2"]
        assert layout(file["episode_1"]) == {
            **dict.fromkeys(groups, ("group", ())),
            "observations/x": ("float32", (4, 2, 3)),
            "observations/t": ("utf-8", (4,)),
            "observations/pair/_index_0": ("int64", (4,)),
            "observations/pair/_index_1/flag": ("int8", (4, 2)),
            "observations/empty": ("float32", (4, 0)),
            "observations/camera": ("uint8", (4, 40, 40, 3)),
            "actions/_index_0": ("int64", (3,)),
            "actions/_index_1": ("float64", (3,)),
            "rewards": ("float64", (3,)),
            "terminations": ("bool", (3,)),
            "truncations": ("bool", (3,)),
            "infos/n/a": ("int64", (4,)),
            "infos/n/b": ("utf-8", (4,)),
            "infos/flag": ("bool", (4,)),
        }
        assert layout(file["episode_0/infos"]) == {}
        last, truth = file["episode_2"], RICH_TRUTHS[2]
        assert last["observations/x"][:].tolist() == [value["x"].tolist() for value in truth["observations"]]
        assert last["observations/t"].asstr()[:].tolist() == [value["t"] for value in truth["observations"]]
        assert last["actions/_index_1"][:].tolist() == [float(value[1]) for value in truth["actions"]]
        assert last["terminations"][:].tolist() == truth["terminations"].tolist()
        first, second = (dict(file[f"episode_{i}"].attrs) for i in (0, 1))
    assert first.keys() == {"id", "total_steps", "options/level", "options/deep/array"}
    assert second.keys() == first.keys() | {"seed", "mean", "name", "mine/x", "none:json"}
    plain = {name: np.asarray(value).tolist() for name, value in second.items()}
    assert plain == {
        "id": 1,
        "total_steps": 3,
        "seed": 1,
        "options/level": 3,
        "options/deep/array": [0.0, 1.0],
        "mean": 0.5,
        "name": "a",
        "mine/x": [1, 2],
        "none:json": "null",
    }


def test_file_is_readable_by_every_library_from_1_10_on_and_alone_in_its_directory(tmp_path: Path) -> None:
    data_path = rich(tmp_path)
    content = (data_path / "main_data.hdf5").read_bytes()
    assert content[:8] == b"\x89HDF\r\n\x1a\n"
    assert content[8] <= 3, "the version of the superblock"
    with opened(data_path, libver=("earliest", "v110")) as file:
        assert len(file) == 3
    visible = {path.name for path in data_path.iterdir() if not path.name.startswith(".")}
    assert visible == {"metadata.json", "main_data.hdf5"}


def test_jpeg_rows_are_a_matrix_where_all_are_of_one_length(tmp_path: Path) -> None:
    data_path = rich(tmp_path, jpeg_encoding=True)
    truth = draw_truth(RICH, PAIR, 3, 5)
    black = [{**value, "camera": np.zeros((40, 40, 3), np.uint8)} for value in truth["observations"]]
    MinariStorage.read(data_path).update_episodes([as_buffer({**truth, "observations": black})])
    with opened(data_path) as file:
        vlen, matrix = (file[f"episode_{i}/observations/camera"] for i in (0, 3))
        assert (h5py.check_vlen_dtype(vlen.dtype), vlen.shape) == (np.uint8, (4,))
        assert (matrix.dtype, matrix.ndim) == (np.uint8, 2)
        assert all(bytes(row)[:3] == b"\xff\xd8\xff" for rows in (vlen, matrix) for row in rows[:])


def test_nothing_is_left_of_an_episode_that_was_continued(tmp_path: Path) -> None:
    data_path = rich(tmp_path)
    more = draw_truth(RICH, PAIR, 3, 9)
    buffer = as_continuation({**RICH_TRUTHS[0], "infos": {}}, more, 0, RICH, PAIR)[1]
    MinariStorage.read(data_path).update_episodes([buffer, buffer])
    with opened(data_path) as file:
        assert sorted(file) == ["episode_0", "episode_1", "episode_2"]
        assert (file["episode_0"].attrs["total_steps"], file["episode_0/rewards"].shape) == (9, (9,))


def test_names_of_paths_and_back() -> None:
    path, name = ("observations", 0, "a b", 12), "observations/_index_0/a b/_index_12"
    assert (group_name(7), to_hdf5_name(path), from_hdf5_name(name)) == ("episode_7", name, path)
    assert from_hdf5_name("infos/_index_x") == ("infos", "_index_x")


# What reading gives


def arrays_of(value: Any) -> list[np.ndarray]:
    if isinstance(value, np.ndarray):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [array for part in parts for array in arrays_of(part)]


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_arrays_are_private_unless_views_are_asked_for(tmp_path: Path, compression: str) -> None:
    storage = MinariStorage.read(store(tmp_path, compression=compression))
    for array in arrays_of(list(storage.get_episodes(range(4)))):
        assert array.flags.writeable
        assert array.base is None or array.base.flags.owndata, "memory of its own"
        array[...] = np.zeros((), array.dtype)
    assert_holds(storage.data_path, TRUTHS)
    for episode, truth in zip(storage.get_episodes(range(4), copy=False), TRUTHS, strict=True):
        assert_episode(episode, OBSERVATIONS, ACTIONS, truth)
        if compression == "none":
            with pytest.raises(ValueError, match="read-only"):
                episode["rewards"][0] = 1


def test_datasets_give_copies_or_views() -> None:
    columns = {"actions": np.zeros(5), "rewards": np.ones(5), "terminations": np.eye(1, 5, 4)[0]}
    dataset = minari.create_dataset_from_arrays("views-v0", observations=np.arange(6.0), **columns)
    for given in (dataset[0], next(iter(dataset)), *dataset.sample_episodes(1), *dataset.iterate_episodes()):
        given.rewards[...] = 9
    (view,) = dataset.iterate_episodes(copy=False)
    assert not view.rewards.flags.writeable
    assert view.rewards.tolist() == [1] * 5


@pytest.mark.parametrize("can_map", [True, False])
def test_views_share_a_map_or_are_copies(data_path: Path, can_map: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def mapped(*file: Any) -> MappedFile:
        made.append(file)
        if not can_map:
            raise OSError("no address space")
        return MappedFile(*file)

    storage = MinariStorage.read(data_path)
    monkeypatch.setattr(hdf5_storage, "MappedFile", mapped)
    kept = [list(storage.get_episodes([index], copy=False)) for index in (0, 1, 2, 3)]
    for (episode,), truth in zip(kept, TRUTHS, strict=True):
        assert_episode(episode, OBSERVATIONS, ACTIONS, truth)
    assert len(made) == 1 or not can_map
    del kept, episode
    made.clear()
    list(storage.get_episodes([0], copy=False))
    assert made


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="/proc tells what is open, which is of Linux")
def test_nothing_stays_open(data_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    storages = [MinariStorage.read(data_path) for _ in range(30)]
    kept: list[Any] = [next(storage.get_episodes([0])) for storage in storages]
    kept += [storage.get_episodes(itertools.cycle([0, 1])) for storage in storages]
    kept += list(map(next, kept[30:]))
    list(storages[0].get_episode_metadata(range(4)))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.skipif(os.name != "posix", reason="the limit is one of POSIX")
def test_thousand_datasets_are_open_under_a_limit_of_descriptors(data_path: Path) -> None:
    program = """
        import os, resource, sys
        from minari import MinariDataset
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        datasets = [MinariDataset(sys.argv[1]) for _ in range(1000)]
        episodes = [dataset[1] for dataset in datasets]
        views = [list(dataset.iterate_episodes([2], copy=False)) and None for dataset in datasets]
        child = os.fork()
        if child == 0:
            os._exit(len([dataset[3] for dataset in datasets]) != 1000)
        print(len(episodes), os.waitpid(child, 0)[1])
    """
    assert run(program, str(data_path), flags=("-W", "ignore")) == "1000 0\n"


def test_reading_needs_no_h5py(tmp_path: Path) -> None:
    """Loading it would take longer than reading arrays of a dataset with an index."""
    data_path = store(
        tmp_path, truths=[draw_truth(PAIR, ACTIONS, 2, seed) for seed in range(3)], observation_space=PAIR
    )
    program = """
        import sys
        from minari.dataset.minari_storage import MinariStorage
        storage = MinariStorage.read(sys.argv[1])
        print(sum(len(episode["rewards"]) for episode in storage.get_episodes([2, 0])), storage.get_episode_lengths())
        print("h5py" in sys.modules)
    """
    assert run(program, str(data_path)) == "4 [2 2 2]\nFalse\n"


def test_index_entry_that_leads_astray_is_not_used_twice(data_path: Path) -> None:
    def astray(header: dict[str, Any], rows: np.ndarray) -> None:
        header["total"] += 3
        rows[:, 2] = rows[0, 2]  # the attributes of another episode

    rewrite_index(data_path, astray)
    assert_holds(data_path, TRUTHS)
    assert [each["id"] for each in MinariStorage.read(data_path).get_episode_metadata(range(4))] == [0, 1, 2, 3]


# Files that others change


def test_changes_by_another_program_are_noticed_by_open_storages(data_path: Path) -> None:
    storage = MinariStorage.read(data_path)
    iterator = storage.get_episodes(range(4))
    first = next(iterator)
    truth = TRUTHS[1]
    with opened(data_path, "a") as file:
        group = file.create_group("episode_4")
        group.attrs["id"], group.attrs["total_steps"] = 4, 3
        group["observations/x"] = np.stack([value["x"] for value in truth["observations"]])
        group.create_dataset("observations/t", data=[value["t"] for value in truth["observations"]])
        group["actions"] = np.stack(truth["actions"])
        for name in ("rewards", "terminations", "truncations"):
            group.create_dataset(name, data=truth[name], chunks=True, compression="gzip")
        group.create_group("infos")
    edit_metadata(data_path, total_episodes=5, total_steps=53)
    for each in (data_path, storage):
        assert_holds(each, [*TRUTHS, truth])
    for episode, expected in zip([first, *iterator], TRUTHS, strict=True):
        assert_episode(episode, OBSERVATIONS, ACTIONS, expected)
    storage.update_episodes([as_buffer(TRUTHS[2])])
    assert_holds(data_path, [*TRUTHS, truth, TRUTHS[2]])
    with opened(data_path, "r+") as file:
        del file["episode_0/rewards"]
        file["episode_0/rewards"] = np.float32([1, 2])
        file["episode_1/rewards"][...] = 7
    changed = [episode["rewards"] for episode in storage.get_episodes([0, 1])]
    assert_same(changed, [np.float32([1, 2]), np.full(3, 7.0)])


#: Reads a dataset in each way, from a copy that is changed meanwhile, and prints what came of it.
READER = """
    import os, shutil, sys
    import numpy as np
    from minari.dataset.minari_storage import MinariStorage
    from minari.errors import MinariError

    master, work, change = sys.argv[1:]

    def disturb(file, content):
        if change in ("cut", "half"):
            os.truncate(file, len(content) // 2 if change == "half" else 0)
        elif change == "deleted":
            os.unlink(file)
        else:
            new = {"overwritten": bytes(len(content)), "rewritten": content, "replaced": content[::-1]}[change]
            with open(file + "2" * (change == "replaced"), "r+b" if change == "overwritten" else "wb") as opened:
                opened.write(new)
            if change == "replaced":
                os.replace(file + "2", file)

    ways = {
        "iterating": lambda storage: storage.get_episodes(range(40)),
        "one by one": lambda storage: (next(storage.get_episodes([index])) for index in range(40)),
        "windows": lambda storage: (storage.get_window(index, 3, 9) for index in range(40)),
        "metadata": lambda storage: storage.get_episode_metadata(range(40)),
    }
    for way in ways:
        path = shutil.copytree(master, f"{work}/{way}", copy_function=shutil.copyfile)
        file = path + "/main_data.hdf5"
        content = open(file, "rb").read()
        storage = MinariStorage.read(path)
        expected = [episode["observations"]["x"].sum() for episode in storage.get_episodes(range(40))]
        read = ways[way](storage)
        first = next(read)
        disturb(file, content)
        told = "read"
        try:
            if way != "metadata":
                first["observations"]["x"].sum(), first["observations"]["frames"].sum()
            for index, episode in enumerate(read, 1):
                if way in ("one by one", "iterating") and change != "overwritten":
                    assert episode["observations"]["x"].sum() == expected[index]
        except MinariError as error:
            told = type(error).__name__
        print(f"{way}: {told}", flush=True)
"""


@pytest.fixture(scope="module", params=["none", "gzip"])
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that is not read at once."""
    x, frames = spaces.Box(-1.0, 1.0, (50,), np.float64), spaces.Box(0, 255, (16, 16, 3), np.uint8)
    space = spaces.Dict({"x": x, "frames": frames})
    truths = [draw_truth(space, ACTIONS, 60, seed) for seed in range(40)]
    return store(tmp_path_factory.mktemp("large"), "hdf5", truths, space, compression=request.param)


@pytest.mark.parametrize("change", ["cut", "half", "overwritten", "rewritten", "replaced", "deleted"])
def test_file_that_changes_while_it_is_read_gives_right_values_or_an_error(
    large: Path, tmp_path: Path, change: str
) -> None:
    """And no signal."""
    lines = run(READER, str(large), str(tmp_path), change, flags=("-W", "ignore")).splitlines()
    told = dict(line.split(": ") for line in lines)
    assert [*told] == ["iterating", "one by one", "windows", "metadata"]
    possible = {"rewritten": {"read"}, "cut": {"DatasetCorruptError"}, "deleted": {"DatasetCorruptError"}}
    assert {*told.values()} <= possible.get(change, {"DatasetCorruptError", "read"})


# Neighbors


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fcntl")
    monkeypatch.setenv("MINARI_LOCK_TIMEOUT", "0.2")


def test_reader_through_hdf5_is_waited_for(data_path: Path, impatient: None) -> None:
    """Writing would pull the file away under it; reading goes on."""
    with opened(data_path):
        assert_holds(data_path, TRUTHS)
        with pytest.raises(DatasetBusyError, match="in use by another program"):
            MinariStorage.read(data_path).update_episodes([as_buffer(TRUTHS[0])])
    MinariStorage.read(data_path).update_episodes([as_buffer(TRUTHS[0])])
    assert_holds(data_path, [*TRUTHS, TRUTHS[0]])


WRITES_IN_PLACE = """
import os, signal, sys, h5py
file = h5py.File(sys.argv[1], "r+")
file["episode_0"].attrs["k"] = 1
file.flush()
print("writing", flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_file_written_in_place_is_busy_and_damaged_after_a_kill(data_path: Path, impatient: None) -> None:
    storage = MinariStorage.read(data_path)
    uses = (lambda: list(storage.get_episode_metadata([0])), lambda: storage.update_episodes([as_buffer(TRUTHS[0])]))
    command, pipes = [sys.executable, "-c", WRITES_IN_PLACE, data_path / "main_data.hdf5"], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipes, stdout=pipes) as child:
        assert child.stdout
        assert child.stdout.readline() == b"writing\n"
        for use in uses:
            with pytest.raises(DatasetBusyError):
                use()
        child.communicate(b"\n")
    for use in uses:
        with pytest.raises(DatasetCorruptError, match="h5clear"):
            use()


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="becomes another user, which needs root")
def test_directory_that_may_only_be_read_is_read_without_an_index(data_path: Path) -> None:
    without_index(data_path)
    for directory in (data_path, *data_path.parents[:-1]):
        directory.chmod(directory.stat().st_mode | 0o055)
    assert as_nobody(lambda: str(assert_holds(data_path, TRUTHS) or read_all(data_path))) == "None"
    assert not index_files(data_path)
    refused = as_nobody(lambda: str(MinariStorage.read(data_path).update_episodes([as_buffer(TRUTHS[0])])))
    assert "StorageError" in refused
    assert_holds(data_path, TRUTHS)


def numbers(count: int, first: int = 0) -> Any:
    """An episode whose leaves all lie in the file as they are in memory."""
    return {
        "observations": np.arange(count + 1.0) + first,
        "actions": np.arange(count) % 5,
        "rewards": np.arange(float(count)) + first,
        "terminations": np.arange(count) == count - 1,
        "truncations": np.zeros(count, bool),
        "infos": {},
    }


def test_windows_and_single_episodes_follow_the_file(tmp_path: Path) -> None:
    """Use nothing that is kept between two reads once the file is another one, or has been cut off."""
    box = spaces.Box(-np.inf, np.inf, (), np.float64)
    storage = MinariStorage.new(tmp_path / "data", box, ACTIONS)
    storage.update_episodes(as_buffer(numbers(count)) for count in (4, 600))
    other, file = MinariStorage.read(storage.data_path), storage.data_path / "main_data.hdf5"

    def seen(index: int, start: int, stop: int) -> list[float]:
        window, episode = other.get_window(index, start, stop), other.get_episode(index)
        assert_same(window["observations"], episode["observations"][start : stop + 1])
        assert_same(episode, next(other.get_episodes((index,))))
        rewards: list[float] = window["rewards"].tolist()
        return rewards

    assert seen(1, 2, 4) == [2.0, 3.0]
    storage.update_episodes([as_buffer(numbers(3, 90))])
    assert seen(2, 1, 3) == [91.0, 92.0]
    content = bytearray(file.read_bytes())
    place = content.rindex(np.arange(600.0).tobytes())
    content[place : place + 8] = np.float64(7).tobytes()
    with file.open("r+b") as written:  # in place, as another program may change values
        written.write(content)
    assert seen(1, 0, 2) == [7.0, 1.0]
    os.truncate(file, place + 800)
    for read in (other.get_episode, lambda index: other.get_window(index, 500, 600)):
        with pytest.raises(DatasetCorruptError):
            read(1)
    smaller = MinariStorage.new(tmp_path / "other" / "data", box, ACTIONS)
    smaller.update_episodes([as_buffer(numbers(5, 40))])
    for name in ("metadata.json", "main_data.hdf5", *[path.name for path in index_files(smaller.data_path)]):
        (smaller.data_path / name).replace(storage.data_path / name)
    for refused in (other.get_episode, lambda index: other.get_window(index, 0, 1)):
        with pytest.raises((EpisodeIndexError, DatasetCorruptError), match="pisode 2"):
            refused(2)
    assert seen(0, 3, 5) == [43.0, 44.0]


def test_reading_imports_nothing_that_only_writing_needs(tmp_path: Path) -> None:
    store(tmp_path, truths=[numbers(3)], observation_space=spaces.Box(-9, 9, (), np.float64))
    program = f"""
        import minari, sys
        minari.load_dataset
        before = set(sys.modules)
        dataset = minari.open_dataset({str(tmp_path)!r})
        list(dataset.iterate_episodes()), dataset.arrays(), dataset.storage.get_window(0, 0, 1)
        print(*sorted(name for name in set(sys.modules) - before if name.startswith("minari._storages")))
    """
    assert run(program).split() == []
