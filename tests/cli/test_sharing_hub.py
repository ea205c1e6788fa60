"""The commands that share datasets, with a Hub."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import minari
from minari.storage.remotes.hub.dataset_card import CARD_MARKER
from support.servers.hub import HubServer


pytest.importorskip("huggingface_hub")

MakeDataset = Callable[..., minari.MinariDataset]
OnHub = Callable[..., Any]
TOKEN = "hf_secret"


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def hub(server: HubServer) -> HubServer:
    """A Hub with the organization ``lab``, to which the owner of the token belongs."""
    server.clear()
    server.add_token(TOKEN, "ada", "lab")
    return server


@pytest.fixture
def on_hub(run: Callable[..., Any], hub: HubServer, tmp_path: Path) -> OnHub:
    """Run a command whose remote is the organization; without a token, unless one is given."""
    variables = {"MINARI_REMOTE": "hf://lab", "HF_TOKEN": "", **hub.environment(tmp_path / "hf home")}
    return lambda *arguments, **more: run(*arguments, **{**variables, **more})


def test_from_one_machine_to_another(on_hub: OnHub, hub: HubServer, make_dataset: MakeDataset, tmp_path: Path) -> None:
    make_dataset("toy/a-v0", [3, 5])
    key = tmp_path / "token.txt"
    key.write_text(f"{TOKEN}\n")
    done = on_hub("upload", "toy/a-v0", "--key-path", str(key))
    assert (done.code, done.err) == (0, "")
    assert done.lines == ["Uploading toy/a-v0 to hf://lab...", "Dataset toy/a-v0 uploaded to hf://lab"]
    card = hub.files("lab/toy")["a-v0/README.md"].decode()
    assert CARD_MARKER in card
    assert "minari download hf://lab/toy/a-v0" in card

    done = on_hub("upload", "toy/a-v0", "--token", TOKEN)
    assert (done.code, done.lines) == (0, ["Dataset toy/a-v0 is on hf://lab already."])

    minari.delete_dataset("toy/a-v0")
    assert list(json.loads(on_hub("list", "remote", "--json").out)) == ["toy/a-v0"]
    community = on_hub("list", "community", MINARI_REMOTE="hf://nobody")
    assert [line for line in community.lines if line.startswith("│ hf://lab/toy/a-v0 ") and "Ada" in line] != []
    assert json.loads(on_hub("show", "hf://lab/toy/a-v0", "--json").out)["total_steps"] == 8
    done = on_hub("download", "toy/a-v0", "-q")
    assert (done.code, done.err) == (0, "")
    assert [len(episode) for episode in minari.load_dataset("toy/a-v0")] == [3, 5]


def test_a_private_one(on_hub: OnHub, hub: HubServer, make_dataset: MakeDataset) -> None:
    make_dataset("toy/a-v0", [3, 5])
    assert on_hub("upload", "toy/a-v0", "--private", HF_TOKEN=TOKEN).code == 0
    minari.delete_dataset("toy/a-v0")
    for arguments in (["download", "toy/a-v0"], ["show", "hf://lab/toy/a-v0"]):
        done = on_hub(*arguments)
        assert done.code == 1
        (complaint,) = done.complaints
        assert complaint.startswith("Error: ")
    assert on_hub("list", "remote").lines == ["There are no datasets on hf://lab."]
    assert on_hub("download", "toy/a-v0", HF_TOKEN=TOKEN).code == 0
    assert on_hub("show", "hf://lab/toy/a-v0", "--token", TOKEN).code == 0


@pytest.mark.parametrize("token", [None, "hf_another_secret"])
def test_whoever_may_not_write(on_hub: OnHub, hub: HubServer, make_dataset: MakeDataset, token: str | None) -> None:
    make_dataset("toy/a-v0", [3])
    make_dataset("toy/b-v0", [3])
    done = on_hub("upload", "toy/a-v0", "toy/b-v0", *(["--token", token] if token else []))
    assert done.code == 1
    assert len(done.complaints) == 2
    assert all(complaint.startswith("Error: ") for complaint in done.complaints)
    assert "secret" not in done.out + done.err
    assert not hub.repositories.by_name
