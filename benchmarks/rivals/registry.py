"""The libraries that are measured."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from benchmarks.errors import BenchmarkError
from benchmarks.rivals import libraries
from benchmarks.rivals.rival import Rival


#: Their order in the tables, by module; others come last.
ORDER = ("plain", "minari_datasets", "released", "torch_tensors", "d3rlpy_buffer", "tianshou_buffer", "sb3_buffer")


def known(files: Sequence[Path] = ()) -> dict[str, tuple[type[Rival], Path | None]]:
    """Return all libraries by name, with the file of those that were added.

    Raises:
        BenchmarkError: a file cannot be imported or has no library.
    """
    names = [module.name for module in pkgutil.iter_modules(libraries.__path__)]
    names.sort(key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    found: dict[str, tuple[type[Rival], Path | None]] = {}
    for name in names:
        module = importlib.import_module(f"{libraries.__name__}.{name}")
        found |= {rival.NAME: (rival, None) for rival in _rivals(module)}
    for file in files:
        added = _rivals(_load(file))
        if not added:
            raise BenchmarkError(f"{file} has no subclass of Rival with a NAME.")
        found |= {rival.NAME: (rival, file.resolve()) for rival in added}
    return found


def find(name: str, file: str | None = None) -> type[Rival]:
    """Return a library by name, or the one of that name in a file.

    Raises:
        BenchmarkError: it is unknown.
    """
    found = known([Path(file)] if file else [])
    if name not in found:
        raise BenchmarkError(f"There is no library {name!r}, expected one of: {', '.join(found)}.")
    return found[name][0]


def _rivals(module: ModuleType) -> list[type[Rival]]:
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Rival)
        and value.__module__ == module.__name__
        and hasattr(value, "NAME")
    ]


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"added_{file.stem}", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise BenchmarkError(f"{file} is not a file of Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
