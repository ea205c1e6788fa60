"""CrowdPlay: the sample with its truth, and pickles that must leave no trace."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import pickle
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections import OrderedDict
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minari
from interchange.conftest import Sample
from interchange.test_lerobot import copy_of, directory
from minari.errors import InterchangeError
from minari.interchange import import_dataset, read
from minari.interchange.pickles import read_pickles


pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.*assumed that"),
]


def truth() -> Sample:
    import json

    place = directory("crowdplay-like")
    with np.load(place / "truth.npz") as file:
        return Sample(place, json.loads((place / "truth.json").read_text()), {key: file[key] for key in file})


def test_pickles_are_refused_unless_trusted() -> None:
    with pytest.raises(InterchangeError, match="give trust_pickles=True"):
        read(directory("crowdplay-like"))
    with pytest.raises(InterchangeError, match="give trust_pickles=True"):
        read(directory("crowdplay-like"), trust_pickles="no")


def test_samples_are_read_exactly() -> None:
    found = truth()
    dataset = import_dataset(found.path, "crowd/sample-v0", trust_pickles=True)
    assert isinstance(dataset, minari.MinariDataset)
    assert (dataset.total_episodes, dataset.total_steps) == (4, found.truth["total_steps"])
    for number, (episode, told) in enumerate(zip(dataset, found.truth["episodes"], strict=True)):
        values = found.episode(number)
        assert list(episode.agents) == told["agents"]
        for agent in told["agents"]:
            part = f"/{agent.split('>')[1]}" if len(told["agents"]) > 1 else ""
            ours = episode[agent]
            is_second = agent.endswith("player_1")
            pairs = [
                (ours.observations, values[f"observations{part}"]),
                (ours.actions, values[f"actions{part}"]),
                (ours.rewards, values["infos/reward_player_1" if is_second else "rewards"]),
            ]
            if not is_second:
                pairs.append((ours.infos["RAM"][1:], values["infos/RAM"]))
            for a, b in pairs:
                assert (a.dtype, a.shape) == (b.dtype, b.shape)
                np.testing.assert_array_equal(a, b)
            assert ours.terminations.tolist() == [False] * (told["length"] - 1) + [True]  # the file says done only
        assert episode.metadata["episode_id"] == told["episode_id"]
        assert episode.metadata["agents"]["game_0>player_0"]["score"] == told["score"]
        assert episode.metadata["agents"]["game_0>player_0"]["user_type"] == 1


def test_done_can_be_a_truncation() -> None:
    source = read(directory("crowdplay-like"), trust_pickles=True, done="truncated")
    episode = next(iter(source.episodes))
    assert [one.truncations[-1] for one in episode.agents.values()] == [True]
    assert any("done is a truncation" in sentence for sentence in source.report.assumed)


class Call:
    """A value whose pickle calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> Any:
        return self.reduced


def stack_global(module: str, name: str, arguments: bytes = b")") -> bytes:
    def text(value: str) -> bytes:
        return b"\x8c" + bytes([len(value)]) + value.encode()

    return b"\x80\x04" + text(module) + text(name) + b"\x93" + arguments + b"R."


BOMB = 2**27
NAMES = [
    "os.system",
    "subprocess",
    "eval",
    "exec",
    "open",
    "getattr",
    "protocol 0",
    "inst",
    "obj",
    "newobj",
    "dotted",
    "numpy.load",
    "own program",
    "own module",
    "persistent",
    "extension",
    "class",
    "object array",
    "structured",
    "dates",
    "deep",
    "laughs",
    "cycle",
    "huge length",
    "huge text",
    "huge frame",
    "huge integer",
    "huge memo",
    "huge array",
    "bomb",
    "bomb of bombs",
    "empty",
    "cut",
    "two arguments of dtype",
    "changed function",
]


