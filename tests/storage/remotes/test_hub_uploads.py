"""The Hugging Face Hub: what an upload leaves there, however it goes."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gymnasium as gym
import huggingface_hub
import pytest

import minari
from minari.errors import DatasetBusyError, DatasetExistsError, RemoteError, RemoteUnreachableError
from minari.progress import ProgressTask, observe_progress
from minari.storage.remotes import CloudStorage, get_cloud_storage
from minari.storage.remotes.hub.card_text import number
from minari.storage.remotes.hub.dataset_card import CARD_MARKER
from minari.storage.transfer import limits
from minari.storage.transfer.index import INDEX_FILE_NAME, parse_index
from minari.storage.transfer.limits import Limits
from minari.storage.transfer.manifest import Manifest
from minari.testing.sharing import tree, write_dataset, write_namespace
from support.programs import start
from support.servers.hub import HubServer


NAMESPACE_FILE = "namespace_metadata.json"


def content(size: int, seed: int = 0) -> bytes:
    return bytes((index * 131 + seed) % 251 for index in range(1000)) * (size // 1000)


def test_what_lies_in_a_repository(hub: HubServer, datasets_root: Path) -> None:
    """Large contents as LFS, small ones not; in one commit, registered, with an index and cards."""
    files = {"data/main_data.hdf5": content(50_000), "data/0/part-0.arrow": b"a", "data/0/metadata.json": b"{}"}
    directory = write_dataset(datasets_root, "n/deep/x-v0", files=files, description="About it.")
    get_cloud_storage("hf://lab").upload_dataset("n/deep/x-v0")
    there = hub.files("lab/n")
    assert sorted(there) == [
        "README.md",
        INDEX_FILE_NAME,
        f"deep/{NAMESPACE_FILE}",
        "deep/x-v0/README.md",
        *sorted(f"deep/x-v0/{name}" for name in [*files, "data/manifest.json", "data/metadata.json"]),
        NAMESPACE_FILE,
    ]
    metadata = (directory / "data/metadata.json").read_bytes()
    assert there["deep/x-v0/data/metadata.json"] == metadata
    assert json.loads(there[NAMESPACE_FILE]) == {"datasets": ["n/deep/x-v0"], "namespaces": ["n/deep"]}
    assert parse_index(there[INDEX_FILE_NAME]) == {"deep/x-v0": metadata}
    manifest = Manifest.parse(there["deep/x-v0/data/manifest.json"], "there")
    assert sorted(manifest.files) == sorted([*files, "data/metadata.json"])
    assert CARD_MARKER in there["README.md"].decode()
    assert "n/deep/x-v0" in there["README.md"].decode()
    assert "About it." in there["deep/x-v0/README.md"].decode()
    assert "minari download hf://lab/n/deep/x-v0" in there["deep/x-v0/README.md"].decode()
    large = {path for path, blob in hub.blobs("lab/n").items() if blob.lfs}
    assert large == {"deep/x-v0/data/main_data.hdf5", "deep/x-v0/data/0/part-0.arrow", INDEX_FILE_NAME}
    assert len(hub.repositories.by_name["lab/n"].commits) == 2  # with that which makes it
    assert hub.repositories.by_name["lab/n"].tags == ["minari", "reinforcement-learning", "offline-rl"]


def test_one_without_a_namespace(hub: HubServer, datasets_root: Path, tmp_path: Path) -> None:
    directory = write_dataset(datasets_root, "x-v0", files={"data/a.txt": b"a"})
    remote = get_cloud_storage("hf://lab")
    remote.upload_dataset("x-v0")
    there = hub.files("lab/x-v0")
    assert json.loads(there[NAMESPACE_FILE]) == {}
    assert "minari download hf://lab/x-v0" in there["README.md"].decode()
    assert remote.list_namespaces() == []
    remote.download_dataset("x-v0", tmp_path)
    assert tree(tmp_path / "x-v0") == tree(directory)


def test_texts_of_others_stay(hub: HubServer, datasets_root: Path, tmp_path: Path) -> None:
    """Cards and the keys of a namespace: only those created by this library are rewritten."""
    remote = get_cloud_storage("hf://lab")
    write_namespace(datasets_root, "n", description="Mine.", datasets=["left/over-v0"])
    remote.upload_namespace("n")
    write_dataset(datasets_root, "n/x-v0", files={"README.md": b"Read this."})
    remote.upload_dataset("n/x-v0")
    write_dataset(datasets_root, "n/y-v0")
    remote.upload_dataset("n/y-v0")
    there = hub.files("lab/n")
    assert json.loads(there[NAMESPACE_FILE]) == {"description": "Mine.", "datasets": ["n/x-v0", "n/y-v0"]}
    assert there["x-v0/README.md"] == b"Read this."
    assert all(name in there["README.md"].decode() for name in ("n/x-v0", "n/y-v0"))
    remote.download_namespace_metadata("n", tmp_path)
    assert json.loads((tmp_path / "n" / NAMESPACE_FILE).read_text()) == {"description": "Mine."}

    hub.put("lab/n", {"README.md": b"# Ours, by hand", "z-v0/README.md": b"# Before the data"})
    write_dataset(datasets_root, "n/z-v0")
    remote.upload_dataset("n/z-v0")
    there = hub.files("lab/n")
    assert there["README.md"] == b"# Ours, by hand"
    assert there["z-v0/README.md"] == b"# Before the data"
    write_namespace(datasets_root, "n", description="Changed.")
    commits = len(hub.repositories.by_name["lab/n"].commits)
    for _ in range(2):
        remote.upload_namespace("n")
    assert len(hub.repositories.by_name["lab/n"].commits) == commits + 1
    register = json.loads(hub.files("lab/n")[NAMESPACE_FILE])
    assert register == {"description": "Changed.", "datasets": ["n/x-v0", "n/y-v0", "n/z-v0"]}


def test_a_register_that_is_damaged(hub: HubServer, datasets_root: Path) -> None:
    hub.put("lab/n", {NAMESPACE_FILE: b"[1]"})
    write_dataset(datasets_root, "n/x-v0")
    with pytest.raises(RemoteError, match="not a JSON object"):
        get_cloud_storage("hf://lab").upload_dataset("n/x-v0")


def test_what_was_left_of_something_else_goes(hub: HubServer, datasets_root: Path, tmp_path: Path) -> None:
    hub.put("lab/n", {"x-v0/data/0/part-0.arrow": b"old", "x-v0/data/main_data.hdf5": b"old", "x-v01/data/a": b"?"})
    directory = write_dataset(datasets_root, "n/x-v0")
    remote = get_cloud_storage("hf://lab")
    remote.upload_dataset("n/x-v0")
    assert "x-v0/data/0/part-0.arrow" not in hub.files("lab/n")
    assert "x-v01/data/a" in hub.files("lab/n")
    remote.download_dataset("n/x-v0", tmp_path)
    assert tree(tmp_path / "n/x-v0") == tree(directory)


def test_contents_in_parts(hub: HubServer, datasets_root: Path, tmp_path: Path) -> None:
    big = content(1_000_000)
    directory = write_dataset(
        datasets_root, "n/x-v0", files={"data/main_data.hdf5": big, "data/b.hdf5": content(64_000)}
    )
    remote = get_cloud_storage("hf://lab")
    hub.part_size, whole = 64_000, hub.part_size
    hub.fail(r"/upload/\w+/3", status=403)  # as one whose address has become too old
    try:
        remote.upload_dataset("n/x-v0")
    finally:
        hub.part_size = whole
    assert hub.received[hashlib.sha256(big).hexdigest()] >= 1_000_000
    remote.download_dataset("n/x-v0", tmp_path)
    assert tree(tmp_path / "n/x-v0") == tree(directory)


def test_what_the_hub_has_is_not_sent_again(hub: HubServer, datasets_root: Path) -> None:
    """The same contents under another id, and several times in one dataset."""
    big = content(300_000)
    digest = hashlib.sha256(big).hexdigest()
    for version in range(2):
        write_dataset(datasets_root, f"n/x-v{version}", files={"data/a.hdf5": big, "data/b.hdf5": big})
        get_cloud_storage("hf://lab").upload_dataset(f"n/x-v{version}")
    assert hub.received[digest] == len(big)


def test_files_that_a_repository_ignores_are_uploaded(hub: HubServer, datasets_root: Path, tmp_path: Path) -> None:
    """Also those that have the same content as another, about which the Hub is asked later."""
    hub.put("lab/n", {".gitignore": b"*.hdf5\n*.json\n"})
    files = {"data/a.hdf5": b"same", "data/b.hdf5": b"same", "data/c.json": b"{}"}
    directory = write_dataset(datasets_root, "n/x-v0", files=files)
    remote = get_cloud_storage("hf://lab")
    remote.upload_dataset("n/x-v0")
    remote.download_dataset("n/x-v0", tmp_path)
    assert tree(tmp_path / "n/x-v0") == tree(directory)


def test_a_name_that_no_repository_has(hub: HubServer, datasets_root: Path) -> None:
    write_dataset(datasets_root, "a--b/x-v0")
    with pytest.raises(RemoteError, match="no repositories of such a name"):
        get_cloud_storage("hf://lab").upload_dataset("a--b/x-v0")


def test_a_card_that_the_hub_refuses(hub: HubServer, datasets_root: Path) -> None:
    write_dataset(datasets_root, "x-v0", files={"README.md": b"---\nlicense: unheard-of\n---\n"})
    with pytest.raises(RemoteError, match='"license" must be one of'):
        get_cloud_storage("hf://lab").upload_dataset("x-v0")


@pytest.mark.parametrize("gone", ["before", "while"])
def test_a_file_that_is_gone_when_it_is_sent(
    gone: str, hub: HubServer, datasets_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = write_dataset(datasets_root, "n/x-v0", files={"data/a.hdf5": b"a"})
    remote = get_cloud_storage("hf://lab")
    original = hub.note

    def note(method: str, path: str) -> None:
        if gone == "before" or "/lfs/objects" in path:
            (directory / "data/a.hdf5").unlink(missing_ok=True)
        original(method, path)

    monkeypatch.setattr(hub, "note", note)
    with pytest.raises(DatasetBusyError, match=r"a\.hdf5"):
        remote.upload_dataset("n/x-v0")


def test_a_dataset_that_changes_while_it_is_sent(
    hub: HubServer, datasets_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = write_dataset(datasets_root, "n/x-v0")
    original = hub.note

    def note(method: str, path: str) -> None:
        if "/verify" in path:
            (directory / "data/more.txt").write_text("more")
        original(method, path)

    monkeypatch.setattr(hub, "note", note)
    with pytest.raises(DatasetBusyError):
        get_cloud_storage("hf://lab").upload_dataset("n/x-v0")
    assert get_cloud_storage("hf://lab").list_datasets() == []


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("part", ["repos/create", "preupload", "lfs/objects", "validate-yaml", "/commit/"])
def test_a_hub_that_falls_silent(
    part: str, hub: HubServer, datasets_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits in the client of the Hub does not do so for longer than we let it."""
    write_dataset(datasets_root, "n/x-v0")
    for module in ("client", "upload"):
        monkeypatch.setattr(f"minari.storage.remotes.hub.{module}.LONG", 0.2)
    monkeypatch.setattr(CloudStorage, "LIMITS", Limits(bytes_per_second=1e6, interval=0.3))
    monkeypatch.setattr(limits, "PATIENCE", 1.0)
    hub.fail(part, seconds=3, times=99)
    begun = time.monotonic()
    with pytest.raises(RemoteUnreachableError):
        get_cloud_storage("hf://lab").upload_dataset("n/x-v0")
    assert time.monotonic() - begun < 8


