"""A package of someone else that brings a storage format: found, used, proved, and missed where it is gone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from support.scripted import listing


REPOSITORY = Path(__file__).parents[2]
SOURCE = REPOSITORY / "tests" / "plugins" / "minari_npz"
PAGE = REPOSITORY / "docs" / "own_format.md"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what ``pip install`` would put into site-packages."""
    pytest.importorskip("hatchling")
    directory = tmp_path_factory.mktemp("plugin")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory / "dist")]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = (directory / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory / "site")
    assert sorted(path.name for path in (directory / "site").iterdir()) == ["minari_npz-1.0.dist-info", "minari_npz.py"]
    return directory / "site"


def run(
    *arguments: str, root: Path, site: Path | None = None, code: int = 0, directory: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python with the package, or without it."""
    paths = [str(path) for path in (site, REPOSITORY) if path is not None]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = {**inherited, "PYTHONPATH": os.pathsep.join(paths), "MINARI_DATASETS_PATH": str(root)}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=directory, capture_output=True, encoding="utf-8", timeout=300
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def master(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the dataset ``cart/a-v0``, recorded in the format of the package."""
    root = tmp_path_factory.mktemp("master")
    recording = ("record", "CartPole-v1", "--dataset-id", "cart/a-v0", "--seed", "3", "--episodes", "3")
    done = run("-m", "minari", *recording, "--format", "npz", "--record-infos", root=root, site=installed)
    assert done.stdout.startswith("Dataset cart/a-v0 recorded: 3 episodes")
    return root


@pytest.fixture
def recorded(master: Path, datasets_root: Path) -> Path:
    """A copy of that root."""
    return shutil.copytree(master, datasets_root, dirs_exist_ok=True)


def test_it_is_found(installed: Path, datasets_root: Path) -> None:
    program = "from minari.dataset._storages import get_storage_keys; print(get_storage_keys())"
    assert "'npz'" in run("-c", program, root=datasets_root, site=installed).stdout
    assert "'npz'" not in run("-c", program, root=datasets_root).stdout


def test_every_command_works_with_it(installed: Path, recorded: Path) -> None:
    """Listed, shown, extended, converted to another format and back, repacked, combined."""

    def minari(*arguments: str) -> str:
        return run("-m", "minari", *arguments, root=recorded, site=installed).stdout

    files = {path.suffix for path in (recorded / "cart" / "a-v0" / "data").iterdir() if not path.name.startswith(".")}
    assert files == {".npz", ".jsonl", ".json"}
    assert '"cart/a-v0"' in minari("list", "local", "--json")
    assert "cart/a-v0" in minari("show", "cart/a-v0")
    assert minari("validate", "cart/a-v0", "--json").count('"kind"') == 0
    (recorded / "cart" / "a-v0" / "data" / "notes.txt").touch()
    assert '"foreign file"' in minari("validate", "cart/a-v0", "--json")
    minari("record", "CartPole-v1", "--dataset-id", "cart/a-v0", "--seed", "3", "--episodes", "2", "--append")
    assert "(npz to hdf5): 5 episodes" in minari("convert", "cart/a-v0", "cart/b-v0", "--format", "hdf5")
    back = minari("convert", "cart/b-v0", "cart/c-v0", "--format", "npz", "--compression", "deflate:9")
    assert "(hdf5 to npz): 5 episodes" in back
    minari("repack", "cart/a-v0", "--compression", "observations=deflate")
    minari("combine", "cart/a-v0", "cart/b-v0", "cart/c-v0", "--dataset-id", "cart/all-v0")
    run("-c", _SAME, root=recorded, site=installed)


#: All of these hold the same episodes, in their own formats.
_SAME = """
import minari
from minari.testing.comparison import assert_same

first, *others = (minari.load_dataset(f"cart/{name}-v0") for name in "abc")
assert [dataset.storage.FORMAT for dataset in (first, *others)] == ["npz", "hdf5", "npz"]
assert (first.storage.compression, others[1].storage.compression) == ({"observations": "deflate"}, "deflate:9")
for other in (*others, *(minari.load_dataset("cart/all-v0")[start : start + 5] for start in (0, 5, 10))):
    assert len(first) == len(other) == 5
    for episode, expected in zip(other, first):
        assert_same({**vars(episode), "id": 0}, {**vars(expected), "id": 0})
"""


def test_it_keeps_what_every_format_promises(installed: Path, datasets_root: Path) -> None:
    """The suite that is shipped with the library, as the package's own tests run it."""
    shared = Path("/dev/shm")  # where there is no disk to wait for
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as name:
        directory = Path(name)
        shutil.copy(SOURCE / "test_minari_npz.py", directory)
        (directory / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")  # and not that of a directory above
        options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--basetemp", str(directory / "base"))
        done = run(
            "-m", "pytest", *options, "test_minari_npz.py", root=datasets_root, site=installed, directory=directory
        )
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 150
    assert "skipped" not in done.stdout
    assert "failed" not in done.stdout


def test_where_the_package_is_not_installed(recorded: Path) -> None:
    """The dataset is listed; what needs its episodes says what is missing, and changes nothing."""
    before = listing(recorded)
    assert '"cart/a-v0"' in run("-m", "minari", "list", "local", "--json", root=recorded).stdout
    listed = run("-c", _RAW, root=recorded).stdout
    assert json.loads(listed) == {"total_episodes": 3, "data_format": "npz"}
    for command in (
        ("convert", "cart/a-v0", "cart/b-v0"),
        ("repack", "cart/a-v0"),
        ("combine", "cart/a-v0", "--dataset-id", "cart/b-v0"),
        ("record", "CartPole-v1", "--dataset-id", "cart/b-v0", "--format", "npz"),
    ):
        done = run("-m", "minari", *command, root=recorded, code=1)
        (complaint,) = done.stderr.splitlines()
        assert complaint.startswith("Error: ")
        assert "'npz'" in complaint
        assert "'hdf5'" in complaint
        assert done.stdout == ""
    assert listing(recorded) == before


_RAW = """
import json, os, pathlib
from minari.dataset.minari_storage import MinariStorage

path = pathlib.Path(os.environ["MINARI_DATASETS_PATH"]) / "cart" / "a-v0" / "data"
raw = MinariStorage.read_raw_metadata(path)
print(json.dumps({key: raw[key] for key in ("total_episodes", "data_format")}))
"""


def test_where_something_that_it_needs_is_not_installed(installed: Path, recorded: Path, tmp_path: Path) -> None:
    """The package is there, and one that it imports is not: the message names both."""
    broken = tmp_path / "site"
    for name, content in listing(installed).items():
        if content is not None:
            (broken / name).parent.mkdir(parents=True, exist_ok=True)
            (broken / name).write_bytes(content.replace(b"import uuid\n", b"import uuid\nimport no_such_package\n"))
    # What needs the metadata alone is still there.
    shown = run("-m", "minari", "show", "cart/a-v0", root=recorded, site=broken)
    refused = run("-m", "minari", "repack", "cart/a-v0", root=recorded, site=broken, code=1)
    assert "CartPole-v1" in shown.stdout
    for done in (shown, refused):
        (complaint,) = done.stderr.splitlines()
        assert "The format 'npz' needs no_such_package" in complaint
        assert 'pip install "minari-npz"' in complaint
    assert '"cart/a-v0"' in run("-m", "minari", "list", "local", "--json", root=recorded, site=broken).stdout


@pytest.mark.parametrize("name", ["minari_npz.py", "pyproject.toml", "test_minari_npz.py"])
def test_the_page_shows_the_package(name: str) -> None:
    """Word for word, so that what readers copy is what is tested."""
    assert (SOURCE / name).read_text(encoding="utf-8").strip("\n") in PAGE.read_text(encoding="utf-8")
