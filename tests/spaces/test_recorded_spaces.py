"""Spaces that subclass Gymnasium's, and spaces that subclass none: recorded, or refused before the first step."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari.dataset.minari_storage import MinariStorage
from minari.errors import SpaceError, UnknownSpaceError
from minari.spaces import ArrayCodec, DictCodec, SpaceCodec, TextCodec, TupleCodec, codec_for, register_codec
from minari.spaces.serialization import deserialize_space, serialize_space, space_classes
from support.scripted import ScriptedEnv, collected, recorded


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")


class Order(spaces.Space[str]):
    """A space of texts that, like MiniGrid's missions, is no `Text` space."""

    def __init__(self, goods: tuple[str, ...]) -> None:
        self.goods = goods
        super().__init__(dtype=str)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        return f"bring {self.goods[self.np_random.integers(len(self.goods))]}"

    def contains(self, x: Any) -> bool:
        return isinstance(x, str) and x.removeprefix("bring ") in self.goods


class Camera(spaces.Box):
    def __init__(self, side: int) -> None:
        self.side = side
        super().__init__(0, 255, (side, side, 3), np.uint8)


def own(base: Any) -> Any:
    """A subclass that adds nothing."""
    return type(f"Own{base.__name__}", (base,), {"__module__": __name__, "__qualname__": f"Own{base.__name__}"})


Choice = own(spaces.Discrete)
UNIT = spaces.Box(-1, 1, (2,))
SUBCLASSES = {
    "Box": Camera(4),
    "Discrete": Choice(5, start=2),
    "MultiDiscrete": own(spaces.MultiDiscrete)([3, 4]),
    "MultiBinary": own(spaces.MultiBinary)((2, 3)),
    "Text": own(spaces.Text)(5, charset="abc"),
    "Dict": own(spaces.Dict)(camera=Camera(4), orders=Order(("tea", "ink"))),
    "Tuple": own(spaces.Tuple)([Choice(3), Order(("tea",))]),
    "Sequence": own(spaces.Sequence)(Camera(4)),
    "Graph": own(spaces.Graph)(UNIT, Choice(3)),
    "OneOf": own(spaces.OneOf)([Choice(3), UNIT]),
}


@pytest.mark.parametrize("kind", SUBCLASSES)
def test_a_subclass_is_recorded_as_its_base(kind: str) -> None:
    space = SUBCLASSES[kind]
    space.seed(3)
    described = deserialize_space(serialize_space(space))
    assert type(described) is getattr(spaces, kind)
    assert codec_for(described).layout() == codec_for(space).layout()
    if kind not in ("Dict", "Tuple"):
        assert space_classes(space)[""] == f"{__name__}:{type(space).__qualname__}"

    values = [space.sample() for _ in range(6)]
    env = ScriptedEnv(values.__getitem__, observation_space=space, action_space=Choice(3))
    dataset = recorded(env, reset={"seed": 1}, dataset_id="spaces/own-v0")
    assert type(dataset.observation_space) is getattr(spaces, kind)
    steps = codec_for(dataset.observation_space).steps(dataset[0].observations, 6)
    assert str(steps) == str(codec_for(space).steps(codec_for(space).decode(codec_for(space).encode(values)), 6))
    collected(env, reset={"seed": 1}).add_to_dataset(dataset)
    both = minari.combine_datasets([minari.load_dataset("spaces/own-v0")], "spaces/both-v0")
    assert both.total_episodes == 2
    for stored in (dataset, both, dataset.convert("spaces/converted-v0")):
        assert stored.storage.metadata["space_classes"]["actions"] == f"{__name__}:OwnDiscrete"


def test_texts_of_a_space_that_is_no_text_space_come_back() -> None:
    space = spaces.Dict({"order": Order(("tea", "ink and paper"))})
    said = [{"order": f"bring {'tea' if time % 2 else 'ink and paper'}"} for time in range(6)]
    dataset = recorded(ScriptedEnv(lambda time: said[time], observation_space=space))
    assert dataset[0].observations["order"] == [value["order"] for value in said]
    assert dataset.observation_space.contains(said[0])
    assert dataset.storage.metadata["space_classes"] == {"observations/order": f"{__name__}:Order"}
    assert "space_classes" not in recorded(gym.make("CartPole-v1"), dataset_id="test/plain-v0").storage.metadata


class Unknown(spaces.Space[Any]):
    """A space of which nothing tells what its values are."""

    def contains(self, x: Any) -> bool:
        return True


@pytest.mark.parametrize("space", [Unknown(), spaces.Dict(part=Unknown()), Unknown((2,), np.float32)])
def test_a_space_that_cannot_be_stored_is_refused_before_the_first_step(space: Any, tmp_path: Any) -> None:
    env = ScriptedEnv(observation_space=space)
    with pytest.raises(UnknownSpaceError, match=r"register_codec\(Unknown\)"):
        minari.DataCollector(env)
    with pytest.raises(UnknownSpaceError, match="TextCodec"):
        MinariStorage.new(tmp_path / "data", space, spaces.Discrete(2))
    assert not env.resets


