"""The benchmark of remotes runs, with this library on both sides."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner


pytest.importorskip("google.cloud.storage", reason="google-cloud-storage is not installed")
pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
pytest.importorskip("cryptography", reason="the package cryptography is not installed")

# At the end: where the wheel is tested, the checkout's own `minari` must not come before it.
sys.path.append(str(Path(__file__).parents[3]))

from benchmarks import cli, environments, remotes


@pytest.mark.slow
def test_it_runs_from_end_to_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    released = replace(environments.our_side(), name="released")
    monkeypatch.setattr(environments, "released_side", lambda *arguments: released)
    arguments = ["remotes", "--quick", "--output", str(tmp_path), "--scratch", str(tmp_path)]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "remotes.md").read_text(encoding="utf-8") in done.output + "\n"
    written = json.loads((tmp_path / "remotes.json").read_text(encoding="utf-8"))
    rows = written["remotes"]
    assert [(row["store"], row["action"]) for row in rows] == [
        (store, action) for store in remotes.STORES for action in remotes.ACTIONS
    ]
    least = {"list": 2, "upload": 3, "download": remotes.FILES}  # requests
    for row in rows:
        for side in ("ours", "released"):
            assert row[side]["seconds"] > remotes.DELAY
            assert row[side]["requests"] >= least[row["action"]]
