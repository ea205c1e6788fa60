"""Operations on a root with injected faults, each in every format."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

import minari
from minari._catalog.recordings import list_recordings
from minari.data_collector import EpisodeBuffer
from minari.storage.local import recover_recording
from minari.testing.examples import as_buffer, draw_truth
from support.scripted import ScriptedEnv, play


FORMATS = ("hdf5", "arrow", "parquet") + (("zarr",) if sys.version_info >= (3, 11) else ())
OBSERVATIONS = spaces.Dict({"x": spaces.Box(-1.0, 1.0, (40,), np.float32), "t": spaces.Text(4)})
ACTIONS = spaces.Discrete(5)
A, B, NEW = "kill/a-v0", "kill/b-v0", "kill/deeper/new-v0"


def buffers(*seeds: int, observations: spaces.Space[Any] = OBSERVATIONS) -> list[EpisodeBuffer]:
    """Episodes, each the same for the same seed."""
    truths = [draw_truth(observations, ACTIONS, 3 + seed % 4, seed, {"n": np.arange(4.0 + seed % 4)}) for seed in seeds]
    return [as_buffer(truth, seed=seed, options={"o": seed}) for truth, seed in zip(truths, seeds, strict=True)]


@dataclass(frozen=True)
class Place:
    """The location of an operation.

    Attributes:
        root: of the datasets.
        remote: a directory as a remote.
        notes: a file that an operation writes to what it knows to be stored, outside of where faults happen.
        data_format: of the datasets.
    """

    root: Path
    remote: Path
    notes: Path
    data_format: str

    @property
    def address(self) -> str:
        return f"file://{self.remote}"

    def load(self, dataset_id: str) -> Any:
        return minari.load_dataset(dataset_id, root=self.root)


def prepare(place: Place) -> None:
    """Make the root that operations begin with: two datasets here, one of them on the remote with other values."""
    place.remote.mkdir(parents=True)
    place.root.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for dataset_id, seeds in ((A, (1, 2)), (B, (3, 4))):
            create(place, dataset_id, buffers(*seeds))
    minari.namespace.update_namespace_metadata("kill", description="before", root=place.root)
    for dataset_id in (A, B):
        minari.upload_dataset(dataset_id, remote=place.address, root=place.root, validate=False)
    place.load(A).update_dataset_from_buffer(buffers(5))


def create(place: Place, dataset_id: str, episodes: list[EpisodeBuffer]) -> Any:
    return minari.create_dataset_from_buffers(
        dataset_id,
        episodes,
        env="CartPole-v1",
        observation_space=OBSERVATIONS,
        action_space=ACTIONS,
        data_format=place.data_format,
        root=place.root,
    )


def _env() -> ScriptedEnv:
    """Make an environment of episodes of three steps, known beforehand."""

    def observe(time: int) -> dict[str, Any]:
        number = 10 * len(env.resets) + time
        return {"x": np.full(40, number / 100, np.float32), "t": f"t{number}"}

    env = ScriptedEnv(observe, length=3, observation_space=OBSERVATIONS, action_space=ACTIONS)
    return env


def _record(place: Place) -> None:
    """Record three episodes, each of which is on disk as soon as it has ended."""
    env = minari.DataCollector(_env(), data_format=place.data_format, buffer_steps=1, root=place.root)
    ended, waits = 0, False
    for seed in range(3):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            env.reset(seed=seed)
            for action in range(3):
                env.step(action)
        # Once writing has failed it is said, and the next try, which may be a while later, says nothing new.
        waits = waits or any("cannot be written" in str(warning.message) for warning in told)
        if not waits:
            ended = seed + 1
        place.notes.write_text(str(ended))
    try:
        env.create_dataset(NEW)
    except minari.errors.MinariError:
        if not os.environ.get("FAULTS_ONCE"):
            raise
        env.create_dataset(NEW)  # the fault was one of a moment, and nothing may be lost or doubled


def _continue(place: Place) -> None:
    truth = draw_truth(OBSERVATIONS, ACTIONS, 4, 9, {"n": np.arange(5.0)})
    more = as_buffer(
        truth,
        id=0,
        observations={key: [row[key] for row in truth["observations"][1:]] for key in OBSERVATIONS.spaces},
        infos={"n": np.arange(4.0)},
    )
    place.load(A).storage.update_episodes([*buffers(6), more])


def _abandon_recording(place: Place) -> None:
    """Return what a killed collector leaves behind."""
    child = os.fork()
    if child == 0:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                env = minari.DataCollector(_env(), data_format=place.data_format, buffer_steps=1, root=place.root)
                for seed in range(2):
                    play(env, seed=seed)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def _recover(place: Place) -> None:
    (recording,) = list_recordings(place.root)
    recover_recording(recording.name, NEW, root=place.root)


def _repack(place: Place) -> None:
    place.load(A).storage.repack(compression="gzip" if place.data_format in ("hdf5", "zarr") else "zstd")


def _other_format(place: Place) -> None:
    place.load(A).convert(NEW, "arrow" if place.data_format != "arrow" else "hdf5", root=place.root)


def _edit(place: Place) -> None:
    minari.edit_dataset(
        A,
        drop_episodes=[1],
        drop_fields=["observations/t"],
        rename_fields={"infos/n": "infos/m"},
        set_metadata={"note": "edited"},
        episode_metadata={2: {"task": "pick"}},
        root=place.root,
    )


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        name: of it.
        run: does it.
        first: what the root is prepared with beyond the usual.
    """

    name: str
    run: Callable[[Place], Any]
    first: Callable[[Place], Any] | None = None


