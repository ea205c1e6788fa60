"""``minari show``: the facts of a dataset and its environment, and the distribution of returns and lengths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Space
from rich.console import RenderableType
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from minari._model.dataset_id import dataset_id_at
from minari._model.env_spec import parse_env_spec
from minari._model.metadata import DatasetMetadata
from minari._model.multi_agent import AgentSpaces, agent_name
from minari._storages.core import read_metadata
from minari.cli.local_datasets import find_dataset
from minari.cli.options import read_credentials
from minari.cli.progress import progress_bars
from minari.cli.terminal import open_console, page_width, print_json, printable, warn
from minari.dataset.description import Fact, agents_of, dataset_facts, env_facts
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import MinariError
from minari.inspection.distributions import Distribution, components, histogram, short
from minari.sampling.episode_statistics import DatasetStatistics
from minari.spaces.serialization import serialize_space
from minari.storage.remotes import get_cloud_storage, split_address


__all__ = ["histogram_lines", "show_dataset"]

_BESIDE_VALUES = 32  # columns of the table for titles and borders
_LONGEST_VALUE = 5_000  # characters
_LONGEST_DESCRIPTION = 20_000
_WIDEST = 70  # columns of a histogram; longer bars are no clearer
_MOST_COMPONENTS = 16  # of the rewards that have a histogram
_SIDE_BY_SIDE = 90  # columns, from which histograms are side by side
_EIGHTHS = " ▏▎▍▌▋▊▉"
_FULL = "█"


def show_dataset(dataset: str, as_json: bool, token: str | None, key_path: str | None, quiet: bool) -> None:
    """Print the description of a dataset; only the metadata is fetched if it is on a remote.

    The metadata is shown even if the episodes cannot be read. The environment is not created, since that would run
    code that the author of the dataset chose.
    """
    if "://" in dataset:
        remote, dataset_id = split_address(dataset)
        storage = get_cloud_storage(remote, read_credentials(dataset, token, key_path))
        metadata = DatasetMetadata.from_raw(storage.get_dataset_metadata(dataset_id), dataset)
        page = _Page(metadata, {**metadata.raw, "dataset_id": dataset_id}, {"address": dataset}, dataset, None)
    else:
        page = _local_page(dataset, quiet)
    if as_json:
        stored = {
            key: serialize_space(value) if isinstance(value, Space) else value for key, value in page.described.items()
        }
        print_json({**stored, **page.place, **_summaries(page.episodes)})
        return
    _print_page(page)


@dataclass(frozen=True, slots=True)
class _Page:
    """Everything that is shown of a dataset.

    Attributes:
        metadata: stored metadata.
        described: metadata as shown; spaces are objects if the dataset could be opened.
        place: key and value of its location.
        download: argument of ``minari download``.
        episodes: returns and lengths of the episodes, if they are local and readable.
    """

    metadata: DatasetMetadata
    described: Mapping[str, Any]
    place: Mapping[str, str]
    download: str
    episodes: DatasetStatistics | None


def _local_page(dataset: str, quiet: bool) -> _Page:
    data_path = find_dataset(dataset)
    metadata = read_metadata(data_path)
    episodes: DatasetStatistics | None = None
    described = metadata.raw
    try:
        opened = MinariDataset(data_path)
        described |= {name: getattr(opened, name) for name in ("observation_space", "action_space")}
        with progress_bars(quiet=quiet):
            episodes = opened.statistics()
    except (MinariError, OSError) as error:
        warn(f"The episodes cannot be read: {error}")
    described["dataset_id"] = dataset_id_at(data_path.absolute().parent, metadata.dataset_id)
    return _Page(metadata, described, {"data_path": str(data_path)}, str(described["dataset_id"]), episodes)


def _summaries(episodes: DatasetStatistics | None) -> dict[str, Any]:
    if episodes is None:
        return {}
    returns = [Distribution.of(values).numbers() for _, values in _components(episodes.returns)]
    return {
        "episode_returns": returns[0] if episodes.returns.ndim == 1 else returns,
        "episode_lengths": Distribution.of(episodes.lengths.astype(np.float64)).numbers(),
        **_summaries_of_agents(episodes),
    }


def _summaries_of_agents(episodes: DatasetStatistics) -> dict[str, Any]:
    if episodes.agents is None:
        return {}
    agents = {
        agent_name(agent): {"episodes": len(one.lengths), "steps": int(one.lengths.sum()), **_summaries(one)}
        for agent, one in episodes.agents.items()
    }
    return {"agents": agents}


def _components(returns: npt.NDArray[np.float64]) -> list[tuple[str, npt.NDArray[np.float64]]]:
    """Return a suffix of the title and the values, for each component of the returns."""
    return [(f", component {label}" if label else "", values) for label, values in components(returns)]


def _env_facts(metadata: DatasetMetadata) -> list[Fact]:
    if metadata.env_spec_json is None:
        return []
    try:
        return env_facts(parse_env_spec(metadata.env_spec_json))
    except MinariError as error:
        warn(str(error))
        return []


def _print_page(page: _Page) -> None:
    described, episodes, env = page.described, page.episodes, _env_facts(page.metadata)
    command = f"minari download {page.download}"
    # The download command is not wrapped, so that it can be copied.
    console = open_console(width=max(page_width(), len(command) + _BESIDE_VALUES))
    console.print(_heading(str(described["dataset_id"])))
    if described.get("description"):
        text = printable(_cut(str(described["description"]), _LONGEST_DESCRIPTION))
        console.print(_heading("\nDescription"), Markdown(text, hyperlinks=False))  # links show where they lead
    # The environment has a table of its own.
    agents = _agent_table(page)
    shown_elsewhere = {"env_spec"} if agents is None else {"env_spec", "agents", "observation_space", "action_space"}
    facts = [fact for fact in dataset_facts(described) if fact.key not in shown_elsewhere]
    after_version = 1 + [fact.key for fact in facts].index("minari_version")
    facts.insert(after_version, Fact("download", "Download", command))
    console.print(_heading("\nDataset Specs"), _fact_table(facts))
    if agents is not None:
        console.print(_heading("\nAgents"), agents)
    if env:
        console.print(_heading("\nEnvironment Specs"), _fact_table(env))
    if episodes is not None and episodes.lengths.size:
        console.print()
        console.print(_histograms(episodes, console.width, console.options.ascii_only))


def _cut(text: str, length: int) -> str:
    """Truncate text, as the time for layout may grow with the square of its length."""
    return text if len(text) <= length else f"{text[:length]}…"


def _heading(text: str) -> Text:
    return Text(printable(text), style="bold")


def _fact_table(facts: Iterable[Fact]) -> Table:
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for fact in facts:
        table.add_row(fact.title, " ".join(_cut(printable(fact.text), _LONGEST_VALUE).split()))
    return table


def _agent_table(page: _Page) -> Table | None:
    """Return the table of the agents, with their spaces and returns; None if there is one without a name."""
    if agents_of(page.described) is None:
        return None
    metadata = page.metadata
    try:
        spaces = metadata.observation_space, metadata.action_space
    except MinariError as error:
        warn(f"The spaces of the agents cannot be shown: {error}")
        return None
    table = Table()
    for title in ("Agent", "Observation Space", "Action Space", "# Steps", "Return (min, mean, max)"):
        table.add_column(title, overflow="fold", justify="right" if title.startswith("#") else "left")
    of_agents = {} if page.episodes is None else page.episodes.agents or {}
    observation_spaces, action_spaces = (space.spaces if isinstance(space, AgentSpaces) else {} for space in spaces)
    for agent, space in observation_spaces.items():
        found = of_agents.get(agent)
        cells = [agent, space, action_spaces.get(agent, ""), "" if found is None else int(found.lengths.sum())]
        cells.append("" if found is None else _returns(found))
        table.add_row(*(" ".join(_cut(printable(str(cell)), _LONGEST_VALUE).split()) for cell in cells))
    return table


def _returns(episodes: DatasetStatistics) -> str:
    """Return the distribution of the returns in one line, for each component of the rewards."""
    found = [Distribution.of(values) for _, values in _components(episodes.returns)[:_MOST_COMPONENTS]]
    return "; ".join(f"{short(one.minimum)}, {short(one.mean)}, {short(one.maximum)}" for one in found if one.count)


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


def histogram_lines(values: npt.NDArray[np.float64], width: int, *, ascii_only: bool = False) -> list[str]:
    """Return a histogram, one line per bin.

    The bins of integers are ranges of integers, others are half-open intervals, except the last one. Values that are
    not finite are counted on a separate line, without a bar.

    >>> for line in histogram_lines(np.array([1.0, 1.0, 2.0]), 16):
    ...     print(line)
    1 │███████████ 2
    2 │█████▌ 1

    Args:
        values: array of shape (n,).
        width: maximum length of a line.
        ascii_only: draw with ``#``.
    """
    found = histogram(values)
    lines: list[str] = []
    if found.counts:
        labels, counts = found.labels, found.counts
        label_width, number_width = max(map(len, labels)), len(str(max(counts)))
        room = max(width - label_width - number_width - 3, 1)
        axis = "|" if ascii_only else "│"
        for label, count in zip(labels, counts, strict=True):
            share = count / max(counts)
            if ascii_only:  # a bar is visible for every share above zero
                bar = "#" * max(round(share * room), share > 0)
            else:
                eighths = max(round(share * room * 8), share > 0)
                bar = _FULL * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
            lines.append(f"{label:>{label_width}} {axis}{bar} {count}")
    if found.not_finite:
        lines.append(f"not finite: {found.not_finite}")
    return lines
