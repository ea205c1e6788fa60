"""Recognition of the files of libraries, each by one format."""

from __future__ import annotations

import pytest

from minari.interchange.registry import sniffed_format
from support.official import fixtures_directory


SAMPLES = {
    "robomimic-hdf5/*.hdf5": "robomimic",
    "robomimic-written/*.hdf5": "robomimic",
    "robosuite-raw-real/v*/**/*.hdf5": "robomimic",
    "maniskill3-h5/*/": "maniskill",
    "maniskill3-written/*/": "maniskill",
    "maniskill3-written/*/*.h5": "maniskill",
    "d3rlpy-2.x/*.h5": "d3rlpy",
    "d3rlpy-v1-real/*.h5": "d3rlpy",
    "tianshou-hdf5/*.hdf5": "tianshou",
    "tianshou-0.4-pickle-refuse/*.pkl": "tianshou",
    "torchrl-dumps/*/": "torchrl",
    "imitation-npz-real/*.npz": "imitation",
    "imitation-arrow/*/": "imitation",
    "rllib-json/*/": "rllib",
    "sb3-pickle/*.pkl": "sb3",
}


@pytest.mark.parametrize(("pattern", "name"), SAMPLES.items())
def test_samples_are_recognized_by_their_format_alone(pattern: str, name: str) -> None:
    root = fixtures_directory()
    if root is None or not (root / "foreign").is_dir():
        pytest.skip("the samples of other formats are not there; MINARI_FIXTURES names their directory")
    paths = sorted(path for path in (root / "foreign").glob(pattern) if not pattern.endswith("/") or path.is_dir())
    assert paths
    for path in paths:
        found = sniffed_format(path)
        assert str(found.NAME) == name, path