def _without_local_a(place: Place) -> None:
    shutil.rmtree(place.root / A)


OPERATIONS: list[Operation] = [
    Operation("create", lambda p: create(p, NEW, buffers(6, 7))),
    Operation("record", _record),
    Operation("append", lambda p: p.load(A).update_dataset_from_buffer(buffers(6, 7))),
    Operation("append stored", lambda p: p.load(A).storage.update_from_storage(p.load(B).storage)),
    Operation("continue", _continue),
    Operation("metadata", lambda p: p.load(A).storage.update_metadata({"note": "n" * 3000})),
    Operation(
        "episode metadata",
        lambda p: p.load(A).storage.update_episode_metadata([{"mine": i, "a": np.arange(900.0)} for i in range(3)]),
    ),
    Operation(
        "edit metadata",
        lambda p: minari.edit_dataset(
            A,
            set_metadata={"note": "n" * 3000},
            remove_metadata=["code_permalink"],
            episode_metadata={0: {"a": np.arange(900.0)}},
            root=p.root,
        ),
        lambda p: p.load(A).storage.update_metadata({"code_permalink": "https://example.org"}),
    ),
    Operation("edit episodes and fields", _edit),
    Operation("edit as another", lambda p: minari.edit_dataset(A, drop_episodes=[0], new_dataset_id=NEW, root=p.root)),
    Operation("combine", lambda p: minari.combine_datasets([p.load(A), p.load(B)], NEW, root=p.root)),
    Operation(
        "convert",
        lambda p: p.load(A).convert(NEW, compression="gzip" if p.data_format == "hdf5" else None, root=p.root),
    ),
    Operation("convert to another format", _other_format),
    Operation("save a view", lambda p: p.load(A)[1:].save(NEW, root=p.root)),
    Operation("repack", _repack),
    Operation("rename", lambda p: minari.rename_dataset(B, NEW, root=p.root)),
    Operation("delete", lambda p: minari.delete_dataset(A, root=p.root)),
    Operation("download", lambda p: minari.download_dataset(A, remote=p.address, root=p.root), _without_local_a),
    Operation("forced download", lambda p: minari.download_dataset(A, True, remote=p.address, root=p.root)),
    Operation(
        "upload",
        lambda p: minari.upload_dataset("kill/c-v1", remote=p.address, root=p.root, validate=False),
        lambda p: create(p, "kill/c-v1", buffers(8, 9)),
    ),
    Operation("namespace", lambda p: minari.namespace.create_namespace("kill/more", "x", root=p.root)),
    Operation("namespace metadata", lambda p: minari.namespace.update_namespace_metadata("kill", "after", root=p.root)),
    Operation("recover", _recover, _abandon_recording),
]

CASES: list[tuple[Operation, str]] = [(operation, name) for operation in OPERATIONS for name in FORMATS]
