"""Rows of a table for spaces, from their description in the metadata, without creating a space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from minari._base.json_text import parse_json
from minari._model.multi_agent import agent_of_name


__all__ = ["SpaceRow", "rows_of_agents", "space_rows"]

Description = Mapping[str, Any]


class SpaceRow(NamedTuple):
    """Leaf of a space.

    Attributes:
        path: path of the leaf, such as ``observations/camera``.
        kind: the type of its space.
        shape: shape of a value; empty if it varies.
        dtype: dtype of a value.
        values: the possible values.
    """

    path: str
    kind: str
    shape: str
    dtype: str
    values: str


def space_rows(path: str, stored: object) -> list[SpaceRow]:
    """Return the leaves of a space.

    >>> space_rows("actions", '{"type": "Discrete", "dtype": "int64", "start": 1, "n": 3}')
    [SpaceRow(path='actions', kind='Discrete', shape='()', dtype='int64', values='1 to 3')]

    Args:
        path: path of the space.
        stored: its description in the metadata, as JSON or as the decoded object. Missing or damaged parts are
            left empty.
    """
    try:
        description = parse_json(stored) if isinstance(stored, str) else stored
        return list(_rows(path, description))
    except (ValueError, RecursionError):
        return [SpaceRow(path, "damaged", "", "", "")]


def rows_of_agents(stored: Mapping[str, object]) -> list[SpaceRow]:
    """Return the leaves of the spaces of many agents, agent by agent.

    >>> spaces = {"actions": '{"type": "Dict", "subspaces": {"prey": {"type": "Discrete", "n": 3}}}'}
    >>> rows_of_agents(spaces)
    [SpaceRow(path='prey/actions', kind='Discrete', shape='()', dtype='int64', values='0 to 2')]

    Args:
        stored: field -> the description of its spaces in the metadata, by agent.
    """
    rows: dict[str, list[SpaceRow]] = {}
    for field, described in stored.items():
        try:
            description = parse_json(described) if isinstance(described, str) else described
        except ValueError:
            description = None
        subspaces = description.get("subspaces") if isinstance(description, Mapping) else None
        if not isinstance(subspaces, Mapping):
            rows.setdefault("", []).append(SpaceRow(field, "damaged", "", "", ""))
            continue
        for name, subspace in subspaces.items():
            rows.setdefault(str(name), []).extend(space_rows(f"{agent_of_name(str(name))}/{field}", subspace))
    return [row for of_agent in rows.values() for row in of_agent]


def _rows(path: str, description: object) -> Iterator[SpaceRow]:
    if not isinstance(description, Mapping):
        yield SpaceRow(path, "damaged", "", "", "")
        return
    inner = _inner(description)
    for name, subspace in inner.items():
        yield from _rows(f"{path}/{name}", subspace)
    if inner:
        return
    kind = str(description.get("type"))
    try:
        shape, dtype, values = _leaf(kind, description)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        shape, dtype, values = "", "", ""
    yield SpaceRow(path, kind, shape, dtype, values)


def _inner(description: Description) -> dict[str, Any]:
    """Return the parts of a space by their names."""
    subspaces = description.get("subspaces")
    if isinstance(subspaces, Mapping):
        return {str(key): subspace for key, subspace in subspaces.items()}
    if isinstance(subspaces, list):
        is_choice = description.get("type") == "OneOf"
        return {f"option {i}" if is_choice else str(i): subspace for i, subspace in enumerate(subspaces)}
    inner = {"each": "feature_space", "nodes": "node_space", "edges": "edge_space"}
    return {name: description[key] for name, key in inner.items() if description.get(key) is not None}


def _leaf(kind: str, description: Description) -> tuple[str, str, str]:
    """Return the shape, the dtype and the range of the values of a space without parts."""
    dtype = str(description.get("dtype", "int64" if kind in ("Discrete", "MultiDiscrete") else ""))
    match kind:
        case "Box":
            low, high = min(_numbers(description["low"])), max(_numbers(description["high"]))
            return _shape(description["shape"]), str(description["dtype"]), f"{low:.6g} to {high:.6g}"
        case "Discrete":
            start, n = int(description.get("start", 0)), int(description["n"])
            return "()", dtype, f"{start} to {start + n - 1}"
        case "MultiDiscrete":
            sizes = list(_numbers(description["nvec"]))
            starts = list(_numbers(description.get("start") or [0] * len(sizes)))
            highest = max(start + size - 1 for start, size in zip(starts, sizes, strict=True))
            return _shape(_shape_of(description["nvec"])), dtype, f"{min(starts):.6g} to {highest:.6g}"
        case "MultiBinary":
            n = description["n"]
            return _shape(n if isinstance(n, list) else [n]), "int8", "0 or 1"
        case "Text":
            return "()", "text", f"{int(description['min_length'])} to {int(description['max_length'])} characters"
        case _:
            return "", dtype, ""


def _shape(sizes: list[int]) -> str:
    return str(tuple(map(int, sizes)))


def _shape_of(nested: Any) -> list[int]:
    return [len(nested), *_shape_of(nested[0])] if isinstance(nested, list) and nested else []


def _numbers(nested: Any) -> Iterator[float]:
    """Yield all numbers in nested lists."""
    if isinstance(nested, list):
        for item in nested:
            yield from _numbers(item)
    else:
        yield float(nested)
