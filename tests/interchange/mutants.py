"""Damaged and lying files of all formats, read in child processes with limits of time and memory.

``python -m interchange.mutants COUNT [FORMAT …]``, in the directory ``tests``, reads so many mutants of each format and
prints what went wrong, a line for each place in the code; one mutant is made again by ``FORMAT/NUMBER``.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import re
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from fuzz.mutations import Inapplicable, edit_json, mutate
from interchange.lies import lie
from minari._model.episode_buffer import EpisodeBuffer
from minari.dataset.from_buffers import create_dataset_from_buffers
from minari.interchange import export_dataset, formats, get_format, import_dataset, read
from minari.interchange.tfrecord import masked_checksum
from support.limits import LARGEST_FILE, MEGABYTE, Outcome, limit_files, limit_memory, name_of_signal, outcome_of
from support.official import fixtures_directory


__all__ = ["Seed", "faults", "seeds"]

_TOO_MUCH = 300 * MEGABYTE
_SECONDS = 60.0  # by the clock, as other programs run beside it
_PROCESSOR_SECONDS = 10.0
_SECONDS_TO_MAKE = 20.0
_MEGABYTES = 2048
_PER_CHILD = 500

#: Samples by format: paths below the samples, and the options that let most of their bytes be read.
_SAMPLES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "d4rl": [
        ("d4rl-hdf5/hopper-v2-full.hdf5", {}),
        ("d4rl-hdf5/hopper-edge-cases.hdf5", {}),
        ("d4rl-hdf5/hopper-v0-no-timeouts.hdf5", {"final_observation": "next_row", "max_episode_steps": 25}),
    ],
    "robomimic": [
        ("robomimic-hdf5/low_dim_v141.hdf5", {}),
        ("robomimic-hdf5/image_no_next_obs_gzip.hdf5", {"final_observation": "repeat"}),
        (
            "robosuite-raw-real/v0.3.0/SawyerLift/demo.hdf5",
            {"states_as_observations": True, "rewards": "zeros", "final_observation": "repeat"},
        ),
    ],
    "maniskill": [
        ("maniskill3-h5/PickCube-rgbd", {}),
        ("maniskill3-written/PickCube-state_dict", {}),
        ("maniskill3-h5/PushT-obs-none", {"states_as_observations": True, "rewards": "zeros"}),
    ],
    "d3rlpy": [
        ("d3rlpy-2.x/tuple_obs.h5", {"final_observation": "repeat"}),
        ("d3rlpy-2.x/cartpole_many.h5", {"final_observation": "drop_last_step"}),
    ],
    "tianshou": [
        ("tianshou-hdf5/cartpole_vector.hdf5", {"final_observation": "repeat"}),
        ("tianshou-hdf5/dict_obs.hdf5", {}),
        ("tianshou-hdf5/pendulum_ring_wrapped.hdf5", {}),
    ],
    "torchrl": [
        ("torchrl-dumps/cartpole_memmap", {}),
        ("torchrl-dumps/pendulum_ring_wrapped", {}),
        ("torchrl-dumps/cartpole_two_envs", {}),
    ],
    "imitation": [
        ("imitation-arrow/cartpole", {}),
        ("imitation-arrow/pendulum_norew", {"rewards": "zeros"}),
        ("imitation-npz-real/cartpole_0_final.npz", {}),
    ],
    "rllib": [
        ("rllib-json/cartpole_plain", {}),
        ("rllib-json/cartpole_old_dones", {"done": "terminated"}),
        ("rllib-json/pendulum_no_new_obs", {"final_observation": "repeat"}),
        ("rllib-json/cartpole_multiagent_batch", {}),
        ("rllib-json/pendulum_packed", {}),
    ],
    "sb3": [("sb3-pickle/dict_obs.pkl", {})],
    "rlds": [
        ("rlds-tfds-tfrecord/padded_robot/1.0.0", {"split": "train"}),
        ("rlds-tfds-tfrecord/ragged_points/1.0.0", {}),
        ("rlds-tfds-tfrecord/minimal/1.0.0", {"rewards": "zeros"}),
        ("rlds-tfds-array-record/padded_robot/1.0.0", {"split": "train"}),
    ],
    "rl_unplugged": [
        ("rl-unplugged-raw/atari_episodes_ordered/Pong", {}),
        ("rl-unplugged-raw/dm_control_suite_episodes/cartpole_swingup", {}),
    ],
    "crowdplay": [("crowdplay-like", {"trust_pickles": True})],
    "og_marl": [("flashbax-vault/og_marl/mpe/simple_world.vlt/Poor", {"final_observation": "repeat"})],
    "lerobot": [
        ("lerobot-v3/toy_full", {"final_observation": "repeat"}),
        ("lerobot-v3/toy_demos_only", {"final_observation": "repeat", "rewards": "zeros"}),
        ("lerobot-v2.1/toy_full", {"final_observation": "repeat"}),
        ("lerobot-v1-real/pusht_image", {"final_observation": "repeat"}),
        ("lerobot-v1-real/pusht", {"final_observation": "repeat"}),
    ],
    "csv": [],
    "parquet": [],
}

_LINES = {"csv", "rllib"}

#: The errors that a damaged file may raise.
_EXPECTED = {"InterchangeError", "DataPathError"}


@dataclass(frozen=True)
class Seed:
    """A sound file or directory that is damaged.

    Attributes:
        name: of the format.
        path: of the file or directory.
        options: with which it is read.
    """

    name: str
    path: Path
    options: dict[str, Any]


@cache
def seeds(name: str, exports: Path) -> list[Seed]:
    """Return what there is to damage: samples, and an export if the format can be written.

    Args:
        name: of the format.
        exports: a directory for exports.
    """
    root = fixtures_directory()
    found = []
    for path, options in _SAMPLES[name] if root is not None else ():
        found.append(Seed(name, root / "foreign" / path, options))  # type: ignore[operator]
    if get_format(name).is_writable:
        place = exports / f"exported-{name}.{_SUFFIXES.get(name, name)}"
        export_dataset(_dataset(exports), place, name)
        found.append(Seed(name, place, {}))
    return [seed for seed in found if seed.path.exists()]


_SUFFIXES = {"d4rl": "hdf5", "robomimic": "hdf5", "d3rlpy": "h5", "tianshou": "hdf5", "imitation": "imitation"}


@cache
def _dataset(root: Path) -> Any:
    generator = np.random.default_rng(0)
    episodes = [
        EpisodeBuffer(
            observations=generator.random((steps + 1, 3)).astype(np.float32),
            actions=generator.random((steps, 2)).astype(np.float32),
            rewards=generator.random(steps).astype(np.float32),
            terminations=np.arange(steps) == steps - 1,
            truncations=np.zeros(steps, bool),
        )
        for steps in (3, 1, 4)
    ]
    box = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32), gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    return create_dataset_from_buffers(
        "fuzz/seed-v0", episodes, observation_space=box[0], action_space=box[1], root=root / "datasets"
    )


@contextmanager
def _scene(seed: Seed, other: Seed) -> Iterator[tuple[Path, Path]]:
    """Yield the directory with a copy of a seed, and the copy itself; a copy of another one is outside of it."""
    with tempfile.TemporaryDirectory() as made:
        scene = Path(made)
        place = scene / "data" / seed.path.name
        for source, copy in (
            (seed.path, place),
            (other.path, scene / "outside" / "dataset" / "data" / other.path.name),
        ):
            copy.parent.mkdir(parents=True)
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, copy)
        (scene / "outside" / "empty").mkdir()
        (scene / "outside" / "secret.txt").write_text("secret")
        yield scene, place


def _damage(rng: random.Random, seed: Seed, scene: Path, place: Path) -> str:
    """Damage a copy of a seed, and return what was done."""
    files = sorted(file for file in (scene / "data").rglob("*") if file.is_file())
    records = [file for file in files if ".tfrecord" in file.name]
    lines = [file for file in files if file.suffix in (".jsonl", ".json") or (file.suffix == ".csv")]
    with suppress(Inapplicable):
        if rng.random() < 0.4:
            return lie(rng, rng.choice(files), scene)
    with suppress(Inapplicable):
        if records and rng.random() < 0.4:
            return _lie_in_record(rng, rng.choice(records))
        if lines and rng.random() < (0.5 if seed.name in _LINES else 0.1):
            return _lie_in_lines(rng, rng.choice(lines))
    return str(mutate(rng, scene, place if place.is_dir() else place.parent))


def _lie_in_record(rng: random.Random, file: Path) -> str:
    """Change bytes of a record, and give it the checksum of the new ones."""
    content = bytearray(file.read_bytes())
    if len(content) < 16:
        raise Inapplicable
    size = int.from_bytes(content[:8], "little")
    count = rng.choice((1, 1, 2, 8))
    for _ in range(count):
        content[12 + rng.randrange(min(size, 2000) if rng.random() < 0.5 else size)] = rng.choice(
            (0, 1, 127, 128, 255, rng.randrange(256))
        )
    content[12 + size : 16 + size] = masked_checksum(bytes(content[12 : 12 + size])).to_bytes(4, "little")
    file.write_bytes(content)
    return f"{count} bytes of the record in {file.name}, with its checksum"


def _lie_in_lines(rng: random.Random, file: Path) -> str:
    """Change one value of a text, JSON or a table."""
    lines = file.read_text(encoding="utf-8").splitlines()
    number = rng.randrange(len(lines))
    line = lines[number]
    if line.startswith("{"):
        with suppress(ValueError, RecursionError):
            value, text = edit_json(rng, json.loads(line))
            lines[number] = json.dumps(value)
            file.write_text("\n".join(lines))
            return f"{file.name}:{number + 1}: {text}"
    words = list(re.finditer(r"[^,:\[\]{}]+", line))
    if not words:
        raise Inapplicable
    word = rng.choice(words)
    new = rng.choice(
        ("", "nan", "-1", "1e999", "9" * 30, "9" * 5000, "x", '"', "0x10", "\0", "[" * 5000, "a,b", "é", "../x")
    )
    lines[number] = line[: word.start()] + new + line[word.end() :]
    file.write_text("\n".join(lines), encoding="utf-8")
    return f"{file.name}:{number + 1}: {word.group()[:20]!r} is {new[:20]!r}"


def _use(seed: Seed, path: Path, scene: Path, way: str) -> str:
    """Read a mutant in one of the ways: ``read``, ``dry run``, ``import``, or ``look``, which names no format."""
    if way in ("dry run", "import"):
        options: dict[str, Any] = {"root": scene / "imported", "dry_run": way == "dry run", **seed.options}
        try:
            import_dataset(path, "fuzz/mutant-v0", seed.name, **options)
        except Exception:
            left = [str(one) for one in (scene / "imported").rglob("*") if one.is_file() and "lock" not in one.name]
            assert not left, f"left behind: {left}"
            raise
        assert way == "import" or not (scene / "imported" / "fuzz").exists()
        return way
    for _ in read(path, None if way == "look" else seed.name, **seed.options).episodes:
        pass
    return way


def _tree(directory: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
    }


@dataclass(frozen=True)
class Run:
    """The outcome of a mutant.

    Attributes:
        number: of the mutant.
        done: what was done to the seed.
        outcome: the outcome of reading it.
        wrong: what is wrong with that; empty if nothing is.
    """

    number: int
    done: str
    outcome: Outcome
    wrong: str


def runs(known: list[Seed], first: int, count: int) -> Iterator[Run]:
    """Make and read mutants of seeds, one after the other in a child process, which is replaced if it does not survive.

    Args:
        known: the seeds; mutant N is one of seed N modulo their number.
        first: number of the first mutant.
        count: how many.
    """
    number, stop = first, first + count
    while number < stop:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(reading)
                _work(known, number, min(stop, number + _PER_CHILD), writing)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(writing)
        try:
            for run in _answers(reading, child, number):
                yield run
                number = run.number + 1
        finally:
            os.close(reading)
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(child, 0)


def _work(known: list[Seed], first: int, stop: int, pipe: int) -> None:
    """Make and read mutants in this process, and write about each of them before and after it is read."""
    has_threads = any("array-record" in str(seed.path) for seed in known)  # 64 of them, each with its own address space
    limit_memory((4 * _MEGABYTES if has_threads else _MEGABYTES) * MEGABYTE)
    for number in range(first, stop):
        seed = known[number % len(known)]
        rng = random.Random(f"{seed.name}/{number}")
        way = rng.choices(("read", "dry run", "import", "look"), (4, 2, 3, 1))[0]
        with _scene(seed, rng.choice(known)) as (scene, place):
            limit_files(1 << 32)
            done = f"{_damage(rng, seed, scene, place)} ({way})"
            limit_files(LARGEST_FILE)
            before = _tree(scene / "outside")
            _send(pipe, (number, done, None, ""))
            start = time.process_time()
            outcome = outcome_of(lambda: _use(seed, place, scene, way))  # noqa: B023 (called at once)
            wrong = "wrote outside" if _tree(scene / "outside") != before else _wrong(outcome, way)
            if time.process_time() - start > _PROCESSOR_SECONDS:
                wrong = wrong or f"more than {_PROCESSOR_SECONDS:g} s"
            _send(pipe, (number, done, outcome, wrong))
        if outcome.kind == "memory" or outcome.peak > _TOO_MUCH:
            return  # what it has taken may hide what the next one takes


def _send(pipe: int, value: Any) -> None:
    data = pickle.dumps(value)
    data = len(data).to_bytes(4, "little") + data
    while data:
        data = data[os.write(pipe, data) :]


def _answers(pipe: int, child: int, number: int) -> Iterator[Run]:
    """Yield what a child process writes about mutants, until it ends, crashes or hangs."""
    done = ""
    while True:
        head = _receive(pipe, 4, _SECONDS if done else _SECONDS_TO_MAKE)
        body = None if head is None else _receive(pipe, int.from_bytes(head, "little"), _SECONDS)
        if not body:
            if done:
                is_hang = head is None or (head and body is None)
                yield Run(number, done, outcome := _end(child, is_hang=bool(is_hang)), _wrong(outcome, ""))
            elif head is None or os.waitpid(child, 0)[1]:  # making it hangs, or crashes a library that is used for it
                yield Run(number, "", Outcome("unmade"), "")
            return
        number, done, outcome, wrong = pickle.loads(body)
        if outcome is not None:
            yield Run(number, done, outcome, wrong)
            number, done = number + 1, ""


def _end(child: int, *, is_hang: bool) -> Outcome:
    if is_hang:
        return Outcome("hang", text=f"no answer within {_SECONDS:g} s")
    _, status = os.waitpid(child, 0)
    return Outcome("crash", error=name_of_signal(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else "no answer")


def _receive(pipe: int, size: int, seconds: float) -> bytes | None:
    """Return so many bytes; none at the end of the pipe, and None if they do not arrive in time."""
    data, deadline = b"", time.monotonic() + seconds
    while len(data) < size:
        if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return None
        part = os.read(pipe, size - len(data))
        if not part:
            return b""
        data += part
    return data


def _wrong(outcome: Outcome, way: str) -> str:
    if outcome.kind == "raised":
        message = outcome.text.partition("\nTraceback")[0]
        may_be_option = way == "look" or message.startswith("split is 'train', expected one of")
        is_expected = outcome.error in _EXPECTED or (may_be_option and outcome.error == "ArgumentError")
        if not outcome.is_ours or not is_expected:
            return f"{outcome.error}: {message[:200]} at {_where(outcome.text)}"
        if "\n" in message or len(message) > 2000:
            return f"a message of {len(message)} characters: {message[:300]!r}"
    elif outcome.kind != "returned":
        return f"{outcome.kind} {outcome.error} {_where(outcome.text)}"
    return f"{outcome.peak >> 20} MB" if outcome.peak > _TOO_MUCH else ""


def _where(trace: str) -> str:
    found = re.findall(r'File "([^"]*minari/[^"]+)", line (\d+)', trace)
    return (
        " < ".join(f"{path.rpartition('minari/')[2]}:{line}" for path, line in found[::-1][:3])
        if found
        else trace[-300:]
    )


def faults(name: str, count: int, exports: Path, first: int = 0) -> dict[str, list[str]]:
    """Return what went wrong with mutants of a format, with the numbers of the mutants and what was done to them."""
    found: dict[str, list[str]] = {}
    known = seeds(name, exports)
    for run in runs(known, first, count) if known else ():
        if run.wrong:
            seed = known[run.number % len(known)]
            found.setdefault(re.sub(r"/tmp\S*|\d+ MB|0x[0-9a-f]+", "…", run.wrong), []).append(
                f"{name}/{run.number} {seed.path.name}: {run.done[:200]}"
            )
    return found


def main(arguments: list[str]) -> None:
    """Read mutants of the named formats, or of all of them."""
    count, names = int(arguments[0]), arguments[1:] or formats()
    with tempfile.TemporaryDirectory() as exports:
        for name in names:
            only, _, number = name.partition("/")
            wrong = faults(only, 1 if number else count, Path(exports), int(number or 0))
            print(f"== {only}: {sum(map(len, wrong.values()))} of {count}", flush=True)
            for what, where in wrong.items():
                print(f"  {len(where)} × {what}\n      {where[0]}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
