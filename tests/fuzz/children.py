"""The server of a run: it has imported everything, and forks a child for each batch of mutants.

It is a program of its own, so that it has no threads when it forks: ``python -m fuzz.children`` reads a
:class:`~fuzz.campaign.Order` as JSON from its standard input, and writes one verdict a line.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import pickle
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from support.limits import (
    LARGEST_FILE,
    MEGABYTE,
    forget_peak,
    limit_files,
    limit_memory,
    memory_of_this_process,
    name_of_signal,
)

from . import subjects
from .mutations import bomb, mutate
from .subjects import FAMILIES, SUBJECTS, Stage, Subject
from .using import Guard, Step, User, command_line
from .verdicts import Verdict


BATCH = 250
#: Resident memory beyond that at the beginning of a mutant that is too much, as all datasets are tiny.
TOO_MUCH = 192 * MEGABYTE
ADDRESS_SPACE = 1024 * MEGABYTE
_LOADED = (
    "minari.cli.commands",
    "minari.cli.show",
    "minari.cli.running",
    "minari.cli.validate",
    "minari.data_collector",
    "minari.namespace",
    "minari._catalog.recordings",
    "minari._model.version_intervals",
    "minari._storages.hdf5.legacy",
    "minari._storages.hdf5.process",
    "minari._storages.hdf5.storage",
    "minari._storages.arrow.storage",
    "minari._storages.zarr.storage",
    "minari.storage.hosting",
    "minari.storage.local",
    "minari.storage.remote_namespaces",
    "minari.storage.remotes.directory",
    "minari.dataset.combine",
    "minari.dataset.convert",
    "minari.dataset.from_buffers",
    "gymnasium.envs.classic_control",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "h5py",
    "zarr",
    "PIL.Image",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "rich.table",
    "typer._adapters",
)

Masters = dict[str, tuple[Path, subjects.Known]]


class Server:
    """Runs mutants in children.

    Args:
        work: an empty directory.
        seconds: after which a mutant that says nothing is killed.
        thorough: whether each mutant is used in every way.
        only: as for :func:`~fuzz.mutations.mutate`.
        keep: a directory for the files of mutants, or None.
    """

    def __init__(self, work: Path, *, seconds: float, thorough: bool, only: str, keep: Path | None) -> None:
        self._work, self._seconds, self._thorough, self._only, self._keep = work, seconds, thorough, only, keep
        self._masters: Masters = {}

    def prepare(self, families: Collection[str]) -> None:
        """Import what is used, and let a child make the datasets."""
        for name in _LOADED:
            try:
                import_module(name)
            except ImportError:
                continue  # an older Python, for which there is no zarr
        command_line()
        wanted = [subject for family in families for subject in SUBJECTS[family] if not subject.missing]
        answer = self._work / "masters"
        child = os.fork()
        if child == 0:
            try:
                _be_quiet(self._work)
                answer.write_bytes(pickle.dumps({subject.name: _make(subject, self._work) for subject in wanted}))
                os._exit(0)
            except BaseException:
                (self._work / "failed").write_text(traceback.format_exc())
            finally:
                os._exit(1)
        os.waitpid(child, 0)
        if not answer.exists():
            raise RuntimeError(f"The datasets cannot be made: {(self._work / 'failed').read_text()}")
        self._masters = pickle.loads(answer.read_bytes())
        if "remote" in families:
            bomb()  # once, and not in every child
        gc.collect()
        gc.freeze()  # else a child copies all memory when it collects what is not in use

    def run(self, seeds: Sequence[int]) -> Iterator[Verdict]:
        """The verdicts of these seeds, those of one subject together: what lies around it stays in place then."""
        seeds = sorted(seeds, key=lambda seed: _name_of_subject(seed, self._only))
        for start in range(0, len(seeds), BATCH):
            for verdict in self._run_batch(list(seeds[start : start + BATCH])):
                yield self._alone(verdict) if verdict.failed and len(seeds) > 1 else verdict

    def _alone(self, verdict: Verdict) -> Verdict:
        """A failure with whether it is one as well in a process of its own."""
        (again,) = self._run_batch([verdict.seed])
        if verdict.kind == "hang":  # or the machine stood still
            return again
        return replace(verdict, alone=again.failed)

    def _run_batch(self, seeds: list[int]) -> Iterator[Verdict]:
        while seeds:
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                try:
                    os.close(reading)
                    self._be_child(seeds, os.fdopen(writing, "w", buffering=1))
                    os._exit(0)
                except BaseException:
                    (self._work / "failed").write_text(traceback.format_exc())
                finally:
                    os._exit(1)
            os.close(writing)
            current: dict[str, Any] = {}
            for message in self._messages(child, reading):
                if "kind" in message:
                    yield Verdict(**message)
                    seeds = seeds[1:]
                    current = {}
                elif message.get("died") == "ended":
                    if seeds:
                        raise RuntimeError(f"The harness failed: {current} {(self._work / 'failed').read_text()}")
                elif "died" in message:
                    yield self._of_the_dead(seeds[0], current, message["died"])
                    seeds = seeds[1:]
                else:
                    current |= message
            shutil.rmtree(self._slot(child), ignore_errors=True)

    def _messages(self, child: int, reading: int) -> Iterator[dict[str, Any]]:
        """Return the output of a child and how it ended."""
        rest = b""
        hung = False
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            while True:
                if not select.select([pipe], [], [], self._seconds)[0]:
                    hung = True
                    _end(child)
                    break
                part = pipe.read(1 << 16)
                if not part:
                    break
                *lines, rest = (rest + part).split(b"\n")
                yield from map(json.loads, lines)
        _, status = os.waitpid(child, 0)
        if hung:
            yield {"died": "hang"}
        else:
            yield {"died": name_of_signal(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else "ended"}

    def _of_the_dead(self, seed: int, current: dict[str, Any], died: str) -> Verdict:
        try:
            trace = (self._work / "crash.txt").read_text(errors="replace")[-20_000:]
        except OSError:
            trace = ""
        kind = "hang" if died == "hang" else "crash"
        if current.get("step") == "mutate":  # a library that was to lie has met its own
            kind = "ok"
        fields = {name: current.get(name, "") for name in ("subject", "mutation", "sort", "step")}
        return Verdict(seed, **fields, kind=kind, error=died, text=trace)

    # In the child

    def _slot(self, process: int) -> Path:
        return self._work / f"slot-{process}"

    def _be_child(self, seeds: list[int], pipe: TextIO) -> None:
        trace = _be_quiet(self._work)
        stages: dict[str, Stage] = {}
        guard = Guard()
        last = None  # the stage that was set up last
        for seed in seeds:
            limit_memory(ADDRESS_SPACE)
            trace.seek(0)
            trace.truncate()
            rng = random.Random(seed)
            subject = draw_subject(rng, seed, self._only)
            if subject is None:
                print(json.dumps(Verdict(seed, FAMILIES[seed % 5], "none", "", "ok").as_json()), file=pipe)
                continue
            stage = stages.get(subject.name)
            if stage is None:
                stage = stages[subject.name] = Stage(self._masters[subject.name][0], self._slot(os.getpid()))
            around = stage is not last or not guard.is_sound
            stage.set_up(around=around)
            last = stage
            if around:
                guard.look(stage.place)
            verdict = self._use(seed, subject, rng, stage.place, guard, pipe)
            print(json.dumps(verdict.as_json()), file=pipe)
        shutil.rmtree(self._slot(os.getpid()), ignore_errors=True)

    def _use(self, seed: int, subject: Subject, rng: random.Random, scene: Path, guard: Guard, pipe: TextIO) -> Verdict:
        data = scene / ("remote" if subject.is_remote else subjects.DATA)
        if subject.pending or subject.released or subject.is_remote or subject.family != "hdf5" or rng.random() < 0.7:
            pass
        else:  # the index of a copy is known to be another file's
            shutil.rmtree(data.parent)
            subjects.create(subject, subjects.SUBJECT, 0, scene / "root")
        print(json.dumps({"subject": subject.name, "step": "mutate"}), file=pipe)
        limit_files(resource.RLIM_INFINITY)
        mutation = mutate(rng, scene, data, only=self._only)
        limit_files(LARGEST_FILE)
        facts = {"subject": subject.name, "mutation": str(mutation), "sort": mutation.sort}
        print(json.dumps(facts), file=pipe)
        if self._keep is not None:
            shutil.copytree(scene, self._keep, symlinks=True, dirs_exist_ok=True, ignore=_only_regular)
        _, known = self._masters[subject.name]
        user = User(scene, subject, mutation, known, rng, self._thorough, self._only == "flip")
        forget_peak()
        resident = memory_of_this_process("VmRSS")
        guard.begin(scene)
        for name in user.use():
            print(json.dumps({"step": name}), file=pipe)
        steps = [*user.steps, *(Step("after", "escape", "", text) for text in guard.end(scene))]
        grown = memory_of_this_process("VmHWM") - resident
        if grown > TOO_MUCH:
            steps.append(Step("after", "memory", "peak", f"{grown >> 20} MB more than before were resident"))
        verdicts = [
            Verdict(seed, **facts, kind=s.kind, step=s.name, error=s.error, text=s.text, steps=len(steps))
            for s in steps
        ]
        return Verdict.worst(verdicts)


def _end(child: int) -> None:
    """End a child that hangs; it says where, unless it cannot even do that."""
    os.kill(child, signal.SIGABRT)
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)


def draw_subject(rng: random.Random, seed: int, only: str = "") -> Subject | None:
    """The dataset of a seed; None where it cannot be made here. Flipped bits are for those with checksums."""
    of_family = [subject for subject in SUBJECTS[FAMILIES[seed % len(FAMILIES)]] if not subject.missing]
    if only == "flip":
        of_family = [subject for subject in of_family if not subject.pending and subject.released is None]
    return rng.choice(of_family) if of_family else None


def _name_of_subject(seed: int, only: str) -> str:
    subject = draw_subject(random.Random(seed), seed, only)
    return "" if subject is None else subject.name


def _make(subject: Subject, work: Path) -> tuple[Path, subjects.Known]:
    """A scene, and what is known of its two datasets."""
    scene = work / "masters-of" / subject.name.replace("/", "-")
    scene.parent.mkdir(exist_ok=True)
    subjects.build_scene(subject, scene)
    copy = work / "copy"
    shutil.copytree(scene, copy)
    known = subjects.known_of(subject, copy)
    shutil.rmtree(copy)
    return scene, known


def _only_regular(directory: str, names: list[str]) -> list[str]:
    paths = [Path(directory, name) for name in names]
    return [path.name for path in paths if not (path.is_symlink() or path.is_file() or path.is_dir())]


def _be_quiet(work: Path) -> TextIO:
    """Silence the output; a crash is reported in a file."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    warnings.simplefilter("ignore")
    trace = (work / "crash.txt").open("w")
    faulthandler.enable(trace)
    os.environ["MINARI_DATASETS_PATH"] = str(work / "nothing")
    os.environ["HOME"] = str(work / "home")
    tempfile.tempdir = str(work)
    return trace


def main() -> None:
    """Serve one order."""
    order = json.load(sys.stdin)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    seeds: list[int] = order["seeds"]
    with tempfile.TemporaryDirectory(prefix="minari-fuzz-", dir=order["work"], ignore_cleanup_errors=True) as work:
        keep = Path(order["keep"]) if order["keep"] else None
        server = Server(Path(work), seconds=order["seconds"], thorough=order["thorough"], only=order["only"], keep=keep)
        server.prepare(sorted({FAMILIES[seed % len(FAMILIES)] for seed in seeds}, key=FAMILIES.index))
        for verdict in server.run(seeds):
            print(json.dumps(verdict.as_json()), file=out)


if __name__ == "__main__":
    main()
