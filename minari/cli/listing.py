"""The commands on whole datasets: list, combine, rename, delete."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

import minari
from minari._base.addresses import is_path, without_credentials
from minari._base.json_text import shortened
from minari._base.settings import get_datasets_root, get_default_remote
from minari._base.suggestions import did_you_mean
from minari._catalog.layout import dataset_exists, get_dataset_path
from minari._catalog.listing import did_you_mean_local
from minari._model.dataset_id import DatasetId
from minari._storages.metadata_file import read_raw_metadata, with_measured_size
from minari.cli.credentials import credentials
from minari.cli.plain import plain
from minari.cli.progress import progress_bars
from minari.cli.tables import collapsed, dataset_rows, dataset_table
from minari.cli.terminal import complain, counted, show, tell
from minari.errors import DatasetNotFoundError, MinariError, RemoteError


_PLACES = ("local", "remote", "community")


def list_datasets(
    place: str,
    every: bool,
    prefix: str | None,
    as_json: bool,
    token: str | None,
    key_path: str | None,
    quiet: bool,
) -> None:
    """Print the datasets of this machine, of a remote, or of everybody on the Hub."""
    if place == "local":
        datasets = minari.list_local_datasets(latest_version=not every, prefix=prefix)
        title, nothing = f"Local Minari datasets ('{get_datasets_root()}')", f"in {get_datasets_root()}"
    elif place == "community":
        with progress_bars(quiet=quiet):
            datasets = minari.storage.hosting.list_community_datasets(
                prefix=prefix,
                latest_version=not every,
                compatible_minari_version=not every,
                token=credentials("hf://", token, key_path),
            )
        title, nothing = "Minari datasets of the community", "of the community on the Hugging Face Hub"
    elif place != "remote" and "://" not in place and not is_path(place) and not Path(place).is_dir():
        raise RemoteError(
            f"{shortened(place)} is not a place to list, expected one of {', '.join(_PLACES)}, or the address of a "
            f"remote such as hf://farama-minari.{did_you_mean(place, _PLACES)}"
        )
    else:
        address = get_default_remote() if place == "remote" else place
        with progress_bars(quiet=quiet):
            datasets = minari.list_remote_datasets(
                remote_path=address,
                prefix=prefix,
                latest_version=not every,
                compatible_minari_version=not every,
                token=credentials(address, token, key_path),
            )
        address = without_credentials(address)
        title, nothing = f"Remote Minari datasets ('{address}')", f"on {address}"
    if as_json:
        print(json.dumps(plain(datasets), indent=2))
        return
    if not datasets:
        namespace = f"of the namespace '{prefix}' " if prefix else ""
        tell(f"There are no datasets {namespace}{nothing}.")
        return
    rows = dataset_rows(datasets)
    # Who names a prefix wants to see what is behind it.
    lines = rows if every or prefix else collapsed(rows)
    tell(title)
    show(dataset_table(lines))
    if len(lines) < len(rows):
        tell("Namespaces of several datasets are one line each; --prefix NAMESPACE or --all shows what is in them.")


def combine(dataset_ids: Sequence[str], new_id: str) -> None:
    """Make one dataset out of several."""
    refuse_unknown(dataset_ids, "combined")
    with progress_bars():
        new = minari.combine_datasets([minari.load_dataset(dataset_id) for dataset_id in dataset_ids], new_id)
    tell(
        f"Dataset {new_id} combined from {', '.join(dataset_ids)}: "
        f"{counted(new.total_episodes, 'episode')}, {counted(new.total_steps, 'step')}, at {get_dataset_path(new_id)}"
    )


def rename(old_id: str, new_id: str) -> None:
    """Give a dataset another id."""
    minari.rename_dataset(old_id, new_id)
    tell(f"Dataset {old_id} renamed to {new_id}, at {get_dataset_path(new_id)}")


def delete(dataset_ids: Sequence[str], without_asking: bool) -> None:
    """Delete datasets from this machine, when the user agrees."""
    dataset_ids = list(dict.fromkeys(dataset_ids))
    refuse_unknown(dataset_ids, "deleted")
    rows = dataset_rows({dataset_id: _metadata_if_readable(dataset_id) for dataset_id in dataset_ids})
    tell("Delete local Minari datasets")
    show(dataset_table(rows))
    if not without_asking:
        typer.confirm("Are you sure you want to delete these local datasets?", abort=True)
    for dataset_id in dataset_ids:
        minari.delete_dataset(dataset_id)
        tell(f"Dataset {dataset_id} deleted!")


def refuse_unknown(dataset_ids: Sequence[str], done: str) -> None:
    """Make sure that all datasets are here before anything is done to one of them."""
    paths = {dataset_id: get_dataset_path(str(DatasetId.parse(dataset_id))) for dataset_id in dataset_ids}
    unknown = [dataset_id for dataset_id, path in paths.items() if not dataset_exists(path)]
    if unknown:
        raise DatasetNotFoundError(
            f"Not found in {get_datasets_root()}: {', '.join(unknown)}; nothing was {done}. "
            f"`minari list local --all` shows which datasets there are.{did_you_mean_local(unknown[0])}"
        )


def _metadata_if_readable(dataset_id: str) -> Mapping[str, Any]:
    """The metadata of a local dataset; none of a damaged one, which can be deleted all the same."""
    try:
        data_path = get_dataset_path(dataset_id) / "data"
        return with_measured_size(read_raw_metadata(data_path), data_path)
    except (MinariError, OSError) as error:
        complain(f"Warning: The dataset {dataset_id} is damaged: {error}")
        return {}
