"""``minari view`` in a process of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import minari
from cli.conftest import Minari, environment
from support.viewing import make_table, viewing


pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX"),
]


def make(dataset_id: str = "look/table-v0", episodes: int = 4) -> None:
    make_table(dataset_id, [{} for _ in range(episodes)], [3] * episodes)


def test_the_printed_address_answers_and_ctrl_c_ends_it(datasets_root: Path) -> None:
    make()
    with viewing(datasets_root, "look/table-v0") as page:
        assert page.line.startswith("Viewing look/table-v0 at http://127.0.0.1:")
        assert page.rest == "&dataset=look%2Ftable-v0"
        catalog = page.ask("catalog")
        assert [one["id"] for one in catalog["datasets"]] == ["look/table-v0"]
        assert not catalog["read_only"]
        with pytest.raises(urllib.error.HTTPError) as refused:
            page.ask("catalog", token="wrong")
        assert refused.value.code == 401
        with socket.create_connection(page.address.removeprefix("http://").split(":")) as idle:  # type: ignore[arg-type]
            idle.sendall(b"GET /api/catalog HTTP/1.1\r\n")  # and nothing more
            code, out, err = page.end()
        assert (code, out, err) == (0, "The page is closed.\n", "")


def test_a_server_for_others_reads_only_unless_it_is_allowed_to_edit(datasets_root: Path) -> None:
    make()
    for options, read_only in (
        (["--host", "0.0.0.0"], True),
        (["--host", "0.0.0.0", "--edit"], False),
    ):
        with viewing(datasets_root, *options) as page:
            port = page.address.rpartition(":")[2]
            page.address = f"http://127.0.0.1:{port}"
            assert page.ask("catalog")["read_only"] is read_only
            assert str(datasets_root) in page.line


def test_a_path_is_viewed_wherever_it_is(datasets_root: Path, tmp_path: Path) -> None:
    make()
    with viewing(datasets_root, "look/table-v0/data", "--root", str(datasets_root)) as page:
        assert page.rest == "&dataset=look%2Ftable-v0"
        assert len(page.ask("catalog")["datasets"]) == 1
    (datasets_root / "look" / "table-v0").rename(tmp_path / "elsewhere-v0")
    with viewing(datasets_root, str(tmp_path / "elsewhere-v0"), "--root", str(datasets_root)) as page:
        (one,) = page.ask("catalog")["datasets"]
        assert (one["id"], one["episodes"]) == (str(tmp_path / "elsewhere-v0"), 4)
        assert page.ask(f"episodes?dataset={one['id']}")["total"] == 4


def test_a_long_reading_is_stopped_by_ctrl_c(datasets_root: Path) -> None:
    make("look/many-v0", 20_000)
    with viewing(datasets_root) as page:
        body = "GET /api/episodes?dataset=look/many-v0&where=max('observations')%20%3E%203 HTTP/1.1\r\n"
        host = page.address.removeprefix("http://")
        with socket.create_connection(host.split(":")) as connection:  # type: ignore[arg-type]
            connection.sendall(f"{body}Host: {host}\r\nAuthorization: Bearer {page.token}\r\n\r\n".encode())
            time.sleep(0.5)
            begun = time.monotonic()
            code, out, err = page.end()
        assert (code, out, err) == (0, "The page is closed.\n", "")
        assert time.monotonic() - begun < 8


@pytest.mark.parametrize("data_format", ["hdf5", pytest.param("zarr", marks=pytest.mark.soak)])
def test_a_server_that_is_killed_leaves_the_old_or_the_new_dataset(data_format: str, datasets_root: Path) -> None:
    steps = [40] * 300
    make_table("look/table-v0", [{"n": number} for number in range(300)], steps, data_format=data_format)
    for pause in (0.0, 0.02, 0.1):
        with viewing(datasets_root) as page:
            before = page.ask("episodes?dataset=look/table-v0")
            host = page.address.removeprefix("http://")
            body = json.dumps(
                {"dataset": "look/table-v0", "revision": before["revision"], "episodes": [0, 1], "confirm": True}
            )
            request = (
                f"POST /api/drop HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {page.token}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
            )
            with socket.create_connection(host.split(":")) as connection:  # type: ignore[arg-type]
                connection.sendall(request.encode())
                time.sleep(pause)
                page.process.kill()
                page.process.wait()
        dataset = minari.load_dataset("look/table-v0")
        assert len(dataset) in (before["of"], before["of"] - 2)
        numbers = [episode.metadata["n"] for episode in dataset]
        assert numbers == list(range(300 - len(dataset), 300))
        assert not [finding for finding in minari.validate("look/table-v0").findings if finding.level == "error"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing-v0"], "There is no dataset nothing-v0 in "),
        (["./nothing"], "There is no directory nothing; give the directory of a dataset"),
        (["hf://farama-minari/D4RL/door/human-v2"], "is an address, expected an id or a path"),
        (["--root", "file.txt"], "which is a file; expected a directory of datasets"),
        (["--host", "no.such.host.invalid"], "host is 'no.such.host.invalid', expected a name or an address of"),
        (["--host", "192.0.2.1"], "host is '192.0.2.1', expected a name or an address of this machine"),
    ],
)
def test_what_cannot_be_viewed_is_one_sentence(
    run: Minari, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").touch()
    run("view", "--no-browser", *arguments).assert_refused(sentence)


def test_a_port_in_use_is_one_sentence(run: Minari) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("view", "--no-browser", "--port", port)
    done.assert_refused(f"port is {port}, which another program is using; choose another port, or 0 for a free one.")


def test_a_missing_extra_is_one_sentence(datasets_root: Path, tmp_path: Path) -> None:
    (tmp_path / "starlette.py").write_text("raise ImportError('missing', name='starlette')")
    variables = environment(datasets_root, PYTHONPATH=f"{tmp_path}:{Path(minari.__file__).parents[1]}")
    command = [sys.executable, "-m", "minari", "view", "--no-browser"]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        'Error: minari.viewer needs starlette and uvicorn, which are not installed; run pip install "minari[view]".\n'
    )
