"""Dataset cards: read as the Hub reads them, by parsers of YAML and of Markdown."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from minari._model.multi_agent import AgentSpaces
from minari.serialization import serialize_space
from minari.storage.remotes.hub.card_spaces import space_rows
from minari.storage.remotes.hub.card_text import one_line
from minari.storage.remotes.hub.dataset_card import CARD_MARKER, dataset_card, repository_card


yaml = pytest.importorskip("yaml", reason="PyYAML comes with huggingface_hub")

#: Letters that mean something in Markdown, HTML or YAML, or end a line in one of them.
MEANINGFUL = "|`\\<>*_#-:~[]()!&%@{}'\"1. \n\t\r\x85\u2028\xa0ab\u00e9"
ADDRESS = "hf://me/toy/a-v0"
OBSERVATIONS = spaces.Dict(camera=spaces.Box(0, 255, (32, 32, 3), np.uint8), state=spaces.Box(-np.inf, 1, (4,)))
METADATA = {
    "total_episodes": 25,
    "total_steps": 6729,
    "data_format": "hdf5",
    "observation_space": serialize_space(OBSERVATIONS),
    "action_space": serialize_space(spaces.Discrete(3, start=-1)),
    "env_spec": json.dumps({"id": "CartPole-v1"}),
    "author": ["Ada", "Grace"],
    "author_email": ["ada@example.org"],
    "algorithm_name": "SAC",
    "code_permalink": "https://example.org/code_of_it",
    "description": "Made by *hand*.\n\n- one\n- two",
    "requirements": ["gymnasium-robotics>=1.2"],
    "ref_min_score": -45.5,
    "ref_max_score": 2940.5,
    "minari_version": "0.5.4",
}


def parts_of(card: str) -> tuple[dict[str, Any], list[Token]]:
    """The front matter as the Hub has it, and the Markdown in tokens."""
    front_matter, markdown = card.split("\n---\n", 1)
    assert front_matter.startswith("---\n")
    return yaml.safe_load(front_matter.removeprefix("---\n")), MarkdownIt("commonmark").enable("table").parse(markdown)


def tables_of(tokens: list[Token]) -> list[list[list[str]]]:
    """The tables of a page: their rows, in the texts of cells."""
    tables: list[list[list[str]]] = []
    in_cell = False
    for token in tokens:
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type in ("th_open", "td_open", "th_close", "td_close"):
            in_cell = token.nesting == 1
        elif in_cell and token.type == "inline":
            tables[-1][-1].append("".join(child.content for child in token.children or ()))
    return tables


def headings_of(tokens: list[Token]) -> Iterator[str]:
    for token, following in itertools.pairwise(tokens):
        if token.type == "heading_open" and token.level == 0:
            yield "".join(child.content for child in following.children or ())


def links_of(tokens: list[Token]) -> list[str]:
    links = [child for token in tokens for child in token.children or () if child.type == "link_open"]
    return [str(link.attrs["href"]) for link in links]


def of_agents() -> dict[str, Any]:
    """The metadata of a dataset of two agents."""
    agents = {"predator": spaces.Box(-1, 1, (2,)), 7: spaces.Text(5)}
    described = serialize_space(AgentSpaces(agents))
    return {**METADATA, "multi_agent": True, "observation_space": described, "action_space": described}


def card(dataset_id: str = "toy/a-v0", metadata: dict[str, Any] = METADATA, size: int = 1, **options: Any) -> str:
    return dataset_card(dataset_id, metadata, size=size, address=ADDRESS, **options)


def test_front_matter_is_read_by_the_client_of_the_hub() -> None:
    front_matter, _ = parts_of(card())
    assert front_matter == {
        "pretty_name": "toy/a-v0",
        "tags": ["minari", "reinforcement-learning", "offline-rl"],
        "task_categories": ["reinforcement-learning"],
        "size_categories": ["1K<n<10K"],
        "viewer": False,
    }
    hub = pytest.importorskip("huggingface_hub")
    data = hub.DatasetCard(card(metadata=METADATA | {"license": "MIT"})).data
    assert (data.license, data.pretty_name) == ("mit", "toy/a-v0")
    assert "minari" in data.tags


def test_card_shows_facts_spaces_and_how_to_load() -> None:
    returns = {"min": 1.0, "mean": 2.25, "max": 3.0, "std": 0.5}
    text = card(size=3_500_000, returns=returns)
    assert "ada@example.org" not in text, "the address of a person"
    _, tokens = parts_of(text)
    facts, space_table = tables_of(tokens)
    assert dict(facts[1:]) == {
        "Environment": "CartPole-v1",
        "Requirements": "gymnasium-robotics>=1.2",
        "Algorithm": "SAC",
        "Author": "Ada, Grace",
        "Code": "https://example.org/code_of_it",
        "Episodes": "25",
        "Steps": "6,729",
        "Size": "3.5 MB, hdf5",
        "Returns": "min 1, mean 2.25, max 3, std 0.5",
        "Reference scores": "-45.5 to 2940.5",
        "Format version": "0.5.4",
    }
    assert space_table[1:] == [
        ["observations/camera", "Box", "(32, 32, 3)", "uint8", "0 to 255"],
        ["observations/state", "Box", "(4,)", "float32", "-inf to 1"],
        ["actions", "Discrete", "()", "int64", "-1 to 1"],
    ]
    assert list(headings_of(tokens)) == ["toy/a-v0", "Spaces", "Loading it"]
    shell, python = (token.content for token in tokens if token.type == "fence")
    assert f"minari download {ADDRESS}\n" in shell
    compile(python, "card", "exec")
    assert f'minari.download_dataset("{ADDRESS}")' in python
    assert "example.org/code_of_it" in links_of(tokens)[0]


def test_card_of_empty_metadata_shows_the_size() -> None:
    front_matter, tokens = parts_of(card("a-v0", {}, size=12))
    assert front_matter["size_categories"] == ["n<1K"]
    (facts,) = tables_of(tokens)
    assert facts[1:] == [["Size", "12 bytes, hdf5"]]


def test_description_is_markdown_that_ends_where_it_ends() -> None:
    described = METADATA | {"description": "See [this](https://example.org).\n\n# Mine\n```\n<!-- <details>"}
    _, tokens = parts_of(card(metadata=described))
    assert list(headings_of(tokens)) == ["toy/a-v0", "Spaces", "Loading it"]
    assert len(tables_of(tokens)) == 2
    assert links_of(tokens)[0] == "https://example.org"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MIT", {"license": "mit"}),
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("The Lab's License: v1", {"license": "other", "license_name": "the-lab-s-license-v1"}),
        ("数", {"license": "other", "license_name": "other"}),
        ("", {}),
    ],
)
def test_license_is_one_that_the_hub_knows(name: str, expected: dict[str, str]) -> None:
    front_matter, _ = parts_of(card(metadata={"license": name}))
    assert {key: value for key, value in front_matter.items() if key.startswith("license")} == expected


@pytest.mark.parametrize("steps", [0, 999, 1000, 9_999, 10_000, 10**6, 10**11, 10**12, 10**15])
def test_size_category_is_a_range_that_holds_the_steps(steps: int) -> None:
    front_matter, _ = parts_of(card(metadata={"total_steps": steps}))
    (category,) = front_matter["size_categories"]
    scale = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
    bounds = [int(b[:-1]) * scale[b[-1]] for b in category.replace(">", "<").split("<") if b != "n"]
    if category.startswith("n<"):
        assert steps < bounds[0]
    elif category.startswith("n>"):
        assert steps >= bounds[0]
    else:
        assert bounds[0] <= steps < bounds[1]


SIZES = {0: "0 bytes", 1000: "1.0 kB", 999_949: "999.9 kB", 999_950: "1.0 MB", 5 * 10**15: "5000.0 TB"}


@pytest.mark.parametrize("size", SIZES)
def test_size_has_a_readable_unit(size: int) -> None:
    assert f"| Size | {SIZES[size]}, hdf5 |" in card(metadata={}, size=size)


def test_card_of_a_repository_lists_its_datasets() -> None:
    licensed = METADATA | {"license": "mit"}
    front_matter, tokens = parts_of(repository_card("me/toy", {"toy/a-v0": licensed, "toy/in/b-v1": licensed}))
    assert (front_matter["size_categories"], front_matter["license"]) == (["10K<n<100K"], "mit")
    (table,) = tables_of(tokens)
    row = ["25", "6,729", "CartPole-v1", "SAC", "Ada, Grace"]
    assert table[1:] == [["toy/a-v0", *row], ["toy/in/b-v1", *row]]
    tree = "https://huggingface.co/datasets/me/toy/tree/main"
    assert links_of(tokens) == [f"{tree}/a-v0", f"{tree}/in/b-v1"]
    assert "license" not in parts_of(repository_card("me/toy", {"toy/a-v0": licensed, "toy/b-v0": METADATA}))[0]
    assert len(tables_of(parts_of(repository_card("me/toy", {}))[1])) == 1


def test_marker_is_in_each_card_once() -> None:
    assert CARD_MARKER in repository_card("me/toy", {"toy/a-v0": {}}).splitlines()
    for metadata in (METADATA, {"description": CARD_MARKER, "author": CARD_MARKER}):
        assert card(metadata=metadata).splitlines().count(CARD_MARKER) == 1


@given(st.text() | st.text(st.sampled_from(MEANINGFUL)))
def test_no_text_breaks_a_card(text: str) -> None:
    keys = ("description", "algorithm_name", "code_permalink", "license", "minari_version", "total_episodes")
    odd = dict.fromkeys(keys, text)
    odd |= {"author": [text], "env_spec": json.dumps({"id": text}), "requirements": text, "data_format": text}
    spaces_ = {"observation_space": {"type": text, "dtype": text}, "action_space": {"subspaces": {text: {"type": "x"}}}}
    front_matter, tokens = parts_of(dataset_card(text, odd | spaces_, size=1, address=f"hf://me/{text}"))
    assert front_matter["pretty_name"] == one_line(text)
    facts, space_table = tables_of(tokens)
    assert {len(row) for row in facts} == {2}
    assert {len(row) for row in space_table} == {5}
    if one_line(text):
        assert dict(facts)["Author"] == one_line(text)
        assert space_table[1][1] == one_line(text)
    assert len(list(headings_of(tokens))) == 3
    assert len([token for token in tokens if token.type == "fence" and token.level == 0]) == 2
    front_matter, tokens = parts_of(repository_card("me/toy", {"toy/a-v0": odd}))
    (table,) = tables_of(tokens)
    assert len(table[1]) == 6
    written = dataset_card(text, odd, size=1, address=f"hf://me/{text}")
    written.encode()
    assert all(letter == "\n" or letter.isprintable() for letter in written)


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (spaces.MultiDiscrete([[2, 3], [4, 5]]), [("s", "MultiDiscrete", "(2, 2)", "int64", "0 to 4")]),
        (spaces.MultiBinary([2, 3]), [("s", "MultiBinary", "(2, 3)", "int8", "0 or 1")]),
        (spaces.Text(9, min_length=2), [("s", "Text", "()", "text", "2 to 9 characters")]),
        (spaces.Box(-1, 1, ()), [("s", "Box", "()", "float32", "-1 to 1")]),
        (spaces.Tuple([spaces.Discrete(2)]), [("s/0", "Discrete", "()", "int64", "0 to 1")]),
        (spaces.OneOf([spaces.Discrete(2)]), [("s/option 0", "Discrete", "()", "int64", "0 to 1")]),
        (spaces.Sequence(spaces.Discrete(2)), [("s/each", "Discrete", "()", "int64", "0 to 1")]),
        (
            spaces.Graph(spaces.Box(0, 1, (2,)), spaces.Discrete(3)),
            [("s/nodes", "Box", "(2,)", "float32", "0 to 1"), ("s/edges", "Discrete", "()", "int64", "0 to 2")],
        ),
        (spaces.Graph(spaces.Discrete(2), None), [("s/nodes", "Discrete", "()", "int64", "0 to 1")]),
        (spaces.Dict(), [("s", "Dict", "", "", "")]),
    ],
)
def test_space_is_described_leaf_by_leaf(space: Any, expected: list[tuple[str, ...]]) -> None:
    assert space_rows("s", serialize_space(space)) == expected


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("{", ("s", "damaged", "", "", "")),
        ("3", ("s", "damaged", "", "", "")),
        ({"type": "Box", "shape": 3}, ("s", "Box", "", "", "")),
        ({"type": "Box", "shape": [0], "dtype": "float32", "low": [], "high": []}, ("s", "Box", "", "", "")),
        ({"type": "Angle", "dtype": "float64"}, ("s", "Angle", "", "float64", "")),
    ],
)
def test_damaged_space_is_described_as_far_as_possible(stored: object, expected: tuple[str, ...]) -> None:
    assert space_rows("s", stored) == [expected]


def test_card_shows_the_spaces_of_each_agent() -> None:
    text = card(metadata=of_agents())
    _, tokens = parts_of(text)
    facts, space_table = tables_of(tokens)
    assert dict(facts[1:])["Agents"] == "predator, 7"
    assert [row[:3] for row in space_table[1:]] == [
        ["predator/observations", "Box", "(2,)"],
        ["predator/actions", "Box", "(2,)"],
        ["7/observations", "Text", "()"],
        ["7/actions", "Text", "()"],
    ]
    assert "    for agent in episode:" in text


@pytest.mark.parametrize("damaged", ["[1]", "{", 3, None, '{"subspaces": [1]}', '{"subspaces": {"a": 3}}'])
def test_card_of_damaged_spaces_of_agents(damaged: Any) -> None:
    parts_of(card(metadata={**of_agents(), "observation_space": damaged, "action_space": damaged}))
