"""``minari list`` and ``minari validate``, and what reaches a terminal of names that somebody else chose."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import minari
from cli.conftest import MakeDataset, Minari


LONG_ID = "a-namespace-of-some-length/another-one/and-a-name-that-goes-on-and-on-and-on-v0"


def change_metadata(data: Path, *removed: str, **changes: Any) -> None:
    file = data / "metadata.json"
    metadata = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in metadata.items() if key not in removed}))


def test_list_of_nothing(run: Minari, datasets_root: Path) -> None:
    run("list", "local").assert_done(f"There are no datasets in {datasets_root}.")
    assert json.loads(run("list", "local", "--json").out) == {}


def test_table_says_what_is_there(run: Minari, make_dataset: MakeDataset, datasets_root: Path) -> None:
    make_dataset("toy/a-v0", [3, 5], author={"Grace", "Ada"})
    make_dataset("plain-v3", [2])
    done = run("list", "local")
    assert (done.code, done.err) == (0, "")
    assert done.out == run("list").out
    assert done.lines[0] == f"Local Minari datasets ('{datasets_root}')"
    assert done.lines[2].strip("┃").replace(" ", "").split("┃") == ["Name", "#Episodes", "#Steps", "Size", "Author"]
    assert done.rows == {"plain-v3": ["1", "2", "< 50 kB", "Ada"], "toy/a-v0": ["2", "8", "< 50 kB", "Ada, Grace"]}
    assert done.lines[-1].strip() == "Number of datasets: 2, total size: < 50 kB"


@pytest.mark.parametrize(
    ("options", "listed"),
    [
        ([], ["other/a-v0", "toy/a-v10"]),
        (["--all"], ["other/a-v0", "toy/a-v2", "toy/a-v9", "toy/a-v10"]),
        (["-a", "--prefix", "toy"], ["toy/a-v2", "toy/a-v9", "toy/a-v10"]),
        (["-p", "toy/"], ["toy/a-v10"]),
    ],
)
def test_versions_and_prefixes(run: Minari, make_dataset: MakeDataset, options: list[str], listed: list[str]) -> None:
    for dataset_id in ("toy/a-v2", "toy/a-v10", "toy/a-v9", "other/a-v0"):
        make_dataset(dataset_id, [1])
    assert list(run("list", "local", *options).rows) == listed
    nothing = run("list", "local", "--prefix", "nothing")
    assert nothing.code == 0
    assert nothing.lines[0].startswith("There are no datasets of the namespace 'nothing' in ")


def test_list_as_json(run: Minari, make_dataset: MakeDataset) -> None:
    make_dataset("toy/a-v0", [3, 5], author={"Grace", "Ada"}, ref_min_score=1.0, ref_max_score=float("inf"))
    datasets = json.loads(run("list", "local", "--json").out, parse_constant=pytest.fail)
    assert list(datasets) == ["toy/a-v0"]
    metadata = datasets["toy/a-v0"]
    assert (metadata["total_episodes"], metadata["total_steps"]) == (2, 8)
    assert metadata["author"] == ["Ada", "Grace"]
    assert metadata["ref_max_score"] is None
    space = minari.serialization.deserialize_space(metadata["observation_space"])
    assert space == minari.load_dataset("toy/a-v0").observation_space


def test_damaged_dataset_is_one_warning_and_the_rest_is_listed(run: Minari, make_dataset: MakeDataset) -> None:
    damaged = make_dataset("toy/a-v0", [1])
    make_dataset("toy/b-v0", [1])
    (damaged.storage.data_path / "metadata.json").write_text("{broken\nfile")
    done = run("list", "local")
    assert done.code == 0
    assert list(done.rows) == ["toy/b-v0"]
    (complaint,) = done.complaints
    assert complaint.startswith("Warning: ")
    assert "toy/a-v0" in complaint


@pytest.mark.parametrize(
    ("changes", "removed", "shown"),
    [
        ({"dataset_size": None, "author": None}, [], ["< 50 kB", "–"]),  # measured where none is stored
        ({"dataset_size": "big", "author": [3, "[b]x[/b]"]}, [], ["–", "3, [b]x[/b]"]),
        ({}, ["dataset_size", "author"], ["< 50 kB", "–"]),
        ({"author": "\x1b]0;title\x07 \x1b[31mRed\x1b[0m"}, [], ["< 50 kB", "\ufffd]0;title\ufffd Red"]),
    ],
)
def test_metadata_that_says_little_or_nonsense_is_listed(
    run: Minari, make_dataset: MakeDataset, changes: dict[str, Any], removed: list[str], shown: list[str]
) -> None:
    change_metadata(make_dataset("toy/a-v0", [4]).storage.data_path, *removed, **changes)
    done = run("list", "local")
    assert (done.code, done.err) == (0, "")
    assert done.rows["toy/a-v0"] == ["1", "4", *shown]


@pytest.mark.parametrize("is_stored", [True, False])
def test_size_is_that_of_the_dataset(run: Minari, make_dataset: MakeDataset, is_stored: bool) -> None:
    storage = make_dataset("toy/a-v0", [4], description="x" * 1_400_000).storage
    if not is_stored:
        change_metadata(storage.data_path, "dataset_size")
    size = f"{storage.get_size()} MB"
    assert size == "1.4 MB"
    listed = run("list", "local")
    assert listed.rows["toy/a-v0"][2] == size
    assert f"total size: {size}" in listed.out
    assert size in run("show", "toy/a-v0").out
    assert size in run("delete", "toy/a-v0", "--yes").out


@pytest.mark.parametrize(("size", "text"), [(0.3, "300 kB"), (0.9, "900 kB"), (1.0, "1.0 MB"), (2345.6, "2345.6 MB")])
def test_sizes_below_a_megabyte_are_in_kilobytes(
    run: Minari, make_dataset: MakeDataset, size: float, text: str
) -> None:
    make_dataset("toy/small-v0", [3])
    change_metadata(make_dataset("toy/large-v0", [3]).storage.data_path, dataset_size=size)
    listed = run("list")
    assert [row[2] for row in listed.rows.values()] == [text, "< 50 kB"]
    assert f"total size: {text}" in listed.out
    assert f"{text} (hdf5)" in run("show", "toy/large-v0").out
    assert minari.list_local_datasets()["toy/small-v0"]["dataset_size"] == 0.0


@pytest.mark.parametrize("columns", ["20", "40", "80", "200"])
def test_ids_are_never_cut(run: Minari, make_dataset: MakeDataset, columns: str) -> None:
    make_dataset(LONG_ID, [1], author="Somebody With A Name, And Many Others")
    done = run("list", "local", COLUMNS=columns)
    assert done.code == 0
    assert len([line for line in done.lines if LONG_ID in line]) == 1
    authors = "".join(line.strip("│").split("│")[4].strip() for line in done.lines if line.startswith("│"))
    assert authors.replace(" ", "") == "SomebodyWithAName,AndManyOthers"


def test_letters_of_two_columns_are_not_cut_either(run: Minari, make_dataset: MakeDataset) -> None:
    make_dataset("toy/数据集-v0", [1])
    assert list(run("list", "local").rows) == ["toy/数据集-v0"]


@pytest.fixture
def many(make_dataset: MakeDataset, datasets_root: Path) -> list[str]:
    """The metadata of one dataset under 101 ids."""
    original = make_dataset("alone-v0", [3, 5]).storage.data_path
    ids = [f"many/{name}-v0" for name in range(60)] + [f"more/inside/{name}-v0" for name in range(39)]
    for dataset_id in [*ids, "more/single-v0"]:
        data = datasets_root / dataset_id / "data"
        data.mkdir(parents=True)
        shutil.copy(original / "metadata.json", data)
    return ["alone-v0", *ids, "more/single-v0"]


def test_namespaces_of_a_long_list_become_one_line_each(run: Minari, many: list[str], datasets_root: Path) -> None:
    done = run("list", "local")
    assert {name: row[:2] for name, row in done.rows.items()} == {
        "alone-v0": ["2", "8"],
        "many/… (60 datasets)": ["120", "480"],
        "more/single-v0": ["2", "8"],
        "more/inside/… (39 datasets)": ["78", "312"],
    }
    assert "Number of datasets: 101," in done.lines[-2]
    assert "--all" in done.lines[-1]
    assert sorted(run("list", "local", "--all").rows) == sorted(many)
    assert len(run("list", "local", "--prefix", "many").rows) == 60
    shutil.rmtree(datasets_root / "alone-v0")
    assert len(run("list", "local").rows) == 100  # a list of a hundred does not collapse


# validate


def test_validate_sound_and_damaged_datasets(run: Minari, make_dataset: MakeDataset, datasets_root: Path) -> None:
    make_dataset("toy/good-v0", [3, 4])
    change_metadata(make_dataset("toy/bad-v0", [5]).storage.data_path, total_steps=99)
    run("validate", "toy/good-v0").assert_done("toy/good-v0: sound, 2 episodes read")
    for arguments in (("toy/bad-v0", "toy/good-v0"), ("--all",)):
        done = run("validate", *arguments)
        assert (done.code, done.err) == (1, "")
        assert done.lines == [
            "toy/bad-v0: damaged, 1 episode read, 1 error",
            "  error   The metadata claims 99 steps, and the episodes have 5.",
            "toy/good-v0: sound, 2 episodes read",
        ]
    done = run("validate", "toy/bad-v0", "--json")
    assert done.code == 1
    (report,) = json.loads(done.out)
    assert (report["dataset"], report["ok"], report["counts"]["error"]) == ("toy/bad-v0", False, 1)
    assert report["findings"][0]["kind"] == "totals"
    done = run("validate", str(datasets_root / "toy" / "bad-v0"), "--fix", "--checksums")
    assert done.code == 0
    assert done.lines[0] == "Set total_steps to 5, which was 99."


HOSTILE = "\x1b]8;;http://evil\x07 \x1b[2J \u202egnp.exe \u2066 \u200b \x9b31m \r over \ud800"


def test_nothing_of_the_metadata_directs_the_terminal(run: Minari, make_dataset: MakeDataset) -> None:
    data = make_dataset("toy/a-v0", [3]).storage.data_path
    hostile = dict.fromkeys(("author", "author_email", "algorithm_name", "code_permalink", "eval_env_spec"), HOSTILE)
    space = {"type": "Text", "min_length": 0, "max_length": 3, "charset": HOSTILE}
    spec = {"id": "X-v0", "entry_point": HOSTILE, "kwargs": {HOSTILE: HOSTILE}}
    change_metadata(
        data,
        **hostile,
        description=f"[good](http://evil) {HOSTILE}",
        env_spec=json.dumps(spec),
        requirements=[HOSTILE],
        observation_space=json.dumps(space),
    )
    (data / "\x1b[31m\u202e").touch()
    for command in (("list", "local"), ("show", "toy/a-v0"), ("validate", "toy/a-v0"), ("show", "toy/a-v0", "--json")):
        done = run(*command)
        for letter in "\x1b\x07\u202e\u2066\u200b\x9b\r\ud800":
            assert letter not in done.out + done.err, (command, letter)