@lru_cache
def hostile(marker: Path) -> dict[str, bytes]:
    """Pickles that would leave a file, or take all memory or time, if they were read as usual."""
    touch = f"touch {marker}"
    deep = b"\x80\x04" + b"(" * 200_000 + b"t" * 200_000 + b"."
    laughs: Any = ["lol"]
    for _ in range(40):
        laughs = [laughs] * 10
    cycle: list[Any] = []
    cycle.append(cycle)
    array = pickle.dumps(np.zeros(3), protocol=4)
    found = {
        "os.system": pickle.dumps(Call(os.system, touch)),
        "subprocess": pickle.dumps(Call(subprocess.call, ["touch", str(marker)])),
        "eval": pickle.dumps(Call(eval, f"open({str(marker)!r}, 'w')")),
        "exec": pickle.dumps(Call(exec, f"open({str(marker)!r}, 'w')")),
        "open": pickle.dumps(Call(open, str(marker), "w")),
        "getattr": pickle.dumps(Call(getattr, np.ndarray, "tofile")),
        "protocol 0": f"cos\nsystem\n(S'{touch}'\ntR.".encode(),
        "inst": f"(S'{touch}'\nios\nsystem\n.".encode(),
        "obj": b"(cos\nsystem\nS'" + touch.encode() + b"'\no.",
        "newobj": b"cos\nsystem\nS'" + touch.encode() + b"'\n\x85\x81.",
        "dotted": stack_global("numpy", "ndarray.tofile"),
        "numpy.load": stack_global("numpy", "load"),
        "own program": stack_global("__main__", "os.system"),
        "own module": stack_global("minari.interchange.restricted_pickle", "main"),
        "persistent": b"Pabc\n.",
        "extension": b"\x82\x01.",
        "class": pickle.dumps(Path("/tmp")),
        "object array": pickle.dumps(np.array([Call(os.system, touch)], dtype=object)),
        "structured": pickle.dumps(np.zeros(2, [("a", "f4")])),
        "dates": pickle.dumps(np.zeros(2, "M8[s]")),
        "deep": deep,
        "laughs": pickle.dumps(laughs),
        "cycle": pickle.dumps(cycle),
        "huge length": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.",
        "huge text": b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"abc.",
        "huge frame": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
        "huge integer": b"\x80\x04\x8b" + struct.pack("<i", 2**20) + b"\x7f" * 2**20 + b".",
        "huge memo": b"\x80\x04Nr" + struct.pack("<I", 2**32 - 1) + b".",
        "huge array": array.replace(b"K\x03\x85", b"\x8a\x06\0\0\0\0\0\x10\x85"),
        "bomb": gzip.compress(b"\x80\x04\x8e" + struct.pack("<Q", BOMB) + bytes(BOMB) + b".", 9),
        "bomb of bombs": bz2.compress(bytes(BOMB)),
        "empty": b"",
        "cut": array[:-20],
        "two arguments of dtype": stack_global("numpy", "dtype", b"\x8c\x02O8\x85"),
        "changed function": b"\x80\x04\x8c\x07_codecs\x8c\x06encode\x93N}\x8c\x08__code__Ns\x86b.",
    }
    assert list(found) == NAMES
    return found


@pytest.fixture(scope="module")
def marker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trace") / "marker"


@pytest.mark.parametrize("name", NAMES)
def test_hostile_pickles_leave_no_trace(marker: Path, name: str) -> None:
    with pytest.raises(InterchangeError, match="cannot be read") as raised:
        read_pickles([hostile(marker)[name]], "evil.pickle")
    assert "\n" not in str(raised.value)
    assert not marker.exists()


@pytest.mark.parametrize("suffix", [".pickle", ".pickle.gz", ".pickle.bz2"])
def test_the_malicious_sample_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    path = copy_of(directory("crowdplay-like"), tmp_path / "a")
    evil = (path / "MALICIOUS/evil.pickle").read_bytes()
    pack = {".pickle": bytes, ".pickle.gz": gzip.compress, ".pickle.bz2": bz2.compress}[suffix]
    name = truth().truth["episodes"][0]["episode_id"]
    (path / f"{name}.pickle").unlink()
    (path / f"{name}{suffix}").write_bytes(pack(evil))
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    with pytest.raises(InterchangeError, match=r"posix\.system|names"):
        import_dataset(path, "crowd/evil-v0", trust_pickles=True)
    markers = [one / "pickle_was_executed" for one in (place, path, Path("/"), Path.home(), Path("/tmp"))]
    assert not any(marker.exists() for marker in markers)
    assert minari.list_local_datasets() == {}


def test_hostile_keywords_leave_no_trace(tmp_path: Path) -> None:
    path = copy_of(directory("crowdplay-like"), tmp_path / "a")
    with sqlite3.connect(path / "dataset.sqlite") as connection:
        evil = pickle.dumps(Call(os.system, f"touch {tmp_path / 'marker'}"))
        connection.execute("UPDATE episodekeyworddata SET value = ? WHERE id = 1", (evil,))
    connection.close()
    source = read(path, "crowdplay", trust_pickles=True)
    first = next(iter(source.episodes))
    assert "score" not in first.metadata["agents"]["game_0>player_0"]
    assert any("score of the database" in sentence for sentence in source.report.missing)
    assert not (tmp_path / "marker").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the limits are those of Linux")
def test_the_reader_can_neither_open_nor_start_anything(tmp_path: Path) -> None:
    """Even code that ran in the process of the reader could do nothing."""
    program = Path(minari.__file__).parent / "interchange/restricted_pickle.py"
    code = f"""
import runpy, os, socket, subprocess, sys
module = runpy.run_path({str(program)!r})
module["give_up_privileges"]()
def attempt(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return "refused"
    return "done"
results = [
    attempt(open, {str(tmp_path / "marker")!r}, "w"), attempt(open, "/etc/passwd"), attempt(socket.socket),
    attempt(os.fork), attempt(subprocess.run, ["true"]), attempt(os.mkdir, {str(tmp_path / "made")!r}),
]
print(results, os.geteuid())
os._exit(0)
"""
    tmp_path.chmod(0o755)
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code + "\n"], capture_output=True, text=True, check=False)
    assert "done" not in done.stdout, done.stdout
    assert done.stdout.count("refused") == 6 or not done.stdout  # not even the last line, if it could not be printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("protocol", range(6))
