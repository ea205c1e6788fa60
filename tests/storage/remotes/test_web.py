"""https://: what was uploaded to a directory or a bucket, read through a web server."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import ssl
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
from minari.storage.transfer.limits import with_retries
from minari.testing.sharing import tree, write_dataset, write_namespace
from support.servers.proxy import FaultyProxy
from support.servers.web import WebServer, web_server


if TYPE_CHECKING:
    from support.servers.s3 import S3Server

MIB = 1 << 20
Upload = Callable[[str], None]


@pytest.fixture
def upload(web: WebServer) -> Upload:
    """A function ``upload(id)``: a local dataset, into the directory behind the web server, in its index too."""

    def send(dataset_id: str) -> None:
        get_cloud_storage(web.directory.as_uri()).upload_dataset(dataset_id)
        files = web.directory.rglob("data/metadata.json")
        index = {path.parents[1].relative_to(web.directory).as_posix(): path.read_bytes() for path in files}
        (web.directory / INDEX_FILE_NAME).write_bytes(dump_index(index))

    return send


@pytest.fixture
def remote(web: WebServer) -> CloudStorage:
    """The server as a remote, with a small file."""
    (web.directory / "x").write_bytes(b"0123456789")
    return get_cloud_storage(web.address)


# Datasets


def test_uploaded_datasets_are_listed_and_downloaded(
    web: WebServer, upload: Upload, remote: CloudStorage, datasets_root: Path, arrival: Path
) -> None:
    files = {"data/main_data.hdf5": os.urandom(9 * MIB), "data/Größe é %41.bin": b"x", "data/0/empty": b""}
    directory = write_dataset(datasets_root, "a/b/x-v1", files=files)
    write_dataset(datasets_root, "a/x-v10")
    for dataset_id in ("a/b/x-v1", "a/x-v10"):
        upload(dataset_id)
    assert remote.list_datasets() == ["a/x-v10", "a/b/x-v1"]
    assert remote.list_datasets("a/b") == ["a/b/x-v1"]
    assert remote.get_dataset_metadata("a/b/x-v1") == json.loads((directory / "data/metadata.json").read_bytes())
    minari.download_dataset(f"{web.address}/a/b/x-v1", root=arrival)
    assert tree(arrival / "a/b/x-v1") == tree(directory)


def test_bucket_is_read_through_a_web_server(
    s3: S3Server, s3_bucket: str, web: WebServer, remote: CloudStorage, datasets_root: Path, arrival: Path
) -> None:
    directory = write_dataset(datasets_root, "n/x-v0", files={"data/main_data.hdf5": os.urandom(5 * MIB)})
    get_cloud_storage(f"s3://{s3_bucket}").upload_dataset("n/x-v0")
    for name, content in s3.objects(s3_bucket).items():
        file = web.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    assert remote.list_datasets() == ["n/x-v0"]
    remote.download_dataset("n/x-v0", arrival)
    assert tree(arrival / "n/x-v0") == tree(directory)


def test_namespaces_are_those_of_the_index(
    web: WebServer, upload: Upload, remote: CloudStorage, datasets_root: Path, arrival: Path
) -> None:
    write_dataset(datasets_root, "a/b/x-v0")
    upload("a/b/x-v0")
    (web.directory / "a/namespace_metadata.json").unlink(missing_ok=True)
    write_namespace(web.directory, "a/b", description="kept")
    assert list(remote.list_namespaces()) == ["a/b"]
    remote.download_namespace_metadata("a/b", arrival)
    assert json.loads((arrival / "a/b/namespace_metadata.json").read_bytes()) == {"description": "kept"}
    with pytest.raises(errors.NamespaceError):
        remote.download_namespace_metadata("a", arrival)


def test_address_of_a_dataset_is_split_by_the_index(web: WebServer, upload: Upload, datasets_root: Path) -> None:
    write_dataset(datasets_root, "a/b/x-v0")
    upload("a/b/x-v0")
    assert split_address(f"{web.address}/a/b/x-v0") == (web.address, "a/b/x-v0")
    web.directory = web.directory.parent  # where the directory of the datasets is below that of the server
    address = f"{web.address}/shared%20directory"
    assert split_address(f"{address}/a/b/x-v0") == (address, "a/b/x-v0")
    assert split_address(f"{address}/a/b/x-v1") == (f"{address}/a/b", "x-v1")
    assert get_cloud_storage(address).list_datasets() == ["a/b/x-v0"]


def test_directory_without_an_index_or_manifest_is_refused(web: WebServer, remote: CloudStorage, arrival: Path) -> None:
    for list_them in (remote.list_datasets, remote.list_namespaces):
        with pytest.raises(errors.RemoteError, match=r"has no datasets_index\.json\.gz.*`minari upload`"):
            list_them()
    (web.directory / INDEX_FILE_NAME).write_bytes(b"not an index")
    with pytest.raises(errors.DatasetCorruptError, match="index is damaged"):
        remote.list_datasets()
    for get in (lambda: remote.download_dataset("x-v0", arrival), lambda: remote.get_dataset_metadata("x-v0")):
        with pytest.raises(RemoteDatasetNotFoundError):
            get()
    write_dataset(web.directory, "x-v0")
    with pytest.raises(errors.RemoteError, match=r"no data/manifest\.json.*`minari upload`"):
        remote.download_dataset("x-v0", arrival)
    assert all(name.startswith(".") for name in tree(arrival))


def test_web_server_is_read_only(web: WebServer, remote: CloudStorage, datasets_root: Path) -> None:
    write_dataset(datasets_root, "x-v0")
    write_namespace(datasets_root, "n")
    for action in (
        lambda: remote.upload_dataset("x-v0"),
        lambda: remote.upload_namespace("n"),
        lambda: remote.write_file("x", b""),
    ):
        with pytest.raises(errors.RemoteError, match=r"can only be read; upload to the directory or bucket"):
            action()
    assert web.requests == []


# Ranges


def test_only_ranges_are_requested(web: WebServer, remote: CloudStorage) -> None:
    for start, stop in ((2, 5), (8, 50), (0, 0), (10, 12)):
        assert remote.read_range("x", start, stop) == b"0123456789"[start:stop]
    assert web.requests == ["GET /x bytes=2-4", "GET /x bytes=8-49", "GET /x bytes=10-11"]


def test_ranges_are_requested_concurrently(web: WebServer, remote: CloudStorage) -> None:
    content = os.urandom(MIB)
    (web.directory / "x").write_bytes(content)
    web.gate = threading.Barrier(8, timeout=10)  # passes only with eight concurrent requests
    places = range(0, MIB, 16_384)
    with ThreadPoolExecutor(16) as pool:
        parts = list(pool.map(lambda start: remote.read_range("x", start, start + 1000), places))
    assert parts == [content[start : start + 1000] for start in places]


def test_without_ranges_each_file_is_requested_once(
    web: WebServer, remote: CloudStorage, upload: Upload, datasets_root: Path, arrival: Path
) -> None:
    web.ranges = False
    big = {f"data/{number}.bin": os.urandom(9 * MIB + number) for number in range(3)}
    small = {f"data/{number}.txt": b"content" for number in range(30)}
    directory = write_dataset(datasets_root, "x-v0", files={**big, **small})
    upload("x-v0")
    remote.download_dataset("x-v0", arrival)
    assert tree(arrival / "x-v0") == tree(directory)
    assert [web.requests.count(f"GET /x-v0/{name}") for name in big] == [1, 1, 1]
    content = big["data/0.bin"]
    for start, stop in [(MIB, 2 * MIB), (0, MIB), (8 * MIB, 10 * MIB), (0, 9), (10 * MIB, 11 * MIB)] * 2:
        assert remote.read_range("x-v0/data/0.bin", start, stop) == content[start:stop]


def test_without_ranges_a_cut_file_is_requested_again(
    web: WebServer, proxied: Callable[[int], FaultyProxy], short_pauses: None, upload: Upload, datasets_root: Path,
    arrival: Path,
) -> None:  # fmt: skip
    web.ranges = False
    directory = write_dataset(datasets_root, "x-v0", files={"data/main_data.hdf5": os.urandom(9 * MIB)})
    upload("x-v0")
    proxy = proxied(web.port)
    proxy.cut(5 * MIB, larger_than=6 * MIB)
    get_cloud_storage(proxy.url).download_dataset("x-v0", arrival)
    assert tree(arrival / "x-v0") == tree(directory)


# Connections


def test_connection_is_kept(web: WebServer, remote: CloudStorage) -> None:
    for _ in range(10):
        assert remote.read_file("x") == b"0123456789"
        assert remote.read_range("x", 2, 5) == b"234"
        assert remote.read_range("x", 10, 12) == b""
        assert not remote.has_dataset("absent-v0")
    assert len(web.requests) == 40
    assert web.connections == 1


def test_download_has_a_connection_per_worker(
    web: WebServer, upload: Upload, datasets_root: Path, arrival: Path
) -> None:
    write_dataset(datasets_root, "x-v0", files={f"data/{number}.bin": b"content" for number in range(100)})
    upload("x-v0")
    get_cloud_storage(web.address, max_workers=4).download_dataset("x-v0", arrival)
    assert len(web.requests) > 100
    assert web.connections <= 5


def test_closed_connection_is_replaced(proxied: Callable[[int], FaultyProxy], web: WebServer) -> None:
    (web.directory / "x").write_bytes(b"0123456789")
    proxy = proxied(web.port)
    remote = get_cloud_storage(proxy.url)
    assert remote.read_file("x") == b"0123456789"
    proxy.refuse()  # which ends those that are open
    proxy.heal()
    assert with_retries(lambda: remote.read_file("x")) == b"0123456789"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_fork_has_its_own_connection(web: WebServer, remote: CloudStorage) -> None:
    assert remote.read_file("x") == b"0123456789"
    child = os.fork()
    if not child:
        os._exit(int(remote.read_file("x") != b"0123456789"))
    assert remote.read_range("x", 0, 3) == b"012"
    assert os.waitpid(child, 0)[1] == 0
    assert web.connections == 2


def test_proxy_of_the_environment_is_used(
    web: WebServer, remote: CloudStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://ann:s%20ecret@127.0.0.1:{web.port}")
    monkeypatch.setenv("no_proxy", "localhost.invalid")
    with pytest.raises(errors.RemoteUnreachableError):
        get_cloud_storage("http://localhost.invalid").read_file("x")
    assert get_cloud_storage("http://lab.invalid").read_file("x") == b"0123456789"
    assert web.requests == ["GET http://lab.invalid/x"]
    assert web.headers_seen[0]["proxy-authorization"] == "Basic YW5uOnMgZWNyZXQ="


def test_missing_client_is_named() -> None:
    program = (
        "import sys; sys.modules['urllib3'] = None\n"
        "from minari.storage.remotes import get_cloud_storage\n"
        "get_cloud_storage('https://lab.example')\n"
    )
    failed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "MissingDependencyError" in failed.stderr
    assert 'pip install "urllib3"' in failed.stderr


# Access


def test_token_is_sent_and_not_shown(web: WebServer, remote: CloudStorage) -> None:
    web.authorization = "Bearer sesame"
    web.moved["/old"] = "/x"
    assert get_cloud_storage(web.address, "sesame").read_file("old") == b"0123456789"
    for token in (None, "wrong-token"):
        stranger = get_cloud_storage(web.address, token)
        with pytest.raises(errors.RemoteAccessError, match="401") as caught:
            stranger.read_file("x")
        assert "wrong-token" not in f"{caught.value} {stranger!r}"
    with web_server(web.directory) as other:
        web.moved["/elsewhere"] = f"{other.address}/x"
        assert get_cloud_storage(web.address, "sesame").read_file("elsewhere") == b"0123456789"
        assert "Authorization" not in other.headers_seen[-1], "another host does not get the token"


def test_password_of_netrc_is_sent(
    web: WebServer, remote: CloudStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine 127.0.0.1 login ann password secret\n")
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))
    web.authorization = "Basic YW5uOnNlY3JldA=="
    assert remote.read_file("x") == b"0123456789"


@pytest.mark.parametrize("address", ["http://ann:pw1234@host/x", "https://host/x?sig=pw1234", "http://host/#pw1234"])
@pytest.mark.parametrize("use", [get_cloud_storage, split_address])
def test_address_with_more_than_a_directory_is_refused(use: Callable[[str], object], address: str) -> None:
    with pytest.raises(errors.RemoteError, match="must") as caught:
        use(address)
    assert "pw1234" not in str(caught.value)


# Failures


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (403, errors.RemoteAccessError),
        (400, errors.RemoteError),
        (429, errors.RemoteUnreachableError),
        (503, errors.RemoteUnreachableError),
    ],
)
def test_status_becomes_an_error(status: int, expected: type[Exception], web: WebServer, remote: CloudStorage) -> None:
    web.refusals["/x"] = status
    with pytest.raises(errors.RemoteError, match=str(status)) as caught:
        remote.read_file("x")
    assert type(caught.value) is expected
    assert len(web.requests) == 1


def test_server_out_of_order_is_asked_in_one_round(
    web: WebServer, remote: CloudStorage, short_pauses: None, arrival: Path
) -> None:
    for name in (INDEX_FILE_NAME, "x-v0/data/manifest.json"):
        web.refusals[f"/{name}"] = 503
    for action in (
        remote.list_datasets,
        lambda: remote.download_dataset("x-v0", arrival),
        lambda: split_address(f"{web.address}/x-v0"),
    ):
        web.requests.clear()
        with pytest.raises(errors.RemoteUnreachableError, match="503"):
            action()
        assert len(web.requests) == limits.ATTEMPTS


def test_certificate_must_be_trusted(
    web: WebServer, remote: CloudStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = certificate_in(tmp_path)
    context.load_cert_chain(certificate)
    web.socket = context.wrap_socket(web.socket, server_side=True)
    address = web.address.replace("http:", "https:")
    with pytest.raises(errors.RemoteError, match="certificate that is not trusted") as caught:
        get_cloud_storage(address).read_file("x")
    assert type(caught.value) is errors.RemoteError, "asking again would not help"
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert get_cloud_storage(address).read_file("x") == b"0123456789"
    web.moved["/plain"] = f"{web.address}/elsewhere"
    with pytest.raises(errors.RemoteError, match="not encrypted"):
        get_cloud_storage(address).read_file("plain")


def certificate_in(directory: Path) -> Path:
    """A certificate for 127.0.0.1 that has signed itself, with its key."""
    x509 = pytest.importorskip("cryptography.x509", reason="the package cryptography is not installed")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now, hour = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(hours=1)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - hour, now + hour)
    builder = builder.add_extension(names, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = directory / "certificate.pem"
    file.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem) + secret)
    return file
