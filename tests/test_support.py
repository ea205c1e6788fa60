"""The comparisons that other tests rest on notice every difference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from support.cases import PICTURES, SPACES, random_space, spaces_of
from support.exchange import decode, encode
from support.toys import ToyEnv, Witness, draw
from support.values import assert_identical, leaves, stack_steps


def value() -> dict[str, Any]:
    return {
        "numbers": np.array([[1.0, np.nan], [0.0, np.inf]], np.float32),
        "nested": ({"flag": np.array([True, False])}, ["text", "größe"]),
    }


DIFFERENCES = {
    "a number": lambda v: v["numbers"].__setitem__((1, 0), 1e-30),
    "the sign of zero": lambda v: v["numbers"].__setitem__((1, 0), -0.0),
    "NaN": lambda v: v["numbers"].__setitem__((0, 1), 0.0),
    "a dtype": lambda v: v.update(numbers=v["numbers"].astype(np.float64)),
    "a shape": lambda v: v.update(numbers=v["numbers"].reshape(4)),
    "a row less": lambda v: v.update(numbers=v["numbers"][:1]),
    "a list for an array": lambda v: v.update(numbers=v["numbers"].tolist()),
    "a key more": lambda v: v.update(more=1),
    "a key less": lambda v: v.pop("numbers"),
    "a list for a tuple": lambda v: v.update(nested=list(v["nested"])),
    "a part less": lambda v: v.update(nested=v["nested"][:1]),
    "a flag": lambda v: v["nested"][0]["flag"].__setitem__(0, False),
    "a text": lambda v: v["nested"][1].__setitem__(1, "grösse"),
    "bytes for text": lambda v: v["nested"][1].__setitem__(0, b"text"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_every_difference_is_noticed(name: str) -> None:
    other = value()
    assert_identical(other, value())
    DIFFERENCES[name](other)
    with pytest.raises(AssertionError):
        assert_identical(other, value())


def test_lossy_leaves_may_differ_by_so_much_and_no_more() -> None:
    truth = {"frame": np.full((2, 4, 4), 100, np.uint8)}
    near, far = {"frame": truth["frame"] + 3}, {"frame": truth["frame"] + 9}
    assert_identical(near, truth, lossy={("frame",): 3.0})
    for wrong in (far, {"frame": near["frame"].astype(np.int16)}, {"frame": near["frame"][:1]}):
        with pytest.raises(AssertionError):
            assert_identical(wrong, truth, lossy={("frame",): 3.0})


def test_steps_become_columns() -> None:
    steps = [{"a": np.int64(n), "b": (str(n), np.zeros(2))} for n in range(3)]
    columns = stack_steps(steps)
    assert columns["a"].tolist() == [0, 1, 2]
    assert columns["b"][0] == ["0", "1", "2"]
    assert leaves(columns)["b", 1].shape == (3, 2)
    with pytest.raises(ValueError, match="different keys"):
        stack_steps([{"a": 1}, {"b": 1}])


@given(
    arrays.arrays(
        arrays.scalar_dtypes().filter(lambda dtype: dtype.kind in "biuf"), arrays.array_shapes(min_dims=0, min_side=0)
    ),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    ),
)
def test_values_reach_the_other_process_as_they_are(array: np.ndarray, nested: Any) -> None:
    text = encode({"array": array, "nested": nested})
    assert "\n" not in text
    again = decode(text)
    assert_identical(again["array"], array)
    assert again["array"].dtype.byteorder == array.dtype.byteorder
    assert again["nested"] == nested
    assert repr(again["nested"]) == repr(nested)


@pytest.mark.parametrize("case", [*SPACES, *PICTURES, *(f"random:{seed}" for seed in range(20))])
def test_toy_values_lie_in_their_spaces_and_follow_the_seed(case: str) -> None:
    for space in spaces_of(case):
        drawn = [draw(space, np.random.default_rng(seed)) for seed in (1, 1, 2, 3, 4)]
        assert all(space.contains(one) for one in drawn)
        assert_identical(stack_steps(drawn[:1]), stack_steps(drawn[1:2]))


def test_random_spaces_follow_the_seed() -> None:
    for seed in range(50):
        assert random_space(np.random.default_rng(seed)) == random_space(np.random.default_rng(seed))


def test_the_witness_saw_what_the_environment_gave() -> None:
    env = Witness(ToyEnv(*spaces_of("dict"), infos=True))
    observation, info = env.reset(seed=3)
    action = draw(env.action_space, np.random.default_rng(0))
    last, reward, terminated, truncated, last_info = env.step(action)
    (episode,) = env.columns()
    for name, steps in {"observations": [observation, last], "actions": [action], "infos": [info, last_info]}.items():
        assert_identical(episode[name], stack_steps(steps))
    ends = [episode[name].tolist() for name in ("rewards", "terminations", "truncations")]
    assert ends == [[reward], [terminated], [truncated]]
    assert episode["seed"] == 3
