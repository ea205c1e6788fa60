"""Every warning points at the line of the program that led to it."""

from __future__ import annotations

import json
import shutil
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import minari
from support.scripted import buffer_of, play


def arrays(dataset_id: str, **more: Any) -> minari.MinariDataset:
    given: dict[str, Any] = {"observations": np.arange(3.0), "actions": np.zeros(2), "rewards": np.ones(2)}
    return minari.create_dataset_from_arrays(dataset_id, terminations=np.array([False, True]), **(given | more))


def damage(root: Path) -> None:
    arrays("a/x-v0")
    (root / "a/x-v0/data/metadata.json").write_text("{")


def change_metadata(root: Path, **changes: Any) -> None:
    arrays("a/x-v0")
    file = root / "a/x-v0/data/metadata.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def share_twice(root: Path) -> None:
    arrays("a/x-v0")
    minari.upload_dataset("a/x-v0")
    arrays("a/x-v1")
    minari.upload_dataset("a/x-v1")


def share_damaged(root: Path) -> None:
    share_twice(root)
    (root.parent / "share/a/x-v1/data/metadata.json").write_text("{")


def combined_without_part(root: Path) -> None:
    minari.combine_datasets([arrays("a/x-v0"), arrays("a/y-v0")], "both-v0")
    minari.delete_dataset("a/x-v0")


def part_is_gone(root: Path) -> None:
    combined_without_part(root)
    shutil.rmtree(root.parent / "share")
    (root.parent / "share").mkdir()
    minari.upload_dataset("both-v0")
    minari.delete_dataset("both-v0")


OLD = "minari.DataCollector(ScriptedEnv()"

