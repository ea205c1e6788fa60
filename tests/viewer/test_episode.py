"""One episode: its facts, plots, pictures and texts, compared with what ``dataset[i]`` returns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minari
from minari.viewer import episode as viewer_episode
from minari.viewer.answers import plain
from support.copies import make_rich
from support.viewing import client, get, make_agents, make_cameras, make_table


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

FORMATS = ["hdf5", "arrow", "zarr"]


def json_numbers(values: np.ndarray) -> list[Any]:
    """Numbers as plots have them: nothing where they are not finite, and floats where JavaScript would round them."""
    found: list[Any] = []
    for value in values.tolist():
        if isinstance(value, bool):
            found.append(int(value))
        elif isinstance(value, float) and not math.isfinite(value):
            found.append(None)
        else:
            found.append(value)
    is_large = any(isinstance(value, int) and abs(value) > 2**53 for value in found)
    return [float(value) for value in found] if is_large else found


def arrays(name: str, value: Any) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of numbers and flags in nested values, by the names of their leaves."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from arrays(f"{name}/{key}", inner)
    elif isinstance(value, tuple):
        for place, inner in enumerate(value):
            yield from arrays(f"{name}/{place}", inner)
    elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        yield name, value


def expected_arrays(episode: Any) -> dict[str, np.ndarray]:
    fields = ("observations", "actions", "rewards", "terminations", "truncations", "infos")
    return {name: values for field in fields for name, values in arrays(field, getattr(episode, field))}


@pytest.mark.parametrize("data_format", FORMATS)
def test_series_are_the_values_of_the_episode(data_format: str) -> None:
    dataset = make_rich("look/rich-v0", data_format)
    with client() as browser:
        for number, episode in enumerate(dataset):
            facts = get(browser, "episode", dataset="look/rich-v0", episode=number)
            assert facts["length"] == len(episode)
            assert facts["return"] == pytest.approx(episode.rewards.sum())
            assert facts["metadata"]["seed"] == plain(episode.metadata["seed"])
            leaves = {leaf["name"]: leaf for leaf in facts["leaves"]}
            expected = expected_arrays(episode)
            plotted = {name for name, leaf in leaves.items() if leaf["kind"] in ("number", "flag")}
            assert {"observations/position", "rewards", "terminations"} & expected.keys() <= plotted
            for name in plotted & expected.keys():
                values, leaf = expected[name], leaves[name]
                assert (leaf["rows"], tuple(leaf["shape"])) == (len(values), values.shape[1:])
                found = get(browser, "series", dataset="look/rich-v0", episode=number, leaf=name, most=10_000)
                assert found["steps"] == list(range(len(values)))
                flat = values.reshape(len(values), math.prod(values.shape[1:]))
                assert found["omitted"] == max(flat.shape[1] - 64, 0)
                assert [one["values"] for one in found["components"]] == [
                    json_numbers(flat[:, place]) for place in range(min(flat.shape[1], 64))
                ]
                finite = flat[np.isfinite(flat)] if flat.dtype.kind == "f" else flat
                if finite.size:
                    assert [leaf["min"], leaf["max"]] == json_numbers(np.array([finite.min(), finite.max()]))


def test_numbers_that_json_does_not_have() -> None:
    make_cameras("look/cameras-v0")
    with client() as browser:
        facts = get(browser, "episode", dataset="look/cameras-v0", episode=0)
        leaves = {leaf["name"]: leaf for leaf in facts["leaves"]}
        assert facts["metadata"]["seed"] == str(2**62 + 3)
        assert (leaves["infos/big"]["min"], leaves["observations/x"]["max"]) == (2.0**60, 1)
        big = get(browser, "series", dataset="look/cameras-v0", episode=0, leaf="infos/big")
        assert big["components"] == [{"label": "", "values": [2.0**60] * 4}]
        x = get(browser, "series", dataset="look/cameras-v0", episode=0, leaf="observations/x")
        assert x["components"][0]["values"] == [None, None, 0, 1]
        flags = get(browser, "series", dataset="look/cameras-v0", episode=0, leaf="infos/success")
        assert flags["components"][0]["values"] == [0, 0, 1, 1]


def test_metadata_of_any_kind_is_bounded_json() -> None:
    deep: Any = "end"
    for _ in range(25):
        deep = [deep]
    odd = {
        "nan": math.nan, "inf": [math.inf, 1], "huge": 10**300, "bytes": b"\0\xff", "date": np.datetime64("2024-05-01"),
        "array": np.arange(3), "large": np.zeros(2000), "deep": deep, "none": None, "text": "x" * 9000,
        "list": ["x"] * 3000, "nested": {"a": {"b": [None, True]}}, "complex": 1j,
    }  # fmt: skip
    make_table("look/odd-v0", [odd], [2])
    with client() as browser:
        found = get(browser, "episode", dataset="look/odd-v0", episode=0)["metadata"]
        table = get(browser, "episodes", dataset="look/odd-v0")
    assert (found["nan"], found["inf"], found["huge"]) == (None, [None, 1], str(10**300))
    assert (found["bytes"], found["date"], found["array"]) == ("2 bytes", "2024-05-01", [0, 1, 2])
    assert found["large"] == "array of shape (2000,) and dtype float64"
    assert len(found["text"]) == 5001
    assert len(found["list"]) == 1000
    assert found["nested"] == {"a": {"b": [None, True]}}
    assert "none" not in found
    assert all(not isinstance(cell, str) or len(cell) <= 501 for cell in table["rows"][0])


def test_long_series_are_reduced_and_keep_their_peaks() -> None:
    values = np.zeros((20_000, 3))
    values[12_345] = [5, -5, 7]
    steps = len(values) - 1
    minari.create_dataset_from_arrays(
        "look/long-v0", observations=values, actions=np.zeros(steps), rewards=np.zeros(steps),
        terminations=np.arange(steps) == steps - 1,
    )  # fmt: skip
    with client() as browser:
        found = get(browser, "series", dataset="look/long-v0", episode=0, leaf="observations", most=100)
        assert len(found["steps"]) <= 300
        assert found["steps"] == sorted(set(found["steps"]))
        peaks = [component["values"][found["steps"].index(12_345)] for component in found["components"]]
        assert peaks == [5, -5, 7]
        for most in (1, 10_001):
            get(browser, "series", 400, dataset="look/long-v0", episode=0, leaf="observations", most=most)


def test_wide_values_are_bounded(datasets_root: Any) -> None:
    steps = 400
    minari.create_dataset_from_arrays(
        "look/wide-v0", observations=np.random.default_rng(0).normal(size=(steps + 1, 3000)), actions=np.zeros(steps),
        rewards=np.zeros(steps), terminations=np.arange(steps) == steps - 1,
    )  # fmt: skip
    with client() as browser:
        found = get(browser, "series", dataset="look/wide-v0", episode=0, leaf="observations", most=2)
        assert (len(found["components"]), found["omitted"]) == (64, 2936)
        assert len(found["components"][0]["values"]) == len(found["steps"])
        leaves = get(browser, "leaves", dataset="look/wide-v0")["leaves"]
        assert (len(leaves[0]["components"]), leaves[0]["omitted"]) == (64, 2936)


@pytest.mark.parametrize("data_format", FORMATS)
def test_frames_are_the_pixels_of_the_episode(data_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_cameras("look/cameras-v0", data_format=data_format)
    episode = dataset[1]

    def frames(browser: Any, leaf: str, **stretch: int) -> tuple[dict[str, int], np.ndarray]:
        answer = browser.get(
            "/api/frames", params={"dataset": "look/cameras-v0", "episode": 1, "leaf": leaf, **stretch}
        )
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/octet-stream")
        names = ("x-frames-start", "x-frames-count", "x-frame-height", "x-frame-width")
        start, count, height, width = (int(answer.headers[name]) for name in names)
        return {"start": start}, np.frombuffer(answer.content, np.uint8).reshape(count, height, width, 3)

    with client() as browser:
        leaves = {
            leaf["name"]: leaf for leaf in get(browser, "episode", dataset="look/cameras-v0", episode=1)["leaves"]
        }
        assert leaves["observations/front"]["frame"] == {"height": 16, "width": 12}
        assert (leaves["observations/front"]["min"], leaves["rewards"]["frame"]) == (None, None)
        front = episode.observations["front"]
        for stretch in ({}, {"start": 2}, {"start": 2, "stop": 5}, {"stop": 3}, {"start": 6, "stop": 100}):
            described, found = frames(browser, "observations/front", **stretch)
            assert described == {"start": stretch.get("start", 0)}
            np.testing.assert_array_equal(found, front[slice(stretch.get("start"), stretch.get("stop"))])
        for stretch in ({"start": 8}, {"start": 99}, {"start": 4, "stop": 2}):
            assert frames(browser, "observations/front", **stretch)[1].shape == (0, 16, 12, 3)
        gray = episode.infos["wrist"][1:4]
        np.testing.assert_array_equal(frames(browser, "infos/wrist", start=1, stop=4)[1], gray[..., None].repeat(3, -1))
        monkeypatch.setattr(viewer_episode, "_MOST_PIXELS", 16 * 12 * 3 * 2 + 5)
        assert len(frames(browser, "observations/front", start=1)[1]) == 2
        monkeypatch.setattr(viewer_episode, "_MOST_PIXELS", 1)
        assert len(frames(browser, "observations/front", start=1)[1]) == 1


def test_texts_are_given_where_they_change(monkeypatch: pytest.MonkeyPatch) -> None:
    make_cameras("look/cameras-v0")
    make_agents("look/agents-v0")
    with client() as browser:
        found = get(browser, "texts", dataset="look/cameras-v0", episode=1, leaf="observations/task")
        assert found == {"texts": [{"step": 0, "text": "go"}, {"step": 2, "text": "stop"}], "cut": False}
        of_agent = get(browser, "texts", dataset="look/agents-v0", episode=0, leaf="agents/b/observations/text")
        assert of_agent["texts"] == [{"step": 1, "text": "p"}, {"step": 2, "text": "q"}]
        series = get(browser, "series", dataset="look/agents-v0", episode=0, leaf="agents/b/observations/number")
        assert (series["steps"], series["components"][0]["values"]) == ([1, 2], [1, 2])
        facts = get(browser, "episode", dataset="look/agents-v0", episode=1)
        assert facts["agents"] == ["a"]
        assert "state/s" in {leaf["name"] for leaf in facts["leaves"]}
        monkeypatch.setattr(viewer_episode, "_MOST_TEXTS", 1)
        cut = get(browser, "texts", dataset="look/cameras-v0", episode=1, leaf="observations/task")
        assert cut == {"texts": [{"step": 0, "text": "go"}], "cut": True}


@pytest.mark.parametrize(
    ("path", "parameters", "status", "kind"),
    [
        ("episode", {"episode": 2}, 404, "EpisodeIndexError"),
        ("episode", {"episode": -1}, 400, "ArgumentError"),
        ("episode", {"episode": "x"}, 400, "ArgumentError"),
        ("episode", {}, 400, "ArgumentError"),
        ("episode", {"episode": 2**52 + 1}, 400, "ArgumentError"),
        ("series", {"episode": 0, "leaf": "observation/x"}, 404, "LeafNotFound"),
        ("series", {"episode": 0, "leaf": ""}, 404, "LeafNotFound"),
        ("series", {"episode": 0}, 400, "ArgumentError"),
        ("series", {"episode": 0, "leaf": "observations/front"}, 400, "ArgumentError"),
        ("series", {"episode": 0, "leaf": "observations/task"}, 400, "ArgumentError"),
        ("texts", {"episode": 0, "leaf": "rewards"}, 400, "ArgumentError"),
        ("texts", {"episode": 0, "leaf": "observations/front"}, 400, "ArgumentError"),
        ("frames", {"episode": 0, "leaf": "rewards"}, 400, "ArgumentError"),
        ("frames", {"episode": 0, "leaf": "frames"}, 404, "LeafNotFound"),
        ("frames", {"episode": 0, "leaf": "observations/front", "start": -1}, 400, "ArgumentError"),
        ("frames", {"episode": 0, "leaf": "observations/front", "stop": "1.5"}, 400, "ArgumentError"),
    ],
)
def test_wrong_requests_are_one_sentence(path: str, parameters: dict[str, Any], status: int, kind: str) -> None:
    make_cameras("look/cameras-v0")
    with client() as browser:
        found = get(browser, path, status, dataset="look/cameras-v0", **parameters)
    assert found["kind"] == kind
    assert found["error"].count("\n") == 0


@pytest.mark.parametrize(("metadata", "fps"), [({}, 30), ({"fps": 12}, 12), ({"fps": -1}, 30), ({"fps": "fast"}, 30)])
def test_steps_per_second_are_those_of_the_metadata(metadata: dict[str, Any], fps: float) -> None:
    make_table("look/table-v0", [metadata], [3])
    with client() as browser:
        assert get(browser, "episode", dataset="look/table-v0", episode=0)["fps"] == fps


def test_parts_of_an_episode_are_those_of_the_revision_that_is_shown(datasets_root: Path) -> None:
    dataset = make_cameras("look/cameras-v0", (3, 7, 5))
    with client() as browser:
        asked = {"dataset": dataset.id, "episode": 1}
        revision = get(browser, "episode", **asked)["revision"]
        parts = {"series": "rewards", "frames": "observations/front", "texts": "observations/task"}
        for path, leaf in parts.items():
            answer = browser.get(f"/api/{path}", params={**asked, "leaf": leaf, "revision": revision})
            assert answer.status_code == 200, path
        minari.edit_dataset(dataset.id, drop_episodes=[0])  # episode 1 is another one now
        for path, leaf in parts.items():
            refusal = get(browser, path, status=409, **asked, leaf=leaf, revision=revision)
            assert refusal["kind"] == "DatasetChangedError", path
        assert get(browser, "series", **asked, leaf="rewards")["steps"] == [0, 1, 2, 3, 4]
