"""Typical use of a dataset, from the first look to changing it, step by step.

Every step is tried whatever became of those before, since programs catch errors, too.
"""

from __future__ import annotations

import os
import random
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import minari
from minari.errors import MinariError
from minari.inspection import EpisodeReader, overview_of

from .fingerprints import FIELDS, Fingerprint, fingerprint_of, fingerprint_of_episode
from .mutations import Mutation
from .subjects import AROUND, OTHER, SUBJECT, Known, Subject


NEW = "fuzz/new-v0"
#: How many mutants are changed as well, and not only read; these are used further when loading is refused, too.
CHANGED = 0.25


@dataclass
class Step:
    """The outcome of one step; the fields are those of a :class:`~fuzz.verdicts.Verdict`."""

    name: str
    kind: str
    error: str = ""
    text: str = ""


@dataclass
class User:
    """Somebody who uses a dataset of a scene.

    Attributes:
        scene: where it lies.
        subject: what it was made as.
        mutation: what was done to it.
        known: of the dataset and its sibling, before that.
        rng: chooses what is done.
        thorough: do everything, and not one change of each mutant.
        only_verify: read and validate it, and change nothing.
    """

    scene: Path
    subject: Subject
    mutation: Mutation
    known: Known
    rng: random.Random
    thorough: bool = False
    only_verify: bool = False
    steps: list[Step] = field(default_factory=list)
    dataset: Any = None  # as it was loaded
    seen: Fingerprint | None = None  # what was read
    current: str = ""
    accepted: list[Fingerprint] = field(init=False)  # what may be read, with what was appended

    def __post_init__(self) -> None:
        self.accepted = self.known.accepted

    @property
    def root(self) -> Path:
        return self.scene / "root"

    @property
    def remote(self) -> str:
        return f"file://{self.scene / 'remote'}"

    def _load_dataset(self, dataset_id: str = SUBJECT) -> Any:
        return minari.load_dataset(dataset_id, root=self.root)

    def use(self) -> Iterator[str]:
        """Take the steps; the name of each is given before it is taken."""
        reading: list[Callable[[], Any]] = [self._list, self._load, self._metadata, self._parts, self._look]
        changing: list[Callable[[], Any]] = [
            *(self._convert, self._convert_otherwise, self._combine, self._append, self._append_stored),
            *(self._continue, self._change_metadata, self._repack, self._upload, self._show, self._validate),
        ]
        last: list[Callable[[], Any]] = [self._list]
        if self.only_verify:
            changing = [self._validate]
        elif not self.thorough:
            changing = self.rng.sample(changing, 1) if self.rng.random() < CHANGED else []
        if not changing:
            last = []
        first: list[Callable[[], Any]] = [self._list_remote, self._download] if self.subject.is_remote else []
        for step in (*first, *reading, self._verified, *changing, *last):
            if step in (self._metadata, self._parts, self._look) and self.dataset is None and not changing:
                continue  # they would only be refused as loading was
            self.current = step.__name__.strip("_")
            yield self.current
            self._attempt(step)

    def _attempt(self, step: Callable[[], Any]) -> None:
        name = step.__name__.strip("_")
        try:
            problem = step()
        except MinariError as error:
            self.steps.append(Step(name, "refused", type(error).__name__, str(error)[:300]))
        except MemoryError:
            self.steps.append(Step(name, "memory", "MemoryError", traceback.format_exc()[-3000:]))
        except Exception as error:
            text = f"{type(error).__name__}: {str(error)[:300]}\n{traceback.format_exc()[-3000:]}"
            self.steps.append(Step(name, "foreign", type(error).__name__, text))
        else:
            kind, _, text = (problem or "ok").partition(": ")
            self.steps.append(Step(name, kind, "", text))

    # Reading

    def _list(self) -> None:
        minari.list_local_datasets(root=self.root)
        for namespace in minari.namespace.list_local_namespaces(root=self.root):
            minari.namespace.get_namespace_metadata(namespace, root=self.root)

    def _list_remote(self) -> None:
        minari.list_remote_datasets(self.remote, max_workers=2)
        minari.namespace.list_remote_namespaces(remote=self.remote)

    def _download(self) -> None:
        minari.download_dataset(SUBJECT, remote=self.remote, root=self.root, max_workers=2)

    def _load(self) -> str:
        self.dataset = self._load_dataset()
        self.seen = fingerprint_of(self.dataset)
        return self._judge(self.seen, verified=False)

    def _verified(self) -> str:
        dataset = minari.open_dataset(self.root / SUBJECT, verify_checksums=True)
        return self._judge(fingerprint_of(dataset), verified=True)

    def _judge(self, found: Fingerprint, *, verified: bool) -> str:
        if found in self.accepted:
            return ""
        own = {digest for fingerprint in self.accepted for digest in fingerprint}
        if self.mutation.links_out and set(found) & set(self.known.other) - own:
            return "escape: values were read through a link that leads out of the dataset"
        # The checksums of HDF5 lie in its index: where that is damaged, nothing is left to compare values with.
        # Of a leaf that is called or typed otherwise now, as after a change by another program, there is none either;
        # the library says so of such an episode.
        verifiable = self.known.verifiable and "/.index." not in str(self.mutation) and not self._lacks_checksums()
        if verified and verifiable and self.mutation.sort == "damage":
            wrong = [number for number, digest in enumerate(found) if digest not in self.accepted[0][number:][:1]]
            return f"wrong: {len(found)} episodes, other values in {wrong[:5]}"
        return "unverified: other values"

    def _lacks_checksums(self) -> bool:
        try:
            storage = self._load_dataset().storage
            return bool(storage._episodes_without_checksums(range(storage.total_episodes)))
        except MinariError:
            return False

    def _metadata(self) -> str | None:
        dataset = self.dataset or self._load_dataset()
        storage = dataset.storage
        for metadata in storage.get_episode_metadata(range(storage.total_episodes)):
            repr(metadata)
        storage.get_episode_lengths()
        _ = repr(dataset), dataset.combined_datasets, dataset.minari_version, storage.get_size()
        for name in ("env_spec", "eval_env_spec", "spec", "observation_space", "action_space"):
            repr(getattr(dataset, name))
        dataset.statistics()
        if self.mutation.links_out and storage.metadata.get("description") == "foreign":
            return "escape: the metadata is that of another dataset, read through a link"
        return None

    def _parts(self) -> str | None:
        dataset = self.dataset or self._load_dataset()
        dataset.filter_episodes(lambda episode: float(np.sum(episode.rewards)) > 0)
        dataset.set_seed(1)
        dataset.sample_episodes(min(1, len(dataset)))
        for episode in list(dataset.storage.get_episodes(range(len(dataset)), copy=False)):
            number, rewards = episode["id"], episode["rewards"]
            start = self.rng.randrange(len(rewards)) if len(rewards) else 0
            window = dataset.storage.get_window(number, start, len(rewards))
            if not np.array_equal(window["rewards"], rewards[start:]) and self.seen in self.accepted:
                return f"wrong: a window of episode {number} has other rewards than the episode"
        if len(dataset) and not dataset.agents:
            arrays, starts = dataset.arrays(), dataset.arrays(fields=[])["episode_starts"]
            for place, episode in enumerate(dataset):
                rewards = arrays["rewards"][starts[place] : starts[place + 1]]
                if not np.array_equal(np.ravel(rewards), np.ravel(episode.rewards), equal_nan=True):
                    return f"wrong: the arrays have other rewards of episode {place} than the episode"
        return None

    def _look(self) -> None:
        dataset = self.dataset or self._load_dataset()
        reader = EpisodeReader(dataset.storage, len(dataset) - 1)
        for leaf in reader.leaves:
            overview_of(reader, leaf.name)
            if leaf.kind == "frames":
                reader.frames(leaf.name, 0, 2)

    # Changing

    def _compare_copy(self, dataset: Any, expected: Fingerprint | None) -> str:
        """A copy must hold what was read from the original; of sound data that is what was written."""
        found = fingerprint_of(dataset)
        if expected is None or found == expected or self.seen not in self.accepted:
            return ""
        if self.subject.released is not None and self.subject.family != dataset.storage.FORMAT:
            return "unverified: a copy in another format"
        return "wrong: a copy has other values than its original"

    def _convert(self) -> str:
        copy = self._load_dataset().convert(f"{NEW[:-1]}1", root=self.root)
        return self._compare_copy(copy, self.seen)

    def _convert_otherwise(self) -> str:
        source = self._load_dataset()
        others = [name for name in ("hdf5", "arrow", "parquet", "zarr") if name != source.storage.FORMAT]
        copy = source.convert(f"{NEW[:-1]}2", self.rng.choice(others), root=self.root)
        return self._compare_copy(copy, self.seen)

    def _combine(self) -> str:
        datasets = [self._load_dataset(name) for name in (SUBJECT, OTHER)]
        both = minari.combine_datasets(datasets, f"{NEW[:-1]}3", root=self.root)
        return self._compare_copy(both, None if self.seen is None else self.seen + self.known.other)

    def _append(self) -> str:
        episode = self._load_dataset(OTHER)[0]
        buffer = minari.data_collector.EpisodeBuffer(**{name: getattr(episode, name) for name in FIELDS})
        self._load_dataset().update_dataset_from_buffer([buffer])
        return self._compare_appended(fingerprint_of_episode(episode))

    def _append_stored(self) -> str:
        other = self._load_dataset(OTHER)
        self._load_dataset().storage.update_from_storage(other.storage, [0])
        return self._compare_appended(fingerprint_of_episode(other[0]))

    def _compare_appended(self, new: str) -> str:
        if self._load_dataset().storage.jpeg_encoding:  # what is encoded again is not the same
            new = fingerprint_of(self._load_dataset())[-1]
        expected = None if self.seen is None else (*self.seen, new)
        result = self._compare_copy(self._load_dataset(), expected)
        if expected is not None and not result:
            self.seen = expected
            self.accepted = [*self.accepted, *((*known, new) for known in self.accepted)]
        return result

    def _continue(self) -> None:
        episode = self._load_dataset(OTHER)[0]
        columns = {name: getattr(episode, name) for name in FIELDS}
        columns |= {name: _without_first(columns[name]) for name in ("observations", "infos")}
        self._load_dataset().storage.update_episodes([minari.data_collector.EpisodeBuffer(id=0, **columns)])
        self._accept_anything()

    def _accept_anything(self) -> None:
        self.seen = fingerprint_of(self._load_dataset())
        if self.accepted and self.seen[1:] == self.accepted[0][1:]:
            self.accepted = [*self.accepted, self.seen]

    def _change_metadata(self) -> None:
        dataset = self._load_dataset()
        dataset.storage.update_metadata({"note": "mine"})
        dataset.storage.update_episode_metadata([{"mine": 1}] * dataset.storage.total_episodes)
        list(self._load_dataset().storage.get_episode_metadata([0]))

    def _repack(self) -> str:
        self._load_dataset().storage.repack(compression="gzip" if self.rng.random() < 0.3 else None)
        return self._compare_copy(self._load_dataset(), self.seen)

    def _upload(self) -> None:
        (self.scene / "sent").mkdir(exist_ok=True)
        minari.upload_dataset(SUBJECT, remote=f"file://{self.scene / 'sent'}", root=self.root, validate=False)

    # The command line

    def _show(self) -> None:
        _command("show", SUBJECT, root=self.root)

    def _validate(self) -> None:
        _command("validate", "--checksums", SUBJECT, root=self.root)


