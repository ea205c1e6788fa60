"""``minari list``, ``show``, ``download`` and ``upload`` with a remote that is a directory."""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import minari
from minari.cli import app, sharing
from minari.cli.options import read_credentials
from minari.cli.running import UsageError
from minari.storage import hosting
from minari.storage.remotes import MAX_WORKERS
from support.terminals import plain, run_on_terminal


Minari = Callable[..., Any]
MakeDataset = Callable[..., minari.MinariDataset]


def assert_refused(done: Any, *parts: str, code: int = 1) -> None:
    """The command said in one line on standard error why it does nothing."""
    assert done.code == code
    (complaint,) = done.complaints
    assert complaint.startswith("Error: ")
    for part in parts:
        assert part in complaint


@pytest.fixture
def shared(tmp_path: Path, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a directory with the datasets ``toy/a-v0`` and ``toy/a-v1``, which are not here."""
    directory = tmp_path / "shared"
    with monkeypatch.context() as context:
        context.setenv("MINARI_DATASETS_PATH", str(directory))
        make_dataset("toy/a-v0", [3])
        make_dataset("toy/a-v1", [3, 5])
    return directory.as_uri()


@pytest.fixture
def other(tmp_path: Path) -> str:
    """The address of an empty directory."""
    directory = tmp_path / "other"
    directory.mkdir()
    return directory.as_uri()


class TestList:
    def test_a_directory(self, run: Minari, shared: str) -> None:
        by_address = run("list", shared)
        assert (by_address.code, by_address.err) == (0, "")
        assert by_address.lines[0] == f"Remote Minari datasets ('{shared}')"
        assert [line for line in by_address.lines if "toy/a-v1" in line] != []
        assert "toy/a-v0" not in by_address.out
        assert run("list", "remote", MINARI_REMOTE=shared).out == by_address.out
        assert run("list", "remote", "-q", MINARI_REMOTE=shared).out == by_address.out
        every = run("list", shared, "--all", "--json")
        assert list(json.loads(every.out)) == ["toy/a-v0", "toy/a-v1"]
        assert run("list", shared, "-p", "nothing").lines == [
            f"There are no datasets of the namespace 'nothing' on {shared}."
        ]

    def test_the_community_is_listed_with_owners_and_authors(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[dict[str, Any]] = []

        def list_community_datasets(**options: Any) -> dict[str, dict[str, Any]]:
            asked.append(options)
            metadata = {"total_episodes": 2, "total_steps": 8, "dataset_size": 0.1, "author": ["Ada"]}
            return {"hf://lab.one/toy/a-v0": metadata, "hf://two/toy/a-v0": metadata, "hf://two/b-v0": metadata}

        monkeypatch.setattr(hosting, "list_community_datasets", list_community_datasets, raising=False)
        done = CliRunner().invoke(app, ["list", "community", "--token", "secret", "--prefix", "toy"])
        assert done.exit_code == 0
        lines = [line for line in done.stdout.splitlines() if line.startswith("│")]
        assert [line.strip("│").split("│")[0].strip() for line in lines] == [
            "hf://lab.one/toy/a-v0",
            "hf://two/toy/a-v0",
            "hf://two/b-v0",
        ]
        assert all("Ada" in line for line in lines)
        assert done.stdout.count("├") == 1  # one owner is parted from the other
        expected = {"prefix": "toy", "latest_version": True, "compatible_minari_version": True, "token": "secret"}
        assert asked == [expected]
        monkeypatch.setattr(hosting, "list_community_datasets", lambda **_: {})
        done = CliRunner().invoke(app, ["list", "community"])
        assert done.stdout == "There are no datasets of the community on the Hugging Face Hub.\n"


class TestShow:
    def test_the_metadata_of_a_dataset_on_a_remote(self, run: Minari, shared: str, datasets_root: Path) -> None:
        address = f"{shared}/toy/a-v1"
        done = run("show", address)
        assert (done.code, done.err) == (0, "")
        assert done.lines[0] == "toy/a-v1"
        assert f"minari download {address}" in done.out
        assert "Episodes that count." in done.out
        assert "Episode Returns" not in done.out
        assert not any(datasets_root.rglob("*.json"))

    def test_as_json(self, run: Minari, shared: str) -> None:
        metadata = json.loads(run("show", f"{shared}/toy/a-v1", "--json").out)
        assert (metadata["dataset_id"], metadata["total_steps"]) == ("toy/a-v1", 8)
        assert metadata["address"] == f"{shared}/toy/a-v1"
        assert "data_path" not in metadata

    def test_what_there_is_not(self, run: Minari, shared: str) -> None:
        assert_refused(run("show", f"{shared}/toy/x-v0"), "x-v0")
        assert_refused(run("show", "nowhere://bucket/toy/x-v0"), "nowhere")


class TestDownload:
    @pytest.mark.parametrize("by", ["default", "option", "address"])
    def test_a_dataset(self, run: Minari, shared: str, datasets_root: Path, by: str) -> None:
        named = f"{shared}/toy/a-v1" if by == "address" else "toy/a-v1"
        options = ["--remote", shared] if by == "option" else []
        done = run("download", named, *options, MINARI_REMOTE=shared if by == "default" else "nowhere://bucket")
        assert (done.code, done.err) == (0, "")
        assert done.lines == [
            f"Downloading toy/a-v1 from {shared}...",
            f"Dataset toy/a-v1 downloaded to {datasets_root / 'toy' / 'a-v1'}",
        ]
        assert [len(episode) for episode in minari.load_dataset("toy/a-v1")] == [3, 5]

    def test_several_of_which_some_fail(self, run: Minari, shared: str, tmp_path: Path) -> None:
        (tmp_path / "shared" / "toy" / "a-v0" / "data" / "main_data.hdf5").unlink()
        wanted = ["toy/x-v0", "toy/a-v1", "malformed", "toy/a-v1", "toy/y-v3"]
        done = run("download", *wanted, MINARI_REMOTE=shared)
        assert done.code == 1
        assert [line for line in done.lines if line.startswith("Dataset ")] == [done.lines[2]]
        assert len(done.complaints) == 3
        for complaint, name in zip(done.complaints, ["toy/x", "malformed", "toy/y"], strict=True):
            assert complaint.startswith("Error: ")
            assert name in complaint
        assert list(minari.list_local_datasets()) == ["toy/a-v1"]

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

    @pytest.mark.parametrize("dataset", ["toy/a-v7", "toy/x-v0", "nowhere://bucket/toy/a-v0"])
    def test_what_there_is_not(self, run: Minari, shared: str, dataset: str) -> None:
        done = run("download", dataset, MINARI_REMOTE=shared)
        assert_refused(done)
        assert minari.list_local_datasets() == {}

    @pytest.mark.parametrize("dataset", ["toy/a", "nowhere://bucket", "", "../a-v0"])
    def test_a_malformed_id(self, run: Minari, dataset: str) -> None:
        done = run("download", dataset)
        assert_refused(done)
        assert done.out == ""

    def test_a_remote_that_is_named_twice(self, run: Minari, shared: str) -> None:
        done = run("download", f"{shared}/toy/a-v1", "--remote", shared)
        assert_refused(done, "--remote", code=2)
        assert done.out == ""

    def test_broken_off_with_ctrl_c(self, monkeypatch: pytest.MonkeyPatch, datasets_root: Path) -> None:
        def interrupted(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(sharing.minari, "download_dataset", interrupted)
        done = CliRunner().invoke(app, ["download", "toy/a-v0", "toy/b-v0"])
        assert done.exit_code == 130
        assert done.stdout == "Downloading toy/a-v0 from Farama servers...\n"
        assert done.stderr.splitlines() == [
            "The part of toy/a-v0 that has been downloaded is kept; the same command resumes it.",
            "Interrupted.",
        ]


class TestUpload:
    def test_datasets(self, run: Minari, shared: str, make_dataset: MakeDataset, tmp_path: Path) -> None:
        make_dataset("mine/a-v0", [4])
        make_dataset("toy/a-v1", [1])
        done = run("upload", "mine/a-v0", "toy/a-v1", "mine/a-v0", MINARI_REMOTE=shared)
        assert (done.code, done.err) == (0, "")
        assert done.lines == [
            f"Uploading mine/a-v0 to {shared}...",
            f"Dataset mine/a-v0 uploaded to {shared}",
            f"Dataset toy/a-v1 is on {shared} already.",
        ]
        sent = minari.open_dataset(tmp_path / "shared" / "mine" / "a-v0")
        assert [len(episode) for episode in sent] == [4]
        assert len(minari.open_dataset(tmp_path / "shared" / "toy" / "a-v1")) == 2

    def test_to_a_remote_that_is_named(self, run: Minari, make_dataset: MakeDataset, other: str) -> None:
        make_dataset("mine/a-v0", [4])
        done = run("upload", "mine/a-v0", "--remote", other, MINARI_REMOTE="nowhere://bucket")
        assert (done.code, done.lines[-1]) == (0, f"Dataset mine/a-v0 uploaded to {other}")

    def test_one_that_fails_does_not_keep_the_others(
        self, run: Minari, make_dataset: MakeDataset, datasets_root: Path, other: str
    ) -> None:
        for name in "abc":
            make_dataset(f"toy/{name}-v0", [1])
        (datasets_root / "toy" / "b-v0" / "data" / "metadata.json").write_text("{")
        done = run("upload", "toy/a-v0", "toy/b-v0", "toy/c-v0", "--remote", other)
        assert_refused(done, "b-v0", "damaged")
        assert list(minari.list_remote_datasets(other)) == ["toy/a-v0", "toy/c-v0"]

    def test_what_is_missing_is_refused(self, run: Minari, make_dataset: MakeDataset, tmp_path: Path) -> None:
        make_dataset("toy/a-v0")
        key = str(tmp_path / "key")
        assert_refused(run("upload", "toy/a-v0", "toy/x-v0", "--key-path", key), "toy/x-v0", "nothing was uploaded")
        assert_refused(run("upload", "toy/a-v0", "--key-path", key), key, code=2)
        assert_refused(run("upload", "toy/a-v0", MINARI_REMOTE="nowhere://bucket"))

    def test_a_directory_cannot_be_private(self, run: Minari, make_dataset: MakeDataset, other: str) -> None:
        make_dataset("toy/a-v0")
        done = run("upload", "toy/a-v0", "--private", "--remote", other)
        assert_refused(done, "private")


class TestOptions:
    def test_what_is_given_reaches_the_functions(
        self, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch, other: str
    ) -> None:
        make_dataset("toy/a-v0")
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        for name in ("upload_dataset", "download_dataset"):
            monkeypatch.setattr(sharing.minari, name, lambda *args, **options: calls.append((args, options)))
        shared_options = ["--remote", other, "--token", "secret", "--max-workers", "3", "-q"]
        runner = CliRunner()
        assert runner.invoke(app, ["upload", "toy/a-v0", "--private", "--force", *shared_options]).exit_code == 0
        assert runner.invoke(app, ["download", "toy/a-v0", "-f", *shared_options]).exit_code == 0
        assert calls == [
            (("toy/a-v0", "secret"), {"remote": other, "private": True, "force": True, "max_workers": 3}),
            (("toy/a-v0", True), {"remote": other, "token": "secret", "max_workers": 3}),
        ]

    def test_the_number_of_workers(self, run: Minari, shared: str) -> None:
        done = run("download", "toy/a-v1", "--max-workers", "0", MINARI_REMOTE=shared)
        assert (done.code, done.out) == (2, "")
        for function in (hosting.upload_dataset, hosting.download_dataset):
            assert inspect.signature(function).parameters["max_workers"].default == MAX_WORKERS == 16

    def test_a_token_is_never_said(self, run: Minari, shared: str, make_dataset: MakeDataset, other: str) -> None:
        make_dataset("toy/b-v0")
        for arguments in (
            ["download", "toy/x-v0", "--remote", shared],
            ["upload", "toy/b-v0", "--private", "--remote", other],
            ["upload", "toy/b-v0", "--key-path", "file"],
            ["list", "nowhere://bucket"],
            ["show", f"{shared}/toy/x-v0"],
            ["list", shared, "--no-such-option"],
        ):
            done = CliRunner().invoke(app, [*arguments, "--token", "hf_secret"])
            assert done.exit_code != 0
            assert done.stderr
            assert "hf_secret" not in done.output
        done = run("download", "toy/x-v0", "--remote", shared, "--token", "hf_secret", MINARI_DEBUG="1")
        assert "Traceback" in done.err
        assert "hf_secret" not in done.out + done.err


class TestCredentials:
    @pytest.mark.parametrize(
        ("address", "expected"),
        [
            ("hf://someone", "secret"),
            ("HF://someone/toy/a-v0", "secret"),
            ("https://host", "secret"),
            ("gcp://bucket", "{key}"),
            (None, "secret"),
        ],
    )
    def test_the_hub_gets_the_token_and_a_bucket_the_key_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str | None, expected: str
    ) -> None:
        monkeypatch.delenv("MINARI_REMOTE", raising=False)
        key = tmp_path / "key"
        key.write_text("secret\n")
        assert read_credentials(address, None, str(key)) == expected.format(key=key)

    def test_neither(self) -> None:
        assert read_credentials("hf://someone", None, None) is None

    def test_a_token(self) -> None:
        assert read_credentials("hf://someone", "secret", None) == "secret"
        assert read_credentials("hf://someone", None, "hf_secret") == "hf_secret"

    def test_both(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="--token and --key-path") as refused:
            read_credentials("hf://someone", "secret", str(tmp_path))
        assert "secret" not in str(refused.value)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
class TestOnATerminal:
    def test_bytes_and_files_have_bars(self, shared: str, process_environment: dict[str, str], tmp_path: Path) -> None:
        arguments = ("download", "toy/a-v1", "--remote", shared)
        code, out, drawn = run_on_terminal(arguments, process_environment, tmp_path)
        assert code == 0
        assert "\x1b" not in out
        bars = plain(drawn)
        assert [line for line in bars.splitlines() if "downloading toy/a-v1" in line and "/2 files" in line] != []
        assert [line for line in bars.splitlines() if "downloading toy/a-v1" in line and " kB " in line] != []

    def test_quietly(self, shared: str, process_environment: dict[str, str], tmp_path: Path) -> None:
        arguments = ("download", "toy/a-v1", "--remote", shared, "--quiet")
        code, out, drawn = run_on_terminal(arguments, process_environment, tmp_path)
        assert (code, drawn) == (0, "")
        assert len(out.splitlines()) == 2


def test_a_download_that_was_killed_goes_on(
    run: Minari, shared: str, process_environment: dict[str, str], tmp_path: Path, datasets_root: Path
) -> None:
    data = tmp_path / "shared" / "toy" / "a-v1" / "data"
    program = (
        "import os, sys, minari.progress as p\n"
        "class Kill:\n"
        "    def started(self, task): self.done = 0\n"
        "    def advanced(self, task, amount):\n"
        "        self.done += amount\n"
        "        if task.unit == 'bytes' and self.done > 5_000_000: os._exit(9)\n"
        "    def finished(self, task): pass\n"
        "import minari\n"
        f"with p.observe_progress(Kill()): minari.download_dataset('toy/a-v1', remote={shared!r})\n"
    )
    (data / "more.bin").write_bytes(bytes(12 << 20))
    killed = subprocess.run([sys.executable, "-c", program], env=process_environment, capture_output=True, timeout=60)
    assert killed.returncode == 9
    assert not (datasets_root / "toy" / "a-v1").exists()
    done = run("download", "toy/a-v1", "--remote", shared)
    assert (done.code, done.err) == (0, "")
    assert (datasets_root / "toy" / "a-v1" / "data" / "more.bin").stat().st_size == 12 << 20
    shutil.rmtree(datasets_root / "toy" / "a-v1")
    assert not any(path.is_file() for path in datasets_root.rglob("*") if path.name != "namespace_metadata.json")
