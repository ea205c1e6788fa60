"""Does a dataset, as one of the two packages read it, hold what was really played?"""

from __future__ import annotations

from typing import Any

import numpy as np

from support.values import Path, assert_identical


FIELDS = ("observations", "actions", "rewards", "terminations", "truncations", "infos")


def assert_holds(dump: dict[str, Any], truth: list[dict[str, Any]], *, lossy: dict[Path, float] | None = None) -> None:
    """Require that a dump (see `support.operations.dump`) is exactly the given episodes.

    Args:
        dump: What a package read.
        truth: What was played, in the order of the dataset.
        lossy: Leaves that went through JPEG, with the mean error allowed.
    """
    assert dump["same_spaces"]
    assert dump["total_episodes"] == len(dump["episodes"]) == len(dump["episode_metadata"]) == len(truth)
    assert dump["total_steps"] == sum(len(episode["rewards"]) for episode in truth)
    for index, (read, metadata, expected) in enumerate(
        zip(dump["episodes"], dump["episode_metadata"], truth, strict=True)
    ):
        assert read["id"] == int(metadata["id"]) == index
        for field in FIELDS:
            # 0.5.4 gives None where no infos were recorded.
            value = {} if field == "infos" and read[field] is None else read[field]
            assert_identical(value, expected[field], (field,), lossy=lossy)
        assert_metadata(metadata, expected)


def assert_metadata(metadata: dict[str, Any], expected: dict[str, Any]) -> None:
    """Require seed, options, length and statistics of an episode."""
    assert metadata.get("seed") == expected["seed"], "seed"
    assert metadata["total_steps"] == len(expected["rewards"])
    assert_same_options(metadata.get("options") or {}, expected.get("options") or {})
    if "rewards_sum" in metadata:
        rewards = np.asarray(expected["rewards"])
        for name in ("sum", "mean", "std", "max", "min"):
            assert np.isclose(metadata[f"rewards_{name}"], getattr(rewards, name)(), rtol=1e-12, atol=1e-12), name


def assert_same_options(actual: Any, expected: Any, path: str = "options") -> None:
    """Require the same options; plain numbers and lists may come back as NumPy's."""
    if isinstance(expected, dict):
        assert set(actual) == set(expected), path
        for key, value in expected.items():
            assert_same_options(actual[key], value, f"{path}/{key}")
    elif isinstance(expected, np.ndarray):
        assert_identical(actual, expected, (path,))
    elif isinstance(expected, str):
        assert isinstance(actual, str), path
        assert actual == expected, path
    else:
        assert np.array_equal(actual, expected), f"{path}: {actual!r}, expected {expected!r}"


def forgotten(truth: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The episodes without seeds and options: 0.5.4 drops both when it combines or a collector appends."""
    return [{**episode, "seed": None, "options": {}} for episode in truth]
