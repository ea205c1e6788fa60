"""Modules that are imported when they are first used, in two forms.

They are few, each because what it brings takes longer to load than many a program runs that has no
use for it: the public names of :mod:`minari`, so that ``import minari`` and ``minari --help`` do not
wait for Gymnasium; and libraries behind rare questions, such as the arithmetic of versions. Type
checkers are shown plain imports in their place, under ``TYPE_CHECKING``.

Python locks a module while a thread imports it, and a forked child inherits that lock without the thread
that would release it. A fork therefore waits for the imports that :func:`import_late` has begun.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final


__all__ = ["LazyModule", "import_late", "lazy_package"]

_PATIENCE: Final = 30.0  # seconds that a fork waits; an import may itself wait for the thread that forks

_imported: set[str] = set()
_importing: list[int] = []  # the threads that import something, once for each import
_changed = threading.Condition()  # guards that list, and is held during a fork


def import_late(name: str) -> Any:
    """Import a module while other threads may run, one of which may fork.

    Args:
        name: of the module, with its package.
    """
    if name in _imported:
        return importlib.import_module(name)
    thread = threading.get_ident()
    with _changed:
        _importing.append(thread)
    try:
        module = importlib.import_module(name)
        _imported.add(name)
    finally:
        with _changed:
            _importing.remove(thread)
            _changed.notify_all()
    return module


def _before_fork() -> None:
    thread = threading.get_ident()
    _changed.acquire()
    _changed.wait_for(lambda: all(other == thread for other in _importing), _PATIENCE)


def _after_fork_in_parent() -> None:
    _changed.release()


def _after_fork_in_child() -> None:
    global _changed
    _changed = threading.Condition()
    _importing[:] = [other for other in _importing if other == threading.get_ident()]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


class LazyModule:
    """Stands for a module, which is imported when one of its attributes is first asked for.

    >>> calendar = LazyModule("calendar")
    >>> calendar.isleap(2024)
    True

    Where the module is a package, the modules in it count as its attributes.

    Args:
        name: of the module, with its package.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # what tools ask of every object
            raise AttributeError(f"{self!r} has no attribute {attribute!r}", name=attribute, obj=self)
        module = import_late(self._name)
        if not hasattr(module, attribute):  # a submodule that nobody has imported yet
            import_late(f"{self._name}.{attribute}")
        return getattr(module, attribute)

    def __repr__(self) -> str:
        return f"LazyModule({self._name!r})"


def lazy_package(
    package: str, homes: Mapping[str, tuple[str, ...]] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """What a package calls ``__getattr__`` and ``__dir__`` (PEP 562), for its submodules and public names.

    Args:
        package: its ``__name__``.
        homes: for each module that public names of the package come from, these names.

    Returns:
        ``__getattr__``, which imports what is asked for and leaves it in the package, so that it is
        asked but once for each name; and ``__dir__``, which tells what can be asked for.
    """
    module_of = {name: module for module, names in (homes or {}).items() for name in names}
    this = sys.modules[package]

    def get(name: str) -> Any:
        value = getattr(import_late(module_of[name]), name) if name in module_of else _submodule(package, name)
        if value is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=this)
        setattr(this, name, value)
        return value

    def names() -> list[str]:
        submodules = {module.name for module in pkgutil.iter_modules(this.__path__) if not module.name.startswith("_")}
        return sorted({*vars(this), *module_of, *submodules})

    return get, names


def _submodule(package: str, name: str) -> Any:
    """A submodule by its name; None where the package has none of that name."""
    if name.startswith("__"):  # what tools ask of every module
        return None
    full_name = f"{package}.{name}"
    try:
        return import_late(full_name)
    except ModuleNotFoundError as error:
        if error.name != full_name:  # it is there, and something that it needs is not
            raise
        return None
