"""Statistics of fields, kept beside the data, and normalizers made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minari
from minari import MinariDataset
from minari.data_collector import EpisodeBuffer
from minari.errors import ArgumentError, EpisodeError
from minari.sampling import Normalizer
from support.sampling_model import assert_same, make


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

FILE = ".field_statistics.json"


def assert_statistics(found: Any, rows: np.ndarray[Any, Any]) -> None:
    rows = rows.astype(np.float64)
    assert found.count == found.sampled == len(rows)
    for name, expected in (("mean", rows.mean(0)), ("std", rows.std(0)), ("min", rows.min(0)), ("max", rows.max(0))):
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-9, atol=1e-12, err_msg=name)
    assert list(found.quantiles) == [0.01, 0.1, 0.5, 0.9, 0.99]
    for level, value in found.quantiles.items():
        np.testing.assert_allclose(value, np.quantile(rows, level, axis=0), rtol=1e-9)


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet", "zarr"])
@pytest.mark.parametrize("space", ["vector", "number", "discrete", "frames", "nested", "text"])
def test_statistics_are_those_of_all_steps(data_format: str, space: str) -> None:
    dataset = make("sampled/statistics-v0", (4, 1, 9), space, data_format=data_format)
    found = dataset.field_statistics()
    observed = {
        "nested": lambda one: {
            "observations/camera": one["camera"],
            "observations/arm/0": one["arm"][0],
            "observations/arm/1": one["arm"][1],
        },
        "text": lambda one: {"observations/at": one["at"]},
    }.get(space, lambda one: {"observations": one})
    episodes = [{**observed(e.observations), "actions": e.actions, "rewards": e.rewards} for e in dataset]
    assert found.keys() == episodes[0].keys()
    for name, one in found.items():
        assert_statistics(one, np.concatenate([episode[name] for episode in episodes]))


@pytest.mark.parametrize("offset", [0.0, 1e9, -1e12])
def test_moments_do_not_cancel(offset: float) -> None:
    rows = np.random.default_rng(0).random(401) + offset
    dataset = minari.create_dataset_from_arrays(
        "sampled/offset-v0",
        observations=rows,
        actions=np.zeros(399),
        rewards=np.zeros(399),
        terminations=np.isin(np.arange(399), [0, 398]),
    )
    found = dataset.field_statistics(["observations"])["observations"]
    np.testing.assert_allclose(found.std, rows.std(), rtol=1e-4 if offset < -1e11 else 1e-7)


class TestFile:
    def test_it_is_used_until_the_data_changes(self, dataset: MinariDataset, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = dataset.field_statistics()
        path = dataset.storage.data_path / FILE
        before = path.read_bytes()
        again = minari.open_dataset(dataset.storage.data_path.parent)
        reads = []
        monkeypatch.setattr(type(again.storage), "read_parts", lambda *args: reads.append(args))
        found = again.field_statistics()
        assert found.keys() == expected.keys()
        for name, one in found.items():
            assert_same(one.to_json(), expected[name].to_json())
        assert reads == []
        monkeypatch.undo()
        added = EpisodeBuffer(
            observations=np.full((3, 3), 9.0),
            actions=np.zeros(2, np.float32),
            rewards=np.ones(2),
            terminations=np.array([False, True]),
            truncations=np.zeros(2, bool),
        )
        again.update_dataset_from_buffer([added])
        assert again.field_statistics()["rewards"].count == expected["rewards"].count + 2
        assert path.read_bytes() != before

    def test_other_fields_are_added(self, dataset: MinariDataset) -> None:
        dataset.field_statistics(["rewards"])
        assert list(dataset.field_statistics(["actions", "rewards"])) == ["actions", "rewards"]
        assert list(dataset.field_statistics()) == ["observations", "actions", "rewards"]

    @pytest.mark.parametrize(
        "content", [b"", b"{}", b"[]", b"\xff", b'{"state": [1], "fields": 3}', b'{"fields": {}}', b"[" * 100_000]
    )
    def test_a_damaged_one_is_replaced(self, dataset: MinariDataset, content: bytes) -> None:
        expected = dataset.field_statistics()
        path = dataset.storage.data_path / FILE
        path.write_bytes(content)
        assert dataset.field_statistics()["rewards"].mean == expected["rewards"].mean
        assert len(path.read_bytes()) > 100

    def test_views_have_their_own(self, dataset: MinariDataset) -> None:
        whole = dataset.field_statistics()["actions"]
        assert dataset[1:2].field_statistics()["actions"].mean == 5
        assert dataset.field_statistics()["actions"].mean == whole.mean

    def test_a_directory_that_cannot_be_written_to(self, dataset: MinariDataset) -> None:
        (dataset.storage.data_path / FILE).mkdir()
        assert dataset.field_statistics()["rewards"].count == 65


class TestNormalizer:
    @pytest.mark.parametrize("method", ["mean_std", "min_max", "quantiles"])
    def test_there_and_back(self, method: Any) -> None:
        dataset = make("sampled/normalized-v0", (4, 30), "nested")
        normalizer = dataset.normalizer(["observations/arm", "actions"], method)
        batch = dataset.transitions()[:]
        found = normalizer.normalize(batch)
        arm = found["observations"]["arm"][0]
        assert arm.dtype == np.float32
        if method == "mean_std":
            of_all = dataset.field_statistics()["observations/arm/0"]
            expected = (batch["observations"]["arm"][0].astype(float) - of_all.mean) / of_all.std
            np.testing.assert_allclose(arm, expected, rtol=1e-6, atol=1e-6)
        elif method == "min_max":
            assert (np.abs(arm) <= 1).all()
        assert found["observations"]["camera"] is batch["observations"]["camera"]
        back = normalizer.unnormalize(found)
        for name in ("observations", "next_observations"):
            np.testing.assert_allclose(back[name]["arm"][0], batch[name]["arm"][0], rtol=1e-5, atol=1e-6)
        again = Normalizer.from_json(normalizer.to_json())
        assert_same(again.normalize(batch), found)
        windows = dataset.windows(3)[:]
        expected = (windows["actions"] - again.statistics["actions"].mean) / again.statistics["actions"].std
        if method == "mean_std":
            np.testing.assert_allclose(again.normalize(windows)["actions"], expected, rtol=1e-6, atol=1e-6)

    def test_constant_values(self) -> None:
        dataset = minari.create_dataset_from_arrays(
            "sampled/constant-v0",
            observations=np.full(3, 7.0),
            actions=np.zeros(2),
            rewards=np.ones(2),
            terminations=np.array([False, True]),
        )
        assert dataset.normalizer().normalize(dataset.transitions()[:])["observations"].tolist() == [0, 0]

    @pytest.mark.parametrize("text", ["", "{}", "[]", '{"method": "mean_std", "fields": {"rewards": {}}}', None])
    def test_what_is_no_normalizer(self, text: Any) -> None:
        with pytest.raises(ArgumentError, match="expected a result of to_json"):
            Normalizer.from_json(text)


def test_invalid_arguments(dataset: MinariDataset) -> None:
    texts = make("sampled/texts-v0", (3,), "text")
    for made, message in (
        (lambda: dataset.field_statistics(["reward"]), "no field 'reward'; the nearest names are 'rewards'"),
        (lambda: dataset.field_statistics("rewards"), "fields is 'rewards', expected a list of names"),
        (lambda: texts.field_statistics(["observations/mission"]), "no numbers of a fixed shape"),
        (lambda: dataset.normalizer(method="max"), "method is 'max'"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ArgumentError, match=message):
            made()
    with pytest.raises(EpisodeError, match="has no episode"):
        dataset[[]].field_statistics()
