"""That the layers of ``pyproject.toml``, which ``lint-imports`` checks, leave no module out."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest


if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

REPOSITORY = Path(__file__).parents[1]
# Packages whose modules lie in several layers.
SPREAD = {"minari", "minari.dataset", "minari.dataset._storages", "minari.storage"}


def modules() -> list[str]:
    paths = (path.relative_to(REPOSITORY).with_suffix("") for path in (REPOSITORY / "minari").rglob("*.py"))
    names = (".".join(path.parts).removesuffix(".__init__") for path in paths)
    return sorted(set(names) - SPREAD)


@pytest.fixture(scope="module")
def layered() -> set[str]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "layers")
    return {name for layer in layers for name in re.findall(r"[\w.]+", layer)}


@pytest.mark.parametrize("module", modules())
def test_every_module_has_its_layer(module: str, layered: set[str]) -> None:
    parts = module.split(".")
    assert {".".join(parts[:length]) for length in range(2, len(parts) + 1)} & layered


def test_a_spread_package_is_no_layer(layered: set[str]) -> None:
    assert not layered & SPREAD
