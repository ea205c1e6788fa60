"""``minari show``: what a dataset is, where it comes from, and how its episodes went."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Space
from rich.console import RenderableType
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from minari._base.settings import get_datasets_root
from minari._catalog.layout import dataset_exists, get_dataset_path
from minari._catalog.listing import did_you_mean_local
from minari._model.dataset_id import DatasetId, dataset_id_at, is_dataset_id
from minari._model.env_spec import parse_env_spec
from minari._model.metadata import DatasetMetadata
from minari._model.metadata_json import texts_of
from minari._storages.core import read_metadata
from minari.cli.credentials import credentials
from minari.cli.histogram import Distribution, histogram_lines
from minari.cli.plain import plain
from minari.cli.progress import progress_bars
from minari.cli.tables import size_text
from minari.cli.terminal import complain, open_console, page_width, printable
from minari.dataset.description import DatasetStatistics, describe_env_spec, get_dataset_spec_dict
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import DataPathError, DatasetNotFoundError, MinariError
from minari.spaces.serialization import serialize_space
from minari.storage.remotes import get_cloud_storage, split_address


__all__ = ["show_dataset"]

_BESIDE_VALUES = 32  # columns that the table of specs takes for names and lines
_LONGEST_VALUE = 5_000  # letters
_LONGEST_DESCRIPTION = 20_000
_WIDEST = 70  # columns of a histogram: longer bars say no more
_MOST_COMPONENTS = 16  # of rewards, of which histograms are drawn
_SIDE_BY_SIDE = 90  # columns, from which both histograms stand beside each other


def show_dataset(dataset: str, as_json: bool, token: str | None, key_path: str | None, quiet: bool) -> None:
    """Describe a dataset, of which only the metadata are fetched where it is on a remote.

    What the metadata say is shown even where the episodes cannot be read. The environment is not
    made: a dataset that someone else wrote names the code that this would run.
    """
    page = _remote_page(dataset, token, key_path) if "://" in dataset else _local_page(dataset, quiet)
    if as_json:
        stored = {
            key: serialize_space(value) if isinstance(value, Space) else value for key, value in page.described.items()
        }
        print(json.dumps(plain({**stored, **page.place, **_summaries(page.episodes)}), indent=2))
        return
    _print_page(page)


@dataclass(frozen=True, slots=True)
class _Page:
    """What is shown of a dataset.

    Attributes:
        metadata: as they are stored.
        described: the same as what is shown; spaces as such where the dataset could be opened.
        place: the key and the value that say where it is.
        download: what is to be downloaded to have it.
        episodes: their returns and lengths, where they are here and can be read.
    """

    metadata: DatasetMetadata
    described: Mapping[str, Any]
    place: Mapping[str, str]
    download: str
    episodes: DatasetStatistics | None


def _local_page(dataset: str, quiet: bool) -> _Page:
    data_path = _data_path(dataset)
    metadata = read_metadata(data_path)
    episodes: DatasetStatistics | None = None
    described = metadata.raw
    try:
        opened = MinariDataset(data_path)
        described |= {name: getattr(opened, name) for name in ("observation_space", "action_space")}
        with progress_bars(quiet=quiet):
            episodes = opened.statistics()
    except (MinariError, OSError) as error:
        complain(f"Warning: The episodes cannot be read: {error}")
    described["dataset_id"] = dataset_id_at(data_path.absolute().parent, metadata.dataset_id)
    return _Page(metadata, described, {"data_path": str(data_path)}, str(described["dataset_id"]), episodes)


def _remote_page(address: str, token: str | None, key_path: str | None) -> _Page:
    remote, dataset_id = split_address(address)
    storage = get_cloud_storage(remote, credentials(address, token, key_path))
    metadata = DatasetMetadata.from_raw(storage.get_dataset_metadata(dataset_id), address)
    return _Page(metadata, {**metadata.raw, "dataset_id": dataset_id}, {"address": address}, address, None)


def _data_path(dataset: str) -> Path:
    """The folder of the data of a dataset that is given by its id or by its folder."""
    if is_dataset_id(dataset) and dataset_exists(get_dataset_path(dataset)):
        return get_dataset_path(dataset) / "data"
    folder = Path(dataset).expanduser()
    if dataset and folder.is_dir():
        return folder / "data" if (folder / "data").is_dir() else folder
    if dataset and folder.is_file():
        raise DataPathError(f"{folder} is a file; give the folder of a dataset, or the id of a local one.")
    if folder.is_absolute() or dataset.startswith((".", "~")):
        raise DataPathError(f"There is no folder {folder}; give the folder of a dataset, or the id of a local one.")
    raise DatasetNotFoundError(
        f"There is no dataset {DatasetId.parse(dataset)} in {get_datasets_root()}; "
        f"`minari list local --all` shows which there are.{did_you_mean_local(dataset)}"
    )


def _summaries(episodes: DatasetStatistics | None) -> dict[str, Any]:
    if episodes is None:
        return {}
    return {
        "episode_returns": _distributions(episodes.returns),
        "episode_lengths": Distribution.of(episodes.lengths.astype(np.float64)).numbers(),
    }


def _distributions(returns: npt.NDArray[np.float64]) -> Any:
    """The numbers of the returns: a dict, or a list of one for each component of the rewards."""
    components = [Distribution.of(values).numbers() for _, values in _components(returns)]
    return components[0] if returns.ndim == 1 else components


def _components(returns: npt.NDArray[np.float64]) -> list[tuple[str, npt.NDArray[np.float64]]]:
    """Each component of the returns, after what is added to its title."""
    if returns.ndim == 1:
        return [("", returns)]
    components = returns.reshape(len(returns), -1).T
    names = [", ".join(map(str, place)) for place in np.ndindex(returns.shape[1:])]
    return [(f", component {name}", values) for name, values in zip(names, components, strict=True)]


def _env_description(metadata: DatasetMetadata) -> dict[str, str]:
    if metadata.env_spec_json is None:
        return {}
    try:
        return describe_env_spec(parse_env_spec(metadata.env_spec_json))
    except MinariError as error:
        complain(f"Warning: {error}")
        return {}


def _print_page(page: _Page) -> None:
    described, episodes, env = page.described, page.episodes, _env_description(page.metadata)
    command = f"minari download {page.download}"
    # The line with the download command stays whole, so that it can be copied.
    console = open_console(width=max(page_width(), len(command) + _BESIDE_VALUES))
    console.print(_heading(str(described["dataset_id"])))
    if described.get("description"):
        console.print(_heading("\nDescription"), _description(described["description"]))
    specs = {**get_dataset_spec_dict(described), "Download": command, **_further(described)}
    console.print(_heading("\nDataset Specs"), _spec_table(specs))
    if env:
        console.print(_heading("\nEnvironment Specs"), _spec_table(env))
    if episodes is not None and episodes.lengths.size:
        console.print()
        console.print(_histograms(episodes, console.width, console.options.ascii_only))


def _description(text: object) -> Markdown:
    """The description, whose links show where they lead."""
    return Markdown(printable(_cut(str(text), _LONGEST_DESCRIPTION)), hyperlinks=False)


def _cut(text: str, length: int) -> str:
    """A text that is not longer than somebody reads, as the time for laying out may grow with its square."""
    return text if len(text) <= length else f"{text[:length]}…"


def _further(described: Mapping[str, Any]) -> dict[str, str]:
    """What not every dataset has."""
    further: dict[str, str] = {}
    if described.get("dataset_size") is not None:
        size = described["dataset_size"]
        told = size_text(size) if isinstance(size, (int, float)) else f"{size} MB"
        further["Size"] = f"{told} ({described.get('data_format') or 'hdf5'})"
    if "compression" in described:
        choice = described["compression"]
        by_column = choice.items() if isinstance(choice, dict) else [("all columns", choice)]
        further["Compression"] = ", ".join(f"{column}: {codec}" for column, codec in by_column)
    scores = [described.get(f"ref_{name}_score") for name in ("min", "max")]
    if any(score is not None for score in scores):
        further["Reference Scores"] = f"min {scores[0]}, max {scores[1]}"
    for key, title in (("requirements", "Requirements"), ("combined_datasets", "Combined From")):
        if described.get(key):
            further[title] = ", ".join(texts_of(described[key]))
    return further


def _heading(text: str) -> Text:
    return Text(printable(text), style="bold")


def _spec_table(specs: Mapping[str, str]) -> Table:
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in specs.items():
        table.add_row(name, _without_markdown(printable(value)))
    return table


def _without_markdown(value: str) -> str:
    """The text of a cell, which is Markdown as far as links and code go."""
    linked = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", _cut(value, _LONGEST_VALUE))
    return " ".join(linked.replace("`", "").split())


def _histograms(episodes: DatasetStatistics, width: int, ascii_only: bool) -> RenderableType:
    is_wide = width >= _SIDE_BY_SIDE
    room = min((width - 4) // 2 if is_wide else width, _WIDEST)
    parts = [
        _histogram(f"Episode Returns{component}", values, room, ascii_only)
        for component, values in _components(episodes.returns)[:_MOST_COMPONENTS]
    ]
    parts.append(_histogram("Episode Lengths", episodes.lengths.astype(np.float64), room, ascii_only))
    grid = Table.grid(padding=(0, 4, 0, 0))
    rows = [parts[start : start + 2] for start in range(0, len(parts), 2)] if is_wide else [[part] for part in parts]
    for row in rows:
        grid.add_row(*row)
    return grid


def _histogram(title: str, values: npt.NDArray[np.float64], width: int, ascii_only: bool) -> Text:
    lines = histogram_lines(values, width, ascii_only=ascii_only)
    return Text.assemble(
        (f"{title}\n", "bold"), f"{Distribution.of(values).summary()}\n", "\n".join(lines), no_wrap=True
    )
