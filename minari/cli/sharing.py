"""The commands that transfer datasets: download, upload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import minari
from minari._base.addresses import plain_text
from minari._base.settings import get_default_remote
from minari._catalog.layout import dataset_exists, get_dataset_path
from minari._model.dataset_id import DatasetId
from minari._storages.metadata_file import read_raw_metadata
from minari.cli.changing import refuse_unknown
from minari.cli.options import read_credentials
from minari.cli.progress import progress_bars
from minari.cli.running import UsageError, for_each
from minari.cli.terminal import echo, warn
from minari.dataset.validation import missing_metadata
from minari.storage.hosting import refuse_path
from minari.storage.remotes import DEFAULT_REMOTE, get_cloud_storage, split_address


__all__ = ["download", "upload"]


def download(
    datasets: Sequence[str],
    force: bool,
    remote: str | None,
    token: str | None,
    key_path: str | None,
    max_workers: int,
    quiet: bool,
) -> None:
    """Download datasets from a remote, or each from the remote that its address names."""
    addresses = [dataset for dataset in datasets if "://" in dataset]
    if remote is not None and addresses:
        raise UsageError(f"{addresses[0]} names its remote itself; leave out --remote, or give the id alone.")

    def bring(dataset: str) -> None:
        source, dataset_id = split_address(dataset) if "://" in dataset else (remote or get_default_remote(), dataset)
        refuse_path(dataset_id)
        path = get_dataset_path(str(DatasetId.parse(dataset_id)))
        if dataset_exists(path) and not force:
            echo(f"Dataset {dataset_id} is at {path} already; --force downloads it again.")
            return
        name = "Farama servers" if source.rstrip("/") == DEFAULT_REMOTE else plain_text(source)
        key = read_credentials(dataset if "://" in dataset else remote, token, key_path)
        echo(f"Downloading {dataset_id} from {name}...")
        try:
            with progress_bars(quiet=quiet):
                minari.download_dataset(dataset, force, remote=remote, token=key, max_workers=max_workers)
        except KeyboardInterrupt:
            echo(f"The part of {dataset_id} that has been downloaded is kept; the same command resumes it.", err=True)
            raise
        echo(f"Dataset {dataset_id} downloaded to {path}")

    for_each(dict.fromkeys(datasets), bring)


def upload(
    dataset_ids: Sequence[str],
    remote: str | None,
    token: str | None,
    key_path: str | None,
    no_verify: bool,
    no_validate: bool,
    private: bool,
    force: bool,
    max_workers: int,
    quiet: bool,
) -> None:
    """Upload datasets to a remote."""
    refuse_unknown(dataset_ids, "uploaded")
    address = get_default_remote() if remote is None else remote
    key = read_credentials(address, token, key_path)
    storage = get_cloud_storage(address, key)

    def send(dataset_id: str) -> None:
        if storage.has_dataset(dataset_id):
            echo(f"Dataset {dataset_id} is on {storage.address} already.")
            return
        options: dict[str, Any] = {"verify": False} if no_verify else {}
        if no_validate:
            options["validate"] = False
        else:
            _tell_missing_metadata(dataset_id)
        echo(f"Uploading {dataset_id} to {storage.address}...")
        with progress_bars(quiet=quiet):
            minari.upload_dataset(
                dataset_id,
                key,
                remote=address,
                private=private,
                force=force,
                max_workers=max_workers,
                **options,
            )
        echo(f"Dataset {dataset_id} uploaded to {storage.address}")

    for_each(dict.fromkeys(dataset_ids), send)


def _tell_missing_metadata(dataset_id: str) -> None:
    """Name the metadata that a shared dataset should have, in one line."""
    missing = missing_metadata(read_raw_metadata(get_dataset_path(dataset_id) / "data"))
    if missing:
        warn(f"{dataset_id} has no {', '.join(missing)}; `minari validate {dataset_id} --profile hub` says more.")