def test_others_commit_at_the_same_time(hub: HubServer, datasets_root: Path) -> None:
    """Nothing that others have done meanwhile is undone."""
    ids = [f"n/x-v{number}" for number in range(6)]
    for dataset_id in ids:
        write_dataset(datasets_root, dataset_id)
    hub.fail("/commit/", status=412, times=2)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(get_cloud_storage("hf://lab").upload_dataset, ids))
    there = hub.files("lab/n")
    assert json.loads(there[NAMESPACE_FILE])["datasets"] == ids
    assert sorted(parse_index(there[INDEX_FILE_NAME])) == [dataset_id.removeprefix("n/") for dataset_id in ids]
    assert all(dataset_id in there["README.md"].decode() for dataset_id in ids)


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("part", ["repos/create", "preupload", "lfs/objects", "/upload/", "verify", "/commit/"])
def test_an_answer_that_is_lost(part: str, hub: HubServer, datasets_root: Path) -> None:
    """The request was successful; that must not look like the work of another program."""
    write_dataset(datasets_root, "n/x-v0")
    hub.fail(part, lost=True)
    remote = get_cloud_storage("hf://lab")
    remote.upload_dataset("n/x-v0")
    assert remote.list_datasets() == ["n/x-v0"]
    assert len(hub.repositories.by_name["lab/n"].commits) == 2


