"""Datasets made to deceive or to break: answers stay JSON, their texts exact, and the server alive."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari.data_collector import EpisodeBuffer
from support.viewing import client, get, make_cameras, make_table


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

MARKUP = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\x00\x07\x1b[31m\u202e\u2028</title>&lt;{{7*7}}${7*7}"
    "\N{GRINNING FACE}\ufeffjavascript:alert(1)"
)
TEXT = MARKUP.replace("\0", "")  # which no key may have
READS = ("dataset", "distributions", "episodes", "leaves")


def test_markup_and_control_characters_come_through_exactly(datasets_root: Path) -> None:
    make_table(
        "look/markup-v0",
        [{f"<b>{TEXT}": TEXT, "task": TEXT}, {"task": "</script>"}],
        [2, 2],
        description=MARKUP,
        author={TEXT, "<i>Ada"},
        algorithm_name=MARKUP,
        code_permalink="javascript:alert(document.domain)//https://",
        requirements=[TEXT],
    )
    with client() as browser:
        for path in (
            "catalog", "dataset?dataset=look/markup-v0", "episodes?dataset=look/markup-v0",
            "leaves?dataset=look/markup-v0", "episode?dataset=look/markup-v0&episode=0",
            "compare?dataset=look/markup-v0&dataset=look/markup-v0", "dataset?dataset=<script>alert(1)</script>",
        ):  # fmt: skip
            answer = browser.get(f"/api/{path}")
            assert answer.headers["content-type"] == "application/json"
            assert answer.content.isascii()
        facts = get(browser, "dataset", dataset="look/markup-v0")
        assert facts["description"] == MARKUP
        by_key = {fact["key"]: fact for fact in facts["facts"]}
        assert by_key["algorithm_name"]["text"] == MARKUP
        assert by_key["code_permalink"] == {
            "key": "code_permalink", "title": "Code Permalink", "form": "text",
            "text": "javascript:alert(document.domain)//https://",
        }  # fmt: skip
        (listed,) = get(browser, "catalog")["datasets"]
        assert listed["authors"] == sorted([TEXT, "<i>Ada"])
        assert listed["description"] == MARKUP
        table = get(browser, "episodes", dataset="look/markup-v0")
        assert f"<b>{TEXT}" in {column["name"] for column in table["columns"]}
        assert TEXT in table["rows"][0]
        metadata = get(browser, "episode", dataset="look/markup-v0", episode=0)["metadata"]
        assert metadata["task"] == TEXT
        sorted_table = get(browser, "episodes", dataset="look/markup-v0", sort=f"<b>{TEXT}", descending=1)
        assert sorted_table["rows"][0][0] == 0


def test_links_to_web_pages_are_links(datasets_root: Path) -> None:
    make_table("look/link-v0", [{}], [2], code_permalink="https://example.org/x")
    with client() as browser:
        facts = get(browser, "dataset", dataset="look/link-v0")["facts"]
    assert [fact["form"] for fact in facts if fact["key"] == "code_permalink"] == ["link"]


def test_names_of_leaves_and_texts_of_data_are_exact(datasets_root: Path) -> None:
    name = f"<b>{TEXT.replace('/', '')}"
    buffer = EpisodeBuffer(
        observations={name: np.zeros(3, np.float32), "text": [TEXT, "x", TEXT]},
        actions=[0, 1], rewards=[0.0, 1.0], terminations=[False, True], truncations=[False, False],
        infos={name: np.arange(3)},
    )  # fmt: skip
    characters = "".join(sorted({*TEXT, "x"}))
    space = spaces.Dict({name: spaces.Box(-1, 1, (), np.float32), "text": spaces.Text(500, charset=characters)})
    minari.create_dataset_from_buffers(
        "look/leaves-v0", [buffer], observation_space=space, action_space=spaces.Discrete(2)
    )
    with client() as browser:
        leaves = {leaf["name"] for leaf in get(browser, "episode", dataset="look/leaves-v0", episode=0)["leaves"]}
        assert {f"observations/{name}", f"infos/{name}"} <= leaves
        for leaf in (f"observations/{name}", f"infos/{name}"):
            found = get(browser, "series", dataset="look/leaves-v0", episode=0, leaf=leaf)
            assert len(found["steps"]) == 3
        texts = get(browser, "texts", dataset="look/leaves-v0", episode=0, leaf="observations/text")["texts"]
        assert [one["text"] for one in texts] == [TEXT, "x", TEXT]


def write(path: Path, content: bytes | str) -> None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def changed_metadata(data_path: Path, **changes: Any) -> None:
    file = data_path / "metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


DAMAGE: dict[str, Any] = {
    "no metadata": lambda data: (data / "metadata.json").unlink(),
    "empty metadata": lambda data: write(data / "metadata.json", b""),
    "metadata that is not JSON": lambda data: write(data / "metadata.json", b"{" * 10_000),
    "metadata that is a list": lambda data: write(data / "metadata.json", b"[]"),
    "metadata that is a bomb": lambda data: write(data / "metadata.json", gzip.compress(b"0" * 1_000_000)),
    "many episodes": lambda data: changed_metadata(data, total_episodes=10**15),
    "a negative number of episodes": lambda data: changed_metadata(data, total_episodes=-1),
    "a wrong space": lambda data: changed_metadata(data, observation_space='{"type": "Box", "shape": [1e9]}'),
    "a space of another library": lambda data: changed_metadata(data, action_space='{"type": "os.system"}'),
    "an unknown format": lambda data: changed_metadata(data, data_format="../../evil"),
    "a version of the future": lambda data: changed_metadata(data, minari_version="99.0.0"),
    "a deep description": lambda data: changed_metadata(data, description=[[[[{"x": [None] * 9}]]]], author={"a": 1}),
    "a wrong environment": lambda data: changed_metadata(data, env_spec='{"id": 3, "entry_point": ["os:system"]}'),
    "no data": lambda data: (data / "main_data.hdf5").unlink(),
    "data that is cut": lambda data: os.truncate(data / "main_data.hdf5", 900),
    "data that is not HDF5": lambda data: write(data / "main_data.hdf5", b"x" * 5000),
    "data that is a directory": lambda data: ((data / "main_data.hdf5").unlink(), (data / "main_data.hdf5").mkdir()),
    "data that is a pipe": lambda data: ((data / "main_data.hdf5").unlink(), os.mkfifo(data / "main_data.hdf5")),
    "data that is elsewhere": lambda data: (
        (data / "main_data.hdf5").unlink(), (data / "main_data.hdf5").symlink_to("/etc/passwd")
    ),
    "flipped bytes": lambda data: write(
        data / "main_data.hdf5", bytes(byte ^ (0x55 * (place % 97 == 0)) for place, byte in enumerate(
            (data / "main_data.hdf5").read_bytes()))
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_dataset_is_an_error_and_the_others_go_on(damage: str, datasets_root: Path) -> None:
    make_cameras("look/damaged-v0")
    make_table("look/whole-v0", [{}], [3])
    data_path = datasets_root / "look" / "damaged-v0" / "data"
    for hidden in data_path.glob(".*"):
        hidden.unlink()
    DAMAGE[damage](data_path)
    with client() as browser:
        listed = {one["id"]: one for one in get(browser, "catalog")["datasets"]}
        assert set(listed) == {"look/damaged-v0", "look/whole-v0"}
        assert listed["look/whole-v0"]["problem"] is None
        answers = {path: browser.get(f"/api/{path}", params={"dataset": "look/damaged-v0"}) for path in READS}
        for path, further in (
            ("episode", {}), ("series", {"leaf": "observations/x"}), ("frames", {"leaf": "observations/front"}),
            ("texts", {"leaf": "observations/task"}),
        ):  # fmt: skip
            answers[path] = browser.get(f"/api/{path}", params={"dataset": "look/damaged-v0", "episode": 0, **further})
        pair = {"dataset": ["look/whole-v0", "look/damaged-v0"]}
        answers["compare"] = browser.get("/api/compare", params=pair)
        for path, answer in answers.items():
            assert answer.status_code in (200, 400, 404, 422, 500), (path, answer.text)
            if answer.status_code != 200:
                assert answer.json().keys() == {"error", "kind"}
                assert "not expected" not in answer.json()["error"], (path, answer.text)
        first = answers["dataset"]
        if first.status_code == 200 and first.json()["problem"]:
            assert first.json()["facts"]
        body = {"dataset": "look/damaged-v0", "revision": "x", "episodes": [0]}
        for path, further in (("mark", {"value": 1}), ("drop", {"confirm": True})):
            assert browser.post(f"/api/{path}", json={**body, **further}).status_code >= 400
        assert get(browser, "episodes", dataset="look/whole-v0")["total"] == 1


def test_a_dataset_whose_episodes_cannot_be_read_has_its_facts(datasets_root: Path) -> None:
    make_table("look/damaged-v0", [{}], [3], description="A description.", author="Ada")
    os.truncate(datasets_root / "look" / "damaged-v0" / "data" / "main_data.hdf5", 900)
    with client() as browser:
        found = get(browser, "dataset", dataset="look/damaged-v0")
        assert (found["description"], found["episodes"], found["leaves"]) == ("A description.", 1, [])
        assert "main_data.hdf5" in found["problem"]
        assert "Ada" in {fact["text"] for fact in found["facts"]}
        assert get(browser, "episodes", 422, dataset="look/damaged-v0")["kind"] == "DatasetCorruptError"


def test_a_dataset_that_is_damaged_while_it_is_open(datasets_root: Path) -> None:
    make_cameras("look/cameras-v0", lengths=(50, 50))
    file = datasets_root / "look" / "cameras-v0" / "data" / "main_data.hdf5"
    with client() as browser:
        assert get(browser, "episodes", dataset="look/cameras-v0")["total"] == 2
        os.truncate(file, 2000)
        for path in ("episode", "series", "frames"):
            parameters = {"dataset": "look/cameras-v0", "episode": 1, "leaf": "observations/front"}
            if path == "episode":
                del parameters["leaf"]
            answer = browser.get(f"/api/{path}", params=parameters)
            assert answer.status_code >= 400
            assert answer.json().keys() == {"error", "kind"}
        shutil.rmtree(datasets_root / "look" / "cameras-v0")
        assert get(browser, "episode", 404, dataset="look/cameras-v0", episode=0)["kind"] == "DatasetNotFoundError"


def test_many_keys_of_metadata_are_bounded(datasets_root: Path) -> None:
    make_table("look/wide-v0", [{f"key{number:04}": number for number in range(1500)}], [3])
    with client() as browser:
        found = get(browser, "episodes", dataset="look/wide-v0")
        assert (len(found["columns"]), found["omitted"]) == (200, 1305)
        assert get(browser, "episodes", dataset="look/wide-v0", sort="key1499")["total"] == 1


def test_a_dataset_without_episodes(datasets_root: Path) -> None:
    space = spaces.Box(-1, 1, (2,), np.float32)
    minari.create_dataset_from_buffers(
        "look/empty-v0", [], observation_space=space, action_space=space, author="Ada", description="Nothing yet."
    )
    with client() as browser:
        assert get(browser, "dataset", dataset="look/empty-v0")["episodes"] == 0
        assert get(browser, "episodes", dataset="look/empty-v0")["rows"] == []
        assert get(browser, "distributions", dataset="look/empty-v0")["episodes"] == 0
        assert get(browser, "leaves", dataset="look/empty-v0")["episodes"] == 0
        assert get(browser, "episode", 404, dataset="look/empty-v0", episode=0)["kind"] == "EpisodeIndexError"
        both = get(browser, "compare", dataset=["look/empty-v0", "look/empty-v0"])
        assert both["lengths"]["counts"] == [[], []]


def test_nothing_is_written_by_looking(datasets_root: Path) -> None:
    """Except for the hidden file of statistics that `dataset.statistics()` writes."""
    make_cameras("look/cameras-v0")
    data_path = datasets_root / "look" / "cameras-v0" / "data"

    def state() -> dict[str, tuple[int, int]]:
        files = (path for path in datasets_root.rglob("*") if path.is_file())
        return {
            path.name: (path.stat().st_mtime_ns, path.stat().st_size)
            for path in files
            if path.name != ".episode_statistics.json"
        }

    before = state()
    with client() as browser:
        for path in READS:
            get(browser, path, dataset="look/cameras-v0")
        for path in ("episode", "series", "frames", "texts"):
            parameters = {} if path == "episode" else {"leaf": {"texts": "observations/task"}.get(path, "rewards")}
            browser.get(f"/api/{path}", params={"dataset": "look/cameras-v0", "episode": 0, **parameters})
        get(browser, "compare", dataset=["look/cameras-v0", "look/cameras-v0"])
        browser.post("/api/drop", json={
            "dataset": "look/cameras-v0", "revision": get(browser, "dataset", dataset="look/cameras-v0")["revision"],
            "episodes": [0], "confirm": False,
        })  # fmt: skip
    assert state() == before
    assert (data_path / ".episode_statistics.json").exists()
