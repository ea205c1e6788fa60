"""``minari diff`` and ``minari split``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

import minari
from cli.conftest import MakeDataset, Minari
from minari.cli.diff import condensed
from support.copies import installed_codecs
from support.scripted import buffer_of


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


# diff


def test_equal_datasets(run: Minari, make_dataset: MakeDataset, tmp_path: Path, datasets_root: Path) -> None:
    make_dataset("toy/a-v0", [3, 5]).convert("toy/b-v0", compression=next(installed_codecs("hdf5")))
    sizes = "2 episodes, 8 steps"
    run("diff", "toy/a-v0", "toy/b-v0").assert_done(
        f"toy/a-v0 and toy/b-v0 are equal: {sizes}",
        "Metadata",
        "  of the copies, no difference: dataset_id, compression",
    )
    moved = shutil.copytree(datasets_root / "toy" / "b-v0", tmp_path / "elsewhere")
    run("diff", "toy/a-v0", str(moved), "--ignore-metadata").assert_done(f"toy/a-v0 and {moved} are equal: {sizes}")


def test_differences(run: Minari, make_dataset: MakeDataset) -> None:
    first = make_dataset("toy/a-v0", [1, 2, 3, 4, 5, 6, 7, 8])
    second = first[[0, 2, 3, 4, 7, 7]].save("toy/b-v0")
    second.storage.update_metadata({"author": "Grace", "gain": 0.5})
    second.storage.update_episode_metadata([{"task": "pick\nplace"}], [0])
    done = run("diff", "toy/a-v0", "toy/b-v0")
    assert (done.code, done.err) == (1, "")
    assert done.lines == [
        "toy/a-v0 and toy/b-v0 differ: 8 episodes, 36 steps, and 6 episodes, 29 steps",
        "Metadata",
        "  only in toy/b-v0: gain 0.5",
        "  changed: author is ['Ada'] and ['Grace']",
        "  of the copies, no difference: dataset_id",
        "Episodes",
        "  equal: 0",
        "  moved: 2-4 to 1-3, 7 to 4",
        "  only in toy/a-v0: 1, 6",
        "  changed: 0, metadata task is None and 'pick\\nplace'",
        "  changed: 5, observations at step 0 is 20.0 and 35.0, at [0]",
    ]
    done = run("diff", "toy/a-v0", "toy/b-v0", "--json")
    assert (done.code, done.err) == (1, "")
    found = json.loads(done.out)
    assert (found["equal"], found["episodes"]["moved"]) == (False, [[2, 1], [3, 2], [4, 3], [7, 4]])
    assert found["episodes"]["changed"][1]["leaf"] == "observations"
    assert found["metadata"]["changed"] == {"author": [["Ada"], ["Grace"]]}
    assert found["b"]["total_steps"] == 29


def test_long_lists_are_short(run: Minari) -> None:
    def create(dataset_id: str, starts: range) -> None:
        minari.create_dataset_from_buffers(
            dataset_id,
            [buffer_of(1, start=start) for start in starts],
            observation_space=Box(-1e9, 1e9, (2,), np.float32),
            action_space=Discrete(3),
        )

    create("toy/a-v0", range(50))
    create("toy/b-v0", range(100, 200))
    done = run("diff", "toy/a-v0", "toy/b-v0")
    assert done.code == 1
    assert len(done.lines) == 27
    assert done.lines[-1] == "  changed too: 20-49"
    assert "  only in toy/b-v0: 50-99" in done.lines
    assert len(max(done.lines, key=len)) < 200


def test_numbers_are_condensed() -> None:
    assert condensed([]) == ""
    assert condensed([3, 7, 10, 11, 12]) == "3, 7, 10-12"
    assert condensed(range(0, 100, 2)).endswith("36, 38 and 30 more ranges")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["toy/a-v0", "toy/c-v0"], "Did you mean 'toy/a-v0'?"),
        (["toy/a-v0", "no id"], "no id"),
        (["toy/a-v0", "/nowhere"], "There is no directory /nowhere"),
        (["toy/a-v0", "toy/damaged-v0"], "damaged"),
    ],
)
def test_errors_have_the_status_of_diff(
    run: Minari, make_dataset: MakeDataset, datasets_root: Path, arguments: list[str], part: str
) -> None:
    make_dataset("toy/a-v0", [3])
    make_dataset("toy/damaged-v0", [3])
    (datasets_root / "toy" / "damaged-v0" / "data" / "metadata.json").write_text("{")
    run("diff", *arguments).assert_refused(part, code=2)


def test_diff_of_the_real_dataset(run: Minari, real_root: Path) -> None:
    minari.load_dataset("D4RL/door/human-v2").convert("door/table-v0", "parquet")
    done = run("diff", "D4RL/door/human-v2", "door/table-v0")
    assert done.code == 0
    assert done.lines[0].endswith("are equal: 25 episodes, 6729 steps")


# split


def test_split(run: Minari, make_dataset: MakeDataset, datasets_root: Path) -> None:
    dataset = make_dataset("toy/a-v3", [1, 2, 3, 4, 5])
    run("split", "toy/a-v3", "--fractions", "0.6,0.4", "--seed", "0").assert_done(
        *(
            f"Dataset toy/a-part{number}-v3 is part {number} of 2 of toy/a-v3: {len(part)} episodes, "
            f"{part.total_steps} steps, at {datasets_root / 'toy' / f'a-part{number}-v3'}"
            for number, part in enumerate(minari.split_dataset(dataset, [0.6, 0.4], 0), 1)
        )
    )
    parts = [minari.load_dataset(f"toy/a-part{number}-v3") for number in (1, 2)]
    assert sorted(len(one) for part in parts for one in part) == [1, 2, 3, 4, 5]
    assert parts[1].storage.metadata["split_from"] == {
        "dataset_id": "toy/a-v3", "part": 2, "parts": 2, "by": "episode", "fractions": [0.6, 0.4], "seed": 0,
    }  # fmt: skip
    shown = run("show", "toy/a-part2-v3")
    assert shown.rows["Split From"] == ["toy/a-v3, part 2 of 2"]


def test_split_by_return_with_ids(run: Minari, make_dataset: MakeDataset) -> None:
    make_dataset("toy/a-v0", [2, 5, 1, 5, 3])
    done = run("split", "toy/a-v0", "--sizes", "2,1", "--by", "return", "--as", "toy/best-v0", "--as", "other/b-v1")
    assert (done.code, done.err) == (0, "")
    assert done.lines[-1] == "2 episodes of toy/a-v0 are in no part."
    assert [[len(one) for one in minari.load_dataset(name)] for name in ("toy/best-v0", "other/b-v1")] == [[5, 5], [3]]


REFUSED = {
    "--fractions 0.5,0.5 --sizes 1,1": ("--fractions", 2),
    "": ("--fractions", 2),
    "--sizes 1,x": ("--sizes is '1,x', expected numbers", 2),
    "--sizes 0.5,0.5": ("--sizes is '0.5,0.5'", 2),
    "--fractions 0.5,": ("--fractions is '0.5,'", 2),
    "--fractions 0.8,0.4": ("add up to at most 1", 1),
    "--fractions nan,1": ("fractions from 0 to 1", 1),
    "--sizes 9,1": ("exceeds the 2 episodes", 1),
    "--sizes 2,0": ("Part 2 of toy/a-v0 has no episode", 1),
    "--sizes 1,1 --as toy/b-v0": ("--as gives 1 id for 2 parts", 2),
    "--sizes 1,1 --as toy/b-v0 --as toy/a-v0": ("toy/a-v0 already exists", 1),
    "--sizes 1,1 --as toy/b-v0 --as toy/b-v0": ("one twice", 1),
    "--sizes 1,1 --as toy/b-v0 --as toy/b": ("toy/b", 1),
    "--sizes 1,1 --by return --seed 1": ("leave out --seed", 2),
}


@pytest.mark.parametrize("options", REFUSED)
def test_split_refuses_before_anything_is_written(run: Minari, make_dataset: MakeDataset, options: str) -> None:
    make_dataset("toy/a-v0", [1, 2])
    part, code = REFUSED[options]
    run("split", "toy/a-v0", *options.split()).assert_refused(part, code=code)
    assert list(minari.list_local_datasets()) == ["toy/a-v0"]


def test_split_of_an_unknown_dataset(run: Minari, make_dataset: MakeDataset) -> None:
    make_dataset("toy/a-v0", [1, 2])
    run("split", "toy/b-v0", "--sizes", "1,1").assert_refused(
        "There is no dataset toy/b-v0", "Did you mean 'toy/a-v0'?"
    )


def test_split_takes_the_path_of_a_directory(run: Minari, make_dataset: MakeDataset, datasets_root: Path) -> None:
    make_dataset("toy/a-v0", [1, 2])
    done = run("split", str(datasets_root / "toy" / "a-v0"), "--sizes", "1,1", "--seed", "0")
    assert (done.code, done.err) == (0, "")
    assert done.lines[0].startswith("Dataset toy/a-part1-v0 is part 1 of 2 of toy/a-v0")
    assert set(minari.list_local_datasets()) == {"toy/a-v0", "toy/a-part1-v0", "toy/a-part2-v0"}
