"""Mixtures: exact shares, their state, and what cannot be mixed."""

from __future__ import annotations

import itertools
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minari
from minari import MinariDataset
from minari.errors import ArgumentError
from support.sampling_model import assert_same, make


_numbers = itertools.count()

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def others() -> list[MinariDataset]:
    return [make(f"sampled/other-{number}-v0", (3, 9)) for number in range(2)]


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_shares_are_exact_over_time(data: st.DataObject) -> None:
    shares = data.draw(st.lists(st.floats(0.01, 1), min_size=1, max_size=4))
    batch_size = data.draw(st.integers(1, 9))
    local = minari.create_dataset_from_arrays(
        f"sampled/shares-{next(_numbers)}-v0",
        observations=np.arange(4.0),
        actions=np.zeros(3),
        rewards=np.ones(3),
        terminations=np.arange(3) == 2,
    )
    batches = minari.mix({local.transitions(): share for share in shares}).batches(batch_size, seed=1)
    counts = np.zeros(len(shares))
    for number, batch in enumerate(islice(batches, 60), 1):
        assert len(batch["sources"]) == len(batch["actions"]) == batch_size
        counts += np.bincount(batch["sources"], minlength=len(shares))
        expected = np.array(shares) / sum(shares) * batch_size * number
        assert (abs(counts - expected) < len(shares)).all()
        assert len(shares) > 2 or (abs(counts - expected) < 1 + 1e-9).all()


@pytest.mark.parametrize("options", [{}, {"replace": True}, {"order": "blocks"}, {"shard": (1, 2)}])
def test_each_source_has_epochs_of_its_own(
    dataset: MinariDataset, others: list[MinariDataset], options: dict[str, Any]
) -> None:
    mixture = minari.mix({dataset.transitions(): 3, others[0].transitions(): 1})
    batches = mixture.batches(8, seed=1, **options)
    drawn = [batch["actions"][batch["sources"] == 1] for batch in islice(batches, 6)]
    if "replace" not in options:
        assert len(set(np.concatenate(drawn)[: 6 if "shard" in options else 12])) == (6 if "shard" in options else 12)
    state = batches.state_dict()
    expected = list(islice(batches, 5))
    again = mixture.batches(8, seed=1, **options)
    again.load_state_dict(state)
    for found, wanted in zip(islice(again, 5), expected, strict=True):
        assert_same(found, wanted)


def test_what_cannot_be_mixed(dataset: MinariDataset, frames: MinariDataset) -> None:
    transitions = dataset.transitions()
    for shares, message in (
        ({}, "shares is empty"),
        ({transitions: 0}, "A share is 0"),
        ({transitions: float("nan")}, "A share is nan"),
        ({transitions: "1"}, "A share is '1'"),
        ({dataset: 1}, "expected a dict of transitions"),
        ([transitions], "expected a dict of transitions"),
        ({transitions: 1, frames.transitions(): 1}, "batches of the sources differ"),
        ({transitions: 1, dataset.transitions(fields=["actions"]): 1}, "batches of the sources differ"),
    ):
        with pytest.raises(ArgumentError, match=message):
            minari.mix(shares)  # type: ignore[arg-type]


def test_the_state_of_another_mixture_is_refused(dataset: MinariDataset, others: list[MinariDataset]) -> None:
    transitions, other = dataset.transitions(), others[0].transitions()
    batches = minari.mix({transitions: 1, other: 1}).batches(8, seed=1)
    for wrong in (
        minari.mix({transitions: 2, other: 1}).batches(8, seed=1),
        minari.mix({transitions: 1, others[1].transitions(): 1}).batches(8, seed=1),
        minari.mix({transitions: 1, other: 1}).batches(8, seed=2),
    ):
        with pytest.raises(ArgumentError, match="The state is of batches with"):
            batches.load_state_dict(wrong.state_dict())
    with pytest.raises(ArgumentError, match="drawn"):
        batches.load_state_dict({**batches.state_dict(), "drawn": [-1, 2]})
