"""From format to format, compressed this way and that: whatever the spaces, infos and metadata."""

from __future__ import annotations

from typing import Any

import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

import minari
from minari._model.infos import append_info
from minari.dataset.minari_storage import MinariStorage
from minari.errors import CompressionError
from minari.testing import strategies
from minari.testing.comparison import assert_episode, assert_metadata
from minari.testing.examples import as_buffer
from support.copies import FORMATS, assert_copy, installed_codecs, is_installed


# Gymnasium warns about boxes without numbers in them, and about their bounds.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")

ROUTE = [name for name in FORMATS if is_installed(name)]


@st.composite
def stations(draw: st.DrawFn) -> tuple[str, Any]:
    """A format, and one of its codecs at one of its levels for all columns or for some; or no word of it."""
    data_format = draw(st.sampled_from(ROUTE))
    codec = draw(st.sampled_from(["none", *installed_codecs(data_format)]))
    wheres = st.sampled_from(["observations", "actions", "rewards", "infos", "terminations"])
    some = st.dictionaries(wheres, st.just(codec), max_size=3)
    return data_format, draw(st.one_of(st.none(), st.just(codec), some))


@st.composite
def episodes(draw: st.DrawFn, *of: spaces.Space[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """An episode with infos, and its metadata."""
    truth = draw(strategies.truths(*of))
    infos: dict[str, Any] = {}
    for recorded, info in enumerate(draw(strategies.infos(len(truth["rewards"]) + 1))):
        append_info(infos, info, recorded)
    metadata = {**draw(strategies.metadata()), "options": draw(strategies.metadata())}
    return {**truth, "infos": infos}, {**metadata, "seed": draw(st.none() | st.integers(0, 2**70))}


@settings(max_examples=15)
@given(
    data=st.data(),
    of=st.tuples(strategies.spaces(), strategies.spaces()),
    route=st.lists(stations(), min_size=2, max_size=5),
)
def test_along_a_route(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, of: Any, route: list[tuple[str, Any]]
) -> None:
    root = tmp_path_factory.mktemp("route")
    drawn = data.draw(st.lists(episodes(*of), min_size=1, max_size=3))
    order = data.draw(st.lists(st.integers(0, len(drawn) - 1), min_size=1, max_size=4, unique=True))
    first = MinariStorage.new(root / "start-v0" / "data", *of, data_format="memory")
    first.update_metadata({"dataset_id": "start-v0", "minari_version": "0.5.4", "mine": data.draw(st.text())})
    first.update_episodes(
        as_buffer(truth, seed=metadata["seed"], options=metadata["options"]) for truth, metadata in drawn
    )
    own = [{key: value for key, value in m.items() if key not in ("seed", "options")} for _, m in drawn]
    first.update_episode_metadata(own)
    dataset = minari.MinariDataset(first)[order]
    for number, (data_format, choice) in enumerate(route, 1):
        try:
            dataset = dataset.convert(f"station-v{number}", data_format, compression=choice, root=root)
        except CompressionError:
            assert isinstance(choice, dict), "a format may only refuse to tell columns apart"
    # Against what was drawn, and not what was read back on the way.
    assert len(dataset) == len(order)
    for episode, metadata, index in zip(dataset, _metadata_of(dataset), order, strict=True):
        truth, given_metadata = drawn[index]
        del truth["infos"]  # whose rows are filled where they are absent, see below
        assert_episode(vars(episode), *of, truth)
        left_out = {key for key in ("seed", "options") if given_metadata[key] in (None, {})}
        expected = {key: value for key, value in given_metadata.items() if key not in left_out}
        assert metadata.keys() - {"id", "total_steps"} == expected.keys()
        assert_metadata(metadata, expected)
        truth["infos"] = episode.infos
    if dataset.storage is not first:
        assert_copy(dataset.storage, first, order)


def _metadata_of(dataset: minari.MinariDataset) -> Any:
    return dataset.storage.get_episode_metadata(dataset.episode_indices)
