"""Many requests at once, beside programs that edit the datasets: answers belong to one state each."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import minari
from support.viewing import client, get, make_table


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

IDS = [f"look/table-v{number}" for number in range(3)]


def ask(browser: Any, place: int) -> tuple[int, str]:
    """Ask for something, and check that it is consistent in itself."""
    dataset = IDS[place % len(IDS)]
    path = ("episodes", "distributions", "leaves", "dataset", "episode", "series")[place % 6]
    further = {"episode": 1} if path in ("episode", "series") else {}
    if path == "series":
        further["leaf"] = "rewards"
    if path == "episodes":
        further |= {"where": f"length > {place % 3}", "sort": "return", "limit": 1000}
    answer = browser.get(f"/api/{path}", params={"dataset": dataset, **further})
    found = answer.json()
    if answer.status_code != 200:
        return answer.status_code, found["kind"]
    if path == "episodes":
        assert len(found["rows"]) == found["total"] <= found["of"]
        names = [column["name"] for column in found["columns"]]
        number, length, total = (names.index(name) for name in ("n", "length", "return"))
        for row in found["rows"]:  # the reward of step t of episode n is n - t
            assert row[total] == row[number] * row[length] - sum(range(row[length]))
    if path == "distributions":
        assert sum(found["lengths"]["histogram"]["counts"]) == found["episodes"] == sum(found["flags"].values())
    if path == "series":
        assert np.all(np.diff(found["components"][0]["values"]) == -1)
    return 200, path


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "zarr"])
def test_answers_beside_edits(data_format: str) -> None:
    for dataset_id in IDS:
        make_table(
            dataset_id, [{"n": number} for number in range(12)], [2 + number % 4 for number in range(12)],
            data_format=data_format,
        )  # fmt: skip

    def edit() -> None:
        for turn in range(8):
            for dataset_id in IDS:
                minari.edit_dataset(dataset_id, episode_metadata={0: {"turn": turn}})
            minari.edit_dataset(IDS[0], drop_episodes=[0])
        stop.set()

    stop = threading.Event()
    counts: Counter[tuple[int, str]] = Counter()
    with client() as browser, ThreadPoolExecutor(7) as pool:
        editing = pool.submit(edit)
        place = 0
        while not stop.is_set() and not editing.done():
            counts.update(pool.map(lambda number: ask(browser, number), range(place, place + 24)))
            place += 24
        editing.result()
        assert get(browser, "episodes", dataset=IDS[0])["of"] == 4
        assert get(browser, "episodes", dataset=IDS[1])["of"] == 12
    assert {kind for status, kind in counts if status != 200} <= {"DatasetChangedError", "DatasetBusyError"}
    assert sum(count for (status, _), count in counts.items() if status == 200) > place // 2


def test_requests_for_one_dataset_open_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from minari.viewer.opened import Opened, Places

    make_table(IDS[0], [{"n": number} for number in range(12)], [3] * 12)
    opened, original = [], Places.open

    def counted(self: Places, name: str) -> Any:
        opened.append(name)
        return original(self, name)

    monkeypatch.setattr(Places, "open", counted)
    ask_all: Callable[[int], Any] = lambda number: ask(browser, 3 * number)  # noqa: E731
    with client() as browser, ThreadPoolExecutor(8) as pool:
        list(pool.map(ask_all, range(16)))
        assert opened == [IDS[0]]
        reader = Opened.open(Places(None), IDS[0]).episode(3)
        assert reader.number == 3
