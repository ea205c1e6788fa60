"""Download, upload and list remote datasets."""

from __future__ import annotations

from typing import Any

from minari.storage.remotes import get_cloud_storage


def download_dataset(dataset_id: str, force_download: bool = False) -> Any:
    get_cloud_storage()


def upload_dataset(dataset_id: str, token: str) -> Any:
    get_cloud_storage()


def list_remote_datasets(
    remote_path: str | None = None,
    prefix: str | None = None,
    latest_version: bool = False,
    compatible_minari_version: bool = False,
) -> Any:
    get_cloud_storage()
