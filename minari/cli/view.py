"""``minari view``: the page that shows datasets in a browser."""

from __future__ import annotations

import os
import webbrowser
from pathlib import Path
from urllib.parse import quote

from minari._base.settings import get_datasets_root, get_listed_root
from minari._model.dataset_id import is_dataset_id
from minari.cli.local_datasets import suggesting_ids
from minari.cli.terminal import echo, printable
from minari.dataset.validation import find_data_path
from minari.errors import DataPathError
from minari.viewer import serve


__all__ = ["view"]


def view(dataset: str | None, root: str | None, host: str, port: int, opens_browser: bool, edits: bool | None) -> None:
    """Serve the page until Ctrl-C."""
    paths, shown = _first_dataset(dataset, root)

    def started(address: str) -> None:
        address = address if shown is None else f"{address}&dataset={quote(shown, safe='')}"
        what = f"the datasets in {get_datasets_root(root)}" if shown is None else shown
        echo(f"Viewing {printable(what)} at {address} (Ctrl-C ends it)")
        if opens_browser:
            webbrowser.open(address)

    get_listed_root(root)  # which must be a directory that can be read
    serve(
        root,
        datasets=paths,
        host=host,
        port=port,
        read_only=None if edits is None else not edits,
        started=started,
    )
    echo("The page is closed.")


def _first_dataset(dataset: str | None, root: str | None) -> tuple[list[Path], str | None]:
    """Return the paths to serve beside the catalog, and the name of the dataset to begin with.

    Raises:
        DatasetNotFoundError: there is no dataset of that id.
        DataPathError: there is no such directory, or it is an address.
    """
    if dataset is None:
        return [], None
    if "://" in dataset:
        raise DataPathError(
            f"{printable(dataset)} is an address, expected an id or a path; download it with `minari download "
            f"{printable(dataset)}`, and view the copy."
        )
    with suggesting_ids(dataset, root):
        data_path = find_data_path(dataset, root)
    path = Path(os.path.realpath(data_path if data_path.name != "data" else data_path.parent))
    base = Path(os.path.realpath(get_datasets_root(root)))
    dataset_id = path.relative_to(base).as_posix() if path.is_relative_to(base) else ""
    if is_dataset_id(dataset_id):
        return [], dataset_id
    return [path], str(path)
