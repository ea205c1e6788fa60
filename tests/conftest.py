"""Fixtures of the whole suite.

No test sees the user's own datasets: `datasets_root` applies to every test and points the library at an
empty temporary directory. Recorded datasets are never opened where they lie: `copy_fixture`, `copy_release`
and `real_root` copy them into that directory first.

`tests/support` is importable from every test as ``support``.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings


sys.path.insert(0, str(Path(__file__).resolve().parent))

from support.official import OfficialDataset, fixtures_directory
from support.toys import ToyEnv


# Else the workers, and each program that a test starts, would compile everything that they import.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Read when huggingface_hub is loaded; the Hub of the tests does not speak that protocol.
os.environ["HF_HUB_DISABLE_XET"] = "1"

# Examples write files, and the time that takes says nothing about the library.
settings.register_profile("quick", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", parent=settings.get_profile("quick"), max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_xdist_auto_num_workers() -> int:
    """Return the number of processes for ``-n auto``: three for two cores, as a quarter of the time is waiting."""
    return max(2, (os.cpu_count() or 1) * 3 // 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the tests that take longest; otherwise all processes would wait for them at the end."""
    items.sort(key=lambda item: item.path.parent.name not in ("fuzz", "kill"))


def pytest_collection_finish() -> None:
    """Keep the garbage collector, and so the forks of tests, away from all that was imported and collected."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """End processes that a test has forked and that left it by an error, which would run the other tests."""
    process = os.getpid()
    try:
        return (yield)
    finally:
        if os.getpid() != process:
            os._exit(70)


@pytest.fixture(autouse=True)
def datasets_root(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty root for the local datasets of one test, alone in its directory, and no remote but the default one."""
    root = tmp_path_factory.mktemp("around") / "datasets"
    root.mkdir()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    monkeypatch.delenv("MINARI_REMOTE", raising=False)
    return root


@pytest.fixture(scope="session")
def fixtures_dir() -> Path:
    """The directory with datasets of official releases and the real dataset; read-only."""
    directory = fixtures_directory()
    if directory is None:
        pytest.skip("no recorded datasets: set MINARI_FIXTURES to the directory that holds `official` and `real`")
    return directory


@pytest.fixture
def copy_release(fixtures_dir: Path, datasets_root: Path) -> Callable[[str], Path]:
    """A function ``copy_release("0.4.3")``: all datasets of that release, now in the temporary root."""

    def copy(release: str) -> Path:
        return shutil.copytree(fixtures_dir / "official" / release, datasets_root, dirs_exist_ok=True)

    return copy


@pytest.fixture
def copy_fixture(fixtures_dir: Path, datasets_root: Path) -> Callable[[str, str], Path]:
    """A function ``copy_fixture("0.5.4", "toy/dict-v0")``: that one dataset, now in the temporary root.

    It brings the dataset's namespaces along and returns its directory, the one that holds ``data``.
    """

    def copy(release: str, dataset_id: str) -> Path:
        source = OfficialDataset(release, dataset_id, fixtures_dir / "official" / release)
        return _copy_dataset(source.root, dataset_id, datasets_root)

    return copy


@pytest.fixture
def real_root(fixtures_dir: Path, datasets_root: Path) -> Path:
    """The temporary root, holding a copy of the real dataset ``D4RL/door/human-v2`` and its namespaces."""
    return shutil.copytree(
        fixtures_dir / "real" / "minari-door-human-v2" / "minari_cache", datasets_root, dirs_exist_ok=True
    )


@pytest.fixture
def make_toy_env() -> type[ToyEnv]:
    """The deterministic environment ``ToyEnv(observation_space, action_space, episode_length=4)``."""
    return ToyEnv


def _copy_dataset(source: Path, dataset_id: str, destination: Path) -> Path:
    directory = Path(*dataset_id.split("/"))
    shutil.copytree(source / directory, destination / directory)
    for namespace in directory.parents:
        file = source / namespace / "namespace_metadata.json"
        if file.exists():
            shutil.copy(file, destination / namespace)
    return destination / directory
