"""``minari list``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import minari


Minari = Callable[..., Any]
MakeDataset = Callable[..., minari.MinariDataset]


def cells(line: str) -> list[str]:
    """Return the cells of a table row."""
    return [cell.strip() for cell in line.strip("│").split("│")]


def rows(lines: list[str]) -> dict[str, list[str]]:
    """The rows of a table by their first cell."""
    table = [cells(line) for line in lines if line.startswith("│")]
    return {row[0]: row[1:] for row in table}


def test_no_datasets(run: Minari, datasets_root: Path) -> None:
    done = run("list", "local")
    assert (done.code, done.lines, done.err) == (0, [f"There are no datasets in {datasets_root}."], "")


def test_the_table_says_what_is_there(run: Minari, make_dataset: MakeDataset, datasets_root: Path) -> None:
    make_dataset("toy/a-v0", [3, 5], author={"Grace", "Ada"})
    make_dataset("plain-v3", [2])
    done = run("list", "local")
    assert (done.code, done.err) == (0, "")
    assert done.lines[0] == f"Local Minari datasets ('{datasets_root}')"
    assert [cell.strip() for cell in done.lines[2].strip("┃").split("┃")] == [
        "Name",
        "# Episodes",
        "# Steps",
        "Size",
        "Author",
    ]
    assert rows(done.lines) == {
        "plain-v3": ["1", "2", "< 50 kB", "Ada"],
        "toy/a-v0": ["2", "8", "< 50 kB", "Ada, Grace"],
    }
    assert done.lines[-1].strip() == "Number of datasets: 2, total size: < 50 kB"


def test_only_the_newest_version_is_shown_unless_all_are_asked_for(run: Minari, make_dataset: MakeDataset) -> None:
    for version in (2, 10, 9):
        make_dataset(f"toy/a-v{version}", [1])
    assert list(rows(run("list", "local").lines)) == ["toy/a-v10"]
    for option in ("--all", "-a"):
        assert list(rows(run("list", "local", option).lines)) == ["toy/a-v2", "toy/a-v9", "toy/a-v10"]


def test_a_prefix(run: Minari, make_dataset: MakeDataset) -> None:
    for dataset_id in ("toy/a-v0", "toy/b-v0", "other/a-v0"):
        make_dataset(dataset_id, [1])
    for option in (["--prefix", "toy"], ["-p", "toy/"]):
        assert list(rows(run("list", "local", *option).lines)) == ["toy/a-v0", "toy/b-v0"]
    nothing = run("list", "local", "--prefix", "nothing")
    assert nothing.code == 0
    assert nothing.lines[0].startswith("There are no datasets of the namespace 'nothing' in ")


def test_json(run: Minari, make_dataset: MakeDataset) -> None:
    make_dataset("toy/a-v0", [3, 5], author={"Grace", "Ada"}, ref_min_score=1.0, ref_max_score=float("inf"))
    done = run("list", "local", "--json")
    datasets = json.loads(done.out, parse_constant=pytest.fail)
    assert list(datasets) == ["toy/a-v0"]
    metadata = datasets["toy/a-v0"]
    assert (metadata["total_episodes"], metadata["total_steps"]) == (2, 8)
    assert metadata["author"] == ["Ada", "Grace"]
    assert metadata["ref_max_score"] is None
    space = minari.serialization.deserialize_space(metadata["observation_space"])
    assert space == minari.load_dataset("toy/a-v0").observation_space


def test_json_without_datasets(run: Minari) -> None:
    assert json.loads(run("list", "local", "--json").out) == {}


def test_a_damaged_dataset_is_one_warning_and_the_rest_is_listed(
    run: Minari, make_dataset: MakeDataset, datasets_root: Path
) -> None:
    make_dataset("toy/a-v0", [1])
    make_dataset("toy/b-v0", [1])
    (datasets_root / "toy" / "a-v0" / "data" / "metadata.json").write_text("{broken\nfile")
    done = run("list", "local")
    assert done.code == 0
    assert list(rows(done.lines)) == ["toy/b-v0"]
    (complaint,) = done.complaints
    assert complaint.startswith("Warning: ")
    assert "toy/a-v0" in complaint


def test_metadata_that_say_little_or_nonsense_can_be_listed(
    run: Minari, make_dataset: MakeDataset, datasets_root: Path
) -> None:
    make_dataset("toy/a-v0", [4])
    file = datasets_root / "toy" / "a-v0" / "data" / "metadata.json"
    full = json.loads(file.read_text())
    for changed in ({"dataset_size": None, "author": None}, {"dataset_size": "big", "author": [3, "[b]x[/b]"]}):
        file.write_text(json.dumps({**full, **changed}))
        done = run("list", "local")
        assert (done.code, done.err) == (0, "")
        expected = ["–", "3, [b]x[/b]"] if changed["author"] else ["< 50 kB", "–"]  # measured where none is stored
        assert rows(done.lines)["toy/a-v0"] == ["1", "4", *expected]
    del full["dataset_size"], full["author"]
    file.write_text(json.dumps(full))
    assert rows(run("list", "local").lines)["toy/a-v0"] == ["1", "4", "< 50 kB", "–"]


@pytest.mark.parametrize("is_stored", [True, False])
def test_the_size_is_that_of_the_dataset(
    run: Minari, make_dataset: MakeDataset, datasets_root: Path, is_stored: bool
) -> None:
    make_dataset("toy/a-v0", [4], description="x" * 1_400_000)
    file = datasets_root / "toy" / "a-v0" / "data" / "metadata.json"
    if not is_stored:
        full = json.loads(file.read_text())
        del full["dataset_size"]
        file.write_text(json.dumps(full))
    size = f"{minari.load_dataset('toy/a-v0').storage.get_size()} MB"
    assert size == "1.4 MB"
    listed = run("list", "local")
    assert rows(listed.lines)["toy/a-v0"][2] == size
    assert f"total size: {size}" in listed.out
    assert size in run("show", "toy/a-v0").out
    assert size in run("delete", "toy/a-v0", "--yes").out


def test_control_characters_of_metadata_do_not_reach_the_terminal(run: Minari, make_dataset: MakeDataset) -> None:
    make_dataset("toy/a-v0", [1], author="\x1b]0;title\x07 \x1b[31mRed\x1b[0m")
    assert "\ufffd]0;title\ufffd Red" in run("list", "local").out  # `run` looks for the characters


@pytest.mark.parametrize("columns", ["20", "40", "80", "200"])
def test_ids_are_never_cut(run: Minari, make_dataset: MakeDataset, columns: str) -> None:
    long = "a-namespace-of-some-length/another-one/and-a-name-that-goes-on-and-on-and-on-v0"
    make_dataset(long, [1], author="Somebody With A Name, And Many Others")
    done = run("list", "local", COLUMNS=columns)
    assert done.code == 0
    assert len([line for line in done.lines if long in line]) == 1
    authors = "".join(cells(line)[4] for line in done.lines if line.startswith("│"))
    assert authors.replace(" ", "") == "SomebodyWithAName,AndManyOthers"


def test_letters_of_two_columns_are_not_cut_either(run: Minari, make_dataset: MakeDataset) -> None:
    make_dataset("toy/数据集-v0", [1])
    assert list(rows(run("list", "local").lines)) == ["toy/数据集-v0"]


def copies(original: Path, datasets_root: Path, ids: list[str]) -> None:
    """Put the metadata of one dataset under many ids."""
    for dataset_id in ids:
        data = datasets_root / dataset_id / "data"
        data.mkdir(parents=True)
        shutil.copy(original / "metadata.json", data)


class TestALongList:
    @pytest.fixture(autouse=True)
    def datasets(self, make_dataset: MakeDataset, datasets_root: Path) -> list[str]:
        dataset = make_dataset("alone-v0", [3, 5])
        ids = [f"many/{name}-v0" for name in range(60)] + [f"more/inside/{name}-v0" for name in range(39)]
        copies(dataset.storage.data_path, datasets_root, [*ids, "more/single-v0"])
        return ["alone-v0", *ids, "more/single-v0"]

    def test_namespaces_become_one_line_each(self, run: Minari) -> None:
        done = run("list", "local")
        assert {name: row[:2] for name, row in rows(done.lines).items()} == {
            "alone-v0": ["2", "8"],
            "many/… (60 datasets)": ["120", "480"],
            "more/single-v0": ["2", "8"],
            "more/inside/… (39 datasets)": ["78", "312"],
        }
        assert "Number of datasets: 101," in done.lines[-2]
        assert "--all" in done.lines[-1]

    def test_a_list_of_a_hundred_does_not_collapse(self, run: Minari, datasets_root: Path) -> None:
        shutil.rmtree(datasets_root / "alone-v0")
        assert len(rows(run("list", "local").lines)) == 100

    @pytest.mark.parametrize("options", [["--all"], ["--prefix", "many"]])
    def test_whoever_asks_for_all_or_for_a_prefix_sees_each(
        self, run: Minari, options: list[str], datasets: list[str]
    ) -> None:
        expected = [name for name in datasets if options == ["--all"] or name.startswith("many/")]
        assert sorted(rows(run("list", "local", *options).lines)) == sorted(expected)


@pytest.mark.parametrize("place", ["nowhere://bucket", "nonsense", "remote"])
def test_a_remote_that_is_unknown_is_refused_in_one_line(run: Minari, place: str) -> None:
    done = run("list", place, MINARI_REMOTE="nowhere://bucket")
    assert (done.code, done.out) == (1, "")
    (complaint,) = done.complaints
    assert complaint.startswith("Error: ")
