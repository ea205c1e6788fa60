"""An index that somebody else has written: whatever it says, a sound dataset is read as it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings

from minari._storages.hdf5.index import INDEX_NAME
from minari.dataset.minari_storage import MinariStorage
from minari.testing.comparison import assert_episode
from minari.testing.examples import as_buffer, draw_truth
from support.stored import rewrite_index


FRAMES = spaces.Box(0, 255, (8, 8, 3), np.uint8)
OBSERVATIONS = spaces.Dict({"x": spaces.Box(-1.0, 1.0, (3,), np.float64), "frames": FRAMES, "t": spaces.Text(5)})
ACTIONS = spaces.Discrete(3)
TRUTHS = [draw_truth(OBSERVATIONS, ACTIONS, steps, steps) for steps in (4, 40, 9)]

#: What nobody expects at the place of any value.
EXTREMES: list[Any] = [None, True, False, -1, 0, 1, 2, 7, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**300]
EXTREMES += [0.5, float("nan"), "", "|O", "<f8", "<f4", ">i2", "|V8", "<U3", "<M8[s]", "<f16", "<c32", "O", "f8,f8"]
EXTREMES += ["../x", "x" * 3000, [], [1], [[]], {}, {"a": 1}, [0] * 40, [2**40, 2**40], [True, True], ["a", -1]]

some_examples = settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=50)

READER = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))
import numpy as np
from minari.dataset.minari_storage import MinariStorage
from minari.testing.comparison import assert_episode
sys.path.insert(0, sys.argv[1])
from security.test_hdf5_index import ACTIONS, OBSERVATIONS, TRUTHS, copies, assert_sound
for line in sys.stdin:
    try:
        assert_sound(line.strip())
    except BaseException as error:
        print(f"{type(error).__name__}: {error}"[:300].replace("\\n", " "), flush=True)
    else:
        print("ok", flush=True)
"""


def assert_sound(data_path: Path | str) -> None:
    """Require the values that were written, or others only in the arrays' own bytes."""
    storage = MinariStorage.read(data_path)
    assert storage.total_episodes == 3
    for view in (False, True):
        for episode, truth in zip(storage.get_episodes(range(3), copy=not view), TRUTHS, strict=True):
            assert_episode(episode, OBSERVATIONS, ACTIONS, truth)
    assert [metadata["id"] for metadata in storage.get_episode_metadata(range(3))] == [0, 1, 2]
    assert storage.get_episode_lengths().tolist() == [4, 40, 9]


def copies(data_path: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(data_path, target))


@pytest.fixture(scope="module", params=["none", "gzip", "zstd"])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "data"
    storage = MinariStorage.new(path, OBSERVATIONS, ACTIONS, compression=request.param)
    storage.update_episodes(map(as_buffer, TRUTHS))
    return path


@pytest.fixture(scope="module")
def reader() -> Iterator[Callable[[Path], str]]:
    """Read in another process, which may crash, and has little memory."""
    tests = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "ignore", "-c", READER, tests]
    piped: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    process = subprocess.Popen(command, env=environment, **piped)

    def read(data_path: Path) -> str:
        process.stdin.write(f"{data_path}\n")
        process.stdin.flush()
        return process.stdout.readline().strip() or f"ended with {process.wait(10)}"

    with process:  # which closes the pipes
        yield read
        process.kill()


def places_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the position of a value in a header."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield from places_in(part, (*path, key))


def put(header: dict[str, Any], place: tuple[Any, ...], value: Any) -> None:
    node: Any = header
    for key in place[:-1]:
        node = node[key]
    if place:
        node[place[-1]] = value
    else:
        header.clear()
        header.update(value if isinstance(value, dict) else {"version": value})


def is_believed(header: dict[str, Any], place: tuple[Any, ...], value: Any) -> bool:
    """Return whether a value is possible for a position, so that values would be read from elsewhere."""
    return place[:1] == ("schemas",) and len(place) > 3 and place[3] in (0, 1, 2, 3, 5) and value != "|O"