def _without_first(columns: Any) -> Any:
    if isinstance(columns, dict):
        return {key: _without_first(part) for key, part in columns.items()}
    if isinstance(columns, tuple):
        return tuple(_without_first(part) for part in columns)
    return columns[1:]


def _command(*arguments: str, root: Path) -> None:
    """Run a command in this process; it tells errors of the library by its exit code, and lets others pass."""
    os.environ["MINARI_DATASETS_PATH"] = str(root)
    with warnings.catch_warnings():
        try:
            command_line()(list(arguments), standalone_mode=False)
        except SystemExit as end:
            code = end.code
        except Exception as error:
            if type(error).__name__ not in ("Exit", "Abort", "ClickException", "UsageError"):
                raise
            code = getattr(error, "exit_code", 1)
        else:
            code = 0
    if code:
        raise MinariError(f"{arguments[0]} ended with {code}")


@cache
def command_line() -> Any:
    """The command line, whose making takes longer than most commands."""
    from typer.main import get_command

    from minari.cli import app

    return get_command(app)


# What must not happen


class Guard:
    """Looks out for what no dataset may cause: by a hook of the interpreter, and by looking at files after that.

    Args:
        scene: where a dataset may cause files to be opened and changed.
    """

    def __init__(self) -> None:
        self.scene = ""
        self.seen: list[str] = []
        self.is_sound = False  # whether nothing around the dataset was changed
        self._before: Any = None
        sys.addaudithook(self._hook)

    def look(self, scene: Path) -> None:
        """See what lies around a dataset that was just set up."""
        self._before = _state(scene)

    def begin(self, scene: Path) -> None:
        """Watch from here."""
        self.seen.clear()
        self.scene = f"{scene}{os.sep}"

    def end(self, scene: Path) -> list[str]:
        """Return the forbidden events that happened."""
        self.scene = ""
        after = _state(scene)
        self.is_sound = after == self._before
        changed = [name for name in sorted({*after, *self._before}) if after.get(name) != self._before.get(name)]
        return [*self.seen, *(f"{name} was changed" for name in changed)]

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.scene:
            return
        if event == "open":
            self._opened(*arguments)
        elif event == "subprocess.Popen" and arguments[0] == sys.executable and "hdf5.child" in str(arguments[1]):
            return  # the process that the library lets h5py read damaged files in
        elif event in _COMMANDS or (event == "import" and str(arguments[0]).startswith("fuzz_bait")):
            self.seen.append(f"{event}{arguments[:2]!r:.200}")
        elif event in _CHANGES and isinstance(arguments[0], (str, os.PathLike)):
            path = os.fspath(arguments[0])
            if path.startswith("/") and not path.startswith((self.scene, *_OURS)):
                self.seen.append(f"{event} {path}")

    def _opened(self, path: Any, mode: Any, flags: Any) -> None:
        if not isinstance(path, (str, os.PathLike)):
            return
        text = os.fspath(path)
        if text.startswith((f"{self.scene}outside/", "/etc/passwd")):
            self.seen.append(f"opened {text}")
        elif not text.startswith("/") or text.startswith((self.scene, *_OURS)):
            return
        elif isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR):
            self.seen.append(f"opened {text} for writing")


_COMMANDS = frozenset(
    ["os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "pickle.find_class", "socket.connect"]
)
_CHANGES = frozenset(
    ["os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "shutil.rmtree", "os.link"]
)
#: Where the harness and the standard library put what they need.
_OURS = ("/tmp/", "/dev/null", "/dev/shm/", "/proc/self/")


def _state(scene: Path) -> dict[str, Any]:
    """Files around the dataset: texts outside with their content, other files with size and time."""
    found: dict[str, Any] = {}
    for base in AROUND:
        for path, directories, names in os.walk(scene / base):
            for name in (*directories, *names):
                full = f"{path}/{name}"
                status = os.lstat(full)
                if name in directories:
                    found[full] = "directory"
                elif not name.startswith("."):  # locks and indexes are made by whoever reads, or writes
                    found[full] = (status.st_size, status.st_mtime_ns, status.st_mode)
    return found
