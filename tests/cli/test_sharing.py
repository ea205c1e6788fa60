"""``minari list``, ``show``, ``download`` and ``upload`` with a remote that is a directory, or a Hub."""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import minari
from cli.conftest import MakeDataset, Minari
from minari.cli import app
from minari.cli.options import read_credentials
from minari.cli.running import UsageError
from minari.storage import hosting
from minari.storage.remotes import MAX_WORKERS
from support.servers.hub import HubServer


TOKEN = "hf_secret"


@pytest.fixture
def other(tmp_path: Path) -> str:
    """The address of an empty directory."""
    directory = tmp_path / "other"
    directory.mkdir()
    return directory.as_uri()


def test_list_of_a_directory(run: Minari, shared: str) -> None:
    listed = run("list", shared)
    assert (listed.code, listed.err) == (0, "")
    assert listed.lines[0] == f"Remote Minari datasets ('{shared}')"
    assert list(listed.rows) == ["toy/a-v1"]
    for options in ([], ["-q"]):
        assert run("list", "remote", *options, MINARI_REMOTE=shared).out == listed.out
    assert list(json.loads(run("list", shared, "--all", "--json").out)) == ["toy/a-v0", "toy/a-v1"]
    nothing = run("list", shared, "-p", "nothing")
    assert nothing.lines == [f"There are no datasets of the namespace 'nothing' on {shared}."]


