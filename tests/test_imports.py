"""Libraries are loaded only by programs that need them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import minari
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


def modules(program: str) -> set[str]:
    """All modules that a program loads."""
    return set(run(PROGRAM.format(program=program)).splitlines()[-1].split())


def loaded(program: str) -> set[str]:
    """The libraries that a program loads."""
    return {name.partition(".")[0] for name in modules(program)} & LIBRARIES


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


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (["list", "local"], {"rich", "typer"}),
        (["list", "local", "--all"], {"rich", "typer"}),
        (["list", "local", "--prefix", "toy"], {"rich", "typer"}),
        (["list", "local", "--prefix", "nothing"], {"typer"}),
        (["list", "local", "--json"], {"typer"}),
        (["--version"], {"typer"}),
        (["--help"], {"rich", "typer"}),
        (["list", "--help"], {"rich", "typer"}),
    ],
)
def test_commands_load_what_they_need(datasets: None, arguments: list[str], needed: set[str]) -> None:
    assert loaded(command(*arguments)) == needed


def test_listing_in_a_program_loads_nothing(datasets: None, datasets_root: Path) -> None:
    program = "import minari; assert len(minari.list_local_datasets({}, {})) == {}"
    assert loaded(program.format(False, False, 2)) == set()
    assert loaded(program.format(True, True, 1)) == set()
    write_dataset(datasets_root, "toy/b-v0", version="~=0.4")  # of which only the range is known
    assert loaded(program.format(True, True, 2)) == {"packaging", "portion"}


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


def test_without_any_extra_all_is_recorded_stored_and_read() -> None:
    program = """
        import sys
        for name in ("PIL", "pyarrow", "jax", "torch", "google", "huggingface_hub"):
            sys.modules[name] = None  # importing it fails
        import warnings
        warnings.simplefilter("ignore")
        import numpy as np, minari
        from gymnasium import spaces
        from support.scripted import ScriptedEnv, play
        frame = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
        space = spaces.Dict(frame=spaces.Box(0, 255, frame.shape, np.uint8), n=spaces.Discrete(9))
        collector = minari.DataCollector(ScriptedEnv(lambda t: {"frame": frame, "n": t}, observation_space=space))
        play(collector, 2)
        collector.create_dataset("test/bare-v0")
        dataset = minari.combine_datasets([minari.load_dataset("test/bare-v0")] * 2, "test/bare-v1")
        assert all((episode.observations["frame"] == frame).all() for episode in dataset)
        print(dataset.total_steps)
    """
    assert run(program) == "20\n"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_reading_plain_zarr_loads_neither_zarr_nor_its_codecs(datasets_root: Path) -> None:
    pytest.importorskip("zarr")
    minari.create_dataset_from_arrays(
        "toy/zarr-v0",
        observations=np.zeros((5, 3)),
        actions=np.zeros((4, 2)),
        rewards=np.ones(4),
        terminations=np.arange(4) == 3,
        data_format="zarr",
    )
    program = """
import minari
dataset = minari.load_dataset("toy/zarr-v0")
assert len(list(dataset.iterate_episodes())) == 1
next(dataset.transitions().batches(2))
"""
    assert not {"zarr", "numcodecs"} & modules(program)
