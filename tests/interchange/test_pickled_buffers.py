"""Pickled replay buffers: recognized and refused, and never loaded."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from minari.errors import InterchangeError
from minari.interchange import get_format, read
from support.official import fixtures_directory


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("sb3-pickle/pendulum_2envs_partfilled.pkl", "minari.integrations.sb3.from_replay_buffer"),
        ("sb3-pickle/cartpole_ring_wrapped.pkl", "minari.integrations.sb3.from_replay_buffer"),
        ("sb3-pickle/cartpole_optimize_memory.pkl", "minari.integrations.sb3.from_replay_buffer"),
        ("sb3-pickle/dict_obs.pkl", "minari.integrations.sb3.from_replay_buffer"),
        ("tianshou-0.4-pickle-refuse/expert_SAC_Pendulum-v1.pkl", "minari.integrations.tianshou.from_replay_buffer"),
    ],
)
def test_samples_are_refused_with_one_sentence(name: str, advice: str) -> None:
    root = fixtures_directory()
    if root is None or not (root / "foreign").is_dir():
        pytest.skip("the samples of other formats are not there; MINARI_FIXTURES names their directory")
    with pytest.raises(InterchangeError, match="is a pickle, which is not read") as raised:
        read(root / "foreign" / name)
    assert advice in str(raised.value)
    assert "\n" not in str(raised.value)


class Trap:
    """An object whose unpickling leaves a trace."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("library", ["stable_baselines3", "tianshou"])
def test_pickles_are_never_loaded(library: str, tmp_path: Path) -> None:
    path, marker = tmp_path / "buffer.pkl", tmp_path / "trace"
    path.write_bytes(pickle.dumps([Trap(marker), f"{library}.common"]))
    with pytest.raises(InterchangeError, match="is a pickle"):
        read(path)
    assert not marker.exists()


def test_nothing_is_written_as_a_pickle() -> None:
    assert not get_format("sb3").is_writable