@pytest.mark.usefixtures("short_pauses")
def test_a_peer_that_stops_reading(hub: HubServer, datasets_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    big = content(30_000_000)
    write_dataset(datasets_root, "n/x-v0", files={"data/main_data.hdf5": big})
    monkeypatch.setattr(CloudStorage, "LIMITS", Limits(read_timeout=0.2))
    monkeypatch.setattr(limits, "PATIENCE", 1.0)  # less than the client's own attempts take, as with its real pauses
    huggingface_hub.close_session()  # the next one gets this limit
    hub.fail(f"/upload/{hashlib.sha256(big).hexdigest()}", times=99, seconds=3)
    remote = get_cloud_storage("hf://lab")
    begun = time.monotonic()
    with pytest.raises(RemoteUnreachableError, match="sending x-v0"):
        remote.upload_dataset("n/x-v0")
    assert time.monotonic() - begun < 8
    assert remote.list_datasets() == []
    huggingface_hub.close_session()


@pytest.mark.usefixtures("short_pauses")
def test_an_upload_that_is_broken_off_goes_on(hub: HubServer, datasets_root: Path, tmp_path: Path) -> None:
    files = {f"data/{number}.hdf5": content(100_000, number) for number in range(8)}
    directory = write_dataset(datasets_root, "n/x-v0", files=files)
    digests = {hashlib.sha256(file).hexdigest() for file in files.values()}
    last = sorted(digests)[-1]
    hub.fail(f"/upload/{last}", times=99, cut=True)
    remote = get_cloud_storage("hf://lab", max_workers=2)
    with pytest.raises(RemoteUnreachableError):
        remote.upload_dataset("n/x-v0")
    assert remote.list_datasets() == []
    sent = {digest for digest in digests if hub.received[digest]}
    assert sent
    hub.faults.clear()
    remote.upload_dataset("n/x-v0")
    assert all(hub.received[digest] == 100_000 for digest in digests)
    remote.download_dataset("n/x-v0", tmp_path)
    assert tree(tmp_path / "n/x-v0") == tree(directory)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes cannot be killed here as they are elsewhere")
def test_an_upload_that_is_killed_goes_on(hub: HubServer, datasets_root: Path, tmp_path: Path) -> None:
    files = {f"data/{number}.hdf5": content(100_000, number) for number in range(8)}
    directory = write_dataset(datasets_root, "n/x-v0", files=files)
    digests = [hashlib.sha256(file).hexdigest() for file in files.values()]
    hub.delay = 0.05
    program = """
        from minari.storage.remotes import get_cloud_storage
        get_cloud_storage("hf://lab", max_workers=1).upload_dataset("n/x-v0")
    """
    process = start(program)
    try:
        while sum(hub.received[digest] > 0 for digest in digests) < 3:
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.kill()
        process.communicate()
    hub.delay = 0.0
    remote = get_cloud_storage("hf://lab")
    assert remote.list_datasets() == []
    remote.upload_dataset("n/x-v0")
    assert sum(hub.received[digest] for digest in digests) <= 9 * 100_000  # one may have been on its way
    remote.download_dataset("n/x-v0", tmp_path)
    assert tree(tmp_path / "n/x-v0") == tree(directory)


@pytest.mark.skipif(sys.platform == "win32", reason="programs cannot be interrupted there as elsewhere")
def test_an_interrupted_upload_ends_at_once(hub: HubServer, datasets_root: Path) -> None:
    """Files that wait for their turn are not sent any more, although the threads of the client outlive the call."""
    write_dataset(
        datasets_root, "n/x-v0", files={f"data/{number}.hdf5": content(1000, number) for number in range(200)}
    )
    hub.delay, hub.delayed = 0.2, "/upload/"
    program = """
        from minari.storage.remotes import get_cloud_storage
        get_cloud_storage("hf://lab", max_workers=2).upload_dataset("n/x-v0")
    """
    process = start(program)
    try:
        while sum(path.startswith("/upload/") for _, path in hub.requests) < 3:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=8)
    finally:
        process.kill()
        process.communicate()
    assert len(hub.received) < 20
    assert "lab/n" not in hub.repositories.by_name or len(hub.repositories.by_name["lab/n"].commits) == 1


