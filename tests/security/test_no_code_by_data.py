"""Nothing that a dataset names is imported, made, called or unpickled by those who only read it.

Once by walking the sources: no such call can be reached from the functions that list, open, show, move,
combine, convert and validate datasets. And once by watching a process that does all this with hostile ones.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import minari
from support.call_graph import CallGraph


#: Where the functions begin that may be given other people's data.
BEGINNINGS = {
    "minari._catalog.listing:": "list_local_datasets",
    "minari.storage.hosting:": "list_remote_datasets list_community_datasets download_dataset upload_dataset",
    "minari.storage.local:": "load_dataset open_dataset delete_dataset",
    "minari.dataset.combine:": "combine_datasets",
    "minari.dataset.diff:": "diff_datasets",
    "minari.dataset.selection:": "select_episodes",
    "minari.dataset.split:": "split_dataset save_parts",
    "minari.dataset.validation.passes:": "validate",
    "minari.dataset.validation.repairs:": "repair",
    "minari.dataset.minari_dataset:MinariDataset.": "convert save spec env_spec "
    "__getitem__ __iter__ __setstate__ filter_episodes statistics",
    "minari._storages.base:MinariStorage.": "read read_raw_metadata get_episodes "
    "get_window metadata repack update_from_storage",
    "minari._storages.core:StorageCore.": "get_episode_metadata",
    "minari._catalog.namespaces:": "list_local_namespaces get_namespace_metadata",
    "minari.storage.remote_namespaces:": "list_remote_namespaces download_namespace_metadata",
    "minari.interchange.conversion:": "read import_dataset export_dataset",
    "minari.cli.interchange:": "run_import run_export",
    "minari.cli.show:": "show_dataset",
    "minari.cli.show_episode:": "show_episode",
    "minari.plot:": "returns compare episode",
    "minari.cli.listing:": "list_datasets",
    "minari.cli.changing:": "combine convert repack",
    "minari.cli.diff:": "diff",
    "minari.cli.split:": "split",
    "minari.cli.sharing:": "download upload",
    "minari.cli.validate:": "validate",
    "minari.viewer.opened:Places.": "open",
    "minari.viewer.facts:": "catalog opened_dataset closed_dataset",
    "minari.viewer.table:": "episodes",
    "minari.viewer.summaries:": "distributions leaves compare",
    "minari.viewer.episode:": "episode series frames texts",
    "minari.viewer.edits:": "mark dry_run drop",
    "minari.viewer.app:": "create_app",
}
ENTRY_POINTS = [prefix + name for prefix, names in BEGINNINGS.items() for name in names.split()]

#: What could run code that somebody else chose.
FORBIDDEN = re.compile(
    r"(importlib\.)?import_module|importlib\.(reload|util\.\w+|machinery\.\w+)|__import__|runpy\.\w+|pkgutil\.resolve_name"
    r"|(gymnasium|gym)(\.envs\.registration)?\.(make|make_vec|spec|register|load_env_creator|register_envs)"
    r"|(.*\.)?(EnvSpec|WrapperSpec)\.(from_json|make)|(.*\.)?load_env_creator"
    r"|(pickle|cPickle|dill|cloudpickle|joblib|marshal|shelve|jsonpickle)\.\w+|\?\.(find_class|unpickle)"
    r"|(numpy|np)\.load|(yaml|ruamel\.yaml)\.(load|unsafe_load|full_load)|(pandas|pd)\.read_pickle|torch\.load"
    r"|eval|exec|compile|subprocess\.\w+|os\.(system|popen|exec\w*|spawn\w*|posix_spawn\w*|startfile)"
    r"|multiprocessing\.\w+|ctypes\.\w+|code\.\w+|numcodecs\.(get_codec|registry\.\w+)|.*\.entry_points|\?\.entry_points"
)

#: Modules that make environments on purpose, of what a caller gives; an attribute of something unknown is not taken
#: for theirs.
ON_PURPOSE = (
    "minari.data_collector",
    "minari.integrations",
    "minari.dataset.from_buffers",
    "minari.testing",
    "minari.cli.record",
    "minari.cli.rollout",
)

#: Functions with such a call in them that do no harm, each with the reason.
ALLOWED = {
    "minari._base.lazy:import_late": "is given names that stand in our sources, or those of the functions below",
    "minari._base.lazy:LazyModule.__getattr__": "the names are those that stand in our sources, as LazyModule('…')",
    "minari._base.lazy:lazy_package": "imports the modules of this library by the table in minari/__init__.py",
    "minari._base.lazy:_submodule": "imports a module of this library that a program has asked for",
    "minari._base.plugins:load_class": "imports a format or remote from our own table, or one that an installed "
    "package registers under exactly this name; names come from the user, and that of a format is checked by its "
    "grammar",
    "minari._base.plugins:known_targets": "reads which formats and remotes the installed packages register",
    "minari._model.env_spec:spec_of": "asks the registry for an id that a caller gives as text; what is parsed of a "
    "dataset is a spec already, and is returned as it is",
    "minari._storages.hdf5.process:_Child.__init__": "starts this Python with a program that stands in the "
    "source, which reads through libhdf5 what may crash it",
    "minari.dataset.validation.metadata:_is_installed": "looks for a package by an identifier without dots, for which "
    "nothing is imported",
    "minari.interchange.pickles:read_pickles": "starts this Python, only with the option trust_pickles, with a program "
    "of this library that makes numbers, text, containers and arrays of a pickle, and nothing else",
    "minari.interchange.restricted_pickle:give_up_privileges": "asks the system to limit that program",
    "minari.interchange.restricted_pickle:forbid_files": "asks the system to limit that program",
    "minari._base.files:_exchange_call": "finds the call of the system that exchanges two directories, by its own name",
    "minari._base.files:exchange": "asks for the error number of that call",
}

#: Functions that are not followed: what they lead to is safe for the reason given.
BARRIERS = {
    "minari.interchange.conversion:_spaces": "asks the environment that a caller of import_dataset gives",
    "minari._model.env_spec:registered_spaces": "makes an environment of Gymnasium's own, of its own registry, "
    "without arguments: the data choose among these, and nothing else",
    "minari._storages.base:metadata_of_new": "asks the environment that a caller of MinariStorage.new gives in "
    "place of spaces; who copies a dataset gives its spaces",
}


@pytest.fixture(scope="module")
def calls() -> CallGraph:
    return CallGraph(Path(minari.__file__).parent, ON_PURPOSE)


def test_no_call_that_could_run_foreign_code_is_reachable(calls: CallGraph) -> None:
    missing = [node for node in ENTRY_POINTS if node not in calls.bodies]
    assert not missing, "these functions have other names now"
    roots = {*ENTRY_POINTS, *(node for node in calls.registered if not node.startswith(ON_PURPOSE))}
    found = calls.reachable(roots, BARRIERS)
    dangerous = {}
    for node in found:
        for name, call in calls.calls(node):
            is_constant = bool(call.args) and calls.is_constant(node, call.args[0])
            if FORBIDDEN.fullmatch(name) and not is_constant and node not in ALLOWED and node not in BARRIERS:
                dangerous[node] = (name, chain(found, node))
    assert not dangerous


def chain(found: dict[str, str | None], node: str) -> list[str]:
    """Return the calls that lead from an entry point to a function."""
    steps = [node]
    while (before := found[steps[-1]]) is not None:
        steps.append(before)
    return steps[::-1]


def test_the_graph_finds_what_is_there(calls: CallGraph) -> None:
    """The same walk finds the functions that do create environments."""
    found = calls.reachable(["minari.dataset.minari_dataset:MinariDataset.recover_environment"])
    assert "minari._model.env_spec:make_environment" in found
    assert any(name == "gymnasium.make" for name, _ in calls.calls("minari._model.env_spec:make_environment"))
    listed = calls.reachable(["minari._catalog.listing:list_local_datasets"])
    for expected in (
        "minari._storages.hdf5.legacy:read_metadata",
        "minari._base.plugins:load_class",
        "minari._model.env_spec:registered_spaces",
    ):
        assert expected in listed
    opened = calls.reachable(["minari._storages.base:MinariStorage.read"])
    for name in ("hdf5.storage:HDF5Storage", "arrow.storage:ArrowStorage", "zarr.storage:ZarrStorage"):
        assert f"minari._storages.{name}._count_episodes" in opened


def test_what_is_allowed_is_still_there(calls: CallGraph) -> None:
    assert not [node for node in {**ALLOWED, **BARRIERS} if node not in calls.bodies]


#: What libraries do at their own time: not chosen by data.
HARMLESS = re.compile(
    r"import \('(minari|numpy|gymnasium|h5py|hdf5plugin|pyarrow|zarr|numcodecs|rich|PIL|packaging|portion|google_crc32c"
    r"|zstandard|backports|zlib_ng|lz4|encodings|asyncio|concurrent|email|http|urllib)(\.[\w.]+)?',\)"
    r"|compile \(b[\"']{'descr': .*"  # the header of an .npy file, which NumPy reads as a literal
    r"|ctypes\.dlopen \(None,\)"  # the calls of the system, for that which exchanges two directories
    rf"|subprocess\.Popen \('{re.escape(sys.executable)}', \['[^']*', '-I', '-c', .*"  # what reads through libhdf5
)


def test_reading_hostile_datasets_runs_nothing_of_theirs(tmp_path: Path) -> None:
    directory = tmp_path / "watched"
    directory.mkdir()
    command = [sys.executable, Path(__file__).parents[1] / "support" / "watched.py", directory]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["datasets"] > 20
    assert [event for event in found["reading"] if not HARMLESS.fullmatch(event)] == []
    assert not found["ran"]
    # And the same watch sees what recovering an environment runs.
    assert any("payload_of_a_dataset" in event for event in found["recovering"] if event.startswith(("exec", "import")))
    assert found["ran_when_recovering"]
