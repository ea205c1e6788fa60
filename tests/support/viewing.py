"""A client of the viewer, and small datasets of each kind to look at."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

import minari
from cli.conftest import environment
from minari.data_collector import EpisodeBuffer, MultiAgentEpisodeBuffer


TOKEN = "the-token"
HOST = "testserver"


def client(**options: Any) -> Any:
    """A client of an application, for a ``with`` block."""
    from starlette.testclient import TestClient

    from minari.viewer import create_app

    app = create_app(token=TOKEN, hosts=(HOST,), **options)
    return TestClient(app, headers={"Authorization": f"Bearer {TOKEN}"}, follow_redirects=False)


def get(client: Any, path: str, status: int = 200, **parameters: Any) -> Any:
    """The JSON value of an answer, which is strictly JSON."""
    answer = client.get(f"/api/{path}", params=parameters)
    assert answer.status_code == status, answer.text
    return json.loads(answer.content, parse_constant=_refuse)


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


class Served:
    """A running ``minari view``.

    Attributes:
        line: the line that it printed.
        address: the address of the page, without the token.
        token: the token.
        rest: what follows the token.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.line = process.stdout.readline()
        found = re.search(r"(http://\S+?)/#token=([\w-]{43})(\S*) \(Ctrl-C ends it\)$", self.line)
        assert found is not None, self.line + (process.communicate()[1] if process.poll() is not None else "")
        self.address, self.token, self.rest = found.groups()

    def ask(self, path: str, body: Any = None, token: str | None = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token or self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.address}/api/{path}", content, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def end(self, number: int = signal.SIGINT) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@contextmanager
def viewing(root: Path, *options: str) -> Iterator[Served]:
    """Run ``minari view`` for a block."""
    command = [sys.executable, "-m", "minari", "view", "--no-browser", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(root), cwd=root
    ) as process:
        try:
            yield Served(process)
        finally:
            process.kill()
            process.communicate()


def make_table(dataset_id: str, metadatas: list[dict[str, Any]], lengths: list[int], **options: Any) -> Any:
    """A dataset whose episodes have these lengths and metadata; the reward of step t of episode i is i - t."""
    ends = np.cumsum(lengths)
    terminations = np.zeros(ends[-1], bool)
    truncations = np.zeros(ends[-1], bool)
    terminations[ends[::2] - 1] = True
    truncations[ends[1::2] - 1] = True
    rewards = np.concatenate([number - np.arange(float(length)) for number, length in enumerate(lengths)])
    return minari.create_dataset_from_arrays(
        dataset_id,
        observations=np.arange(2.0 * (ends[-1] + len(lengths))).reshape(-1, 2),
        actions=np.arange(ends[-1]) % 3,
        rewards=rewards,
        terminations=terminations,
        truncations=truncations,
        episode_metadata=metadatas,
        **options,
    )


def make_cameras(dataset_id: str, lengths: tuple[int, ...] = (3, 7), **options: Any) -> Any:
    """A dataset with two cameras, one of them in the infos, texts and flags."""
    rng = np.random.default_rng(5)
    buffers = [
        EpisodeBuffer(
            observations={
                "front": rng.integers(0, 256, (steps + 1, 16, 12, 3), np.uint8),
                "task": ["go"] * 2 + ["stop"] * (steps - 1),
                "x": np.array([np.nan, np.inf, *range(steps - 1)], np.float32),
            },
            actions=rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
            rewards=np.arange(float(steps)),
            terminations=[False] * steps,
            truncations=[False] * (steps - 1) + [True],
            infos={
                "wrist": rng.integers(0, 256, (steps + 1, 9, 9), np.uint8),
                "success": np.arange(steps + 1) > 1,
                "big": np.full(steps + 1, 2**60),
            },
            seed=2**62 + steps,
        )
        for steps in lengths
    ]
    space = spaces.Dict(
        front=spaces.Box(0, 255, (16, 12, 3), np.uint8),
        task=spaces.Text(8),
        x=spaces.Box(-np.inf, np.inf, (), np.float32),
    )
    actions = spaces.Box(-1.0, 1.0, (2,), np.float32)
    return minari.create_dataset_from_buffers(
        dataset_id, buffers, observation_space=space, action_space=actions, **options
    )


def make_agents(dataset_id: str, **options: Any) -> Any:
    """A dataset of two agents, one of which acts in one episode only."""
    box = spaces.Box(-1.0, 1.0, (2,), np.float32)
    agents = {"a": box, "b": spaces.Dict(text=spaces.Text(5), number=spaces.Discrete(4))}
    one = EpisodeBuffer(
        observations=np.zeros((4, 2), np.float32), actions=[1, 0, 1], rewards=[1.0, 2.0, 3.0],
        terminations=[False] * 3, truncations=[False] * 3, infos={"x": np.arange(4)},
    )  # fmt: skip
    other = EpisodeBuffer(
        observations={"text": ["p", "q"], "number": [1, 2]}, actions=[1], rewards=[5.0],
        terminations=[True], truncations=[False],
    )  # fmt: skip
    buffers = [
        MultiAgentEpisodeBuffer({"a": one, "b": other}, {"b": [1, 2]}, 3, state={"s": np.arange(4.0)}),
        MultiAgentEpisodeBuffer({"a": one}, {}, 3, state={"s": np.arange(4.0)}),
    ]
    return minari.create_dataset_from_buffers(
        dataset_id, buffers, observation_space=agents, action_space=dict.fromkeys(agents, spaces.Discrete(2)), **options
    )
