"""``minari recover``: lists recordings with what is known of them, makes datasets of them, deletes one."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

import minari
from cli.conftest import Minari
from minari import DataCollector
from minari._catalog.recordings import list_recordings
from support.scripted import ScriptedEnv, play


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")


def leave(root: Path, episodes: int = 2, **given: str) -> str:
    """Record and close; the name of the recording."""
    known = {recording.name for recording in list_recordings(root)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collector = DataCollector(ScriptedEnv(), root=root)
        play(collector, episodes)
        if given:
            with pytest.raises(ValueError, match="NoSuchEnv"):
                collector.create_dataset(eval_env="NoSuchEnv-v0", **given)
        collector.close()
    (name,) = {recording.name for recording in list_recordings(root)} - known
    return name


class TestRecover:
    def test_what_is_known_is_listed(self, run: Minari, datasets_root: Path) -> None:
        plain = leave(datasets_root)
        given = leave(datasets_root, 3, dataset_id="toy/wanted-v0", author="Ada", description="Steps\nthat count")
        done = run("recover", COLUMNS="400")
        (of_plain,) = [line for line in done.lines if plain in line]
        (of_given,) = [line for line in done.lines if given in line]
        assert [cell.strip() for cell in of_plain.split("│")][2:5] == ["–", "2", "10"]
        assert ", closed " in of_plain
        for text in ("toy/wanted-v0", "Ada", "Steps that count", "create_dataset failed: ", "15"):
            assert text in of_given

    def test_the_id_and_the_rest_are_kept(self, run: Minari, datasets_root: Path) -> None:
        name = leave(datasets_root, dataset_id="toy/wanted-v0", author="Ada", description="Steps that count")
        done = run("recover", name)
        assert done.code == 0
        assert done.lines[0].startswith("Dataset toy/wanted-v0 recovered: 2 episodes, 10 steps")
        metadata = minari.load_dataset("toy/wanted-v0").storage.metadata
        assert (metadata["author"], metadata["description"]) == ({"Ada"}, "Steps that count")

    def test_all(self, run: Minari, datasets_root: Path) -> None:
        plain, given = leave(datasets_root), leave(datasets_root, dataset_id="toy/wanted-v0")
        taken = leave(datasets_root, dataset_id="toy/wanted-v0")
        alive = DataCollector(ScriptedEnv(), root=datasets_root, buffer_steps=1)
        play(alive)
        done = run("recover", "--all")
        assert done.code == 0
        assert any("in progress" in line for line in done.lines)
        ids = {"toy/wanted-v0", f"recovered/{plain}-v0", f"recovered/{taken}-v0"}
        assert set(minari.list_local_datasets()) in (ids, ids - {f"recovered/{taken}-v0"} | {f"recovered/{given}-v0"})
        assert [recording.is_in_progress for recording in list_recordings()] == [True]
        alive.create_dataset("toy/alive-v0")

    def test_deleting_one(self, run: Minari, datasets_root: Path) -> None:
        name, other = leave(datasets_root), leave(datasets_root)
        assert run("recover", "--discard", name, answer="n\n").code == 1
        assert len(list_recordings()) == 2
        done = run("recover", "--discard", name, "--yes")
        assert (done.code, done.err) == (0, "")
        assert done.lines[-1] == f"Recording {name} deleted."
        assert [recording.name for recording in list_recordings()] == [other]
        assert run("recover", "--discard", name, "--yes").code == 1

    def test_one_that_is_in_use_is_not_deleted(self, run: Minari, datasets_root: Path) -> None:
        alive = DataCollector(ScriptedEnv(), root=datasets_root, buffer_steps=1)
        play(alive)
        done = run("recover", "--discard", list_recordings()[0].name, "--yes")
        assert done.code == 1
        assert "in progress (process " in done.complaints[0]
        assert len(alive.create_dataset("toy/alive-v0")) == 1

    def test_another_root(self, run: Minari, tmp_path: Path) -> None:
        name = leave(tmp_path)
        assert "no recordings" in run("recover").lines[0]
        assert run("recover", name, "--dataset-id", "a-v0", "--root", str(tmp_path)).code == 0
        assert list(minari.list_local_datasets(root=tmp_path)) == ["a-v0"]

    @pytest.mark.parametrize(
        "arguments",
        [["x", "--all"], ["x", "--discard", "x"], ["--dataset-id", "a-v0", "--all"], ["--dataset-id", "a-v0"]],
    )
    def test_options_that_contradict_each_other(self, run: Minari, arguments: list[str]) -> None:
        assert run("recover", *arguments).code == 2


class TestListing:
    def test_recordings_in_progress(self, run: Minari, datasets_root: Path) -> None:
        assert "No program records" in run("list", "local", "--recordings").lines[0]
        closed = leave(datasets_root)
        alive = DataCollector(ScriptedEnv(), root=datasets_root, buffer_steps=1)
        play(alive, 3)
        done = run("list", "local", "--recordings", COLUMNS="400")
        assert not any(closed in line for line in done.lines)
        assert any("in progress (process " in line and " 15 " in line for line in done.lines)
        (listed,) = json.loads(run("list", "local", "--recordings", "--json").out).values()
        assert (listed["episodes"], listed["steps"]) == (3, 15)
        alive.create_dataset("toy/alive-v0")
        assert run("list", "remote", "--recordings").code == 2
