"""Error messages of the command line: suggestions, and the location of failures in foreign code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import minari
from minari.cli import app


Minari = Callable[..., Any]
MakeDataset = Callable[..., minari.MinariDataset]

POLICIES = """
def broken(observation):
    value = 3
    return value.missing


class Late:
    def __init__(self, env):
        self.steps = 0

    def __call__(self, observation):
        self.steps += 1
        if self.steps > 4:
            self.give_up()
        return 0

    def give_up(self):
        raise RuntimeError("out of ideas")
"""


def invoke(*arguments: str) -> tuple[int, str, str]:
    """The status, the output and the complaints of a command that runs in this process, which is quicker."""
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "120"}, prog_name="minari")
    return done.exit_code, done.stdout, done.stderr


def complaint_of(done: Any, code: int = 1) -> str:
    assert done.code == code
    assert done.complaints
    return str(done.complaints[-1])


def test_list_alone_lists_what_is_here(make_dataset: MakeDataset) -> None:
    make_dataset("toy/a-v0", [3])
    assert invoke("list") == invoke("list", "local")
    assert "toy/a-v0" in invoke("list", "--prefix", "toy")[1]


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["lits"], "Did you mean 'list'", 2),
        (["remane", "a-v0", "b-v0"], "Did you mean 'rename'", 2),
        (["list", "locl"], "Did you mean 'local'?", 1),
        (["list", "communty"], "Did you mean 'community'?", 1),
        (["list", "./shelf"], "For a directory, write file://", 1),
        (["show", "toy/aa-v0"], "Did you mean 'toy/a-v0'?", 1),
        (["delete", "--yes", "toi/a-v0"], "Did you mean 'toy/a-v0'?", 1),
        (["combine", "toy/a-v1", "--dataset-id", "b-v0"], "Did you mean 'toy/a-v0'?", 1),
        (["convert", "toy/A-v0", "b-v0"], "Did you mean 'toy/a-v0'?", 1),
        (["upload", "toy/a-v2", "--remote", "file:///"], "Did you mean 'toy/a-v0'?", 1),
        (["validate", "toy/a-v3"], "Did you mean 'toy/a-v0'?", 1),
        (["convert", "toy/a-v0", "b-v0", "--format", "parqet"], "Did you mean 'parquet'?", 1),
        (["convert", "toy/a-v0", "b-v0", "--compression", "gizp"], "Did you mean 'gzip'?", 1),
        (["download", "./shelf/x-v0"], "is a path, expected an id", 1),
        (["download", "x-v0", "--remote", "/shelf"], "For a directory, write file:///shelf.", 1),
        (["record", "CartPoel-v1", "--dataset-id", "b-v0"], "Did you mean: `CartPole`?", 1),
    ],
)
def test_what_may_have_been_meant(make_dataset: MakeDataset, arguments: list[str], words: str, code: int) -> None:
    make_dataset("toy/a-v0", [3])
    status, _, complaints = invoke(*arguments)
    assert status == code
    assert words in " ".join(complaints.replace("│", " ").split())
    assert list(minari.list_local_datasets()) == ["toy/a-v0"]


def test_a_remote_that_lacks_an_id(make_dataset: MakeDataset, tmp_path: Path) -> None:
    make_dataset("toy/a-v0", [3])
    (tmp_path / "shelf").mkdir()
    minari.upload_dataset("toy/a-v0", remote=(tmp_path / "shelf").as_uri())
    status, _, complaints = invoke("download", "toy/b-v0", "--remote", (tmp_path / "shelf").as_uri())
    assert status == 1
    assert "Did you mean 'toy/a-v0'?" in complaints


def test_the_variable_at_fault_is_named(run: Minari, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "MINARI_DATASETS_PATH is" in complaint_of(run("list", MINARI_DATASETS_PATH=str(tmp_path / "file")))
    assert "named by MINARI_REMOTE" in complaint_of(run("list", "remote", MINARI_REMOTE="/some/where"))


@pytest.mark.parametrize(
    ("name", "line", "function", "error"),
    [
        ("broken", 4, "broken", "AttributeError: 'int' object has no attribute 'missing'"),
        ("Late", 18, "give_up", "RuntimeError: out of ideas"),
    ],
)
def test_a_policy_that_fails_shows_its_file_and_line(
    run: Minari, tmp_path: Path, name: str, line: int, function: str, error: str
) -> None:
    (tmp_path / "own_policies.py").write_text(POLICIES)
    done = run("record", "CartPole-v1", "--dataset-id", "a-v0", "--policy", f"own_policies:{name}")
    file = tmp_path / "own_policies.py"
    assert complaint_of(done).endswith(f"failed with {error} ({file}, line {line}, in {function})")


def test_a_policy_that_cannot_be_loaded(run: Minari, tmp_path: Path) -> None:
    (tmp_path / "own_policies.py").write_text("import json\njson.loads('{')\n")
    arguments = ("record", "CartPole-v1", "--dataset-id", "a-v0", "--policy")
    place = f"({tmp_path / 'own_policies.py'}, line 2, in <module>)"
    assert place in complaint_of(run(*arguments, "own_policies:any"), code=2)
    assert "give it as own_policies:any" in complaint_of(run(*arguments, "own_policies.py:any"), code=2)


@pytest.mark.parametrize("command", [[], ["list"], ["record"], ["delete"], ["clean"]])
def test_the_help_shows_no_type_for_flags(command: list[str]) -> None:
    status, out, _ = invoke(*command, "--help")
    assert status == 0
    assert "bool" not in out.lower()


def test_sizes_below_a_megabyte_are_in_kilobytes(make_dataset: MakeDataset) -> None:
    make_dataset("toy/small-v0", [3])
    made = make_dataset("toy/large-v0", [3])
    for size, text in ((0.3, "300 kB"), (0.9, "900 kB"), (1.0, "1.0 MB"), (2345.6, "2345.6 MB")):
        file = made.storage.data_path / "metadata.json"
        raw = made.storage.read_raw_metadata(made.storage.data_path)
        file.write_text(json.dumps(raw | {"dataset_size": size}))
        listed = invoke("list")[1]
        assert f" {text} " in listed
        assert "total size: " + text in listed
        assert " < 50 kB " in listed
        assert f"{text} (hdf5)" in invoke("show", "toy/large-v0")[1]
    assert minari.list_local_datasets()["toy/small-v0"]["dataset_size"] == 0.0


def test_a_file_where_the_directory_of_a_dataset_is_expected(make_dataset: MakeDataset) -> None:
    file = make_dataset("toy/real-v0").storage.data_path / "metadata.json"
    code, _, complaint = invoke("show", str(file))
    assert code == 1
    assert "metadata.json is a file; give the directory of a dataset" in " ".join(complaint.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--all", "--dataset-id", "toy/one-v0"), "--all takes no --dataset-id"),
        (("--dataset-id", "toy/one-v0"), "minari recover NAME --dataset-id toy/one-v0"),
    ],
)
def test_an_id_for_no_single_recording(datasets_root: Path, arguments: tuple[str, ...], words: str) -> None:
    code, _, complaint = invoke("recover", *arguments)
    assert code == 2
    assert words in " ".join(complaint.split())


def test_one_episode_is_counted_in_the_singular(datasets_root: Path) -> None:
    code, output, _ = invoke("record", "CartPole-v1", "--dataset-id", "toy/single-v0", "--episodes", "1")
    assert code == 0
    assert "recorded: 1 episode, " in " ".join(output.split())
