"""Modules that are imported, and attributes that are computed, when they are first used.

There are few such modules, each because loading takes longer than many programs that do not use it: the public
names of :mod:`minari`, so that ``import minari`` and ``minari --help`` do not wait for Gymnasium; and
libraries for rare operations, such as comparing versions. Type checkers see plain imports instead, under
``TYPE_CHECKING``.

Python locks a module while a thread imports it, and a forked child inherits that lock without the thread that
would release it. A fork therefore waits for the imports started by :func:`import_late`.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar, overload


__all__ = ["LazyModule", "cached_property", "import_late", "lazy_package"]

T = TypeVar("T")

_PATIENCE: Final = 30.0  # seconds that a fork waits; the import may itself wait for the forking thread

_imported: set[str] = set()
_importing: list[int] = []  # the threads that are importing, once for each import
_changed = threading.Condition()  # guards that list and is held during a fork


def import_late(name: str) -> Any:
    """Import a module while other threads are running, one of which may fork.

    Args:
        name: full name of the module.
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


def _after_fork_in_child() -> None:
    global _changed
    _changed = threading.Condition()
    _importing[:] = [other for other in _importing if other == threading.get_ident()]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=lambda: _changed.release(), after_in_child=_after_fork_in_child
    )


class cached_property(Generic[T]):
    """Attribute that is computed when it is first used, without a lock.

    :class:`functools.cached_property` holds one lock for all objects of a class up to Python 3.11, and a child
    that is forked while another thread computes the attribute waits for that lock forever. Here two threads may
    both compute it, and one of the two equal values stays.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> cached_property[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> cached_property[T] | T:
        if instance is None:
            return self
        value = vars(instance)[self._name] = self._compute(instance)
        return value


class LazyModule:
    """Placeholder for a module that is imported when one of its attributes is first used.

    >>> calendar = LazyModule("calendar")
    >>> calendar.isleap(2024)
    True

    If the module is a package, its submodules count as attributes.

    Args:
        name: full name of the module.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # tools access them on every object
            raise AttributeError(f"{self!r} has no attribute {attribute!r}", name=attribute, obj=self)
        module = import_late(self._name)
        if not hasattr(module, attribute):  # a submodule that has not been imported yet
            import_late(f"{self._name}.{attribute}")
        return getattr(module, attribute)

    def __repr__(self) -> str:
        return f"LazyModule({self._name!r})"


def lazy_package(
    package: str, homes: Mapping[str, tuple[str, ...]] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package (PEP 562) for its submodules and public names.

    Args:
        package: the ``__name__`` of the package.
        homes: the public names of the package, by the module that defines them.

    Returns:
        ``__getattr__``, which imports a name and stores it in the package, so that it is called only once for
        each name; and ``__dir__``, which lists the names.
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
    """Import a submodule by its name; None if the package has none of that name."""
    if name.startswith("__"):  # tools access them on every module
        return None
    full_name = f"{package}.{name}"
    try:
        return import_late(full_name)
    except ModuleNotFoundError as error:
        if error.name != full_name:  # it exists, but one of its imports is missing
            raise
        return None
