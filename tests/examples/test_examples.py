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
    """Record with a policy in ``examples``, such as "cartpole_policies:steady"."""
    environment = {"cartpole": "CartPole-v1", "pendulum": "Pendulum-v1"}[policy.partition("_")[0]]
    options = ("--policy", f"examples.{policy}", "--episodes", str(episodes), "--seed", "0", *options)
    run(*MINARI, "record", environment, "--dataset-id", dataset_id, *options)


def value(output: str, label: str) -> float:
    """Return the number that a script prints after a label."""
    match = re.search(rf"^{re.escape(label)}: (-?[\d.]+)$", output, re.MULTILINE)
    assert match is not None, output
    return float(match[1])


def test_behavioral_cloning_balances_the_pole(tmp_path: Path) -> None:
    record("cartpole/steady-v0", "cartpole_policies:steady", 10)
    plot = tmp_path / "curve.png"
    output = run("examples/behavioral_cloning.py", "cartpole/steady-v0", "--plot", str(plot))
    assert value(output, "Mean return of the policy") >= 400
    assert plot.read_bytes().startswith(PNG)


def test_behavioral_cloning_is_deterministic() -> None:
    record("cartpole/steady-v0", "cartpole_policies:steady", 2)
    arguments = ("examples/behavioral_cloning.py", "cartpole/steady-v0", "--epochs", "3", "--seed")
    first = run(*arguments, "1")
    assert run(*arguments, "1") == first
    assert run(*arguments, "2") != first


def test_decision_transformer_reaches_what_it_is_asked_for(tmp_path: Path) -> None:
    record("cartpole/mixed-v0", "cartpole_policies:careless", 100)
    record("cartpole/mixed-v0", "cartpole_policies:slanted", 60, "--append")
    record("cartpole/mixed-v0", "cartpole_policies:steady", 5, "--append")
    plot = tmp_path / "curve.png"
    output = run("examples/decision_transformer.py", "cartpole/mixed-v0", "--plot", str(plot))
    data, high = value(output, "Mean return of the data"), value(output, "Mean return when asked for 500")
    assert 90 < data < 120
    assert high > 300
    assert value(output, "Mean return when asked for 50") < high / 2
    assert plot.read_bytes().startswith(PNG)


@pytest.mark.skipif(find_spec("d3rlpy") is None, reason="d3rlpy is not installed")
def test_offline_rl_does_better_than_both_policies_of_the_data(tmp_path: Path) -> None:
    record("pendulum/halves-v0", "pendulum_policies:swinging", 50)
    record("pendulum/halves-v0", "pendulum_policies:balancing", 50, "--append")
    plot = tmp_path / "curve.png"
    output = run("examples/offline_rl.py", "pendulum/halves-v0", "--plot", str(plot))
    assert -900 < value(output, "Mean return of the data") < -750
    assert value(output, "Mean return of the policy") > -250
    assert plot.read_bytes().startswith(PNG)


@pytest.mark.skipif(find_spec("d3rlpy") is None, reason="d3rlpy is not installed")
def test_offline_rl_is_deterministic() -> None:
    record("pendulum/halves-v0", "pendulum_policies:swinging", 2)
    arguments = ("examples/offline_rl.py", "pendulum/halves-v0", "--steps", "500", "--seed")
    first = run(*arguments, "1")
    assert run(*arguments, "1") == first
    assert run(*arguments, "2") != first