def test_one_that_came_meanwhile(hub: HubServer, datasets_root: Path) -> None:
    """Between the look whether it is there and the commit."""
    write_dataset(datasets_root, "n/x-v0", description="mine")
    hub.put("lab/n", {"a.txt": b""})
    remote = get_cloud_storage("hf://lab")
    outgoing_files = {"x-v0/data/metadata.json": b'{"description": "theirs"}'}
    hub.fail("/commit/", status=412)
    fault = hub.faults[-1]

    original = hub.fault

    def meanwhile(method: str, path: str) -> object:
        if "/commit/" in path and fault.times:
            hub.put("lab/n", outgoing_files)
        return original(method, path)

    hub.fault = meanwhile  # type: ignore[method-assign, assignment]
    try:
        with pytest.raises(DatasetExistsError):
            remote.upload_dataset("n/x-v0")
    finally:
        hub.fault = original  # type: ignore[method-assign]
    assert hub.files("lab/n")["x-v0/data/metadata.json"] == outgoing_files["x-v0/data/metadata.json"]


def test_the_same_dataset_that_came_meanwhile(
    hub: HubServer, datasets_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the question how to store the files; then there is nothing left to commit."""
    write_dataset(datasets_root, "n/x-v0")
    hub.put("lab/n", {"a.txt": b""})
    original, others = hub.note, [get_cloud_storage("hf://lab")]

    def note(method: str, path: str) -> None:
        if "/preupload/" in path and others:
            others.pop().upload_dataset("n/x-v0")
        original(method, path)

    monkeypatch.setattr(hub, "note", note)
    with pytest.raises(DatasetExistsError):
        get_cloud_storage("hf://lab").upload_dataset("n/x-v0")
    assert len(hub.repositories.by_name["lab/n"].commits) == 3


def by_others(hub: HubServer) -> None:
    hub.put("lab/n", {"README.md": b"# Ours", "y-v0/data/metadata.json": b"{}"})


def all_removed(hub: HubServer) -> None:
    hub.repositories.by_name["lab/n"].commit({}, "cleared")


def deleted(hub: HubServer) -> None:
    del hub.repositories.by_name["lab/n"]


@pytest.mark.parametrize("looks", [1, 2])
@pytest.mark.parametrize("before", ["nothing", "something", "the same"])
@pytest.mark.parametrize("meanwhile", [by_others, all_removed, deleted])
def test_what_happens_between_a_look_and_an_upload(
    meanwhile: Callable[[HubServer], None], before: str, looks: int, hub: HubServer, datasets_root: Path, tmp_path: Path
) -> None:
    """A remote does not rely on what it has seen before."""
    directory = write_dataset(datasets_root, "n/x-v0")
    if before == "something":
        hub.put("lab/n", {"a.txt": b""})
    elif before == "the same":
        get_cloud_storage("hf://lab").upload_dataset("n/x-v0")
    remote = get_cloud_storage("hf://lab")
    for _ in range(looks):
        assert remote.has_dataset("n/x-v0") == (before == "the same")
    if before != "nothing" or meanwhile == by_others:
        meanwhile(hub)
    if before == "the same" and meanwhile == by_others:
        with pytest.raises(DatasetExistsError):
            remote.upload_dataset("n/x-v0")
        return
    remote.upload_dataset("n/x-v0")
    there = hub.files("lab/n")
    if meanwhile == by_others:
        assert there["README.md"] == b"# Ours"
        assert json.loads(there[NAMESPACE_FILE])["datasets"] == ["n/x-v0", "n/y-v0"]
    remote.download_dataset("n/x-v0", tmp_path)
    assert tree(tmp_path / "n/x-v0") == tree(directory)


def test_a_namespace_that_others_change_between_a_look_and_an_upload(hub: HubServer, datasets_root: Path) -> None:
    remote = get_cloud_storage("hf://lab")
    write_namespace(datasets_root, "n", description="Mine.")
    remote.upload_namespace("n")
    assert remote.has_namespace("n")
    hub.put("lab/n", {NAMESPACE_FILE: b'{"description": "Theirs."}'})
    remote.upload_namespace("n")
    assert json.loads(hub.files("lab/n")[NAMESPACE_FILE]) == {"description": "Mine."}


def test_what_was_just_seen_is_not_asked_again(hub: HubServer, datasets_root: Path) -> None:
    for dataset_id in ("n/x-v0", "n/y-v0"):
        write_dataset(datasets_root, dataset_id)
    remote = get_cloud_storage("hf://lab")
    remote.upload_dataset("n/x-v0")
    with hub.counted() as requests:
        remote.upload_dataset("n/y-v0")
    assert ("GET", "/api/datasets/lab/n") not in requests
    assert sum("/commit/" in path for _, path in requests) == 1


class _Told:
    """Progress reports of an upload, by thread, with the bytes that had arrived by then."""

    def __init__(self, arrived: Callable[[], int]) -> None:
        self.arrived, self.threads = arrived, set[int]()
        self.total: int | None = None
        self.steps: list[tuple[int, int]] = []

    def started(self, task: ProgressTask) -> None:
        if task.unit == "bytes":
            self.total = task.total

    def advanced(self, task: ProgressTask, amount: int) -> None:
        self.threads.add(threading.get_ident())
        if task.unit == "bytes":
            self.steps.append((amount, self.arrived()))

    def finished(self, task: ProgressTask) -> None:
        pass


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("in_parts", [False, True])
@pytest.mark.parametrize("fault", ["none", "an answer that is lost", "a refusal"])
def test_bytes_are_told_while_they_are_sent(fault: str, in_parts: bool, hub: HubServer, datasets_root: Path) -> None:
    """Each once, however often they have to be sent."""
    big = content(16_000_000)
    digest = hashlib.sha256(big).hexdigest()
    write_dataset(datasets_root, "n/x-v0", files={"data/a.hdf5": big, "data/b.hdf5": big, "data/c.txt": b"c"})
    if fault == "an answer that is lost":
        hub.fail(f"/upload/{digest}", lost=True)
    elif fault == "a refusal":
        hub.fail(f"/upload/{digest}", status=403)
    hub.delay, hub.delayed = 0.3, "/upload/"  # for so long what is sent waits in the buffers, as far as it fits
    told = _Told(lambda: hub.received[digest])
    whole = hub.part_size
    try:
        hub.part_size = 6_000_000 if in_parts else whole
        with observe_progress(told):
            get_cloud_storage("hf://lab", max_workers=3).upload_dataset("n/x-v0")
    finally:
        hub.part_size = whole
    assert sum(amount for amount, _ in told.steps) == told.total
    assert told.threads == {threading.get_ident()}
    assert sum(amount for amount, arrived in told.steps if not arrived) > 0


def test_the_card_tells_the_returns(hub: HubServer, make_toy_env: type) -> None:
    spaces = gym.spaces.Box(-1.0, 1.0, (2,)), gym.spaces.Discrete(3)
    with minari.DataCollector(make_toy_env(*spaces)) as collector, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(3):
            collector.reset(seed=seed)
            for _ in range(seed + 1):
                collector.step(collector.action_space.sample())
        dataset = collector.create_dataset("ns/toy-v0")
    get_cloud_storage("hf://lab").upload_dataset("ns/toy-v0")
    told = dataset.statistics().summary()["return"]
    assert told["std"] > 0
    row = ", ".join(f"{name} {number(value)}" for name, value in told.items())
    assert f"| Returns | {row} |" in hub.files("lab/ns")["toy-v0/README.md"].decode()
