"""The grammar of ids: what it takes comes back, and what it refuses never becomes a path."""

from __future__ import annotations

import string
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minari._model.dataset_id import (
    DatasetId,
    dataset_id_sort_key,
    gen_dataset_id,
    is_dataset_id,
    is_part,
    parse_dataset_id,
    parse_namespace,
)
from minari.errors import DatasetIdError


parts = st.text(string.ascii_letters + string.digits + "_-éß漢", min_size=1, max_size=6)
namespaces = st.lists(parts, max_size=3).map("/".join).map(lambda text: text or None)


@given(namespaces, parts, st.integers(0, 10**6))
@example("a", "b", 0)
@example(None, "x-v1", 2)
@example("a-v0", "-", 10)
def test_an_id_is_its_parts(namespace: str | None, name: str, version: int) -> None:
    text = gen_dataset_id(namespace, name, version)
    assert parse_dataset_id(text) == (namespace, name, version)
    assert DatasetId.parse(text) == DatasetId(namespace, name, version)
    assert str(DatasetId.parse(text)) == text
    assert gen_dataset_id(namespace, name) == text.removesuffix(f"-v{version}")


@given(st.text(st.sampled_from("ab-v0129_/.\\ \n~:é"), max_size=12))
def test_what_is_accepted_is_a_safe_path_and_has_one_spelling(text: str) -> None:
    if not is_dataset_id(text):
        with pytest.raises(DatasetIdError):
            DatasetId.parse(text)
        return
    assert str(DatasetId.parse(text)) == text
    for path in (PurePosixPath(text), PureWindowsPath(text)):
        assert not path.is_absolute()
        assert not path.drive
        assert "/".join(path.parts) == text
        assert not any(part.startswith(".") for part in path.parts)


GRAMMAR, NO_VERSION, ONE_SPELLING = r"\(namespace/\)\*name-vN", "has no version", "plain number"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *(
            (text, GRAMMAR)
            for text in ("", ".", "..", "/", "../x-v0", "x/../y-v0", "/abs-v0", "x//a-v0", "ns/", "ab-v0/")
        ),
        *((text, GRAMMAR) for text in ("./a-v0", "a b-v0", "a\\b-v0", "ab-v0\n", "a.b-v0", ".hidden/ab-v0", ".ab-v0")),
        *((text, GRAMMAR) for text in ("C:/a-v0", "~/a-v0", "a\0-v0")),
        *((text, NO_VERSION) for text in ("abc", "ns/abc", "ab-v", "ab-v-1", "ab-V0", "-v0", "abv0")),
        *((text, ONE_SPELLING) for text in ("ab-v01", "ab-v00", "ab-v٣")),
        *((value, "must be a string") for value in (None, 3, b"a-v0", ["a-v0"])),
    ],
)
def test_malformed_ids_are_refused_with_the_reason(text: Any, message: str) -> None:
    with pytest.raises(DatasetIdError, match=message):
        parse_dataset_id(text)
    with pytest.raises(ValueError if isinstance(text, str) else TypeError):
        dataset_id_sort_key(text)


@pytest.mark.parametrize(
    ("namespace", "name", "version"),
    [
        *(("", "a", 0), ("..", "a", 0), ("x/", "a", 0), (None, "", 0), (None, "a/b", 0), (None, "..", 0)),
        *((None, "a", -1), (None, "a", True), (None, "a", "0"), (None, None, 0)),
    ],
)
def test_malformed_parts_are_refused(namespace: Any, name: Any, version: Any) -> None:
    for make in (DatasetId, gen_dataset_id):
        with pytest.raises(DatasetIdError):
            make(namespace, name, version)


def test_ids_sort_by_namespace_name_and_number() -> None:
    sorted_ids = ["b-v0", "c-v2", "c-v10", "a/z-v0", "a/b/a-v0", "ab/a-v0", "b/a-v0"]
    mixed = sorted_ids[3:] + sorted_ids[2::-1]
    assert sorted(mixed, key=dataset_id_sort_key) == sorted_ids
    assert [str(value) for value in sorted(map(DatasetId.parse, mixed))] == sorted_ids
    assert dataset_id_sort_key("c-v2") == ("", "c", 2)
    assert DatasetId.parse("c-v2") <= DatasetId.parse("c-v2") < DatasetId.parse("c-v10")


def test_ids_serve_as_keys_and_stay_as_they_are() -> None:
    one = DatasetId.parse("a/b-v1")
    assert {one: 1}[DatasetId("a", "b", 1)] == 1
    with pytest.raises(AttributeError):
        one.version = 2  # type: ignore[misc]


@given(st.lists(parts, min_size=1, max_size=4))
def test_a_namespace_is_its_parts(names: list[str]) -> None:
    assert parse_namespace("/".join(names)) == tuple(names)
    assert all(map(is_part, names))


@pytest.mark.parametrize("text", ["", "/", "a/", "/a", "a//b", "a b", "a.b", "..", "a\n", None, b"a"])
def test_malformed_namespaces_are_refused(text: Any) -> None:
    with pytest.raises(DatasetIdError, match="namespace" if isinstance(text, str) else "must be a string"):
        parse_namespace(text)
