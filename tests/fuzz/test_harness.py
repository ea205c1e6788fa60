"""The harness itself: a seed is one mutant, and each kind of failure is found."""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fuzz import children
from fuzz.children import Server
from fuzz.mutations import mutate
from fuzz.subjects import DATA, SUBJECTS, Stage, build_scene
from fuzz.using import User
from fuzz.verdicts import Verdict, report


pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limits of the children are Linux'")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("fuzz") / "scene"
    build_scene(SUBJECTS["arrow"][0], directory)
    return directory


def test_seed_decides_about_the_mutation(scene: Path, tmp_path: Path) -> None:
    stage = Stage(scene, tmp_path / "slot")
    made = []
    for seed in (*range(40), *range(40)):
        stage.set_up()
        mutation = mutate(random.Random(seed), stage.place, stage.place / DATA)
        made.append(f"{mutation} {_content(stage.place / DATA)}")
    assert made[:40] == made[40:]
    assert len(set(made)) > 35


def _content(directory: Path) -> dict[str, Any]:
    files = (Path(path, name) for path, _, names in os.walk(directory) for name in names)
    plain = (file for file in files if file.is_file() and not file.is_symlink() and file.stat().st_size < 1 << 20)
    return {file.name: hash(file.read_bytes()) for file in plain}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of one subject, in this process."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as work:
        patch.setitem(SUBJECTS, "hdf5", SUBJECTS["hdf5"][:1])
        patch.setattr(children, "_LOADED", ())
        server = Server(Path(work), seconds=2.0, thorough=False, only="", keep=None)
        server.prepare(["hdf5"])
        yield server


def _crash(user: User) -> None:
    os.abort()


def _hang(user: User) -> None:
    time.sleep(60)


def _eat(user: User) -> None:
    user.steps.append(bytearray(1 << 40))  # type: ignore[arg-type]


def _raise(user: User) -> None:
    {}["somebody else's"]


def _run(user: User) -> None:
    os.system("true")


def _write(user: User) -> None:
    (user.scene / "outside" / "empty" / "new").write_text("x")


def _read(user: User) -> None:
    (user.scene / "outside" / "secret.txt").read_text()


@pytest.mark.parametrize(
    ("does", "kind"),
    [
        (_crash, "crash"),
        (_hang, "hang"),
        (_eat, "memory"),
        (_raise, "foreign"),
        (_run, "escape"),
        (_write, "escape"),
        (_read, "escape"),
    ],
)
def test_failure_is_found(
    server: Server, monkeypatch: pytest.MonkeyPatch, does: Callable[[User], None], kind: str
) -> None:
    monkeypatch.setattr(User, "_list", does)
    verdicts = list(server.run([0, 5]))
    assert [verdict.kind for verdict in verdicts] == [kind, kind]
    assert "tests.fuzz.replay 0" in report(verdicts)
    if kind in ("crash", "hang"):
        assert does.__name__ in verdicts[0].text, "the report says where"


def test_wrong_values_are_found(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that verifies nothing lets values pass that are not those that were written."""
    monkeypatch.setattr(User, "_verified", lambda user: user._judge(("other",), verified=True))
    verdicts = list(server.run(range(0, 100, 5)))
    damaged = [verdict for verdict in verdicts if verdict.sort == "damage" and "/.index." not in verdict.mutation]
    kinds = {verdict.kind for verdict in damaged}
    assert "wrong" in kinds
    assert not kinds & {"ok", "unverified", "refused"}


def test_report_puts_equal_symptoms_together() -> None:
    same = [
        Verdict(seed, "hdf5/text", "cut", "damage", "foreign", "load", "KeyError", "KeyError: 1") for seed in (0, 5)
    ]
    text = report([*same, Verdict(10, "hdf5/text", "cut", "damage", "ok")])
    assert text.startswith("2 x foreign KeyError")
    assert "seeds 0, 5" in text
    assert report([]) == ""
