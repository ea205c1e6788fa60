"""The table of episodes, compared with a slow and obvious one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minari
from support.viewing import client, get, make_agents, make_cameras, make_table


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

LENGTHS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
MIXED: list[Any] = [3, "b", None, math.nan, True, 2.5, "a", [1, 2], 2**60, -1]
METADATAS: list[dict[str, Any]] = [
    {
        "score": [0.5, -1.0, math.nan, math.inf, -math.inf, 2.0, 2.0, 0.0, -0.0, 1e300][place],
        "mixed": MIXED[place],
        "good": place % 3 == 0,
        "task": ["pick", "place", "näh"][place % 3],
        "huge": 2**53 + place,
        "list": list(range(place)),
        **({"rare": place} if place in (2, 7) else {}),
    }
    for place in range(len(LENGTHS))
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    root = tmp_path_factory.mktemp("catalog")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root))
        make_table("look/table-v0", METADATAS, LENGTHS)
        make_table("look/one-v0", [{}], [4])
    with client(root=root) as opened:
        yield opened


def json_value(value: Any) -> Any:
    """Return what JSON has in place of a value of the table."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
        return str(value)
    return value


def sort_key(value: Any) -> tuple[Any, ...]:
    if isinstance(value, (bool, int, float)):
        return 0, value
    return (1, value) if isinstance(value, str) else (2, json.dumps(value, separators=(",", ":")))


def is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def model(selected: list[int], sort: str, descending: bool) -> list[int]:
    """The numbers of episodes in the order that the table should have."""
    columns = truth()
    present = [number for number in selected if not is_missing(columns[sort][number])]
    missing = [number for number in selected if is_missing(columns[sort][number])]
    ascending = sorted(present, key=lambda number: sort_key(columns[sort][number]))
    return [*(stable_descending(present, columns[sort]) if descending else ascending), *missing]


def stable_descending(numbers: list[int], values: list[Any]) -> list[int]:
    """Sort by decreasing values; equal ones stay in increasing order of their numbers."""
    found: list[int] = []
    for number in numbers:
        later = [place for place, other in enumerate(found) if sort_key(values[other]) < sort_key(values[number])]
        found.insert(later[0] if later else len(found), number)
    return found


def truth() -> dict[str, list[Any]]:
    returns = [float(sum(number - step for step in range(length))) for number, length in enumerate(LENGTHS)]
    return {
        "id": list(range(len(LENGTHS))),
        "length": list(LENGTHS),
        "return": returns,
        "terminated": [number % 2 == 0 for number in range(len(LENGTHS))],
        "truncated": [number % 2 == 1 for number in range(len(LENGTHS))],
        **{key: [metadata.get(key) for metadata in METADATAS] for key in METADATAS[2]},
    }


FILTERS = {
    "": lambda number: True,
    "   ": lambda number: True,
    "length > 3": lambda number: LENGTHS[number] > 3,
    "good and terminated": lambda number: number % 3 == 0 and number % 2 == 0,
    "return < -1000": lambda number: False,
    "task == 'näh'": lambda number: number % 3 == 2,
    "rare is not None": lambda number: number in (2, 7),
}


@given(
    st.sampled_from(sorted(truth())),
    st.booleans(),
    st.sampled_from(sorted(FILTERS)),
    st.integers(0, 12),
    st.integers(0, 12),
)
def test_pages_are_those_of_the_model(
    browser: Any, sort: str, descending: bool, where: str, offset: int, limit: int
) -> None:
    found = get(
        browser, "episodes", dataset="look/table-v0", where=where, sort=sort, descending=int(descending),
        offset=offset, limit=limit,
    )  # fmt: skip
    selected = [number for number in range(len(LENGTHS)) if FILTERS[where](number)]
    expected = model(selected, sort, descending)
    names = [column["name"] for column in found["columns"]]
    assert (found["total"], found["of"]) == (len(selected), len(LENGTHS))
    assert [row[0] for row in found["rows"]] == expected[offset : offset + limit]
    columns = truth()
    for row in found["rows"]:
        for name, value in zip(names, row, strict=True):
            original = columns[name][row[0]]
            if name in ("mixed", "list"):  # of several types, and shown as text
                assert value is None or isinstance(value, str)
            else:
                assert value == json_value(original)
                assert type(value) is type(json_value(original))


