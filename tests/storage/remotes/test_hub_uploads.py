"""The Hugging Face Hub: what an upload leaves there, however it goes."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gymnasium as gym
import huggingface_hub
import pytest

import minari
from minari._model.manifest import Manifest
from minari.errors import DatasetBusyError, DatasetExistsError, RemoteError, RemoteUnreachableError
from minari.progress import ProgressTask, observe_progress
from minari.storage.remotes import CloudStorage, get_cloud_storage
from minari.storage.remotes.hub.card_text import number
from minari.storage.remotes.hub.dataset_card import CARD_MARKER
from minari.storage.transfer import limits
from minari.storage.transfer.index import INDEX_FILE_NAME, parse_index
from minari.storage.transfer.limits import Limits
from minari.testing.sharing import tree, write_dataset, write_namespace
from support.programs import start
from support.servers.hub import HubServer


NAMESPACE_FILE = "namespace_metadata.json"
short_pauses = pytest.mark.usefixtures("short_pauses")


def content(size: int, seed: int = 0) -> bytes:
    return bytes((index * 131 + seed) % 251 for index in range(1000)) * (size // 1000)


def sha256(of: bytes) -> str:
    return hashlib.sha256(of).hexdigest()


def upload(*dataset_ids: str) -> None:
    for dataset_id in dataset_ids:
        get_cloud_storage("hf://lab").upload_dataset(dataset_id)


def assert_downloads(dataset_id: str, arrival: Path, directory: Path) -> None:
    get_cloud_storage("hf://lab").download_dataset(dataset_id, arrival)
    assert tree(arrival / dataset_id) == tree(directory)


def commits(hub: HubServer, repository: str = "lab/n") -> int:
    """Return their number, with that which makes the repository."""
    return len(hub.repositories.by_name[repository].commits)


@pytest.fixture
def parts(hub: HubServer) -> Iterator[Callable[[int], None]]:
    """A function ``parts(size)``: contents larger than that are sent in parts of that size."""
    whole = hub.part_size
    yield lambda size: setattr(hub, "part_size", size)
    hub.part_size = whole


# What lies there


def test_repository_has_data_index_and_cards_in_one_commit(hub: HubServer, datasets_root: Path) -> None:
    """Large contents as LFS, small ones not."""
    files = {"data/main_data.hdf5": content(50_000), "data/0/part-0.arrow": b"a", "data/0/metadata.json": b"{}"}
    directory = write_dataset(datasets_root, "n/deep/x-v0", files=files, description="About it.")
    upload("n/deep/x-v0")
    there = hub.files("lab/n")
    own = ["README.md", *files, "data/manifest.json", "data/metadata.json"]
    beside = ["README.md", INDEX_FILE_NAME, f"deep/{NAMESPACE_FILE}", NAMESPACE_FILE]
    assert sorted(there) == sorted([*beside, *(f"deep/x-v0/{name}" for name in own)])
    metadata = (directory / "data/metadata.json").read_bytes()
    assert there["deep/x-v0/data/metadata.json"] == metadata
    assert json.loads(there[NAMESPACE_FILE]) == {"datasets": ["n/deep/x-v0"], "namespaces": ["n/deep"]}
    assert parse_index(there[INDEX_FILE_NAME]) == {"deep/x-v0": metadata}
    manifest = Manifest.parse(there["deep/x-v0/data/manifest.json"], "there")
    assert sorted(manifest.files) == sorted([*files, "data/metadata.json"])
    for name, texts in {
        "README.md": [CARD_MARKER, "n/deep/x-v0"],
        "deep/x-v0/README.md": ["About it.", "minari download hf://lab/n/deep/x-v0"],
    }.items():
        assert all(text in there[name].decode() for text in texts)
    large = {path for path, blob in hub.blobs("lab/n").items() if blob.lfs}
    assert large == {"deep/x-v0/data/main_data.hdf5", "deep/x-v0/data/0/part-0.arrow", INDEX_FILE_NAME}
    assert commits(hub) == 2
    assert hub.repositories.by_name["lab/n"].tags == ["minari", "reinforcement-learning", "offline-rl"]


def test_dataset_without_a_namespace_is_a_repository(hub: HubServer, datasets_root: Path, tmp_path: Path) -> None:
    directory = write_dataset(datasets_root, "x-v0", files={"data/a.txt": b"a"})
    upload("x-v0")
    there = hub.files("lab/x-v0")
    assert json.loads(there[NAMESPACE_FILE]) == {}
    assert "minari download hf://lab/x-v0" in there["README.md"].decode()
    assert get_cloud_storage("hf://lab").list_namespaces() == []
    assert_downloads("x-v0", tmp_path, directory)


def test_texts_of_others_are_kept(hub: HubServer, datasets_root: Path, tmp_path: Path) -> None:
    """Cards and the keys of a namespace: only those created by this library are rewritten."""
    remote = get_cloud_storage("hf://lab")
    write_namespace(datasets_root, "n", description="Mine.", datasets=["left/over-v0"])
    remote.upload_namespace("n")
    write_dataset(datasets_root, "n/x-v0", files={"README.md": b"Read this."})
    for dataset_id in ("n/y-v0", "n/z-v0"):
        write_dataset(datasets_root, dataset_id)
    upload("n/x-v0", "n/y-v0")
    there = hub.files("lab/n")
    assert json.loads(there[NAMESPACE_FILE]) == {"description": "Mine.", "datasets": ["n/x-v0", "n/y-v0"]}
    assert there["x-v0/README.md"] == b"Read this."
    assert all(name in there["README.md"].decode() for name in ("n/x-v0", "n/y-v0"))
    remote.download_namespace_metadata("n", tmp_path)
    assert json.loads((tmp_path / "n" / NAMESPACE_FILE).read_text()) == {"description": "Mine."}

    by_hand = {"README.md": b"# Ours, by hand", "z-v0/README.md": b"# Before the data"}
    hub.put("lab/n", by_hand)
    remote.upload_dataset("n/z-v0")
    assert by_hand.items() <= hub.files("lab/n").items()
    write_namespace(datasets_root, "n", description="Changed.")
    before = commits(hub)
    for _ in range(2):
        remote.upload_namespace("n")
    assert commits(hub) == before + 1
    register = json.loads(hub.files("lab/n")[NAMESPACE_FILE])
    assert register == {"description": "Changed.", "datasets": ["n/x-v0", "n/y-v0", "n/z-v0"]}


def test_rest_of_something_else_is_removed(hub: HubServer, datasets_root: Path, tmp_path: Path) -> None:
    hub.put("lab/n", {"x-v0/data/0/part-0.arrow": b"old", "x-v0/data/main_data.hdf5": b"old", "x-v01/data/a": b"?"})
    directory = write_dataset(datasets_root, "n/x-v0")
    upload("n/x-v0")
    assert "x-v0/data/0/part-0.arrow" not in hub.files("lab/n")
    assert "x-v01/data/a" in hub.files("lab/n")
    assert_downloads("n/x-v0", tmp_path, directory)


def test_ignored_files_are_uploaded(hub: HubServer, datasets_root: Path, tmp_path: Path) -> None:
    """Also those that have the same content as another, about which the Hub is asked later."""
    hub.put("lab/n", {".gitignore": b"*.hdf5\n*.json\n"})
    files = {"data/a.hdf5": b"same", "data/b.hdf5": b"same", "data/c.json": b"{}"}
    directory = write_dataset(datasets_root, "n/x-v0", files=files)
    upload("n/x-v0")
    assert_downloads("n/x-v0", tmp_path, directory)


def test_content_in_parts_is_complete(
    hub: HubServer, parts: Callable[[int], None], datasets_root: Path, tmp_path: Path
) -> None:
    files = {"data/main_data.hdf5": content(1_000_000), "data/b.hdf5": content(64_000)}
    directory = write_dataset(datasets_root, "n/x-v0", files=files)
    hub.fail(r"/upload/\w+/3", status=403)  # as one whose address has become too old
    parts(64_000)
    upload("n/x-v0")
    assert hub.received[sha256(files["data/main_data.hdf5"])] >= 1_000_000
    assert_downloads("n/x-v0", tmp_path, directory)


def test_content_that_the_hub_has_is_not_sent_again(hub: HubServer, datasets_root: Path) -> None:
    """The same contents under another id, and several times in one dataset."""
    big = content(300_000)
    for version in range(2):
        write_dataset(datasets_root, f"n/x-v{version}", files={"data/a.hdf5": big, "data/b.hdf5": big})
        upload(f"n/x-v{version}")
    assert hub.received[sha256(big)] == len(big)


def test_card_has_the_returns(hub: HubServer, make_toy_env: type) -> None:
    spaces = gym.spaces.Box(-1.0, 1.0, (2,)), gym.spaces.Discrete(3)
    with minari.DataCollector(make_toy_env(*spaces)) as collector, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(3):
            collector.reset(seed=seed)
            for _ in range(seed + 1):
                collector.step(collector.action_space.sample())
        dataset = collector.create_dataset("ns/toy-v0")
    upload("ns/toy-v0")
    returns = dataset.statistics().summary()["return"]
    assert returns["std"] > 0
    row = ", ".join(f"{name} {number(value)}" for name, value in returns.items())
    assert f"| Returns | {row} |" in hub.files("lab/ns")["toy-v0/README.md"].decode()


@pytest.mark.parametrize(
    ("dataset_id", "files", "there", "words"),
    [
        ("a--b/x-v0", {}, {}, "no repositories of such a name"),
        ("n/x-v0", {}, {NAMESPACE_FILE: b"[1]"}, "not a JSON object"),
        ("x-v0", {"README.md": b"---\nlicense: unheard-of\n---\n"}, {}, '"license" must be one of'),
    ],
)
def test_impossible_upload_is_refused(
    dataset_id: str, files: dict[str, bytes], there: dict[str, bytes], words: str, hub: HubServer, datasets_root: Path
) -> None:
    hub.put("lab/n", there)
    write_dataset(datasets_root, dataset_id, files=files)
    with pytest.raises(RemoteError, match=words):
        upload(dataset_id)


# What happens meanwhile


@pytest.mark.parametrize(
    ("request_path", "change"),
    [
        ("", lambda data: (data / "a.hdf5").unlink(missing_ok=True)),
        ("/lfs/objects", lambda data: (data / "a.hdf5").unlink(missing_ok=True)),
        ("/verify", lambda data: (data / "more.txt").write_text("more")),
    ],
    ids=["removed before", "removed while it is sent", "added"],
)
def test_dataset_that_changes_is_not_uploaded(
    request_path: str, change: Callable[[Path], object], hub: HubServer, datasets_root: Path
) -> None:
    directory = write_dataset(datasets_root, "n/x-v0", files={"data/a.hdf5": b"a"})
    hub.meanwhile = lambda path: change(directory / "data") if request_path in path else None
    with pytest.raises(DatasetBusyError, match=None if request_path == "/verify" else r"a\.hdf5"):
        upload("n/x-v0")
    assert get_cloud_storage("hf://lab").list_datasets() == []


def test_commits_of_others_are_kept(hub: HubServer, datasets_root: Path) -> None:
    ids = [f"n/x-v{version}" for version in range(6)]
    for dataset_id in ids:
        write_dataset(datasets_root, dataset_id)
    hub.fail("/commit/", status=412, times=2)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(get_cloud_storage("hf://lab").upload_dataset, ids))
    there = hub.files("lab/n")
    assert json.loads(there[NAMESPACE_FILE])["datasets"] == ids
    assert sorted(parse_index(there[INDEX_FILE_NAME])) == [dataset_id.removeprefix("n/") for dataset_id in ids]
    assert all(dataset_id in there["README.md"].decode() for dataset_id in ids)


@pytest.mark.parametrize("request_path", ["/preupload/", "/commit/"])
def test_dataset_that_came_meanwhile_is_kept(request_path: str, hub: HubServer, datasets_root: Path) -> None:
    """Between the look and how to store the files, when nothing is left to commit; and before the commit."""
    write_dataset(datasets_root, "n/x-v0", description="mine")
    hub.put("lab/n", {"a.txt": b""})
    theirs = {"x-v0/data/metadata.json": b'{"description": "theirs"}'}

    def meanwhile(path: str) -> None:
        if request_path in path:
            hub.meanwhile = lambda path: None
            if request_path == "/commit/":
                hub.fail("/commit/", status=412)
                hub.put("lab/n", theirs)
            else:
                upload("n/x-v0")

    hub.meanwhile = meanwhile
    with pytest.raises(DatasetExistsError):
        upload("n/x-v0")
    assert commits(hub) == 3
    if request_path == "/commit/":
        assert theirs.items() <= hub.files("lab/n").items()


def by_others(hub: HubServer) -> None:
    hub.put("lab/n", {"README.md": b"# Ours", "y-v0/data/metadata.json": b"{}"})


def all_removed(hub: HubServer) -> None:
    hub.repositories.by_name["lab/n"].commit({}, "cleared")


def deleted(hub: HubServer) -> None:
    del hub.repositories.by_name["lab/n"]


@pytest.mark.parametrize("looks", [1, 2])
@pytest.mark.parametrize("before", ["nothing", "something", "the same"])
@pytest.mark.parametrize("meanwhile", [by_others, all_removed, deleted])
def test_upload_does_not_rely_on_an_earlier_look(
    meanwhile: Callable[[HubServer], None], before: str, looks: int, hub: HubServer, datasets_root: Path, tmp_path: Path
) -> None:
    directory = write_dataset(datasets_root, "n/x-v0")
    if before == "something":
        hub.put("lab/n", {"a.txt": b""})
    elif before == "the same":
        upload("n/x-v0")
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
    assert_downloads("n/x-v0", tmp_path, directory)


def test_later_calls_rely_on_little(hub: HubServer, datasets_root: Path) -> None:
    for dataset_id in ("n/x-v0", "n/y-v0"):
        write_dataset(datasets_root, dataset_id)
    remote = get_cloud_storage("hf://lab")
    remote.upload_dataset("n/x-v0")
    with hub.counted() as requests:
        remote.upload_dataset("n/y-v0")
    assert ("GET", "/api/datasets/lab/n") not in requests, "what was just seen"
    assert sum("/commit/" in path for _, path in requests) == 1
    write_namespace(datasets_root, "m", description="Mine.")
    remote.upload_namespace("m")
    assert remote.has_namespace("m")
    hub.put("lab/m", {NAMESPACE_FILE: b'{"description": "Theirs."}'})
    remote.upload_namespace("m")
    assert json.loads(hub.files("lab/m")[NAMESPACE_FILE]) == {"description": "Mine."}


# A network that fails


@short_pauses
@pytest.mark.parametrize("part", ["repos/create", "preupload", "lfs/objects", "validate-yaml", "/commit/"])
def test_silent_hub_is_given_up(
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
        upload("n/x-v0")
    assert time.monotonic() - begun < 8


@short_pauses
def test_store_that_stops_reading_is_given_up(
    hub: HubServer, datasets_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = content(30_000_000)
    write_dataset(datasets_root, "n/x-v0", files={"data/main_data.hdf5": big})
    monkeypatch.setattr(CloudStorage, "LIMITS", Limits(read_timeout=0.2))
    monkeypatch.setattr(limits, "PATIENCE", 1.0)  # less than the client's own attempts take, as with its real pauses
    huggingface_hub.close_session()  # the next one gets this limit
    hub.fail(f"/upload/{sha256(big)}", times=99, seconds=3)
    begun = time.monotonic()
    with pytest.raises(RemoteUnreachableError, match="sending x-v0"):
        upload("n/x-v0")
    assert time.monotonic() - begun < 8
    assert get_cloud_storage("hf://lab").list_datasets() == []
    huggingface_hub.close_session()


@short_pauses
@pytest.mark.parametrize("part", ["repos/create", "preupload", "lfs/objects", "/upload/", "verify", "/commit/"])
def test_lost_answer_does_not_look_like_another_upload(part: str, hub: HubServer, datasets_root: Path) -> None:
    write_dataset(datasets_root, "n/x-v0")
    hub.fail(part, lost=True)
    upload("n/x-v0")
    assert get_cloud_storage("hf://lab").list_datasets() == ["n/x-v0"]
    assert commits(hub) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="programs cannot be interrupted there as elsewhere")
def test_interrupted_upload_ends_at_once(hub: HubServer, datasets_root: Path) -> None:
    """Files that wait for their turn are not sent any more, although the threads of the client outlive the call."""
    files = {f"data/{number}.hdf5": content(1000, number) for number in range(200)}
    write_dataset(datasets_root, "n/x-v0", files=files)
    hub.delay, hub.delayed = 0.2, "/upload/"
    program = """
        import signal
        from minari.storage.remotes import get_cloud_storage
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell in the background lets be ignored
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
    assert len(hub.received) < 60  # of 200
    assert "lab/n" not in hub.repositories.by_name or commits(hub) == 1


class Reported:
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


@short_pauses
@pytest.mark.parametrize("part_size", [6_000_000, 64 << 20])
@pytest.mark.parametrize("fault", [{}, {"lost": True}, {"status": 403}], ids=["none", "lost answer", "refusal"])
def test_bytes_are_reported_once_while_they_are_sent(
    fault: dict[str, int], part_size: int, hub: HubServer, parts: Callable[[int], None], datasets_root: Path
) -> None:
    big = content(16_000_000)
    write_dataset(datasets_root, "n/x-v0", files={"data/a.hdf5": big, "data/b.hdf5": big, "data/c.txt": b"c"})
    if fault:
        hub.fail(f"/upload/{sha256(big)}", **fault)
    hub.delay, hub.delayed = 0.3, "/upload/"  # for so long what is sent waits in the buffers, as far as it fits
    reported = Reported(lambda: hub.received[sha256(big)])
    parts(part_size)
    with observe_progress(reported):
        get_cloud_storage("hf://lab", max_workers=3).upload_dataset("n/x-v0")
    assert sum(amount for amount, _ in reported.steps) == reported.total
    assert reported.threads == {threading.get_ident()}
    assert sum(amount for amount, arrived in reported.steps if not arrived) > 0
