"""The content of the wheel and the source archive, and the metadata of the project."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest

import minari


REPOSITORY = Path(__file__).parents[1]
SOURCES = REPOSITORY / "minari"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel and the source archive, built from the checkout."""
    directory = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(directory)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return message_from_string(wheel.read(name).decode())


def test_the_wheel_holds_the_package_its_license_and_its_command_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    files = (path for path in SOURCES.rglob("*") if path.is_file() and path.suffix != ".pyc")
    expected = {path.relative_to(REPOSITORY).as_posix() for path in files}
    assert "minari/py.typed" in expected
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == expected
    (license,) = [name for name in wheel.namelist() if name.endswith("/LICENSE")]
    assert wheel.read(license) == (REPOSITORY / "LICENSE").read_bytes()
    (entry_points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "minari = minari.cli:app" in wheel.read(entry_points).decode()


def test_the_source_archive_can_be_built_and_tested(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "docs/conf.py"}
    needed |= {"examples/behavioral_cloning.py"}
    needed |= {"minari/__init__.py", "minari/py.typed", "tests/test_packaging.py"}
    assert needed <= names
    assert not [name for name in names if name.startswith("docs/_build") or name.endswith(".pyc")]


def test_metadata_of_the_project(metadata: Message) -> None:
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    names = {re.match(r"[\w.-]+", line)[0] for line in required}  # type: ignore[index]
    assert names == {"gymnasium", "h5py", "numpy", "packaging", "portion", "rich", "typer", "urllib3", "xxhash"}
    # The extras of earlier releases are still there.
    assert {"all", "arrow", "create", "gcs", "hdf5", "hf", "testing"} <= set(metadata.get_all("Provides-Extra", []))
    assert metadata["Version"] == minari.__version__
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[?{re.escape(minari.__version__)}\b", changelog, flags=re.MULTILINE)
