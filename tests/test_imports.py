"""Libraries are loaded only by programs that need them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.programs import run
from support.remotes import write_dataset


#: What the library and its formats, remotes and command line are made with.
LIBRARIES = {
    "gymnasium", "h5py", "huggingface_hub", "google", "jax", "numpy", "packaging", "PIL", "portion", "pyarrow", "rich",
    "torch", "typer", "urllib3",
}  # fmt: skip

#: Runs a program, and prints on the last line which modules are loaded then.
PROGRAM = """
import sys
{program}
print(*sys.modules)
"""

#: The command line, as the installed script runs it.
COMMAND = """
import sys
sys.argv = ["minari", *{arguments}]
from minari.cli import main
try:
    main()
except SystemExit as done:
    assert done.code in (0, None), done.code
"""


def loaded(program: str) -> set[str]:
    """The libraries that a program loads."""
    return packages(program) & LIBRARIES


def packages(program: str) -> set[str]:
    """The packages and modules at the top that a program loads."""
    return {name.partition(".")[0] for name in modules(program)}


def modules(program: str) -> set[str]:
    """All modules that a program loads."""
    return set(run(PROGRAM.format(program=program)).splitlines()[-1].split())


def command(*arguments: str) -> str:
    return COMMAND.format(arguments=list(arguments))


@pytest.fixture
def datasets(datasets_root: Path) -> None:
    """Create two datasets with valid metadata only."""
    for dataset_id in ("toy/a-v0", "toy/a-v1"):
        write_dataset(datasets_root, dataset_id, author=["Ada"], dataset_size=0.1)


def test_they_would_be_noticed() -> None:
    assert loaded("import numpy, packaging.version") == {"numpy", "packaging"}


def test_importing_minari_loads_next_to_nothing() -> None:
    assert loaded("import minari") == set()
    assert {name for name in modules("import minari") if name.startswith("minari")} == {
        "minari",
        "minari._base",
        "minari._base.lazy",
    }


def test_all_public_names_need_gymnasium_and_no_more() -> None:
    assert loaded("from minari import *") == {"gymnasium", "numpy"}


@pytest.mark.usefixtures("datasets")
class TestListing:
    def test_in_a_program(self) -> None:
        program = "import minari; assert len(minari.list_local_datasets({}, {})) == {}"
        assert loaded(program.format(False, False, 2)) == set()
        assert loaded(program.format(True, True, 1)) == set()

    def test_versions_of_which_only_the_range_is_known(self, datasets_root: Path) -> None:
        write_dataset(datasets_root, "toy/b-v0", version="~=0.4")
        program = "import minari; assert len(minari.list_local_datasets(True, True)) == 2"
        assert loaded(program) == {"packaging", "portion"}

    def test_on_the_command_line(self) -> None:
        for options in ([], ["--all"], ["--prefix", "toy"]):
            assert loaded(command("list", "local", *options)) == {"rich", "typer"}

    def test_as_json(self) -> None:
        assert loaded(command("list", "local", "--json")) == {"typer"}
        out = run(command("list", "local", "--json"))
        assert list(json.loads(out)) == ["toy/a-v1"]


class TestCommandLine:
    def test_the_help(self) -> None:
        assert loaded(command("--help")) <= {"rich", "typer"}
        assert loaded(command("list", "--help")) <= {"rich", "typer"}

    def test_the_version(self) -> None:
        assert loaded(command("--version")) == {"typer"}

    def test_a_list_of_nothing(self) -> None:
        assert loaded(command("list", "local")) == {"typer"}


def test_what_is_needed_is_loaded_when_it_is(datasets: None) -> None:
    """The control: the same datasets, opened instead of listed."""
    program = """
import minari
try:
    minari.load_dataset("toy/a-v0")
except ValueError:
    pass
"""
    assert {"gymnasium", "numpy"} <= loaded(program)
