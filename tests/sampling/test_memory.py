"""Memory of batches: bounded for data of ten times the size, and shared between forked processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import minari
from minari.data_collector import EpisodeBuffer
from support.programs import run


pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="memory is limited and measured as Linux does it"),
    pytest.mark.filterwarnings("ignore::minari.errors.MissingMetadataWarning", "ignore::UserWarning"),
]

MEGABYTE = 2**20
WORKERS = 8


def test_forked_workers_share_one_map(tmp_path: Path) -> None:
    """Eight processes take as much memory as with NumPy's indexing, which is far less than the data."""
    grown = json.loads(
        run(
            """
            import json, os, sys, warnings
            from functools import partial
            from pathlib import Path

            warnings.simplefilter("ignore")
            from benchmarks.workloads import Job, drawing

            job = Job(20, Path(sys.argv[1]), Path(sys.argv[1]))
            drawing.make_frames(job)
            makes = {
                "numpy": drawing.draw_with_numpy,
                "minari": partial(drawing.draw_with_minari, name="plain", prefetch=0),
            }
            print(json.dumps({name: drawing.draw_in_workers(make)(job)[0] for name, make in makes.items()}))
            """,
            str(tmp_path),
        )
    )
    data = sum(path.stat().st_size for path in tmp_path.glob("*.npy"))
    assert data > 80 * MEGABYTE
    # Each process also has copies of pages with Python objects that it refers to.
    assert grown["minari"] < grown["numpy"] + WORKERS * 4 * MEGABYTE
    assert grown["minari"] < WORKERS * data / 2


EPISODES, STEPS = 92, 1000
SPACE = gym.spaces.Box(0, 255, (40, 36, 3), np.uint8)

_DRAW = """
import itertools, json, resource, sys, threading
import numpy as np
import minari

def current():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmData:")) * 1024

name, options, order, limit = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], int(sys.argv[4])
dataset = minari.load_dataset(name)
threading.stack_size(2**18)  # the limit counts all of a stack
resource.setrlimit(resource.RLIMIT_DATA, (current() + limit, resource.RLIM_INFINITY))
try:
    np.ones(2 * limit, np.uint8)
except MemoryError:
    print("limited")
batches = dataset.transitions(**options).batches(64, seed=0, order=order, epochs=1)
for batch in itertools.islice(batches, int(sys.argv[5])):
    for field, later in ("observations", 0), ("next_observations", 1):
        expected = (7 * batch["episode_ids"] + batch["timesteps"] + later).astype(np.uint8)
        assert (batch[field] == expected[:, None, None, None]).all(), (field, batch["episode_ids"], batch["timesteps"])
    sys.stdout.write("+")
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of two datasets of 400 MB."""
    root = tmp_path_factory.mktemp("large")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root))
        for compression in ("none", "gzip"):
            minari.create_dataset_from_buffers(
                f"large/{compression}-v0",
                [_episode(number) for number in range(EPISODES)],
                observation_space=SPACE,
                action_space=gym.spaces.Discrete(2),
                compression=compression,
            )
    return root


def _episode(number: int) -> EpisodeBuffer:
    values = (7 * number + np.arange(STEPS + 1)).astype(np.uint8)
    ends = np.arange(STEPS) == STEPS - 1
    return EpisodeBuffer(
        observations=np.broadcast_to(values[:, None, None, None], (STEPS + 1, *SPACE.shape)),
        actions=np.zeros(STEPS, np.int64),
        rewards=np.zeros(STEPS),
        terminations=ends,
        truncations=np.zeros(STEPS, bool),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("compression", "options"),
    [
        ("none", {}),
        ("gzip", {}),
        ("gzip", {"cache": "memory", "cache_bytes": 8 * MEGABYTE}),
        ("gzip", {"cache": "disk", "cache_bytes": 8 * MEGABYTE}),
        ("gzip", {"cache": "disk"}),
    ],
)
@pytest.mark.parametrize("order", ["uniform", "blocks"])
def test_an_epoch_takes_a_tenth_of_the_memory_of_the_data(
    large: Path,
    tmp_path: Path,
    compression: str,
    options: dict[str, Any],
    order: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(large))
    monkeypatch.setenv("MINARI_CACHE_PATH", str(tmp_path))
    size = EPISODES * STEPS * SPACE.low.nbytes
    assert size > 390e6
    is_slow = compression == "gzip" and order == "uniform" and options != {"cache": "disk"}
    count = 200 if is_slow else STEPS * EPISODES // 64
    arguments = [json.dumps(options), order, str(size // 10), str(count)]
    assert run(_DRAW, f"large/{compression}-v0", *arguments) == "limited\n" + "+" * count
