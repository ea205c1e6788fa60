"""``minari validate``, and what reaches a terminal of names that somebody else chose."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import minari


Minari = Callable[..., Any]
MakeDataset = Callable[..., minari.MinariDataset]


def damage(root: Path) -> None:
    file = root / "toy" / "bad-v0" / "data" / "metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "total_steps": 99}))


def test_sound_and_damaged_datasets(run: Minari, make_dataset: MakeDataset, datasets_root: Path) -> None:
    make_dataset("toy/good-v0", [3, 4])
    make_dataset("toy/bad-v0", [5])
    damage(datasets_root)
    done = run("validate", "toy/good-v0")
    assert (done.code, done.lines, done.err) == (0, ["toy/good-v0: sound, 2 episodes read"], "")
    for arguments in (("toy/bad-v0", "toy/good-v0"), ("--all",)):
        done = run("validate", *arguments)
        assert (done.code, done.err) == (1, "")
        assert done.lines == [
            "toy/bad-v0: damaged, 1 episode read, 1 error",
            "  error   The metadata claims 99 steps, and the episodes have 5.",
            "toy/good-v0: sound, 2 episodes read",
        ]
    done = run("validate", str(datasets_root / "toy" / "bad-v0"), "--fix", "--checksums")
    assert done.code == 0
    assert done.lines[0] == "Set total_steps to 5, which was 99."


def test_json(run: Minari, make_dataset: MakeDataset, datasets_root: Path) -> None:
    make_dataset("toy/bad-v0", [5])
    damage(datasets_root)
    done = run("validate", "toy/bad-v0", "--json")
    assert done.code == 1
    (report,) = json.loads(done.out)
    assert (report["dataset"], report["ok"], report["counts"]["error"]) == ("toy/bad-v0", False, 1)
    assert report["findings"][0]["kind"] == "totals"


@pytest.mark.parametrize("arguments", [(), ("toy/a-v0", "--all"), ("toy/none-v0",), ("no id",)])
def test_what_is_refused(run: Minari, arguments: tuple[str, ...]) -> None:
    done = run("validate", *arguments)
    assert done.code in (1, 2)
    assert len(done.complaints) == 1


HOSTILE = "\x1b]8;;http://evil\x07 \x1b[2J \u202egnp.exe \u2066 \u200b \x9b31m \r over \ud800"


def test_nothing_of_the_metadata_directs_the_terminal(
    run: Minari, make_dataset: MakeDataset, datasets_root: Path
) -> None:
    make_dataset("toy/a-v0", [3])
    file = datasets_root / "toy" / "a-v0" / "data" / "metadata.json"
    spec = {"id": "X-v0", "entry_point": HOSTILE, "kwargs": {HOSTILE: HOSTILE}}
    changes = dict.fromkeys(("author", "author_email", "algorithm_name", "code_permalink", "description"), HOSTILE)
    space = {"type": "Text", "min_length": 0, "max_length": 3, "charset": HOSTILE}
    file.write_text(
        json.dumps(
            {
                **json.loads(file.read_text()),
                **changes,
                "description": f"[good](http://evil) {HOSTILE}",
                "env_spec": json.dumps(spec),
                "requirements": [HOSTILE],
                "eval_env_spec": HOSTILE,
                "observation_space": json.dumps(space),
            }
        )
    )
    (file.parent / "\x1b[31m\u202e").touch()
    for command in (("list", "local"), ("show", "toy/a-v0"), ("validate", "toy/a-v0"), ("show", "toy/a-v0", "--json")):
        done = run(*command)
        for letter in "\x1b\x07\u202e\u2066\u200b\x9b\r\ud800":
            assert letter not in done.out + done.err, (command, letter)