def test_harmless_values_are_read(protocol: int) -> None:
    fortran = np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3))
    values = {
        "none": [None, True, 3, -(2**60), 0.5, "öffne", b"\x00\xff"],
        "nested": {"a": [1, [2, {"b": "c"}]], 3: "key"},
        "arrays": [np.arange(3.0), np.zeros((2, 0), np.float32), fortran, np.array(5, ">i4"), np.ones(3, np.bool_)],
        "ordered": OrderedDict(x=1),
        "numbers": [np.float32(0.25), np.int64(3), np.bool_(True)],
    }
    (found,) = read_pickles([pickle.dumps(values, protocol)], "a.pickle")
    assert found["none"] == values["none"]
    assert found["nested"] == {"a": [1, [2, {"b": "c"}]], 3: "key"}
    for ours, theirs in zip(found["arrays"], values["arrays"], strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype.newbyteorder("="), theirs.shape)
        np.testing.assert_array_equal(ours, theirs)
    assert found["ordered"] == {"x": 1}
    assert [number.item() for number in found["numbers"]] == [0.25, 3, True]


def test_shared_parts_are_read() -> None:
    frame = np.arange(100, dtype=np.uint8)
    steps = [{"prev_obs": frame, "obs": frame} for _ in range(20)]
    (found,) = read_pickles([pickle.dumps(steps)], "a.pickle")
    assert all(np.array_equal(step["obs"], frame) for step in found)


@pytest.mark.parametrize("seed", range(12))
def test_damage_is_an_error_of_ours(tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    path = copy_of(directory("crowdplay-like"), tmp_path / "a")
    files = sorted(one for one in path.iterdir() if one.suffix in (".sqlite", ".pickle", ".gz", ".bz2"))
    file = files[seed % len(files)]
    data = bytearray(file.read_bytes())
    if seed % 2:
        for place in generator.integers(len(data), size=10):
            data[place] ^= 1 << int(generator.integers(8))
    else:
        del data[int(generator.integers(len(data))) :]
    file.write_bytes(data)
    with suppress(InterchangeError):
        list(read(path, "crowdplay", trust_pickles=True).episodes)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE episodes SET episode_id = '../evil' WHERE rowid = 1", "expected the plain name"),
        ("UPDATE episodes SET episode_id = 'MALICIOUS/evil' WHERE rowid = 1", "expected the plain name"),
        ("UPDATE episodes SET episode_id = 'missing' WHERE rowid = 1", "has no missing.pickle"),
        ("DELETE FROM episodes", "has no episode"),
        ("ALTER TABLE episodes RENAME TO others", "has no table 'episodes'"),
        ("ALTER TABLE episodes RENAME COLUMN episode_id TO name", "have no episode_id"),
    ],
)
def test_other_databases_are_refused(tmp_path: Path, statement: str, message: str) -> None:
    path = copy_of(directory("crowdplay-like"), tmp_path / "a")
    with sqlite3.connect(path / "dataset.sqlite") as connection:
        connection.execute(statement)
    connection.close()
    with pytest.raises(InterchangeError, match=message):
        read(path, "crowdplay", trust_pickles=True)


def test_endless_queries_end(tmp_path: Path) -> None:
    path = copy_of(directory("crowdplay-like"), tmp_path / "a")
    with sqlite3.connect(path / "dataset.sqlite") as connection:
        connection.execute("ALTER TABLE episodes RENAME TO rows")
        connection.execute(
            "CREATE VIEW episodes AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
            "SELECT i AS episode_id FROM n"
        )
    connection.close()
    with pytest.raises(InterchangeError, match="has no table 'episodes'"):
        read(path, "crowdplay", trust_pickles=True)


def test_links_are_refused(tmp_path: Path) -> None:
    path = copy_of(directory("crowdplay-like"), tmp_path / "a")
    name = truth().truth["episodes"][0]["episode_id"]
    shutil.move(path / f"{name}.pickle", tmp_path / "elsewhere")
    (path / f"{name}.pickle").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InterchangeError, match="link that leads out"):
        read(path, "crowdplay", trust_pickles=True)


def test_pickles_of_other_things_are_refused(tmp_path: Path) -> None:
    path = copy_of(directory("crowdplay-like"), tmp_path / "a")
    name = truth().truth["episodes"][0]["episode_id"]
    for value in ({}, [], [3], [{"obs": {}}], io.BytesIO):
        (path / f"{name}.pickle").write_bytes(pickle.dumps(value))
        with pytest.raises(InterchangeError):
            read(path, "crowdplay", trust_pickles=True)