@pytest.mark.parametrize(
    ("codec", "shape", "dtype", "value", "kind"),
    [
        (TextCodec, None, None, "north", spaces.Text),
        (ArrayCodec, (2,), np.float32, np.ones(2, np.float32), spaces.Box),
        (ArrayCodec, (), np.int16, np.int16(-7), spaces.Box),
        (ArrayCodec, (3,), np.bool_, np.array([True, False, True]), spaces.Box),
    ],
)
def test_a_codec_is_all_that_a_space_of_ones_own_needs(
    codec: type[SpaceCodec], shape: Any, dtype: Any, value: Any, kind: type
) -> None:
    class Own(Unknown):
        pass

    register_codec(Own)(codec)
    space = Own(shape, dtype)
    dataset = recorded(ScriptedEnv(lambda time: value, observation_space=space))
    assert type(dataset.observation_space) is kind
    assert dataset.observation_space.contains(value)
    assert np.array_equal(dataset[0].observations, [value] * 6)


def test_a_codec_decides_over_the_base() -> None:
    """Values of another kind than those of the base are described as what they are."""

    class Spoken(spaces.Discrete):
        def contains(self, x: Any) -> bool:
            return x in ("left", "right")

    register_codec(Spoken)(TextCodec)
    text = serialize_space(spaces.Tuple([Spoken(2)]))
    assert json.loads(text)["subspaces"][0]["type"] == "Text"

    class Parts(Unknown):
        def __init__(self) -> None:
            self.spaces = {"b": UNIT, "a": spaces.Discrete(2)}
            super().__init__()

    register_codec(Parts)(DictCodec)
    assert serialize_space(Parts()) == serialize_space(deserialize_space(serialize_space(Parts())))
    assert list(deserialize_space(serialize_space(Parts())).spaces) == ["b", "a"]

    class Row(Unknown):
        spaces = (UNIT, spaces.Discrete(2))

    register_codec(Row)(TupleCodec)
    assert deserialize_space(serialize_space(Row())) == spaces.Tuple([UNIT, spaces.Discrete(2)])


def test_a_codec_that_tells_no_space_is_refused() -> None:
    class Odd(Unknown):
        pass

    class OddCodec(ArrayCodec):
        def recorded_space(self) -> Any:
            return self.space

    register_codec(Odd)(OddCodec)
    with pytest.raises(UnknownSpaceError, match="Odd cannot be stored"):
        serialize_space(Odd((2,), np.float32))
    register_codec(Odd)(ArrayCodec)
    with pytest.raises(UnknownSpaceError, match="no dtype"):
        serialize_space(Odd())


def test_a_description_of_its_own_goes_before_the_base(monkeypatch: pytest.MonkeyPatch) -> None:
    class Compass(spaces.Box):
        def __init__(self, points: int) -> None:
            self.points = points
            super().__init__(0, 360, (points,), np.float32)

    @serialize_space.register(Compass)
    def write(space: Compass, to_string: bool = True) -> Any:
        description = {"type": "Compass", "points": space.points}
        return json.dumps(description) if to_string else description

    monkeypatch.setattr(deserialize_space, "registry", dict(deserialize_space.registry))

    @deserialize_space.register("Compass")
    def read(description: dict[str, Any]) -> Compass:
        return Compass(description["points"])

    assert deserialize_space.registry["Compass"] is read
    assert deserialize_space(serialize_space(spaces.Tuple([Compass(2), spaces.Discrete(2)])))[0].points == 2
    with pytest.raises(SpaceError, match="Compass space lacks the key 'points'"):
        deserialize_space('{"type": "Compass"}')
    env = ScriptedEnv(lambda time: np.full(3, time, np.float32), observation_space=spaces.Dict())
    dataset = recorded(env, observation_space=Compass(3))
    assert isinstance(dataset.observation_space, Compass)
    assert dataset.observation_space.points == 3
    assert "space_classes" not in dataset.storage.metadata


@pytest.mark.parametrize("env_id", ["MiniGrid-Fetch-5x5-N2-v0", "BabyAI-GoToRedBallGray-v0"])
def test_minigrid_is_recorded_as_it_is(env_id: str) -> None:
    pytest.importorskip("minigrid", reason="MiniGrid is not installed: pip install minigrid")
    collector = minari.DataCollector(gym.make(env_id))
    first, _ = collector.reset(seed=5)
    seen = [first["mission"], *(collector.step(collector.action_space.sample())[0]["mission"] for _ in range(3))]
    dataset = collector.create_dataset("grid/own-v0")
    assert dataset[0].observations["mission"] == seen
    assert dataset.observation_space["mission"].contains(seen[0])
    assert type(dataset.recover_environment().observation_space["mission"]).__name__.endswith("MissionSpace")
