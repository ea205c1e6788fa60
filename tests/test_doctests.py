"""Runs the examples in the docstrings of the library, each module with a datasets root of its own."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import minari


MODULES = ["minari", *(module.name for module in pkgutil.walk_packages(minari.__path__, "minari."))]
OPTIONAL = {
    *("adlfs", "azure", "d3rlpy", "datasets", "fsspec", "google", "google_crc32c", "huggingface_hub", "imitation"),
    *("jax", "numcodecs", "pyarrow", "ray", "s3fs", "stable_baselines3", "tianshou", "torch", "torchrl", "upath"),
    "zarr",
}


def load(name: str) -> object:
    """Import a module, or skip where it stands for an optional package that is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in OPTIONAL:
            raise
        pytest.skip(f"{name} needs {error.name}")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.integrations] if name.startswith("minari.integrations.") else [])
        for name in MODULES
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_examples_of_a_module_run(name: str, datasets_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(datasets_root)
    result = doctest.testmod(load(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0
