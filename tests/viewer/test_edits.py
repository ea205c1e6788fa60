"""Marks and drops: asked for, on the state that was shown, and never by accident."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import minari
from support.viewing import client, get, make_table


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

ID = "look/table-v0"
FORMATS = ["hdf5", "arrow", "parquet", "zarr"]


def make(data_format: str = "hdf5") -> minari.MinariDataset:
    dataset: minari.MinariDataset = make_table(
        ID, [{"task": f"t{n}"} for n in range(4)], [3, 1, 4, 2], data_format=data_format
    )
    return dataset


def revision(browser: Any) -> str:
    return str(get(browser, "dataset", dataset=ID)["revision"])


def post(browser: Any, path: str, status: int = 200, **body: Any) -> Any:
    body = {"dataset": ID, "episodes": [1, 3], **body}
    if "revision" not in body:
        body["revision"] = revision(browser)
    answer = browser.post(f"/api/{path}", json={key: value for key, value in body.items() if value is not ...})
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.mark.parametrize("data_format", FORMATS)
def test_marks_are_metadata_of_the_episodes(data_format: str) -> None:
    make(data_format)
    with client() as browser:
        for value in ("bad", 3, 2.5, True, "<b>"):
            done = post(browser, "mark", value=value)
            assert done["revision"] == revision(browser)
            assert done["report"][0].startswith("Sets mark of episodes 1, 3 to ")
            marks = [episode.metadata.get("mark") for episode in minari.load_dataset(ID)]
            assert marks == [None, value, None, value]
        post(browser, "mark", key="review/who", value="Ada", episodes=[0])
        assert minari.load_dataset(ID)[0].metadata["review"] == {"who": "Ada"}
        found = get(browser, "episodes", dataset=ID, where="mark == '<b>'")
        assert [row[0] for row in found["rows"]] == [1, 3]
        post(browser, "mark", value=None)
        assert "mark" not in {column["name"] for column in get(browser, "episodes", dataset=ID)["columns"]}
        assert "mark" not in get(browser, "episode", dataset=ID, episode=1)["metadata"]
        assert len(minari.load_dataset(ID).filter_episodes("mark is None")) == 4


@pytest.mark.parametrize("data_format", FORMATS)
def test_episodes_are_dropped_once_confirmed(data_format: str) -> None:
    before = [episode.metadata["task"] for episode in make(data_format)]
    with client() as browser:
        first = revision(browser)
        plan = post(browser, "drop", confirm=False)
        assert plan == {
            "report": ["Drops 2 of 4 episodes (episodes 1, 3), 3 of 10 steps."],
            "episodes_after": 2,
            "steps_after": 7,
            "size_before": minari.load_dataset(ID).storage.get_size(),
        }
        assert revision(browser) == first
        assert len(minari.load_dataset(ID)) == 4
        done = post(browser, "drop", confirm=True)
        assert (done["dataset"], done["revision"]) == (ID, revision(browser))
        assert done["revision"] != first
        assert [episode.metadata["task"] for episode in minari.load_dataset(ID)] == [before[0], before[2]]
        assert get(browser, "episodes", dataset=ID)["of"] == 2
        assert get(browser, "episode", 404, dataset=ID, episode=2)["kind"] == "EpisodeIndexError"


def test_dropping_into_a_new_dataset_leaves_the_old_one() -> None:
    make()
    with client() as browser:
        first = revision(browser)
        plan = post(browser, "drop", confirm=False, new_dataset_id="look/kept-v0")
        assert plan["episodes_after"] == 2
        done = post(browser, "drop", confirm=True, new_dataset_id="look/kept-v0")
        assert done["dataset"] == "look/kept-v0"
        assert done["revision"] == get(browser, "dataset", dataset="look/kept-v0")["revision"]
        assert revision(browser) == first
        assert {one["id"] for one in get(browser, "catalog")["datasets"]} == {ID, "look/kept-v0"}
        assert post(browser, "drop", 400, confirm=True, new_dataset_id="look/kept-v0")["kind"] == "DatasetExistsError"
        for wrong in ("../x-v0", "/tmp/x-v0", "x", 3, ""):
            post(browser, "drop", 400, confirm=True, new_dataset_id=wrong)


@pytest.mark.parametrize("confirm", [..., None, 1, "true", [True], {}, 0, "false"], ids=str)
def test_nothing_is_dropped_without_confirmation(confirm: Any) -> None:
    make()
    with client() as browser:
        found = post(browser, "drop", 400, confirm=confirm)
        assert "confirm is" in found["error"]
        assert len(minari.load_dataset(ID)) == 4


@pytest.mark.parametrize(
    "body",
    [
        {"episodes": []}, {"episodes": ...}, {"episodes": 3}, {"episodes": [1.0]}, {"episodes": [True]},
        {"episodes": ["1"]}, {"episodes": [-1]}, {"episodes": [4]}, {"episodes": [0, 10**17]}, {"episodes": None},
        {"episodes": [0, 1, 2, 3]}, {"revision": ...}, {"revision": ""}, {"revision": None}, {"revision": 3},
        {"dataset": ...}, {"dataset": ["look/table-v0"]}, {"dataset": ""}, {"other": 1}, {"Confirm": True},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_bodies_change_nothing(body: dict[str, Any]) -> None:
    make()
    with client() as browser:
        first = revision(browser)
        answer = browser.post(
            "/api/drop",
            json={
                key: value
                for key, value in {
                    "dataset": ID, "episodes": [1], "revision": first, "confirm": True, **body,
                }.items()
                if value is not ...
            },
        )  # fmt: skip
        assert answer.status_code in (400, 404), answer.text
        assert answer.json().keys() == {"error", "kind"}
        assert revision(browser) == first
    assert len(minari.load_dataset(ID)) == 4


@pytest.mark.parametrize(
    "body",
    [
        {"value": ...}, {"value": []}, {"value": {}}, {"value": "x" * 4001}, {"key": ""}, {"key": None}, {"key": 3},
        {"key": "id"}, {"key": "total_steps"}, {"key": "a//b"}, {"key": "seed", "value": "text"}, {"key": "a\0b"},
        {"episodes": [9]}, {"confirm": True},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_marks_change_nothing(body: dict[str, Any]) -> None:
    make()
    with client() as browser:
        first = revision(browser)
        wanted = {"dataset": ID, "episodes": [1], "revision": first, "value": "x", **body}
        answer = browser.post("/api/mark", json={key: value for key, value in wanted.items() if value is not ...})
        assert answer.status_code in (400, 404), answer.text
        assert revision(browser) == first
        for text in ('{"value": NaN}', '{"value": Infinity}', '{"value": 1e999}'):
            content = f'{{"dataset": "{ID}", "episodes": [1], "revision": "{first}", {text[1:]}'
            answer = browser.post("/api/mark", content=content, headers={"Content-Type": "application/json"})
            assert answer.status_code == 400, answer.text
        assert revision(browser) == first


def test_a_server_that_only_reads() -> None:
    make()
    with client(read_only=True) as browser:
        assert get(browser, "catalog")["read_only"]
        assert get(browser, "dataset", dataset=ID)["read_only"]
        for path, body in (("mark", {"value": 1}), ("drop", {"confirm": True}), ("drop", {"confirm": False})):
            assert post(browser, path, 403, **body)["kind"] == "ReadOnly"
    assert len(minari.load_dataset(ID)) == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda: minari.edit_dataset(ID, drop_episodes=[0]),
        lambda: minari.edit_dataset(ID, episode_metadata={0: {"x": 1}}),
        lambda: minari.edit_dataset(ID, set_metadata={"description": "other"}),
        lambda: (minari.delete_dataset(ID), make()),
    ],
    ids=["drop", "mark", "metadata", "replace"],
)
@pytest.mark.parametrize(
    ("path", "body"), [("mark", {"value": 1}), ("drop", {"confirm": True}), ("drop", {"confirm": False})]
)
def test_a_dataset_that_others_have_changed_is_left_alone(change: Any, path: str, body: dict[str, Any]) -> None:
    make()
    with client() as browser:
        first = revision(browser)
        change()
        before = minari.load_dataset(ID)
        found = post(browser, path, 409, revision=first, **body)
        assert found["kind"] == "DatasetChangedError"
        assert "load it again" in found["error"]
        assert len(minari.load_dataset(ID)) == len(before)
        post(browser, path, episodes=[1], **body)


def test_an_edit_between_the_check_and_the_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program edits after the revision was compared: the numbers mean other episodes, so nothing is done."""
    from minari.viewer import edits

    make()
    original = edits.edit_dataset

    def late(*given: Any, **options: Any) -> Any:
        original(ID, drop_episodes=[0])
        return original(*given, **options)

    with client() as browser:
        first = revision(browser)
        monkeypatch.setattr(edits, "edit_dataset", late)
        found = post(browser, "drop", 409, revision=first, confirm=True)
        assert found["kind"] == "DatasetChangedError"
    assert [episode.metadata["task"] for episode in minari.load_dataset(ID)] == ["t1", "t2", "t3"]