@some_examples
@given(data=st.data())
def test_header_with_extremes_is_checked(
    data: st.DataObject, original: Path, reader: Callable[[Path], str], tmp_path: Path
) -> None:
    """With a checksum that fits, each value is checked by itself."""
    path = copies(original, tmp_path / "data")
    header = json.loads((path / INDEX_NAME).read_text())
    place = data.draw(st.sampled_from(list(places_in(header))))
    value = data.draw(st.sampled_from(EXTREMES))

    def change(header: dict[str, Any], rows: np.ndarray) -> None:
        put(header, place, value)

    try:
        rewrite_index(path, change)
    except (ValueError, OverflowError):
        return  # not JSON
    answer = reader(path)
    if is_believed(header, place, value):  # the dtype of a leaf, say, which is that of other values then
        assert answer == "ok" or answer.startswith(("AssertionError", "DatasetCorruptError")), (place, value)
    else:
        assert answer == "ok", (place, value)


@some_examples
@given(data=st.data())
def test_table_with_extremes_is_checked(
    data: st.DataObject, original: Path, reader: Callable[[Path], str], tmp_path: Path
) -> None:
    """Leaves outside the file, or that cannot be decompressed, are located again."""
    path = copies(original, tmp_path / "data")
    size = (path / "main_data.hdf5").stat().st_size
    numbers = st.sampled_from([-(2**63), -(2**31), -2, -1, 2**31, 2**32, 2**40, 2**62, 2**63 - 1, size, size + 1])

    def change(header: dict[str, Any], rows: np.ndarray) -> None:
        leaves = sum(1 + leaf[4] for leaf in header["schemas"][0])
        row = data.draw(st.integers(0, len(rows) - 1))
        rows[row, data.draw(st.integers(0, 3 + leaves))] = data.draw(numbers)

    rewrite_index(path, change)
    assert reader(path) == "ok"


@some_examples
@given(data=st.data())
def test_flipped_bits_are_found(
    data: st.DataObject, original: Path, reader: Callable[[Path], str], tmp_path: Path
) -> None:
    """Bits that flip in the header or in the table, without a checksum that fits."""
    path = copies(original, tmp_path / "data")
    file = data.draw(st.sampled_from(sorted(path.glob(".index.*"))))
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    assert reader(path) == "ok"


#: What is written in place of a header.
HEADERS = {
    "large": lambda header: json.dumps({**header, "more": "x" * 2**24}),
    "deep": lambda header: "[" * 10**6,
    "long number": lambda header: json.dumps(header).replace('"width": ', '"width": ' + "9" * 10**5),
    "twice a leaf": lambda header: json.dumps({**header, "schemas": [header["schemas"][0] * 2]}),
    "no UTF-8": lambda header: b"\xff\xfe",
}


@pytest.mark.parametrize("kind", [*HEADERS, "holes", "leaves left out"])
def test_impossible_header_is_not_believed(
    kind: str, original: Path, reader: Callable[[Path], str], tmp_path: Path
) -> None:
    path = copies(original, tmp_path / "data")
    header = json.loads((path / INDEX_NAME).read_text())
    if kind == "leaves left out":  # a column that the spaces ask for
        rewrite_index(path, lambda header, rows: header.update(schemas=[header["schemas"][0][:1]]))
    elif kind == "holes":  # a table may say that it has any size without taking any place
        if os.name != "posix":
            pytest.skip("other systems have no files with holes")
        os.truncate(path / header["table"], 2**40)
        (path / INDEX_NAME).write_text(json.dumps({**header, "episodes": 2**37 // header["width"]}))
    else:
        text = HEADERS[kind](header)
        (path / INDEX_NAME).write_bytes(text.encode() if isinstance(text, str) else text)
    assert reader(path) == "ok"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs")
@pytest.mark.parametrize("which", ["header", "table"])
def test_pipes_and_links_are_not_read(
    original: Path, reader: Callable[[Path], str], tmp_path: Path, which: str
) -> None:
    for make in (os.mkfifo, lambda path: path.symlink_to("/etc/passwd"), lambda path: path.symlink_to("/dev/zero")):
        path = copies(original, tmp_path / "data")
        (table,) = path.glob(".index.*.i8")
        file = path / INDEX_NAME if which == "header" else table
        file.unlink()
        make(file)
        assert reader(path) == "ok"


def test_read_only_directory_gets_no_index(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError("read-only")

    path = copies(original, tmp_path / "data")
    for file in path.glob(".index.*"):
        file.unlink()
    monkeypatch.setattr(Path, "open", refuse)
    assert_sound(path)
    assert not list(path.glob(".index.*"))
