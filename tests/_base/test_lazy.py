"""The public names are there although nothing is imported before it is used."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import minari
import minari.dataset
import minari.storage
from minari._base.lazy import LazyModule, cached_property
from support.programs import run, start


SOURCE = Path(minari.__file__)

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")


def imports_for_type_checkers() -> dict[str, str]:
    """The names that ``minari/__init__.py`` shows to type checkers, with the module that each comes from."""
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [node for block in blocks for node in block.body]
    assert imports
    assert all(isinstance(node, ast.ImportFrom) and node.level == 0 for node in imports)
    return {alias.name: node.module for node in imports for alias in node.names}


def test_type_checkers_see_what_programs_get() -> None:
    shown = imports_for_type_checkers()
    assert set(minari.__all__) <= {*shown, "__version__"}
    for name, module in shown.items():
        home = importlib.import_module(module)
        expected = importlib.import_module(f"minari.{name}") if home is minari else getattr(home, name)
        assert getattr(minari, name) is expected, name
    for name in minari.__all__:
        value = getattr(minari, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert pickle.loads(pickle.dumps(value)) is value


def test_each_public_name_can_be_the_first_and_is_fetched_once() -> None:
    program = """
        import sys
        for name in sys.argv[1:]:
            for module in [module for module in sys.modules if module.partition(".")[0] == "minari"]:
                del sys.modules[module]
            import minari
            assert name == "__version__" or name not in vars(minari), name
            first = getattr(minari, name)
            def stop(name): raise AssertionError(name)
            minari.__getattr__ = stop
            print(name, first is not None and getattr(minari, name) is first is vars(minari)[name])
    """
    assert run(program, *minari.__all__).splitlines() == [f"{name} True" for name in minari.__all__]


def test_a_name_that_does_not_exist_is_refused_and_corrected() -> None:
    with pytest.raises(AttributeError, match="module 'minari' has no attribute 'load_datasets'") as caught:
        minari.load_datasets  # noqa: B018
    assert (caught.value.name, caught.value.obj) == ("load_datasets", minari)
    assert not hasattr(minari, "__wrapped__")
    with pytest.raises(ImportError, match="cannot import name 'load_datasets' from 'minari'"):
        exec("from minari import load_datasets")
    _, complaint = start("import minari; minari.load_datasets").communicate(timeout=120)
    assert "Did you mean: 'load_dataset'?" in complaint
    for package in (minari.dataset, minari.storage):
        with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'nothing'"):
            package.nothing  # noqa: B018


def test_tools_see_everything() -> None:
    members = dict(inspect.getmembers(minari))
    assert {*minari.__all__, "data_collector", "dataset", "errors", "storage"} <= set(members)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A lazy package of its own: ``ok`` can be imported, ``poor`` lacks something that it needs."""
    directory = tmp_path / "lazy_example"
    directory.mkdir()
    (directory / "__init__.py").write_text(
        "from minari._base.lazy import lazy_package\n"
        "__getattr__, __dir__ = lazy_package(__name__, {'lazy_example.ok': ('answer',), 'lazy_example.poor': ('x',)})\n"
    )
    (directory / "ok.py").write_text("answer = 42\n")
    (directory / "poor.py").write_text("import a_package_that_is_not_installed\n")
    (directory / "_hidden.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("lazy_example")
    for name in [name for name in sys.modules if name.partition(".")[0] == "lazy_example"]:
        del sys.modules[name]


def test_a_lazy_package_imports_what_is_used(package: ModuleType) -> None:
    assert {"answer", "x", "ok", "poor", "__name__"} <= set(dir(package))
    assert "_hidden" not in dir(package)
    assert dir(package) == sorted(dir(package))
    assert not {"lazy_example.ok", "lazy_example.poor"} & set(sys.modules)
    assert package.answer == 42
    assert package.ok is sys.modules["lazy_example.ok"]
    assert package._hidden.__name__ == "lazy_example._hidden"
    for name in ("poor", "x"):
        with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_installed"):
            getattr(package, name)


def test_a_lazy_module_is_imported_when_it_is_used(package: ModuleType) -> None:
    lazy = LazyModule("lazy_example.ok")
    assert repr(lazy) == "LazyModule('lazy_example.ok')"
    assert not hasattr(lazy, "__wrapped__")
    assert "lazy_example.ok" not in sys.modules
    assert lazy.answer == 42
    sys.modules["lazy_example.ok"].answer = 43  # type: ignore[attr-defined]
    assert lazy.answer == 43  # what is replaced is seen
    with pytest.raises(ModuleNotFoundError, match=r"calendar\.nothing"):
        LazyModule("calendar").nothing  # noqa: B018
    program = """
        from minari._base.lazy import LazyModule
        import sys
        dom = LazyModule("xml.dom")
        assert "xml" not in sys.modules
        print(dom.minidom.parseString("<a/>").documentElement.tagName)
    """
    assert run(program) == "a\n"


#: The parent forks while a thread imports a module, or computes an attribute, which the child uses as well.
FORKING = """
    import os, pathlib, signal, sys, threading, time
    from minari._base.lazy import LazyModule, cached_property

    started = threading.Event()
    sys.path.insert(0, sys.argv[1])
    pathlib.Path(sys.argv[1], "slow_example.py").write_text(
        "import time, __main__; __main__.started.set(); time.sleep(0.5); value = 3"
    )

    class Slow:
        @cached_property
        def value(self):
            started.set()
            time.sleep(0.5)
            return 3

    make = Slow if sys.argv[2] == "attribute" else lambda: slow
    slow = LazyModule("slow_example")
    thread = threading.Thread(target=lambda: make().value)
    thread.start()
    started.wait()
    child = os.fork()
    if not child:
        signal.alarm(20)
        os._exit(make().value)
    thread.join()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@needs_fork
@pytest.mark.parametrize("what", ["module", "attribute"])
def test_what_a_thread_is_importing_or_computing_is_there_in_a_forked_child(what: str, tmp_path: Path) -> None:
    assert run(FORKING, str(tmp_path), what).split() == ["3"]


@needs_fork
def test_a_module_may_fork_while_it_is_imported(tmp_path: Path) -> None:
    (tmp_path / "forking_example.py").write_text(
        "import os\nfrom minari._base.lazy import LazyModule\nchild = os.fork()\n"
        "if not child:\n    os._exit(4 if LazyModule('calendar').isleap(2024) else 5)\n"
        "VALUE = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
    )
    program = """
        import sys
        from minari._base.lazy import LazyModule
        sys.path.insert(0, sys.argv[1])
        print(LazyModule("forking_example").VALUE)
    """
    assert run(program, str(tmp_path)).split() == ["4"]


def test_a_cached_property_is_computed_once_and_documented() -> None:
    computed = []

    class Example:
        @cached_property
        def value(self) -> int:
            """Return a number."""
            computed.append(self)
            return 3

    example = Example()
    assert (example.value, example.value, computed) == (3, 3, [example])
    assert Example.value.__doc__ == "Return a number."
