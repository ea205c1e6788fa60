"""``minari combine``, ``rename`` and ``delete``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import minari


Minari = Callable[..., Any]
MakeDataset = Callable[..., minari.MinariDataset]


def assert_refused(done: Any, *parts: str, code: int = 1) -> None:
    """The command said in one line on standard error why it does nothing."""
    assert done.code == code
    (complaint,) = done.complaints
    assert complaint.startswith("Error: ")
    for part in parts:
        assert part in complaint


class TestCombine:
    def test_datasets_become_one(self, run: Minari, make_dataset: MakeDataset, datasets_root: Path) -> None:
        make_dataset("toy/a-v0", [3, 5])
        make_dataset("toy/b-v0", [2])
        done = run("combine", "toy/b-v0", "toy/a-v0", "--dataset-id", "all/c-v0")
        assert (done.code, done.err) == (0, "")
        assert done.lines == [
            "Dataset all/c-v0 combined from toy/b-v0, toy/a-v0: 3 episodes, 10 steps, "
            f"at {datasets_root / 'all' / 'c-v0'}"
        ]
        combined = minari.load_dataset("all/c-v0")
        assert [len(episode) for episode in combined] == [2, 3, 5]
        assert combined.combined_datasets == ["toy/b-v0", "toy/a-v0"]

    def test_what_cannot_be_combined_leaves_nothing_behind(self, run: Minari, make_dataset: MakeDataset) -> None:
        make_dataset("toy/a-v0")
        make_dataset("toy/b-v0", env="CartPole-v1")
        unknown = run("combine", "toy/a-v0", "toy/x-v0", "toy/y-v0", "--dataset-id", "c-v0")
        assert_refused(unknown, "toy/x-v0, toy/y-v0")
        assert_refused(run("combine", "toy/a-v0", "toy/b-v0", "--dataset-id", "c-v0"), "env_spec")
        assert_refused(run("combine", "toy/a-v0", "--dataset-id", "c"), "has no version")
        assert_refused(run("combine", "toy/a-v0", "--dataset-id", "toy/b-v0"), "already exists")
        assert sorted(minari.list_local_datasets()) == ["toy/a-v0", "toy/b-v0"]


class TestRename:
    def test_it_says_where_the_dataset_is_now(
        self, run: Minari, make_dataset: MakeDataset, datasets_root: Path
    ) -> None:
        make_dataset("toy/a-v0", [3, 5])
        done = run("rename", "toy/a-v0", "best/b-v1")
        assert (done.code, done.err) == (0, "")
        assert done.lines == [f"Dataset toy/a-v0 renamed to best/b-v1, at {datasets_root / 'best' / 'b-v1'}"]
        assert list(minari.list_local_datasets()) == ["best/b-v1"]

    def test_what_is_refused(self, run: Minari, make_dataset: MakeDataset) -> None:
        make_dataset("toy/a-v0")
        make_dataset("toy/b-v0")
        assert_refused(run("rename", "toy/a-v0", "toy/b-v0"), "already exists")
        assert_refused(run("rename", "toi/a-v0", "toy/c-v0"), "Did you mean 'toy/a-v0'?")
        assert sorted(minari.list_local_datasets()) == ["toy/a-v0", "toy/b-v0"]


class TestDelete:
    @pytest.fixture(autouse=True)
    def datasets(self, make_dataset: MakeDataset) -> None:
        for name in "abc":
            make_dataset(f"toy/{name}-v0", [1])

    def test_it_shows_the_datasets_and_asks(self, run: Minari) -> None:
        done = run("delete", "toy/a-v0", "toy/b-v0", "toy/a-v0", answer="y\n")
        assert (done.code, done.err) == (0, "")
        assert [line for line in done.lines if line.startswith("│ toy/")] != []
        assert "Are you sure you want to delete these local datasets? [y/N]: " in done.out
        assert done.out.endswith("Dataset toy/a-v0 deleted!\nDataset toy/b-v0 deleted!\n")
        assert list(minari.list_local_datasets()) == ["toy/c-v0"]

    @pytest.mark.parametrize("answer", ["n\n", "\n", ""])
    def test_another_answer_deletes_nothing(self, run: Minari, answer: str) -> None:
        done = run("delete", "toy/a-v0", answer=answer)
        assert done.code == 1
        assert done.complaints[-1] == "Aborted."
        assert "deleted!" not in done.out
        assert len(minari.list_local_datasets()) == 3

    @pytest.mark.parametrize("option", ["--yes", "-y"])
    def test_it_does_not_ask_when_it_is_told_so(self, run: Minari, option: str) -> None:
        done = run("delete", option, "toy/a-v0")
        assert done.code == 0
        assert "sure" not in done.out
        assert done.lines[-1] == "Dataset toy/a-v0 deleted!"

    @pytest.mark.parametrize(
        ("unknown", "part"),
        [("toy/x-v0", "toy/x-v0"), ("toy", "has no version"), ("", "Malformed"), ("../toy/a-v0", "Malformed")],
    )
    def test_an_unknown_one_is_refused_before_anything_is_deleted(self, run: Minari, unknown: str, part: str) -> None:
        done = run("delete", "--yes", "toy/a-v0", unknown)
        assert_refused(done, part)
        assert done.out == ""
        assert len(minari.list_local_datasets()) == 3

    def test_a_damaged_one_can_be_deleted(self, run: Minari, datasets_root: Path) -> None:
        (datasets_root / "toy" / "a-v0" / "data" / "metadata.json").write_text("{")
        done = run("delete", "toy/a-v0", answer="y\n")
        assert done.code == 0
        assert done.complaints[0].startswith("Warning: The dataset toy/a-v0 is damaged")
        assert not (datasets_root / "toy" / "a-v0").exists()