def test_of_two_edits_of_one_state_only_one_is_done() -> None:
    make()
    with client() as browser, ThreadPoolExecutor(4) as pool:
        body = {"dataset": ID, "revision": revision(browser), "episodes": [0], "confirm": True}
        answers = list(pool.map(lambda _: browser.post("/api/drop", json=body).status_code, range(4)))
    assert sorted(answers) == [200, 409, 409, 409]
    assert len(minari.load_dataset(ID)) == 3


def test_a_dataset_that_is_being_written_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    from minari.viewer import edits

    dataset = make()
    monkeypatch.setattr(edits, "_PATIENCE", 0.2)
    with client() as browser:
        first = revision(browser)
        entered, leave = threading.Event(), threading.Event()

        def hold() -> None:
            with dataset.storage.excluding_writers():
                entered.set()
                leave.wait(20)

        writer = threading.Thread(target=hold)
        writer.start()
        try:
            entered.wait(10)
            assert post(browser, "mark", 409, revision=first, value="x")["kind"] == "DatasetBusyError"
            assert get(browser, "episodes", dataset=ID)["of"] == 4
        finally:
            leave.set()
            writer.join()
        post(browser, "mark", revision=first, value="x")


def test_a_dataset_by_its_path_is_edited_there(tmp_path: Path, datasets_root: Path) -> None:
    make()
    (datasets_root / "look" / "table-v0").rename(tmp_path / "elsewhere-v0")
    name = str(tmp_path / "elsewhere-v0")
    with client(datasets=[tmp_path / "elsewhere-v0"]) as browser:
        first = get(browser, "dataset", dataset=name)["revision"]
        marked = post(browser, "mark", dataset=name, revision=first, value="x")
        done = post(browser, "drop", dataset=name, revision=marked["revision"], confirm=True)
        assert done["dataset"] == name
    assert len(minari.open_dataset(tmp_path / "elsewhere-v0")) == 2
