"""A package of someone else that brings a storage format: found, used, proved, and missed where it is gone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.forks import run_module
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
    subprocess.run(command, cwd=SOURCE, capture_output=True, check=True)
    (wheel,) = (directory / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory / "site")
    assert sorted(path.name for path in (directory / "site").iterdir()) == ["minari_npz-1.0.dist-info", "minari_npz.py"]
    return directory / "site"


def run(*arguments: str, root: Path, site: Path | None = None, directory: Path | None = None) -> tuple[str, str]:
    """Run Python with the package, or without it; the output and, if it failed, the errors."""
    paths = [str(path) for path in (site, REPOSITORY) if path is not None]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = {**inherited, "PYTHONPATH": os.pathsep.join(paths), "MINARI_DATASETS_PATH": str(root)}
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, env=environment, cwd=directory, capture_output=True, encoding="utf-8", timeout=300, check=False
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout, done.stderr if done.returncode else ""


@pytest.fixture(scope="module")
def master(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the dataset ``cart/a-v0``, recorded in the format of the package."""
    root = tmp_path_factory.mktemp("master")
    recording = ("record", "CartPole-v1", "--dataset-id", "cart/a-v0", "--seed", "3", "--episodes", "3")
    out, _ = run("-m", "minari", *recording, "--format", "npz", "--record-infos", root=root, site=installed)
    assert out.startswith("Dataset cart/a-v0 recorded: 3 episodes")
    return root


@pytest.fixture
def recorded(master: Path, datasets_root: Path) -> Path:
    """A copy of that root."""
    return shutil.copytree(master, datasets_root, dirs_exist_ok=True)


#: All of these hold the same episodes, in their own formats.
SAME = """
import dataclasses, minari
from minari.testing.comparison import assert_same

first, *others = (minari.load_dataset(f"cart/{name}-v0") for name in "abc")
assert [dataset.storage.FORMAT for dataset in (first, *others)] == ["npz", "hdf5", "npz"]
assert (first.storage.compression, others[1].storage.compression) == ({"observations": "deflate"}, "deflate:9")
for other in (*others, *(minari.load_dataset("cart/all-v0")[start : start + 5] for start in (0, 5, 10))):
    assert len(first) == len(other) == 5
    for episode, expected in zip(other, first):
        for field in dataclasses.fields(episode):
            if field.name != "id":
                assert_same(getattr(episode, field.name), getattr(expected, field.name))
"""


def test_every_command_works_with_it(installed: Path, recorded: Path, tmp_path: Path) -> None:
    paths = os.pathsep.join([str(installed), str(REPOSITORY)])
    environment = {**os.environ, "PYTHONPATH": paths, "MINARI_DATASETS_PATH": str(recorded)}

    def minari(command: str) -> str:
        code, out, errors = run_module("minari", command.split(), environment=environment, directory=tmp_path)
        assert code == 0, errors
        return out

    files = {path.suffix for path in (recorded / "cart" / "a-v0" / "data").iterdir() if not path.name.startswith(".")}
    assert files == {".npz", ".jsonl", ".json"}
    assert '"cart/a-v0"' in minari("list local --json")
    assert "cart/a-v0" in minari("show cart/a-v0")
    (report,) = json.loads(minari("validate cart/a-v0 --json"))
    assert [finding["kind"] for finding in report["findings"]] == ["constant"]  # the rewards of CartPole
    (recorded / "cart" / "a-v0" / "data" / "notes.txt").touch()
    assert '"foreign file"' in minari("validate cart/a-v0 --json")
    minari("record CartPole-v1 --dataset-id cart/a-v0 --seed 3 --episodes 2 --append")
    assert "(npz to hdf5): 5 episodes" in minari("convert cart/a-v0 cart/b-v0 --format hdf5")
    back = minari("convert cart/b-v0 cart/c-v0 --format npz --compression deflate:9")
    assert "(hdf5 to npz): 5 episodes" in back
    minari("repack cart/a-v0 --compression observations=deflate")
    minari("combine cart/a-v0 cart/b-v0 cart/c-v0 --dataset-id cart/all-v0")
    assert run("-c", SAME, root=recorded, site=installed) == ("", "")


def test_shipped_suite_passes_for_it(installed: Path, datasets_root: Path, memory_path: Path) -> None:
    shutil.copy(SOURCE / "test_minari_npz.py", memory_path)
    (memory_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")  # and not that of a directory above
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--basetemp", str(memory_path / "base"))
    command = ("-m", "pytest", *options, "test_minari_npz.py")
    out, _ = run(*command, root=datasets_root, site=installed, directory=memory_path)
    passed = re.search(r"(\d+) passed", out)
    assert passed is not None
    assert int(passed[1]) > 150
    assert not re.search("skipped|failed", out)


def test_missing_package_is_named_and_nothing_changed(recorded: Path) -> None:
    before = listing(recorded)
    (listed, _) = run("-m", "minari", "list", "local", "--json", root=recorded)
    assert '"cart/a-v0"' in listed
    for command in (
        "convert cart/a-v0 cart/b-v0",
        "repack cart/a-v0",
        "combine cart/a-v0 --dataset-id cart/b-v0",
        "record CartPole-v1 --dataset-id cart/b-v0 --format npz",
    ):
        out, errors = run("-m", "minari", *command.split(), root=recorded)
        assert re.fullmatch(r"Error: .*'npz'.*'hdf5'.*\n", errors)
        assert out == ""
    assert listing(recorded) == before


def test_missing_dependency_of_the_package_is_named(installed: Path, recorded: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(installed, tmp_path / "site")
    module = broken / "minari_npz.py"
    module.write_text(
        module.read_text("utf-8").replace("import uuid\n", "import uuid\nimport no_such_package\n"), "utf-8"
    )
    needed = r"The format 'npz' needs no_such_package.*pip install \"minari-npz\""
    (_, errors) = run("-m", "minari", "repack", "cart/a-v0", root=recorded, site=broken)
    assert re.search(needed, errors)
    for command in ("list local --json", "show cart/a-v0"):  # which need the metadata alone
        out, errors = run("-m", "minari", *command.split(), root=recorded, site=broken)
        assert "CartPole-v1" in out or '"cart/a-v0"' in out
        assert not errors


@pytest.mark.parametrize("name", ["minari_npz.py", "pyproject.toml", "test_minari_npz.py"])
def test_documentation_shows_the_package_word_for_word(name: str) -> None:
    assert (SOURCE / name).read_text(encoding="utf-8").strip("\n") in PAGE.read_text(encoding="utf-8")
