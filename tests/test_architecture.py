"""Imports by the name of a module in text, which ``lint-imports`` cannot see, point down the layers as well."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "minari"
MOST_MODULES = 15  # in a directory without subdirectories
#: The table of public names, and what finds formats and remotes by the names that users give.
PLUGINS = {"minari", "minari._storages.registry", "minari.storage.remotes.registry"}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


def layer_of(module: str) -> str:
    return module.split(".")[1] if "." in module else module


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@pytest.fixture(scope="module")
def ranks() -> dict[str, int]:
    """The rank of each layer, the lowest being the greatest number."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(c for c in project["tool"]["importlinter"]["contracts"] if c["id"] == "layers")
    return {name.strip(): rank for rank, line in enumerate(contract["layers"]) for name in line.split("|")}


def named_modules(path: Path) -> Iterator[str]:
    """The modules of this package whose names stand in texts."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value.partition(":")[0]
            if name in MODULES and name != "minari":
                yield name


@pytest.mark.parametrize("module", sorted(set(MODULES) - PLUGINS))
def test_names_in_text_point_down(module: str, ranks: dict[str, int]) -> None:
    upward = [
        name for name in named_modules(MODULES[module]) if ranks[layer_of(name)] < ranks.get(layer_of(module), -1)
    ]
    assert not upward


def test_it_finds_names_in_text() -> None:
    assert "minari.data_collector" in set(named_modules(PACKAGE / "__init__.py"))


def test_directories_are_small() -> None:
    counts = {
        directory.relative_to(REPOSITORY): sum(1 for path in directory.glob("*.py") if path.name != "__init__.py")
        for directory in {path.parent for path in MODULES.values()}
        if not any(child.is_dir() and child.name != "__pycache__" for child in directory.iterdir())
    }
    assert {str(directory): count for directory, count in counts.items() if count > MOST_MODULES} == {}


def made_without_renewal(tree: ast.AST) -> list[str]:
    """Return the names of locks that a forked child would wait for without end."""
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "functools"]
    locks = [name for name in calls if name in ("Lock", "RLock", "Condition", "threading.Lock", "threading.RLock")]
    return locks + [name.name for node in imports for name in node.names if name.name == "cached_property"]


#: They register what a forked child does about their locks; the last one needs its lock only where there is no fork.
RENEWS = {
    "minari._base.lazy",
    "minari._base.locks",
    "minari.data_collector.flush_timer",
    "minari._storages.zarr.shards",
}


@pytest.mark.parametrize("module", sorted(set(MODULES) - RENEWS))
def test_locks_are_renewed_in_a_forked_child(module: str) -> None:
    assert made_without_renewal(ast.parse(MODULES[module].read_text(encoding="utf-8"))) == []