def test_community_is_listed_with_owners_and_authors(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    metadata = {"total_episodes": 2, "total_steps": 8, "dataset_size": 0.1, "author": ["Ada"]}
    found = dict.fromkeys(("hf://lab.one/toy/a-v0", "hf://two/toy/a-v0", "hf://two/b-v0"), metadata)
    monkeypatch.setattr(hosting, "list_community_datasets", lambda **options: asked.append(options) or found)
    done = CliRunner().invoke(app, ["list", "community", "--token", "secret", "--prefix", "toy"])
    assert done.exit_code == 0
    rows = [line.strip("│").split("│") for line in done.stdout.splitlines() if line.startswith("│")]
    assert [row[0].strip() for row in rows] == list(found)
    assert all("Ada" in row[-1] for row in rows)
    assert done.stdout.count("├") == 1  # one owner is parted from the other
    expected = {"prefix": "toy", "latest_version": True, "compatible_minari_version": True, "token": "secret"}
    assert asked == [expected]
    found.clear()
    done = CliRunner().invoke(app, ["list", "community"])
    assert done.stdout == "There are no datasets of the community on the Hugging Face Hub.\n"


def test_show_of_a_dataset_on_a_remote(run: Minari, shared: str, datasets_root: Path) -> None:
    address = f"{shared}/toy/a-v1"
    done = run("show", address)
    assert (done.code, done.err) == (0, "")
    assert done.lines[0] == "toy/a-v1"
    assert f"minari download {address}" in done.out
    assert "Episodes that count." in done.out
    assert "Episode Returns" not in done.out
    metadata = json.loads(run("show", address, "--json").out)
    assert (metadata["dataset_id"], metadata["total_steps"]) == ("toy/a-v1", 8)
    assert metadata["address"] == address
    assert "data_path" not in metadata
    assert not any(datasets_root.rglob("*.json"))
    run("show", f"{shared}/toy/x-v0").assert_refused("x-v0")


# download


@pytest.mark.parametrize("by", ["default", "option", "address"])
def test_download(run: Minari, shared: str, datasets_root: Path, by: str) -> None:
    named = f"{shared}/toy/a-v1" if by == "address" else "toy/a-v1"
    options = ["--remote", shared] if by == "option" else []
    done = run("download", named, *options, MINARI_REMOTE=shared if by == "default" else "nowhere://bucket")
    done.assert_done(
        f"Downloading toy/a-v1 from {shared}...", f"Dataset toy/a-v1 downloaded to {datasets_root / 'toy' / 'a-v1'}"
    )
    assert [len(episode) for episode in minari.load_dataset("toy/a-v1")] == [3, 5]


def test_download_of_several_of_which_some_fail(run: Minari, shared: str, tmp_path: Path) -> None:
    (tmp_path / "shared" / "toy" / "a-v0" / "data" / "main_data.hdf5").unlink()
    done = run("download", "toy/x-v0", "toy/a-v1", "malformed", "toy/a-v1", "toy/y-v3", MINARI_REMOTE=shared)
    assert done.code == 1
    assert [line for line in done.lines if line.startswith("Dataset ")] == [done.lines[2]]
    for complaint, name in zip(done.complaints, ["toy/x", "malformed", "toy/y"], strict=True):
        assert complaint.startswith("Error: ")
        assert name in complaint
    assert list(minari.list_local_datasets()) == ["toy/a-v1"]


def test_download_again_only_by_force(run: Minari, shared: str, make_dataset: MakeDataset, datasets_root: Path) -> None:
    make_dataset("toy/a-v1", [1])
    place = datasets_root / "toy" / "a-v1"
    done = run("download", "toy/a-v1", MINARI_REMOTE=shared)
    done.assert_done(f"Dataset toy/a-v1 is at {place} already; --force downloads it again.")
    assert len(minari.load_dataset("toy/a-v1")) == 1
    for option in ("--force", "-f"):
        assert run("download", option, "toy/a-v1", MINARI_REMOTE=shared).code == 0
        assert len(minari.load_dataset("toy/a-v1")) == 2
        minari.delete_dataset("toy/a-v1")


def test_download_of_an_older_version_is_a_warning(run: Minari, shared: str) -> None:
    done = run("download", "toy/a-v0", MINARI_REMOTE=shared)
    assert done.code == 0
    (complaint,) = done.complaints
    assert complaint.startswith("Warning: ")
    assert "toy/a-v1" in complaint


@pytest.mark.parametrize(
    ("dataset", "remote", "part"),
    [
        ("toy/a-v7", None, ""),
        ("toy/x-v0", None, ""),
        ("toy/b-v0", None, "Did you mean 'toy/a-v"),
        ("nowhere://bucket/toy/a-v0", None, ""),
        ("x-v0", "/shelf", "For a directory, write file:///shelf."),
    ],
)
def test_download_of_what_there_is_not(run: Minari, shared: str, dataset: str, remote: str | None, part: str) -> None:
    run("download", dataset, MINARI_REMOTE=remote or shared).assert_refused(part)
    assert minari.list_local_datasets() == {}


def test_interrupted_download_says_that_it_can_be_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(minari, "download_dataset", interrupted)
    done = CliRunner().invoke(app, ["download", "toy/a-v0", "toy/b-v0"])
    assert done.exit_code == 130
    assert done.stdout == "Downloading toy/a-v0 from Farama servers...\n"
    assert done.stderr.splitlines() == [
        "The part of toy/a-v0 that has been downloaded is kept; the same command resumes it.",
        "Interrupted.",
    ]


KILLED = """
import os, minari, minari.progress as p
class Kill:
    def started(self, task): self.done = 0
    def advanced(self, task, amount):
        self.done += amount
        if task.unit == 'bytes' and self.done > 5_000_000: os._exit(9)
    def finished(self, task): pass
with p.observe_progress(Kill()): minari.download_dataset('toy/a-v1', remote={remote!r})
"""


def test_killed_download_is_resumed(
    run: Minari, shared: str, process_environment: dict[str, str], tmp_path: Path, datasets_root: Path
) -> None:
    (tmp_path / "shared" / "toy" / "a-v1" / "data" / "more.bin").write_bytes(bytes(12 << 20))
    command = [sys.executable, "-c", KILLED.format(remote=shared)]
    assert subprocess.run(command, env=process_environment, capture_output=True, timeout=60).returncode == 9
    place = datasets_root / "toy" / "a-v1"
    assert not place.exists()
    done = run("download", "toy/a-v1", "--remote", shared)
    assert (done.code, done.err) == (0, "")
    assert (place / "data" / "more.bin").stat().st_size == 12 << 20
    shutil.rmtree(place)
    assert not any(path.is_file() for path in datasets_root.rglob("*") if path.name != "namespace_metadata.json")


# upload


def test_upload(run: Minari, shared: str, make_dataset: MakeDataset, tmp_path: Path) -> None:
    make_dataset("mine/a-v0", [4])
    make_dataset("toy/a-v1", [1])
    done = run("upload", "mine/a-v0", "toy/a-v1", "mine/a-v0", MINARI_REMOTE=shared)
    assert done.lines == [
        f"Uploading mine/a-v0 to {shared}...",
        f"Dataset mine/a-v0 uploaded to {shared}",
        f"Dataset toy/a-v1 is on {shared} already.",
    ]
    (complaint,) = done.complaints
    assert (done.code, complaint.partition(";")[0]) == (
        0,
        "Warning: mine/a-v0 has no license, env_spec, requirements",
    )
    sent = [minari.open_dataset(tmp_path / "shared" / name) for name in ("mine/a-v0", "toy/a-v1")]
    assert [len(episode) for episode in sent[0]] == [4]
    assert len(sent[1]) == 2


def test_one_upload_that_fails_does_not_keep_the_others(run: Minari, make_dataset: MakeDataset, other: str) -> None:
    made = [make_dataset(f"toy/{name}-v0", [1]) for name in "abc"]
    (made[1].storage.data_path / "metadata.json").write_text("{")
    sent = ("upload", "toy/a-v0", "toy/b-v0", "toy/c-v0", "--remote", other, "--no-validate")
    run(*sent, MINARI_REMOTE="nowhere://bucket").assert_refused("b-v0", "damaged")
    assert list(minari.list_remote_datasets(other)) == ["toy/a-v0", "toy/c-v0"]
    run("upload", "toy/a-v0", MINARI_REMOTE="nowhere://bucket").assert_refused()


def test_options_reach_the_functions(make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    make_dataset("toy/a-v0")
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    for name in ("upload_dataset", "download_dataset"):
        monkeypatch.setattr(minari, name, lambda *args, **options: calls.append((args, options)))
    options = ["--remote", other, "--token", "secret", "--max-workers", "3", "-q"]
    for command in (["upload", "toy/a-v0", "--private", "--force"], ["download", "toy/a-v0", "-f"]):
        assert CliRunner().invoke(app, [*command, *options]).exit_code == 0
    assert calls == [
        (("toy/a-v0", "secret"), {"remote": other, "private": True, "force": True, "max_workers": 3}),
        (("toy/a-v0", True), {"remote": other, "token": "secret", "max_workers": 3}),
    ]
    for function in (hosting.upload_dataset, hosting.download_dataset):
        assert inspect.signature(function).parameters["max_workers"].default == MAX_WORKERS == 16


def test_token_is_never_shown(run: Minari, shared: str, make_dataset: MakeDataset, other: str) -> None:
    make_dataset("toy/b-v0")
    for arguments in (
        ["download", "toy/x-v0", "--remote", shared],
        ["upload", "toy/b-v0", "--private", "--remote", other],  # a directory cannot be private
        ["upload", "toy/b-v0", "--key-path", "file"],
        ["list", "nowhere://bucket"],
        ["show", f"{shared}/toy/x-v0"],
        ["list", shared, "--no-such-option"],
    ):
        done = CliRunner().invoke(app, [*arguments, "--token", TOKEN])
        assert done.exit_code != 0
        assert done.stderr
        assert TOKEN not in done.output
        assert "--private" not in arguments or "private" in done.stderr
    shown = run("download", "toy/x-v0", "--remote", shared, "--token", TOKEN, MINARI_DEBUG="1")
    assert "Traceback" in shown.err
    assert TOKEN not in shown.out + shown.err


@pytest.mark.parametrize(
    ("address", "token", "key", "expected"),
    [
        ("hf://someone", None, "{key}", "secret"),
        ("HF://someone/toy/a-v0", None, "{key}", "secret"),
        ("https://host", None, "{key}", "secret"),
        (None, None, "{key}", "secret"),
        ("gcp://bucket", None, "{key}", "{key}"),
        ("hf://someone", "secret", None, "secret"),
        ("hf://someone", None, "hf_secret", "hf_secret"),
        ("hf://someone", None, None, None),
    ],
)
def test_hub_gets_the_token_and_a_bucket_the_key_file(
    tmp_path: Path, address: str | None, token: str | None, key: str | None, expected: str | None
) -> None:
    file = tmp_path / "key"
    file.write_text("secret\n")
    given, wanted = (text if text is None else text.format(key=file) for text in (key, expected))
    assert read_credentials(address, token, given) == wanted


def test_token_and_key_file_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--token and --key-path") as refused:
        read_credentials("hf://someone", "secret", str(tmp_path))
    assert "secret" not in str(refused.value)


# With a Hub


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def hub(server: HubServer) -> HubServer:
    """A Hub with the organization ``lab``, to which the owner of the token belongs."""
    pytest.importorskip("huggingface_hub")
    server.clear()
    server.add_token(TOKEN, "ada", "lab")
    return server


@pytest.fixture
def on_hub(run: Minari, hub: HubServer, tmp_path: Path) -> Callable[..., Any]:
    """Run a command whose remote is the organization; without a token, unless one is given."""
    variables = {"MINARI_REMOTE": "hf://lab", "HF_TOKEN": "", **hub.environment(tmp_path / "hf home")}
    return lambda *arguments, **more: run(*arguments, **{**variables, **more})


def test_from_one_machine_to_another_by_a_hub(
    on_hub: Minari, hub: HubServer, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    make_dataset("toy/a-v0", [3, 5])
    key = tmp_path / "token.txt"
    key.write_text(f"{TOKEN}\n")
    uploaded = on_hub("upload", "toy/a-v0", "--no-validate", "--key-path", str(key))
    uploaded.assert_done("Uploading toy/a-v0 to hf://lab...", "Dataset toy/a-v0 uploaded to hf://lab")
    assert "minari download hf://lab/toy/a-v0" in hub.files("lab/toy")["a-v0/README.md"].decode()
    on_hub("upload", "toy/a-v0", "--token", TOKEN).assert_done("Dataset toy/a-v0 is on hf://lab already.")

    minari.delete_dataset("toy/a-v0")
    assert list(json.loads(on_hub("list", "remote", "--json").out)) == ["toy/a-v0"]
    assert "Ada" in on_hub("list", "community", MINARI_REMOTE="hf://nobody").rows["hf://lab/toy/a-v0"]
    assert json.loads(on_hub("show", "hf://lab/toy/a-v0", "--json").out)["total_steps"] == 8
    done = on_hub("download", "toy/a-v0", "-q")
    assert (done.code, done.err) == (0, "")
    assert [len(episode) for episode in minari.load_dataset("toy/a-v0")] == [3, 5]


def test_private_dataset_is_for_those_with_a_token(on_hub: Minari, make_dataset: MakeDataset) -> None:
    make_dataset("toy/a-v0", [3, 5])
    assert on_hub("upload", "toy/a-v0", "--private", HF_TOKEN=TOKEN).code == 0
    minari.delete_dataset("toy/a-v0")
    on_hub("download", "toy/a-v0").assert_refused()
    on_hub("show", "hf://lab/toy/a-v0").assert_refused()
    assert on_hub("list", "remote").lines == ["There are no datasets on hf://lab."]
    assert on_hub("download", "toy/a-v0", HF_TOKEN=TOKEN).code == 0
    assert on_hub("show", "hf://lab/toy/a-v0", "--token", TOKEN).code == 0


@pytest.mark.parametrize("options", [[], ["--token", "hf_another_secret"]])
def test_upload_by_whoever_may_not_write(
    on_hub: Minari, hub: HubServer, make_dataset: MakeDataset, options: list[str]
) -> None:
    make_dataset("toy/a-v0", [3])
    make_dataset("toy/b-v0", [3])
    done = on_hub("upload", "toy/a-v0", "toy/b-v0", "--no-validate", *options)
    assert (done.code, len(done.complaints)) == (1, 2)
    assert all(complaint.startswith("Error: ") for complaint in done.complaints)
    assert "secret" not in done.out + done.err
    assert not hub.repositories.by_name
