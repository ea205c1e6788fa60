"""``minari combine``, ``delete``, ``download`` and ``upload``."""

from __future__ import annotations

import json
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
        [("toy/x-v0", "toy/x-v0"), ("toy", "has no version"), ("", "malformed"), ("../toy/a-v0", "malformed")],
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


@pytest.fixture
def shared(tmp_path: Path, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a folder with the datasets ``toy/a-v0`` and ``toy/a-v1``, which are not here."""
    folder = tmp_path / "shared"
    with monkeypatch.context() as context:
        context.setenv("MINARI_DATASETS_PATH", str(folder))
        make_dataset("toy/a-v0", [3])
        make_dataset("toy/a-v1", [3, 5])
    return folder.as_uri()


class TestRemoteList:
    def test_a_folder(self, run: Minari, shared: str) -> None:
        by_address = run("list", shared)
        assert (by_address.code, by_address.err) == (0, "")
        assert by_address.lines[0] == f"Remote Minari datasets ('{shared}')"
        assert [line for line in by_address.lines if "toy/a-v1" in line] != []
        assert "toy/a-v0" not in by_address.out
        assert run("list", "remote", MINARI_REMOTE=shared).out == by_address.out
        every = run("list", shared, "--all", "--json")
        assert list(json.loads(every.out)) == ["toy/a-v0", "toy/a-v1"]
        assert run("list", shared, "-p", "nothing").lines == [
            f"There are no datasets of the namespace 'nothing' on {shared}."
        ]


class TestDownload:
    @pytest.mark.parametrize("by_address", [False, True])
    def test_a_dataset(self, run: Minari, shared: str, datasets_root: Path, by_address: bool) -> None:
        named = f"{shared}/toy/a-v1" if by_address else "toy/a-v1"
        done = run("download", named, MINARI_REMOTE="s3://bucket" if by_address else shared)
        assert (done.code, done.err) == (0, "")
        assert done.lines == [
            "Downloading toy/a-v1 from Farama servers...",
            f"Dataset toy/a-v1 downloaded to {datasets_root / 'toy' / 'a-v1'}",
        ]
        assert [len(episode) for episode in minari.load_dataset("toy/a-v1")] == [3, 5]

    def test_what_is_here_is_downloaded_again_only_by_force(
        self, run: Minari, shared: str, make_dataset: MakeDataset, datasets_root: Path
    ) -> None:
        make_dataset("toy/a-v1", [1])
        done = run("download", "toy/a-v1", MINARI_REMOTE=shared)
        assert (done.code, done.err) == (0, "")
        path = datasets_root / "toy" / "a-v1"
        assert done.lines == [f"Dataset toy/a-v1 is at {path} already; --force downloads it again."]
        assert len(minari.load_dataset("toy/a-v1")) == 1
        for option in ("--force", "-f"):
            assert run("download", option, "toy/a-v1", MINARI_REMOTE=shared).code == 0
            assert len(minari.load_dataset("toy/a-v1")) == 2
            minari.delete_dataset("toy/a-v1")

    def test_an_older_version_is_a_warning(self, run: Minari, shared: str) -> None:
        done = run("download", "toy/a-v0", MINARI_REMOTE=shared)
        assert done.code == 0
        (complaint,) = done.complaints
        assert complaint.startswith("Warning: ")
        assert "toy/a-v1" in complaint

    @pytest.mark.parametrize("dataset", ["toy/a-v7", "toy/x-v0", "s3://bucket/toy/a-v0"])
    def test_what_there_is_not(self, run: Minari, shared: str, dataset: str) -> None:
        done = run("download", dataset, MINARI_REMOTE=shared)
        assert_refused(done)
        assert minari.list_local_datasets() == {}

    @pytest.mark.parametrize("dataset", ["toy/a", "s3://bucket", "", "../a-v0"])
    def test_a_malformed_id(self, run: Minari, dataset: str) -> None:
        done = run("download", dataset)
        assert_refused(done)
        assert done.out == ""


class TestUpload:
    def test_datasets(self, run: Minari, shared: str, make_dataset: MakeDataset, tmp_path: Path) -> None:
        make_dataset("mine/a-v0", [4])
        make_dataset("toy/a-v1", [1])
        done = run("upload", "mine/a-v0", "toy/a-v1", MINARI_REMOTE=shared)
        assert (done.code, done.err) == (0, "")
        assert done.lines == [
            f"Dataset mine/a-v0 uploaded to {shared}",
            f"Dataset toy/a-v1 is on {shared} already.",
        ]
        sent = minari.open_dataset(tmp_path / "shared" / "mine" / "a-v0")
        assert [len(episode) for episode in sent] == [4]
        assert len(minari.open_dataset(tmp_path / "shared" / "toy" / "a-v1")) == 2

    def test_what_is_missing_is_refused(self, run: Minari, make_dataset: MakeDataset, tmp_path: Path) -> None:
        make_dataset("toy/a-v0")
        key = str(tmp_path / "key")
        assert_refused(run("upload", "toy/a-v0", "toy/x-v0", "--key-path", key), "toy/x-v0", "nothing was uploaded")
        assert_refused(run("upload", "toy/a-v0", "--key-path", key), key, code=2)
        assert_refused(run("upload", "toy/a-v0", MINARI_REMOTE="s3://bucket"))

    @pytest.mark.parametrize(
        ("remote", "expected"), [("hf://someone", "secret"), ("gcp://bucket", "{key}"), (None, "secret")]
    )
    def test_the_hub_gets_the_token_and_a_bucket_the_key_file(
        self,
        make_dataset: MakeDataset,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        tmp_path: Path,
        remote: str | None,
        expected: str,
    ) -> None:
        from minari.cli import catalogue

        class Remote:
            def list_datasets(self, prefix: str) -> list[str]:
                return []

        make_dataset("toy/a-v0")
        key = tmp_path / "key"
        key.write_text("secret\n")
        if remote is not None:
            monkeypatch.setenv("MINARI_REMOTE", remote)
        sent: list[tuple[str, str]] = []
        monkeypatch.setattr(catalogue, "get_cloud_storage", lambda address, token: Remote())
        monkeypatch.setattr(catalogue.minari, "upload_dataset", lambda name, token: sent.append((name, token)))
        catalogue.upload(["toy/a-v0"], str(key))
        assert sent == [("toy/a-v0", expected.format(key=key))]
        assert capsys.readouterr().out == f"Dataset toy/a-v0 uploaded to {remote or 'hf://farama-minari'}\n"