def test_columns_are_those_of_the_table_without_empty_ones(browser: Any) -> None:
    found = get(browser, "episodes", dataset="look/table-v0")
    kinds = {column["name"]: column["kind"] for column in found["columns"]}
    assert next(iter(kinds)) == "id"
    assert kinds == {
        **dict.fromkeys(("id", "length", "return", "score", "huge", "rare"), "number"),
        **dict.fromkeys(("terminated", "truncated", "good"), "flag"),
        **dict.fromkeys(("task", "mixed", "list"), "text"),
    }
    assert "seed" not in kinds  # which no episode has
    mixed = {row[0]: row[list(kinds).index("mixed")] for row in found["rows"]}
    assert mixed == {
        0: "3", 1: "b", 2: None, 3: "null", 4: "true", 5: "2.5", 6: "a", 7: "[1,2]", 8: '"1152921504606846976"',
        9: "-1",
    }  # fmt: skip


def test_one_episode_and_an_empty_selection(browser: Any) -> None:
    found = get(browser, "episodes", dataset="look/one-v0")
    assert (found["total"], found["rows"]) == (1, [[0, 4, -6.0, True, False]])
    for where in ("length > 99", "length < 0"):
        empty = get(browser, "episodes", dataset="look/one-v0", where=where)
        assert (empty["total"], empty["of"], empty["rows"]) == (0, 1, [])
        assert empty["columns"] == found["columns"]
        nothing = get(browser, "distributions", dataset="look/one-v0", where=where)
        assert nothing["episodes"] == 0
        empty_histogram = {"edges": [], "counts": [], "labels": [], "not_finite": 0}
        summary = dict.fromkeys(("min", "mean", "max", "std"))
        for one in (*nothing["returns"], nothing["lengths"]):
            assert one == {"label": "", "summary": summary, "histogram": empty_histogram}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"where": "lenght > 3"}, "No episode has 'lenght'"),
        ({"where": "length >"}, "length >"),
        ({"where": "__import__('os').system('x')"}, "calls a function that conditions do not have"),
        ({"where": "x" * 4001}, "where has 4001 characters, expected at most 4000"),
        ({"sort": "lenght"}, "sort is 'lenght', expected one of the columns"),
        ({"descending": "2"}, "descending is '2', expected a whole number from 0 to 1"),
        ({"limit": "1001"}, "limit is '1001', expected a whole number from 0 to 1000"),
        ({"limit": "1e3"}, "limit is '1e3', expected a whole number"),
        ({"offset": "-1"}, "offset is '-1', expected a whole number"),
        ({"offset": "9" * 100}, "offset is '9"),
        ({"offset": "٣"}, "offset is"),
        ({"limit": ["1", "2"]}, "limit is given 2 times"),
        ({"order": "id"}, "'order' is not a parameter, expected one of dataset, where, sort"),
    ],
)
def test_wrong_parameters_are_one_sentence(browser: Any, parameters: dict[str, Any], message: str) -> None:
    found = get(browser, "episodes", 400, dataset="look/table-v0", **parameters)
    assert found["kind"] == "ArgumentError"
    assert message in found["error"]
    assert found["error"].count("\n") == 0


def test_a_missing_dataset_is_named(browser: Any) -> None:
    found = get(browser, "episodes", 404, dataset="look/tabel-v0")
    assert found["kind"] == "DatasetNotFoundError"
    assert "Did you mean 'look/table-v0'?" in found["error"]
    assert get(browser, "episodes", 400)["error"] == "dataset is missing, expected one."


