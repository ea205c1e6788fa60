"""https://: what was uploaded to a directory or a bucket, read through a web server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import minari
from minari import errors
from minari.storage.remotes import CloudStorage, RemoteDatasetNotFoundError, get_cloud_storage, split_address
from minari.storage.transfer import limits
from minari.storage.transfer.index import INDEX_FILE_NAME, dump_index
from minari.storage.transfer.limits import Limits, with_retries
from minari.testing.sharing import tree, write_dataset, write_namespace
from support.servers.proxy import FaultyProxy
from support.servers.web import WebServer, web_server


if TYPE_CHECKING:
    from support.servers.s3 import S3Server

MIB = 1 << 20


@pytest.fixture
def arrival(tmp_path: Path) -> Path:
    directory = tmp_path / "arrival"
    directory.mkdir()
    return directory


@pytest.fixture
def upload(web: WebServer) -> Callable[[str], None]:
    """A function ``upload(id)``: a local dataset, into the directory behind the web server, in its index too."""

    def send(dataset_id: str) -> None:
        get_cloud_storage(web.directory.as_uri()).upload_dataset(dataset_id)
        index = {path.parents[1].relative_to(web.directory).as_posix(): path.read_bytes() for path in _metadata(web)}
        (web.directory / INDEX_FILE_NAME).write_bytes(dump_index(index))

    return send


def _metadata(web: WebServer) -> list[Path]:
    return list(web.directory.rglob("data/metadata.json"))


def test_what_was_uploaded_comes_back(
    web: WebServer, upload: Callable[[str], None], datasets_root: Path, arrival: Path
) -> None:
    files = {"data/main_data.hdf5": os.urandom(9 * MIB), "data/Größe é %41.bin": b"x", "data/0/empty": b""}
    directory = write_dataset(datasets_root, "a/b/x-v1", files=files)
    write_dataset(datasets_root, "a/x-v10")
    for dataset_id in ("a/b/x-v1", "a/x-v10"):
        upload(dataset_id)
    remote = get_cloud_storage(web.address)
    assert remote.list_datasets() == ["a/x-v10", "a/b/x-v1"]
    assert remote.list_datasets("a/b") == ["a/b/x-v1"]
    assert remote.get_dataset_metadata("a/b/x-v1") == json.loads((directory / "data/metadata.json").read_bytes())
    remote.download_dataset("a/b/x-v1", arrival)
    assert tree(arrival / "a/b/x-v1") == tree(directory)


def test_out_of_a_bucket(s3: S3Server, s3_bucket: str, web: WebServer, datasets_root: Path, arrival: Path) -> None:
    directory = write_dataset(datasets_root, "n/x-v0", files={"data/main_data.hdf5": os.urandom(5 * MIB)})
    get_cloud_storage(f"s3://{s3_bucket}").upload_dataset("n/x-v0")
    for name, content in s3.objects(s3_bucket).items():  # as a web server before a bucket shows it
        file = web.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    remote = get_cloud_storage(web.address)
    assert remote.list_datasets() == ["n/x-v0"]
    remote.download_dataset("n/x-v0", arrival)
    assert tree(arrival / "n/x-v0") == tree(directory)


def test_namespaces(web: WebServer, upload: Callable[[str], None], datasets_root: Path, arrival: Path) -> None:
    write_dataset(datasets_root, "a/b/x-v0")
    write_namespace(datasets_root, "a/b", description="kept")
    upload("a/b/x-v0")
    remote = get_cloud_storage(web.address)
    (web.directory / "a/namespace_metadata.json").unlink(missing_ok=True)
    (web.directory / "a/b/namespace_metadata.json").write_text('{"description": "kept"}')
    assert list(remote.list_namespaces()) == ["a/b"]
    remote.download_namespace_metadata("a/b", arrival)
    assert json.loads((arrival / "a/b/namespace_metadata.json").read_bytes()) == {"description": "kept"}
    with pytest.raises(errors.NamespaceError):
        remote.download_namespace_metadata("a", arrival)


def test_the_address_of_a_dataset(
    web: WebServer, upload: Callable[[str], None], datasets_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(datasets_root, "a/b/x-v0")
    upload("a/b/x-v0")
    assert split_address(f"{web.address}/a/b/x-v0") == (web.address, "a/b/x-v0")
    web.directory = web.directory.parent  # where the directory of the datasets is below that of the server
    address = f"{web.address}/shared%20directory"
    assert split_address(f"{address}/a/b/x-v0") == (address, "a/b/x-v0")
    assert split_address(f"{address}/a/b/x-v1") == (f"{address}/a/b", "x-v1")
    assert get_cloud_storage(address).list_datasets() == ["a/b/x-v0"]


def test_by_the_public_functions(web: WebServer, upload: Callable[[str], None], make_toy_env: type) -> None:
    from gymnasium import spaces

    env = minari.DataCollector(make_toy_env(spaces.Discrete(3), spaces.Discrete(2)))
    env.reset(seed=1)
    while not any(env.step(0)[2:4]):
        pass
    with pytest.warns(UserWarning, match="."):
        made = env.create_dataset("n/toy-v0")
    upload("n/toy-v0")
    episodes = [episode.observations.tolist() for episode in made]
    minari.delete_dataset("n/toy-v0")
    minari.download_dataset(f"{web.address}/n/toy-v0")
    assert [episode.observations.tolist() for episode in minari.load_dataset("n/toy-v0")] == episodes


class TestNothingToGoBy:
    def test_no_index(self, web: WebServer) -> None:
        remote = get_cloud_storage(web.address)
        for list_them in (remote.list_datasets, remote.list_namespaces):
            with pytest.raises(errors.RemoteError, match=r"has no datasets_index\.json\.gz.*`minari upload`"):
                list_them()

    def test_a_damaged_index(self, web: WebServer) -> None:
        (web.directory / INDEX_FILE_NAME).write_bytes(b"not an index")
        with pytest.raises(errors.DatasetCorruptError, match="index is damaged"):
            get_cloud_storage(web.address).list_datasets()

    def test_no_manifest(self, web: WebServer, arrival: Path) -> None:
        write_dataset(web.directory, "x-v0")
        with pytest.raises(errors.RemoteError, match=r"no data/manifest\.json.*`minari upload`"):
            get_cloud_storage(web.address).download_dataset("x-v0", arrival)
        assert tree(arrival) == {} or all(name.startswith(".") for name in tree(arrival))

    def test_no_dataset(self, web: WebServer, arrival: Path) -> None:
        remote = get_cloud_storage(web.address)
        with pytest.raises(RemoteDatasetNotFoundError):
            remote.download_dataset("x-v0", arrival)
        with pytest.raises(RemoteDatasetNotFoundError):
            remote.get_dataset_metadata("x-v0")


class TestReadOnly:
    def test_uploading_is_refused(self, web: WebServer, datasets_root: Path) -> None:
        write_dataset(datasets_root, "x-v0")
        write_namespace(datasets_root, "n")
        remote = get_cloud_storage(web.address)
        for action in (
            lambda: remote.upload_dataset("x-v0"),
            lambda: remote.upload_namespace("n"),
            lambda: remote.write_file("x", b""),
        ):
            with pytest.raises(errors.RemoteError, match=r"can only be read; upload to the directory or bucket"):
                action()
        assert web.requests == []


class TestServersWithoutRanges:
    @pytest.fixture
    def remote(self, web: WebServer) -> CloudStorage:
        web.ranges = False
        return get_cloud_storage(web.address)

    def test_each_file_is_read_once(
        self, web: WebServer, remote: CloudStorage, upload: Callable[[str], None], datasets_root: Path, arrival: Path
    ) -> None:
        big = {f"data/{number}.bin": os.urandom(9 * MIB + number) for number in range(3)}
        small = {f"data/{number}.txt": b"content" for number in range(30)}
        directory = write_dataset(datasets_root, "x-v0", files={**big, **small})
        upload("x-v0")
        remote.download_dataset("x-v0", arrival)
        assert tree(arrival / "x-v0") == tree(directory)
        for name in big:
            whole = [request for request in web.requests if request == f"GET /x-v0/{name}"]
            assert len(whole) == 1

    def test_a_piece_again(self, web: WebServer, remote: CloudStorage) -> None:
        content = os.urandom(3 * MIB)
        (web.directory / "x").write_bytes(content)
        for start, stop in [(MIB, 2 * MIB), (0, MIB), (2 * MIB, 4 * MIB), (0, 9), (3 * MIB, 4 * MIB)] * 2:
            assert remote.read_range("x", start, stop) == content[start:stop]

    def test_cut_on_the_way(
        self, web: WebServer, proxied: Callable[[int], FaultyProxy], short_pauses: None, upload: Callable[[str], None],
        datasets_root: Path, arrival: Path,
    ) -> None:  # fmt: skip
        web.ranges = False
        directory = write_dataset(datasets_root, "x-v0", files={"data/main_data.hdf5": os.urandom(9 * MIB)})
        upload("x-v0")
        proxy = proxied(web.server_address[1])
        proxy.cut(5 * MIB, larger_than=6 * MIB)
        get_cloud_storage(proxy.url).download_dataset("x-v0", arrival)
        assert tree(arrival / "x-v0") == tree(directory)


class TestRanges:
    def test_parts(self, web: WebServer) -> None:
        (web.directory / "x").write_bytes(b"0123456789")
        remote = get_cloud_storage(web.address)
        assert remote.read_range("x", 2, 5) == b"234"
        assert remote.read_range("x", 8, 50) == b"89"
        assert remote.read_range("x", 0, 0) == b""
        assert remote.read_range("x", 10, 12) == b""
        assert web.requests == ["GET /x bytes=2-4", "GET /x bytes=8-49", "GET /x bytes=10-11"]

    def test_several_threads(self, web: WebServer) -> None:
        content = os.urandom(MIB)
        (web.directory / "x").write_bytes(content)
        remote = get_cloud_storage(web.address)
        web.gate = threading.Barrier(8, timeout=10)  # passes only with eight concurrent requests
        with ThreadPoolExecutor(16) as pool:
            parts = list(pool.map(lambda start: remote.read_range("x", start, start + 1000), range(0, MIB, 16_384)))
        assert all(part == content[at : at + 1000] for at, part in zip(range(0, MIB, 16_384), parts, strict=True))


class TestConnections:
    def test_they_are_kept(self, web: WebServer) -> None:
        (web.directory / "x").write_bytes(b"0123456789")
        remote = get_cloud_storage(web.address)
        for _ in range(10):
            assert remote.read_file("x") == b"0123456789"
            assert remote.read_range("x", 2, 5) == b"234"
            assert remote.read_range("x", 10, 12) == b""
            assert not remote.has_dataset("absent-v0")
        assert len(web.requests) == 40
        assert web.connections == 1

    def test_a_download_takes_as_many_as_workers(
        self, web: WebServer, upload: Callable[[str], None], datasets_root: Path, arrival: Path
    ) -> None:
        write_dataset(datasets_root, "x-v0", files={f"data/{number}.bin": b"content" for number in range(100)})
        upload("x-v0")
        get_cloud_storage(web.address, max_workers=4).download_dataset("x-v0", arrival)
        assert len(web.requests) > 100
        assert web.connections <= 5

    def test_one_that_the_server_has_closed_is_replaced(
        self, web: WebServer, proxied: Callable[[int], FaultyProxy]
    ) -> None:
        (web.directory / "x").write_bytes(b"0123456789")
        proxy = proxied(web.server_address[1])
        remote = get_cloud_storage(proxy.url)
        assert remote.read_file("x") == b"0123456789"
        proxy.refuse()  # which ends those that are open
        proxy.heal()
        assert with_retries(lambda: remote.read_file("x")) == b"0123456789"

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no forks")
    @pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
    def test_a_fork_has_its_own(self, web: WebServer) -> None:
        (web.directory / "x").write_bytes(b"0123456789")
        remote = get_cloud_storage(web.address)
        assert remote.read_file("x") == b"0123456789"
        child = os.fork()
        if not child:
            os._exit(int(remote.read_file("x") != b"0123456789"))
        assert remote.read_range("x", 0, 3) == b"012"
        assert os.waitpid(child, 0)[1] == 0
        assert web.connections == 2

    def test_through_a_proxy(self, web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
        (web.directory / "x").write_bytes(b"content")
        monkeypatch.setenv("http_proxy", f"http://ann:s%20ecret@{web.address.removeprefix('http://')}")
        monkeypatch.setenv("no_proxy", "localhost.invalid")
        assert get_cloud_storage("http://lab.invalid").read_file("x") == b"content"
        assert web.requests == ["GET http://lab.invalid/x"]
        assert web.headers_seen[0]["proxy-authorization"] == "Basic YW5uOnMgZWNyZXQ="
        with pytest.raises(errors.RemoteUnreachableError):
            get_cloud_storage("http://localhost.invalid").read_file("x")

    def test_without_the_client(self) -> None:
        program = (
            "import sys; sys.modules['urllib3'] = None\n"
            "from minari.storage.remotes import get_cloud_storage\n"
            "get_cloud_storage('https://lab.example')\n"
        )
        failed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert "MissingDependencyError" in failed.stderr
        assert 'pip install "urllib3"' in failed.stderr


class TestAccess:
    def test_a_token(self, web: WebServer) -> None:
        (web.directory / INDEX_FILE_NAME).write_bytes(dump_index({"x-v0": b"{}"}))
        web.authorization = "Bearer sesame"
        assert get_cloud_storage(web.address, "sesame").list_datasets() == ["x-v0"]
        for token in (None, "wrong-token"):
            remote = get_cloud_storage(web.address, token)
            with pytest.raises(errors.RemoteAccessError, match="401") as caught:
                remote.list_datasets()
            assert "wrong-token" not in f"{caught.value} {remote!r}"

    def test_netrc(self, web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "netrc"
        file.write_text("machine 127.0.0.1 login ann password secret\n")
        file.chmod(0o600)
        monkeypatch.setenv("NETRC", str(file))
        (web.directory / INDEX_FILE_NAME).write_bytes(dump_index({"x-v0": b"{}"}))
        web.authorization = "Basic YW5uOnNlY3JldA=="
        assert get_cloud_storage(web.address).list_datasets() == ["x-v0"]

    @pytest.mark.parametrize(
        "address", ["http://ann:pw1234@host/x", "https://host/x?sig=pw1234", "http://host/#pw1234"]
    )
    def test_addresses_with_more_than_a_directory(self, address: str) -> None:
        for use in (get_cloud_storage, split_address):
            with pytest.raises(errors.RemoteError, match="must") as caught:
                use(address)
            assert "pw1234" not in str(caught.value)

    def test_redirects(self, web: WebServer, tmp_path: Path) -> None:
        (web.directory / "x").write_bytes(b"content")
        web.authorization = "Bearer sesame"
        web.moved["/old"] = "/x"
        assert get_cloud_storage(web.address, "sesame").read_file("old") == b"content"
        with web_server(web.directory) as other:
            web.moved["/elsewhere"] = f"{other.address}/x"
            assert get_cloud_storage(web.address, "sesame").read_file("elsewhere") == b"content"
            assert "Authorization" not in other.headers_seen[-1], "another host does not get the token"

    @pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"])
    def test_redirects_to_what_is_no_web(self, target: str, web: WebServer) -> None:
        web.moved["/x"] = target
        with pytest.raises(errors.RemoteError):
            get_cloud_storage(web.address).read_file("x")


class TestFailures:
    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            (403, errors.RemoteAccessError),
            (400, errors.RemoteError),
            (429, errors.RemoteUnreachableError),
            (503, errors.RemoteUnreachableError),
        ],
    )
    def test_statuses(self, status: int, expected: type[Exception], web: WebServer) -> None:
        web.refusals["/x"] = status
        with pytest.raises(errors.RemoteError, match=str(status)) as caught:
            get_cloud_storage(web.address).read_file("x")
        assert type(caught.value) is expected
        assert len(web.requests) == 1

    def test_one_that_is_out_of_order_is_asked_in_one_round(
        self, web: WebServer, short_pauses: None, arrival: Path
    ) -> None:
        for name in (INDEX_FILE_NAME, "x-v0/data/manifest.json"):
            web.refusals[f"/{name}"] = 503
        for action in (
            lambda: get_cloud_storage(web.address).list_datasets(),
            lambda: get_cloud_storage(web.address).download_dataset("x-v0", arrival),
            lambda: split_address(f"{web.address}/x-v0"),
        ):
            web.requests.clear()
            with pytest.raises(errors.RemoteUnreachableError, match="503"):
                action()
            assert len(web.requests) == limits.ATTEMPTS

    def test_a_dead_server(self, proxied: Callable[[int], FaultyProxy], web: WebServer) -> None:
        proxy = proxied(web.server_address[1])
        proxy.refuse()
        with pytest.raises(errors.RemoteUnreachableError, match="refused"):
            get_cloud_storage(proxy.url).read_file("x")

    def test_a_silent_server(
        self, proxied: Callable[[int], FaultyProxy], web: WebServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(CloudStorage, "LIMITS", Limits(read_timeout=0.3))
        proxy = proxied(web.server_address[1])
        proxy.fall_silent()
        with pytest.raises(errors.RemoteUnreachableError, match="timed out"):
            get_cloud_storage(proxy.url).read_file("x")

    def test_a_file_that_is_cut(self, proxied: Callable[[int], FaultyProxy], web: WebServer) -> None:
        (web.directory / "x").write_bytes(b"0123456789")
        proxy = proxied(web.server_address[1])
        remote = get_cloud_storage(proxy.url)
        for read in (lambda: remote.read_file("x"), lambda: remote.read_range("x", 0, 10)):
            proxy.cut(5)
            with pytest.raises(errors.RemoteUnreachableError):
                read()
            assert read() == b"0123456789"

    def test_a_truncated_file(
        self, web: WebServer, upload: Callable[[str], None], datasets_root: Path, arrival: Path
    ) -> None:
        write_dataset(datasets_root, "x-v0", files={"data/main_data.hdf5": os.urandom(9 * MIB)})
        upload("x-v0")
        for size in (3 * MIB, 5 * MIB):
            os.truncate(web.directory / "x-v0/data/main_data.hdf5", size)
            with pytest.raises(errors.DatasetCorruptError, match=r"main_data\.hdf5 came damaged"):
                get_cloud_storage(web.address).download_dataset("x-v0", arrival)
        (web.directory / "x-v0/data/main_data.hdf5").unlink()
        with pytest.raises(errors.RemoteError, match=r"main_data\.hdf5 .*404"):
            get_cloud_storage(web.address).download_dataset("x-v0", arrival)
        assert not (arrival / "x-v0").exists()

    def test_a_manifest_that_leads_elsewhere(
        self, web: WebServer, upload: Callable[[str], None], datasets_root: Path, arrival: Path
    ) -> None:
        from minari.storage.transfer.manifest import Manifest, ManifestFile

        write_dataset(datasets_root, "x-v0")
        upload("x-v0")
        path = web.directory / "x-v0/data/manifest.json"
        manifest = Manifest.parse(path.read_bytes(), "x")
        for name in ("../../evil", "/evil", "data/../../evil", "C:evil", "a\\evil"):
            files = {**manifest.files, name: ManifestFile(1, "0" * 64)}
            path.write_bytes(Manifest("x-v0", manifest.format_version, files).dump())
            with pytest.raises(errors.RemoteError, match="may not be the same file"):
                get_cloud_storage(web.address).download_dataset("x-v0", arrival)
        assert not [name for name in tree(arrival.parent) if "evil" in name]


def test_https(web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a connection whose certificate is trusted only once it is said to be."""
    import ssl

    pytest.importorskip("cryptography.x509", reason="the package cryptography is not installed")
    certificate = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    (web.directory / INDEX_FILE_NAME).write_bytes(dump_index({"x-v0": b"{}"}))
    web.socket = context.wrap_socket(web.socket, server_side=True)
    address = web.address.replace("http:", "https:")
    with pytest.raises(errors.RemoteError, match="certificate that is not trusted") as caught:
        get_cloud_storage(address).list_datasets()
    assert type(caught.value) is errors.RemoteError, "asking again would not help"
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert get_cloud_storage(address).list_datasets() == ["x-v0"]
    (web.directory / "plain").write_bytes(b"")
    web.moved["/plain"] = f"{web.address}/elsewhere"
    with pytest.raises(errors.RemoteError, match="not encrypted"):
        get_cloud_storage(address).read_file("plain")


def _certificate(directory: Path) -> Path:
    """A certificate for 127.0.0.1 that has signed itself, with its key."""
    import datetime
    import ipaddress

    from cryptography import x509 as made
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = made.Name([made.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        made.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(made.SubjectAlternativeName([made.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(made.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = directory / "certificate.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file
