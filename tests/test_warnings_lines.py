"""Every warning points at the line of the program that led to it."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minari


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


def without_local_copy(root: Path) -> None:
    share_twice(root)
    minari.delete_dataset("a/x-v0")


def link_out(root: Path) -> None:
    (root / "away").symlink_to(root.parent)


def lacking_requirement(root: Path) -> None:
    more = {"observations": np.zeros((3, 4), np.float32), "actions": np.array([0, 1]), "env": "CartPole-v1"}
    arrays("a/x-v0", requirements=["no-such-package"], **more)


def of_the_future(root: Path) -> None:
    change_metadata(root, minari_version="~=0.9")


#: What is prepared, the line of a program, and a part of the warning that it causes.
CASES: list[tuple[Callable[[Path], Any] | None, str, str]] = [
    (None, 'collected().create_dataset("m-v0")', "is set to None"),
    (None, 'minari.create_dataset_from_buffers("m-v0", [buffer_of()], env=ScriptedEnv())', "is set to None"),
    (None, 'arrays("m-v0", action_space=None)', "assumed that"),
    (None, "minari_step(gym.wrappers.TimeLimit(collector(length=1), 9))", "is not in action space"),
    (None, "c = minari_step(collector()); c.reset()", "is not in action space"),
    (None, 'c = minari_step(collector()); c.create_dataset("m-v0")', "is not in action space"),
    (None, 'c = minari_step(minari_step(collector(length=1))); c.create_dataset("m-v0")', "2 steps are outside"),
    (share_twice, 'minari.download_dataset(dataset_name="a/x-v0")', "dataset_name is the older name"),
    (damage, "minari.list_local_datasets()", "is left out"),
    (share_damaged, "minari.list_remote_datasets()", "is left out"),
    (link_out, "minari.list_local_datasets()", "leads out of the root"),
    (link_out, "minari.namespace.list_local_namespaces()", "leads out of the root"),
    (share_twice, 'minari.download_dataset("a/x-v0")', "is at"),
    (without_local_copy, 'minari.download_dataset("a/x-v0")', "is an older version"),
    (without_local_copy, 'minari.load_dataset("a/x-v0", download=True)', "is an older version"),
    (share_twice, 'minari.upload_dataset("a/x-v0")', "has a/x-v0 already"),
    (combined_without_part, 'minari.upload_dataset("both-v0")', "neither here nor"),
    (part_is_gone, 'minari.download_dataset("both-v0")', "does not have"),
    (of_the_future, 'minari.load_dataset("a/x-v0")', "newer than"),
    (lacking_requirement, 'minari.load_dataset("a/x-v0").recover_environment()', "not installed"),
    (None, 'minari.namespace.delete_namespace("nothing")', "nothing to delete"),
    (share_twice, 'minari.namespace.download_namespace_metadata("a")', "has local metadata"),
    (share_twice, 'minari.namespace.upload_namespace("a")', "already"),
]

HELPERS = """
import gymnasium as gym
import minari

from support.scripted import ScriptedEnv, buffer_of, play


def collector(length=5):
    return minari.DataCollector(ScriptedEnv(length=length))


def collected():
    play(env := collector())
    return env


def minari_step(env):
    env.reset()
    env.step(9)
    return env


"""


@pytest.mark.parametrize(("prepare", "line", "part"), CASES, ids=[f"{line}: {part}" for _, line, part in CASES])
def test_warning_points_at_the_program(
    prepare: Callable[[Path], Any] | None,
    line: str,
    part: str,
    datasets_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (datasets_root.parent / "share").mkdir()
    monkeypatch.setenv("MINARI_REMOTE", (datasets_root.parent / "share").as_uri())
    if prepare is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            prepare(datasets_root)
    program = tmp_path / "program.py"
    program.write_text(f"{HELPERS}{line}\n")
    scope: dict[str, Any] = {"__name__": "__main__", "arrays": arrays}
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