@pytest.mark.parametrize("where", ["", "length > 3", "good"])
def test_distributions_are_those_of_the_selected_episodes(browser: Any, where: str) -> None:
    found = get(browser, "distributions", dataset="look/table-v0", where=where)
    selected = [number for number in range(len(LENGTHS)) if {**FILTERS, "good": lambda n: n % 3 == 0}[where](number)]
    returns = np.array([truth()["return"][number] for number in selected])
    lengths = np.array([LENGTHS[number] for number in selected], float)
    assert found["episodes"] == len(selected)
    for one, values in ((found["returns"][0], returns), (found["lengths"], lengths)):
        assert one["summary"] == {
            "min": values.min(), "mean": pytest.approx(values.mean()), "max": values.max(),
            "std": pytest.approx(values.std()),
        }  # fmt: skip
        bins = one["histogram"]
        assert sum(bins["counts"]) == len(selected)
        for (low, high), count in zip(pairwise(bins["edges"]), bins["counts"], strict=True):
            assert count == sum(low <= value < high for value in values)
    terminated = sum(number % 2 == 0 for number in selected)
    flags = {"terminated": terminated, "truncated": len(selected) - terminated, "both": 0, "neither": 0}
    assert found["flags"] == flags
    assert found["agents"] == []


def test_rewards_of_several_components_are_several_columns(datasets_root: Any) -> None:
    rng = np.random.default_rng(3)
    rewards = rng.normal(size=(6, 2, 3))
    minari.create_dataset_from_arrays(
        "look/vector-v0", observations=np.zeros(8), actions=np.zeros(6), rewards=rewards,
        terminations=np.array([0, 0, 1, 0, 0, 1], bool),
    )  # fmt: skip
    returns = np.array([rewards[:3].sum(axis=0), rewards[3:].sum(axis=0)])
    with client() as browser:
        found = get(browser, "episodes", dataset="look/vector-v0", sort="return[1][2]", where="return[0][1] > -99")
        names = [column["name"] for column in found["columns"]]
        assert names[2:8] == [f"return[{i}][{j}]" for i in range(2) for j in range(3)]
        assert [row[0] for row in found["rows"]] == np.argsort(returns[:, 1, 2]).tolist()
        for row in found["rows"]:
            assert row[2:8] == pytest.approx(returns[row[0]].reshape(-1).tolist())
        shown = get(browser, "distributions", dataset="look/vector-v0")["returns"]
        assert [one["label"] for one in shown] == [f"[{i}, {j}]" for i in range(2) for j in range(3)]
        assert shown[5]["summary"]["max"] == pytest.approx(returns[:, 1, 2].max())
        assert get(browser, "episode", dataset="look/vector-v0", episode=1)["return"] == pytest.approx(
            returns[1].reshape(-1).tolist()
        )


def test_many_agents(datasets_root: Any) -> None:
    make_agents("look/agents-v0")
    with client() as browser:
        facts = get(browser, "dataset", dataset="look/agents-v0")
        assert facts["agents"] == ["a", "b"]
        assert {leaf["agent"] for leaf in facts["leaves"]} == {"a", "b"}
        assert get(browser, "catalog")["datasets"][0]["agents"] == 2
        table = get(browser, "episodes", dataset="look/agents-v0", where="agents.a['return'] > 1", sort="return")
        rows = [dict(zip([column["name"] for column in table["columns"]], row, strict=True)) for row in table["rows"]]
        assert [(row["id"], row["return"], row["agents/b/length"]) for row in rows] == [(1, 6.0, 0), (0, 11.0, 1)]
        found = get(browser, "distributions", dataset="look/agents-v0")
        assert found["returns"][0]["summary"]["max"] == 11.0
        assert [(one["agent"], one["episodes"], one["steps"]) for one in found["agents"]] == [("a", 2, 6), ("b", 1, 1)]
        assert found["agents"][1]["returns"][0]["summary"]["mean"] == 5.0


