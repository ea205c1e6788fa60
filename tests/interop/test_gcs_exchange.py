"""Datasets between the two packages, by way of a bucket of Google Cloud Storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import minari
from minari.testing.sharing import visible
from support import operations
from support.checks import assert_holds
from support.servers.gcs import GCSServer, running_gcs_server


Run = Callable[..., Any]


@pytest.fixture(scope="module")
def server() -> Iterator[GCSServer]:
    pytest.importorskip("google.cloud.storage", reason="google-cloud-storage is not installed")
    with running_gcs_server() as server:
        yield server


@pytest.fixture
def bucket(server: GCSServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket, the default remote of both packages."""
    bucket = server.make_bucket()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    monkeypatch.setenv("MINARI_REMOTE", f"gcp://{bucket}")
    return bucket


@pytest.fixture
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of a service account; the released package insists on one."""
    token = pytest.importorskip("support.servers.token", reason="the package cryptography is not installed")
    with token.running_token_server() as server:
        yield server.account.write(tmp_path_factory.mktemp("key") / "key.json")


def contents(root: Path) -> dict[str, bytes]:
    return {name: content for name, content in visible(root).items() if content is not None}


def test_it_downloads_what_we_uploaded(
    reference: Any, released: Run, bucket: str, datasets_root: Path, tmp_path: Path
) -> None:
    operations.record("team/toys/dict-v1", "dict-nested", infos=True, seed=0)
    operations.record("box-v1", "box-float32", seed=1)
    minari.namespace.update_namespace_metadata("team", description="ours")
    before = contents(datasets_root)
    for dataset_id in ("team/toys/dict-v1", "box-v1"):
        minari.upload_dataset(dataset_id)
    listed = released("result = sorted(minari.list_remote_datasets())", tmp_path)
    assert listed == ["box-v1", "team/toys/dict-v1"]
    assert "team/toys" in released("result = list(minari.namespace.list_remote_namespaces())", tmp_path)
    released("minari.download_dataset('team/toys/dict-v1'); minari.download_dataset('box-v1')", tmp_path)
    got = contents(tmp_path)
    assert {name: got[name] for name in before} == before
    assert sorted(set(got) - set(before)) == ["box-v1/data/manifest.json", "team/toys/dict-v1/data/manifest.json"]
    total = released("result = int(minari.load_dataset('team/toys/dict-v1').total_steps)", tmp_path)
    assert total == minari.load_dataset("team/toys/dict-v1").total_steps


def test_we_download_what_it_uploaded(
    reference: Any, released: Run, bucket: str, datasets_root: Path, tmp_path: Path, key: Path
) -> None:
    truth = reference.record("team/toys/dict-v1", "dict-nested", infos=True, seed=0)
    reference.record("team/toys/dict-v10", "dict-nested", seed=1)
    for dataset_id in ("team/toys/dict-v1", "team/toys/dict-v10"):
        released(f"minari.upload_dataset({dataset_id!r}, {str(key)!r})", datasets_root)
    assert list(minari.list_remote_datasets()) == ["team/toys/dict-v1", "team/toys/dict-v10"]
    with pytest.warns(UserWarning, match="older version"):
        minari.download_dataset("team/toys/dict-v1", root=tmp_path)
    theirs = contents(datasets_root)
    got = contents(tmp_path)
    assert got
    assert got == {name: content for name, content in theirs.items() if "dict-v10" not in name}
    assert_holds(operations.dump("team/toys/dict-v1", "dict-nested"), truth)


def test_it_does_not_upload_what_we_have_uploaded(
    reference: Any, released: Run, bucket: str, server: GCSServer, datasets_root: Path, key: Path
) -> None:
    operations.record("box-v0", "box-float32", seed=1)
    minari.upload_dataset("box-v0")
    before = server.names(bucket)
    released(f"minari.upload_dataset('box-v0', {str(key)!r})", datasets_root)
    assert server.names(bucket) == before


def test_it_adds_to_what_is_ours_and_we_see_it(
    reference: Any, released: Run, bucket: str, datasets_root: Path, tmp_path: Path, key: Path
) -> None:
    """It does not know our index, which must not hide what it uploads."""
    operations.record("box-v0", "box-float32", seed=1)
    minari.upload_dataset("box-v0")
    reference.record("box-v1", "box-float32", seed=2)
    released(f"minari.upload_dataset('box-v1', {str(key)!r})", datasets_root)
    assert list(minari.list_remote_datasets()) == ["box-v0", "box-v1"]
    minari.download_dataset("box-v1", root=tmp_path)
    assert (tmp_path / "box-v1" / "data" / "main_data.hdf5").is_file()