#: What is prepared, the line of a program, and a part of the warning that it causes.
CASES: dict[str, tuple[Callable[[Path], Any] | None, str, str]] = {
    "missing metadata": (None, 'collected().create_dataset("m-v0")', "is set to None"),
    "missing metadata of buffers": (
        None,
        'minari.create_dataset_from_buffers("m-v0", [buffer_of()], env=ScriptedEnv())',
        "is set to None",
    ),
    "dicts as buffers": (
        None,
        'minari.create_dataset_from_buffers("m-v0", [vars(buffer_of())], env=ScriptedEnv())',
        "older form of EpisodeBuffer",
    ),
    "dicts into a dataset": (
        None,
        'collected().create_dataset("m-v0").update_dataset_from_buffer([vars(buffer_of())])',
        "older form of EpisodeBuffer",
    ),
    "arrays": (None, 'arrays("m-v0", action_space=None)', "assumed that"),
    "outside in step": (None, "minari_step(gym.wrappers.TimeLimit(collector(length=1), 9))", "is not in action space"),
    "outside at a reset": (None, "c = minari_step(collector(), last=False); c.reset()", "is not in action space"),
    "outside at the end": (
        None,
        'c = minari_step(collector(length=1)); minari_step(c); c.create_dataset("m-v0")',
        "2 steps are outside",
    ),
    "outside in a running episode": (
        None,
        'c = minari_step(collector(), last=False); c.create_dataset("m-v0")',
        "is not in action space",
    ),
    "collector's older arguments": (None, f"{OLD}, max_buffer_steps=3)", "older name of buffer_steps"),
    "collector's older name": (None, "minari.DataCollectorV0(ScriptedEnv())", "DataCollectorV0 is the older name"),
    "older creation": (
        None,
        'minari.create_dataset_from_collector_env(dataset_id="m-v0", collector_env=collected())',
        "is the older form",
    ),
    "older update": (
        None,
        'collected().create_dataset("m-v0").update_dataset_from_collector_env(collected())',
        "update_dataset_from_collector_env is the older name",
    ),
    "older property": (None, 'collected().create_dataset("m-v0").name', "MinariDataset.name is the older name"),
    "older combine": (
        lambda root: arrays("a/x-v0"),
        'minari.combine_datasets([minari.load_dataset("a/x-v0")], new_dataset_name="c-v0")',
        "new_dataset_name is the older name",
    ),
    "older download": (share_twice, 'minari.download_dataset(dataset_name="a/x-v0")', "dataset_name is the older name"),
    "a damaged dataset in a list": (damage, "minari.list_local_datasets()", "is left out"),
    "a damaged dataset in a remote list": (share_damaged, "minari.list_remote_datasets()", "is left out"),
    "a link out of the root": (
        lambda root: (root / "away").symlink_to(root.parent),
        "minari.list_local_datasets()",
        "leads out of the root",
    ),
    "a link in a list of namespaces": (
        lambda root: (root / "away").symlink_to(root.parent),
        "minari.namespace.list_local_namespaces()",
        "leads out of the root",
    ),
    "downloaded already": (share_twice, 'minari.download_dataset("a/x-v0")', "is at"),
    "an older version": (
        lambda root: (share_twice(root), minari.delete_dataset("a/x-v0")),
        'minari.download_dataset("a/x-v0")',
        "is an older version",
    ),
    "uploaded already": (share_twice, 'minari.upload_dataset("a/x-v0")', "has a/x-v0 already"),
    "a part is missing": (combined_without_part, 'minari.upload_dataset("both-v0")', "neither here nor"),
    "a part is missing there": (part_is_gone, 'minari.download_dataset("both-v0")', "does not have"),
    "a load that downloads": (
        lambda root: (share_twice(root), minari.delete_dataset("a/x-v0")),
        'minari.load_dataset("a/x-v0", download=True)',
        "is an older version",
    ),
    "a newer format": (
        lambda root: change_metadata(root, minari_version="~=0.9"),
        'minari.load_dataset("a/x-v0")',
        "newer than",
    ),
    "a requirement": (
        lambda root: arrays(
            "a/x-v0",
            observations=np.zeros((3, 4), np.float32),
            actions=np.array([0, 1]),
            env="CartPole-v1",
            requirements=["no-such-package"],
        ),
        'minari.load_dataset("a/x-v0").recover_environment()',
        "not installed",
    ),
    "no such namespace": (None, 'minari.namespace.delete_namespace("nothing")', "nothing to delete"),
    "local metadata of a namespace": (
        share_twice,
        'minari.namespace.download_namespace_metadata("a")',
        "has local metadata",
    ),
    "an uploaded namespace": (share_twice, 'minari.namespace.upload_namespace("a")', "already"),
}

HELPERS = """
import gymnasium as gym
import minari

from support.scripted import ScriptedEnv, buffer_of, play


def collector(length=5):
    return minari.DataCollector(ScriptedEnv(length=length))


def collected():
    play(env := collector())
    return env
"""


@pytest.mark.parametrize("case", CASES)
def test_it_points_at_the_program(
    case: str, datasets_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (datasets_root.parent / "share").mkdir()
    monkeypatch.setenv("MINARI_REMOTE", (datasets_root.parent / "share").as_uri())
    prepare, line, part = CASES[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if prepare is not None:
            prepare(datasets_root)

    program = tmp_path / "program.py"
    steps = textwrap.dedent(
        """
        def minari_step(env, last=True):
            env.reset()
            env.step(9)
            return env
        """
    )
    program.write_text(f"{HELPERS}{steps}\n{line}\n")
    scope: dict[str, Any] = {"__name__": "__main__", "arrays": arrays, "play": play, "buffer_of": buffer_of, "gym": gym}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(compile(program.read_text(), str(program), "exec"), scope)
    about = [warning for warning in caught if part in str(warning.message)]
    assert about, [str(warning.message) for warning in caught]
    assert {warning.filename for warning in about} <= {str(program), __file__}
    assert {warning.filename for warning in caught if "minari" in Path(warning.filename).parts} == set()


def test_no_warning_counts_levels_by_itself() -> None:
    package = Path(minari.__file__).parent
    callers = [path.name for path in package.rglob("*.py") if "warnings.warn(" in path.read_text(encoding="utf-8")]
    assert callers == ["warnings.py"]