def test_leaves_of_a_dataset(datasets_root: Any) -> None:
    dataset = make_cameras("look/cameras-v0")
    with client() as browser:
        found = get(browser, "leaves", dataset="look/cameras-v0")
        assert (found["episodes"], found["of_episodes"], found["steps"]) == (2, 2, 10)
        by_name = {leaf["name"]: leaf for leaf in found["leaves"]}
        assert by_name["observations/front"]["components"] == []
        assert by_name["observations/task"]["texts"] == [{"text": "stop", "count": 8}, {"text": "go", "count": 4}]
        (component,) = by_name["observations/x"]["components"]
        assert component["histogram"]["not_finite"] == 4
        assert component["summary"]["max"] == 5.0
        actions = np.concatenate([episode.actions for episode in dataset])
        assert [one["label"] for one in by_name["actions"]["components"]] == ["[0]", "[1]"]
        for place, one in enumerate(by_name["actions"]["components"]):
            assert one["summary"]["min"] == pytest.approx(float(actions[:, place].min()))


def test_comparison_of_two_datasets(datasets_root: Any) -> None:
    one = make_table("look/one-v0", METADATAS, LENGTHS, description="one")
    other = make_table("look/other-v0", METADATAS[:3], [20, 30, 40], description="other")
    make_cameras("look/cameras-v0")
    with client() as browser:
        found = get(browser, "compare", dataset=["look/one-v0", "look/other-v0"])
        assert found["datasets"] == ["look/one-v0", "look/other-v0"]
        facts = {fact["key"]: fact for fact in found["facts"]}
        assert facts["total_episodes"] == {
            "key": "total_episodes", "title": "Total Episodes", "texts": ["10", "3"], "same": False,
        }  # fmt: skip
        assert facts["action_space"]["same"]
        values = [dataset.statistics().returns for dataset in (one, other)]
        (returns,) = found["returns"]
        for summary, counts, each in zip(returns["summaries"], returns["counts"], values, strict=True):
            assert summary["min"] == each.min()
            assert sum(counts) == len(each)
            edges = [*returns["edges"][:-1], np.inf]
            assert counts == [int(((each >= low) & (each < high)).sum()) for low, high in pairwise(edges)]
        assert found["lengths"]["summaries"][1]["min"] == 20
        assert {leaf["name"] for leaf in found["leaves"]} == {
            "observations", "actions", "rewards", "terminations", "truncations",
        }  # fmt: skip
        assert all(sum(leaf["counts"][1]) >= 90 for leaf in found["leaves"])
        assert found["only_in"] == [[], []]
        unlike = get(browser, "compare", dataset=["look/one-v0", "look/cameras-v0"])
        assert unlike["only_in"][0] == ["observations", "actions (int64)"]
        assert "actions (float32, shape (2,))" in unlike["only_in"][1]
        same = get(browser, "compare", dataset=["look/one-v0", "look/one-v0"])
        assert all(fact["same"] for fact in same["facts"])
        assert same["returns"][0]["counts"][0] == same["returns"][0]["counts"][1]
        assert get(browser, "compare", 400, dataset="look/one-v0")["error"].startswith("dataset is given 1 times")
        assert get(browser, "compare", 404, dataset=["look/one-v0", "look/two-v0"])["kind"] == "DatasetNotFoundError"


def test_tables_are_made_once_and_again_after_a_change(datasets_root: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from minari.viewer import table

    dataset = make_table("look/table-v0", METADATAS, LENGTHS)
    made = []
    original = table.episode_columns
    monkeypatch.setattr(table, "episode_columns", lambda *given: made.append(1) or original(*given))
    with client() as browser:
        before = get(browser, "episodes", dataset="look/table-v0")
        for sort in ("length", "task"):
            get(browser, "episodes", dataset="look/table-v0", sort=sort)
        assert len(made) == 1
        dataset.storage.update_episode_metadata([{"task": "new"}], [0])
        after = get(browser, "episodes", dataset="look/table-v0", where="task == 'new'")
        assert (len(made), after["total"]) == (2, 1)
        assert after["revision"] != before["revision"]
        minari.edit_dataset("look/table-v0", keep="length > 3")
        edited = get(browser, "episodes", dataset="look/table-v0")
        assert edited["of"] == sum(length > 3 for length in LENGTHS)
        minari.delete_dataset("look/table-v0")
        assert get(browser, "episodes", 404, dataset="look/table-v0")["kind"] == "DatasetNotFoundError"
