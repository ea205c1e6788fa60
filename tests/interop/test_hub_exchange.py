"""The released package and ours over the same Hub: each lists and downloads what the other has uploaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import minari
from support import operations
from support.checks import assert_holds
from support.servers.hub import HubServer


pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")

TOKEN = "hf_ExchangesForAnn"


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def hub(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    server.clear()
    server.add_token(TOKEN, "ann", "lab")
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("MINARI_REMOTE", "hf://lab")
    return server


@pytest.fixture
def on_hub(hub: HubServer, released: Callable[..., Any], tmp_path: Path) -> Callable[[str, Path], Any]:
    """Run a program of the released package with this Hub."""
    return partial(released, **hub.environment(tmp_path / "hf home"))


def test_the_release_downloads_what_we_uploaded(
    hub: HubServer, on_hub: Callable[[str, Path], Any], tmp_path: Path
) -> None:
    """Formats and namespaces of any depth, a combined dataset with its parts; beside one that it cannot name."""
    minari.namespace.create_namespace("ours/deep", description="Deep.")
    truth = {
        "ours/x-v1": operations.record("ours/x-v1", "box-float32", seed=0),
        "ours/x-v10": operations.record("ours/x-v10", "dict-nested", infos=True, seed=1),
        "ours/deep/y-v0": operations.record("ours/deep/y-v0", "box-float32", seed=2, data_format="arrow"),
        "ours/z-v0": operations.record("ours/z-v0", "box-float32", seed=3),
    }
    operations.combine(["ours/x-v1", "ours/z-v0"], "both/x-v0")
    operations.record("alone-v0", "box-float32", seed=4)
    for dataset_id in ("alone-v0", "ours/x-v1", "ours/x-v10", "ours/deep/y-v0", "both/x-v0"):
        minari.upload_dataset(dataset_id, TOKEN)

    arrival = tmp_path / "arrival"
    arrival.mkdir()
    found = on_hub(
        """
        for dataset_id in ("ours/x-v1", "ours/x-v10", "ours/deep/y-v0", "both/x-v0"):
            minari.download_dataset(dataset_id)
        result = {
            "listed": sorted(minari.list_remote_datasets()),
            "prefixed": sorted(minari.list_remote_datasets(prefix="ours/deep")),
            "namespaces": sorted(minari.namespace.list_remote_namespaces()),
            "here": sorted(minari.list_local_datasets()),
            "deep": minari.namespace.get_namespace_metadata("ours/deep"),
            "steps": minari.list_remote_datasets()["ours/x-v10"]["total_steps"],
            "dumps": {key: operations.dump(key) for key in ("ours/x-v1", "ours/x-v10", "ours/deep/y-v0", "both/x-v0")},
        }
        """,
        arrival,
    )
    assert found["listed"] == ["both/x-v0", *sorted(truth)]
    assert found["here"] == found["listed"]
    assert found["prefixed"] == ["ours/deep/y-v0"]
    assert {"both", "ours", "ours/deep"} <= set(found["namespaces"])
    assert found["deep"] == {"description": "Deep."}
    assert found["steps"] == sum(len(episode["rewards"]) for episode in truth["ours/x-v10"])
    for dataset_id in ("ours/x-v1", "ours/x-v10", "ours/deep/y-v0"):
        assert_holds(found["dumps"][dataset_id], truth[dataset_id])
    assert_holds(found["dumps"]["both/x-v0"], truth["ours/x-v1"] + truth["ours/z-v0"])


def test_we_download_what_the_release_uploaded(
    hub: HubServer, on_hub: Callable[[str, Path], Any], datasets_root: Path, tmp_path: Path
) -> None:
    """Without manifest and index; and what we then add to its repository, it finds."""
    there = tmp_path / "theirs"
    there.mkdir()
    truth = on_hub(
        f"""
        minari.namespace.create_namespace("theirs/deep", description="Theirs.")
        result = {{
            "theirs/x-v1": operations.record("theirs/x-v1", "box-float32", infos=True, seed=0),
            "theirs/deep/y-v0": operations.record("theirs/deep/y-v0", "box-float32", seed=1, data_format="arrow"),
        }}
        operations.combine(["theirs/x-v1", "theirs/x-v1"], "theirs/both-v0")
        minari.namespace.upload_namespace("theirs/deep", {TOKEN!r})
        for dataset_id in ("theirs/both-v0", *result):
            minari.upload_dataset(dataset_id, {TOKEN!r})
        """,
        there,
    )
    listed = minari.list_remote_datasets()
    assert sorted(listed) == sorted([*truth, "theirs/both-v0"])
    minari.download_dataset("theirs/both-v0")
    assert operations.dump("theirs/both-v0")["total_episodes"] == 2 * len(truth["theirs/x-v1"])
    minari.delete_dataset("theirs/x-v1")  # which came along, as a part
    assert sorted(minari.namespace.list_remote_namespaces()) == ["theirs", "theirs/deep"]
    for dataset_id, episodes in truth.items():
        minari.download_dataset(dataset_id)
        assert_holds(operations.dump(dataset_id), episodes)
    assert minari.namespace.get_namespace_metadata("theirs/deep") == {"description": "Theirs."}
    assert minari.namespace.get_namespace_metadata("theirs") == {}

    added = operations.record("theirs/ours-v0", "box-float32", seed=5)
    minari.upload_dataset("theirs/ours-v0", TOKEN)
    register = json.loads(hub.files("lab/theirs")["namespace_metadata.json"])
    assert sorted(register["datasets"]) == sorted([*truth, "theirs/both-v0", "theirs/ours-v0"])
    assert register["namespaces"] == ["theirs/deep"]
    arrival = tmp_path / "arrival"
    arrival.mkdir()
    found = on_hub(
        """
        minari.download_dataset("theirs/ours-v0")
        result = [sorted(minari.list_remote_datasets()), operations.dump("theirs/ours-v0")]
        """,
        arrival,
    )
    assert found[0] == sorted(register["datasets"])
    assert_holds(found[1], added)


def test_the_release_can_still_add_to_our_repository(
    hub: HubServer, on_hub: Callable[[str, Path], Any], tmp_path: Path
) -> None:
    """Its uploads know nothing of the index, which must not hide them, nor go on showing what is gone."""
    operations.record("shared/ours-v0", "box-float32", seed=0)
    minari.upload_dataset("shared/ours-v0", TOKEN)
    there = tmp_path / "theirs"
    there.mkdir()
    truth = on_hub(
        f"""
        result = operations.record("shared/theirs-v0", "box-float32", seed=1)
        minari.upload_dataset("shared/theirs-v0", {TOKEN!r})
        """,
        there,
    )
    listed = minari.list_remote_datasets()
    assert list(listed) == ["shared/ours-v0", "shared/theirs-v0"]
    assert listed["shared/theirs-v0"]["total_steps"] == sum(len(episode["rewards"]) for episode in truth)
    minari.download_dataset("shared/theirs-v0")
    assert_holds(operations.dump("shared/theirs-v0"), truth)
