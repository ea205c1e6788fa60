"""The scripts in ``examples/``, run as a reader runs them, on data that are recorded as their pages show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


REPOSITORY = Path(__file__).parents[2]
MINARI = ("-m", "minari")
PNG = b"\x89PNG\r\n"

pytestmark = [
    pytest.mark.integrations,
    pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed"),
]


def run(*arguments: str) -> str:
    """Return the output of a Python program that runs in the root of the repository."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def record(dataset_id: str, policy: str, episodes: int, *options: str) -> None:
    name = f"examples.cartpole_policies:{policy}"
    options = ("--policy", name, "--episodes", str(episodes), "--seed", "0", *options)
    run(*MINARI, "record", "CartPole-v1", "--dataset-id", dataset_id, *options)


def value(output: str, label: str) -> float:
    """Return the number that a script prints after a label."""
    match = re.search(rf"^{re.escape(label)}: ([\d.]+)$", output, re.MULTILINE)
    assert match is not None, output
    return float(match[1])


def test_behavioral_cloning_balances_the_pole(tmp_path: Path) -> None:
    record("cartpole/steady-v0", "steady", 10)
    plot = tmp_path / "curve.png"
    output = run("examples/behavioral_cloning.py", "cartpole/steady-v0", "--plot", str(plot))
    assert value(output, "Mean return of the policy") >= 400
    assert plot.read_bytes().startswith(PNG)


def test_behavioral_cloning_is_deterministic() -> None:
    record("cartpole/steady-v0", "steady", 2)
    arguments = ("examples/behavioral_cloning.py", "cartpole/steady-v0", "--epochs", "3", "--seed")
    first = run(*arguments, "1")
    assert run(*arguments, "1") == first
    assert run(*arguments, "2") != first


def test_decision_transformer_reaches_what_it_is_asked_for(tmp_path: Path) -> None:
    record("cartpole/mixed-v0", "careless", 100)
    record("cartpole/mixed-v0", "slanted", 60, "--append")
    record("cartpole/mixed-v0", "steady", 5, "--append")
    plot = tmp_path / "curve.png"
    output = run("examples/decision_transformer.py", "cartpole/mixed-v0", "--plot", str(plot))
    data, high = value(output, "Mean return of the data"), value(output, "Mean return when asked for 500")
    assert 90 < data < 120
    assert high > 300
    assert value(output, "Mean return when asked for 50") < high / 2
    assert plot.read_bytes().startswith(PNG)
