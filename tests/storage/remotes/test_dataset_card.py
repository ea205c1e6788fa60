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
    opening, front_matter, markdown = card.split("---\n", 2)
    assert opening == ""
    return yaml.safe_load(front_matter), MarkdownIt("commonmark").enable("table").parse(markdown)


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


class TestACard:
    def test_the_front_matter(self) -> None:
        front_matter, _ = parts_of(dataset_card("toy/a-v0", METADATA, size=1, address=ADDRESS))
        assert front_matter == {
            "pretty_name": "toy/a-v0",
            "tags": ["minari", "reinforcement-learning", "offline-rl"],
            "task_categories": ["reinforcement-learning"],
            "size_categories": ["1K<n<10K"],
            "viewer": False,
        }

    def test_the_hub_client_reads_it(self) -> None:
        hub = pytest.importorskip("huggingface_hub")
        card = hub.DatasetCard(dataset_card("toy/a-v0", METADATA | {"license": "MIT"}, size=1, address=ADDRESS))
        assert (card.data.license, card.data.pretty_name) == ("mit", "toy/a-v0")
        assert "minari" in card.data.tags

    def test_what_it_says(self) -> None:
        returns = {"min": 1.0, "mean": 2.25, "max": 3.0, "std": 0.5}
        _, tokens = parts_of(dataset_card("toy/a-v0", METADATA, size=3_500_000, address=ADDRESS, returns=returns))
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
        assert "example.org/code_of_it" in next(t.attrs for t in links_of(tokens))["href"]

    def test_no_address_of_a_person_is_in_it(self) -> None:
        assert "ada@example.org" not in dataset_card("toy/a-v0", METADATA, size=1, address=ADDRESS)

    def test_metadata_that_say_nothing(self) -> None:
        front_matter, tokens = parts_of(dataset_card("a-v0", {}, size=12, address="hf://me/a-v0"))
        assert front_matter["size_categories"] == ["n<1K"]
        (facts,) = tables_of(tokens)
        assert facts[1:] == [["Size", "12 bytes, hdf5"]]

    def test_the_description_is_markdown_that_ends_where_it_ends(self) -> None:
        described = METADATA | {"description": "See [this](https://example.org).\n\n# Mine\n```\n<!-- <details>"}
        _, tokens = parts_of(dataset_card("toy/a-v0", described, size=1, address=ADDRESS))
        assert list(headings_of(tokens)) == ["toy/a-v0", "Spaces", "Loading it"]
        assert len(tables_of(tokens)) == 2
        assert next(token.attrs["href"] for token in links_of(tokens)) == "https://example.org"

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
    def test_a_license(self, name: str, expected: dict[str, str]) -> None:
        front_matter, _ = parts_of(dataset_card("a-v0", {"license": name}, size=1, address=ADDRESS))
        assert {key: value for key, value in front_matter.items() if key.startswith("license")} == expected

    @pytest.mark.parametrize("steps", [0, 999, 1000, 9_999, 10_000, 10**6, 10**11, 10**12, 10**15])
    def test_the_size_is_a_range_that_holds_the_steps(self, steps: int) -> None:
        front_matter, _ = parts_of(dataset_card("a-v0", {"total_steps": steps}, size=1, address=ADDRESS))
        (category,) = front_matter["size_categories"]
        scale = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
        bounds = [int(b[:-1]) * scale[b[-1]] for b in category.replace(">", "<").split("<") if b != "n"]
        if category.startswith("n<"):
            assert steps < bounds[0]
        elif category.startswith("n>"):
            assert steps >= bounds[0]
        else:
            assert bounds[0] <= steps < bounds[1]

    @pytest.mark.parametrize(
        ("size", "expected"),
        [(0, "0 bytes"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"), (5 * 10**15, "5000.0 TB")],
    )
    def test_sizes(self, size: int, expected: str) -> None:
        assert f"| Size | {expected}, hdf5 |" in dataset_card("a-v0", {}, size=size, address=ADDRESS)


def links_of(tokens: list[Token]) -> list[Token]:
    return [child for token in tokens for child in token.children or () if child.type == "link_open"]


class TestOfARepository:
    def test_it_lists_its_datasets(self) -> None:
        datasets = {"toy/a-v0": METADATA | {"license": "mit"}, "toy/in/b-v1": METADATA | {"license": "mit"}}
        front_matter, tokens = parts_of(repository_card("me/toy", datasets))
        assert (front_matter["size_categories"], front_matter["license"]) == (["10K<n<100K"], "mit")
        (table,) = tables_of(tokens)
        assert table[1:] == [
            ["toy/a-v0", "25", "6,729", "CartPole-v1", "SAC", "Ada, Grace"],
            ["toy/in/b-v1", "25", "6,729", "CartPole-v1", "SAC", "Ada, Grace"],
        ]
        assert [token.attrs["href"] for token in links_of(tokens)] == [
            "https://huggingface.co/datasets/me/toy/tree/main/a-v0",
            "https://huggingface.co/datasets/me/toy/tree/main/in/b-v1",
        ]

    def test_datasets_of_several_licenses_have_none_in_common(self) -> None:
        datasets = {"toy/a-v0": METADATA | {"license": "mit"}, "toy/b-v0": METADATA}
        assert "license" not in parts_of(repository_card("me/toy", datasets))[0]

    def test_one_that_is_empty(self) -> None:
        assert len(tables_of(parts_of(repository_card("me/toy", {}))[1])) == 1


def test_every_card_has_the_marker_and_a_text_that_mentions_it_is_not_mistaken() -> None:
    for card in (dataset_card("a-v0", METADATA, size=1, address=ADDRESS), repository_card("me/toy", {"toy/a-v0": {}})):
        assert CARD_MARKER in card.splitlines()
    quoted = dataset_card("a-v0", {"description": CARD_MARKER, "author": CARD_MARKER}, size=1, address=ADDRESS)
    assert quoted.splitlines().count(CARD_MARKER) == 1


@given(st.text() | st.text(st.sampled_from(MEANINGFUL)))
def test_no_text_breaks_a_card(text: str) -> None:
    odd = dict.fromkeys(
        ("description", "algorithm_name", "code_permalink", "license", "minari_version", "total_episodes"), text
    )
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
    card = dataset_card(text, odd, size=1, address=f"hf://me/{text}")
    card.encode()
    assert all(letter == "\n" or letter.isprintable() for letter in card)


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
def test_spaces(space: Any, expected: list[tuple[str, ...]]) -> None:
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
def test_descriptions_that_say_little(stored: object, expected: tuple[str, ...]) -> None:
    assert space_rows("s", stored) == [expected]
