"""``minari list``, and the table of datasets that other commands show as well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import minari
from minari._base.addresses import is_path, without_credentials
from minari._base.json_text import shortened
from minari._base.lazy import LazyModule
from minari._base.settings import get_datasets_root, get_default_remote
from minari._base.suggestions import did_you_mean
from minari._catalog.rows import DatasetRow, dataset_rows
from minari._model.metadata_json import size_text
from minari.cli.options import read_credentials
from minari.cli.progress import progress_bars
from minari.cli.terminal import UNKNOWN, echo, print_json, printable, show
from minari.errors import RemoteError


if TYPE_CHECKING:
    import rich.cells
    import rich.table
else:
    rich = LazyModule("rich")


__all__ = ["LONG_LIST", "collapsed", "dataset_table", "list_datasets"]

#: Longer lists are collapsed.
LONG_LIST = 100

_LONGEST_CELL = 1_000  # characters
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
    """Print the datasets of this machine, of a remote, or of the community on the Hub."""
    if place == "local":
        datasets = minari.list_local_datasets(latest_version=not every, prefix=prefix)
        title, nothing = f"Local Minari datasets ('{get_datasets_root()}')", f"in {get_datasets_root()}"
    elif place == "community":
        with progress_bars(quiet=quiet):
            datasets = minari.storage.hosting.list_community_datasets(
                prefix=prefix,
                latest_version=not every,
                compatible_minari_version=not every,
                token=read_credentials(minari.storage.remotes.DEFAULT_REMOTE, token, key_path),
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
                token=read_credentials(address, token, key_path),
            )
        address = without_credentials(address)
        title, nothing = f"Remote Minari datasets ('{address}')", f"on {address}"
    if as_json:
        print_json(datasets)
        return
    if not datasets:
        namespace = f"of the namespace '{prefix}' " if prefix else ""
        echo(f"There are no datasets {namespace}{nothing}.")
        return
    rows = dataset_rows(datasets)
    # A prefix asks for the datasets below it.
    lines = rows if every or prefix else collapsed(rows)
    echo(title)
    show(dataset_table(lines))
    if len(lines) < len(rows):
        echo("Namespaces of several datasets are one line each; --prefix NAMESPACE or --all shows what is in them.")


def collapsed(rows: Sequence[DatasetRow]) -> list[DatasetRow]:
    """Return one row for each namespace of several datasets if the list is long, and the list itself otherwise."""
    if len(rows) <= LONG_LIST:
        return list(rows)
    lines: list[DatasetRow] = []
    for namespace, members in groupby(rows, key=lambda row: row.namespace):
        group = list(members)
        lines += group if len(group) == 1 or not namespace else [_united(namespace, group)]
    return lines


def _united(namespace: str, group: Sequence[DatasetRow]) -> DatasetRow:
    return DatasetRow(
        name=f"{namespace}/… ({len(group)} datasets)",
        namespace=namespace,
        datasets=len(group),
        episodes=sum(row.episodes or 0 for row in group),
        steps=sum(row.steps or 0 for row in group),
        size=_total_size(group),
        authors=tuple(sorted({author for row in group for author in row.authors})),
    )


def _total_size(rows: Iterable[DatasetRow]) -> float:
    return sum(row.size or 0.0 for row in rows)


def dataset_table(rows: Sequence[DatasetRow]) -> rich.table.Table:
    """Return the table of datasets, with number and total size below; a rule separates the namespaces."""
    count = sum(row.datasets for row in rows)
    caption = f"Number of datasets: {count}, total size: {size_text(_total_size(rows))}"
    table = rich.table.Table(caption=caption)
    lines = [[printable(cell) for cell in _cells(row)] for row in rows]
    headers = ("Name", "# Episodes", "# Steps", "Size")
    for column, header in enumerate(headers):
        # Set explicitly: a narrower column would be truncated, and Rich takes long to measure it.
        width = max(map(rich.cells.cell_len, [header, *(line[column] for line in lines)]))
        table.add_column(header, justify="right" if column else "left", width=width, no_wrap=True)
    table.add_column("Author", overflow="fold")
    for line, row, following in zip(lines, rows, [*rows[1:], None], strict=True):
        table.add_row(*line, end_section=following is not None and _field(row) != _field(following))
    return table


def _field(row: DatasetRow) -> str:
    """Return the outermost namespace, or the owner of a dataset."""
    return row.namespace.rpartition("://")[2].partition("/")[0]


def _cells(row: DatasetRow) -> tuple[str, ...]:
    return (
        row.name,
        UNKNOWN if row.episodes is None else str(row.episodes),
        UNKNOWN if row.steps is None else str(row.steps),
        UNKNOWN if row.size is None else size_text(row.size),
        ", ".join(row.authors)[:_LONGEST_CELL] or UNKNOWN,
    )
