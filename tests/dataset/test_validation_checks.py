"""Findings about the values, the episodes, the metadata and the files of a dataset, and profiles."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

import minari
from minari._storages.base import MinariStorage
from minari.data_collector import EpisodeBuffer, MultiAgentEpisodeBuffer
from minari.dataset.validation import repair
from minari.errors import ArgumentError, ArgumentTypeError, DataPathError, DatasetCorruptError
from minari.testing.examples import SPACES, as_buffer, draw_truth
from support.copies import is_installed
from support.official import official_datasets
from support.stored import rewrite_index


pytestmark = pytest.mark.filterwarnings(
    "ignore::minari.errors.MissingMetadataWarning", "ignore:(Observation|Action) .*is not in", "ignore:.*Agent "
)

FORMATS = [name for name in ("hdf5", "arrow", "parquet", "zarr") if name == "hdf5" or is_installed(name)]
STEPS, EPISODES = 12, 4
INSIDE = spaces.Dict(
    {
        "pos": spaces.Box(-1, 1, (2,), np.float64),
        "goal": spaces.Box(-np.inf, np.inf, (1,), np.float32),
        "gear": spaces.Discrete(4),
    }
)
FORCE = spaces.Box(-1, 1, (1,), np.float64)


def episodes(count: int = EPISODES) -> list[EpisodeBuffer]:
    """Sound episodes: everything varies, each ends once, and all have seeds."""
    random = np.random.default_rng(0)
    return [
        EpisodeBuffer(
            seed=number,
            observations={
                "pos": random.uniform(-1, 1, (STEPS + 1, 2)),
                "goal": random.normal(size=(STEPS + 1, 1)).astype(np.float32),
                "gear": np.arange(STEPS + 1) % 4,
            },
            actions=random.uniform(-1, 1, (STEPS, 1)),
            rewards=random.normal(size=STEPS),
            terminations=np.arange(STEPS) == STEPS - 1,
            truncations=np.zeros(STEPS, np.bool_),
        )
        for number in range(count)
    ]


def created(
    buffers: list[Any], data_format: str = "hdf5", name: str = "toy/a-v0", **given: Any
) -> minari.MinariDataset:
    given = {"observation_space": INSIDE, "action_space": FORCE, **given}
    return minari.create_dataset_from_buffers(name, buffers, data_format=data_format, **given)


def found(report: Any, *kinds: str) -> list[tuple[Any, ...]]:
    return [(f.level, f.leaf, f.episode, f.step, f.count, f.worst) for f in report.findings if f.kind in kinds]


def change_metadata(dataset: minari.MinariDataset, **changes: Any) -> None:
    file = dataset.storage.data_path / "metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def set_values(field: str, *places: tuple[int, int, Any]) -> Callable[[list[EpisodeBuffer]], None]:
    """Return a function that sets rows of a field of episodes."""

    def change(buffers: list[Any]) -> None:
        name, _, key = field.partition("/")
        for episode, step, value in places:
            column = getattr(buffers[episode], name)
            (column[key] if key else column)[step] = value

    return change


def everywhere(field: str, value: Callable[[int], Any]) -> Callable[[list[EpisodeBuffer]], None]:
    """Return a function that gives all rows of a field of each episode one value."""
    return lambda buffers: set_values(field, *((number, slice(None), value(number)) for number in range(EPISODES)))(
        buffers
    )


def with_fields(number: int, **fields: Any) -> Callable[[list[EpisodeBuffer]], None]:
    """Return a function that gives an episode other fields."""

    def change(buffers: list[Any]) -> None:
        buffers[number] = replace(buffers[number], **fields)

    return change


def repeat(buffers: list[Any]) -> None:
    for number in (1, 3):
        buffers[number] = replace(buffers[0], seed=number)


#: The change to sound episodes; the kind of the finding; its level, leaf, first episode and step, count, worst value.
CASES: dict[str, tuple[Callable[[list[EpisodeBuffer]], Any], str, list[tuple[Any, ...]]]] = {
    "sound": (lambda buffers: None, "", []),
    "outside": (
        set_values("observations/pos", (1, 3, [0, 2.5]), (2, 4, [-7, 9]), (2, 5, 1.5)),
        "outside",
        [("warning", "observations/pos", 1, 3, 3, "9.0")],
    ),
    "outside of choices": (set_values("observations/gear", (3, 0, 4)), "outside",
        [("warning", "observations/gear", 3, 0, 1, "4")]),
    "outside action": (set_values("actions", (0, 11, -1.25)), "outside", [("warning", "actions", 0, 11, 1, "-1.25")]),
    "NaN": (
        set_values("observations/pos", (2, 6, np.nan), (3, 1, [np.inf, 0])),
        "not finite",
        [("warning", "observations/pos", 2, 6, 3, "nan")],
    ),
    "infinite reward": (set_values("rewards", (1, 0, -np.inf)), "not finite",
        [("warning", "rewards", 1, 0, 1, "-inf")]),
    "infinite action": (set_values("actions", (1, 2, np.inf)), "not finite", [("warning", "actions", 1, 2, 1, "inf")]),
    "infinity in the space": (
        set_values("observations/goal", (0, 2, np.inf), (2, 2, -np.inf)),
        "infinite",
        [("note", "observations/goal", 0, 2, 2, "inf")],
    ),
    "NaN where infinity may be": (
        set_values("observations/goal", (0, 2, np.nan)),
        "not finite",
        [("warning", "observations/goal", 0, 2, 1, "nan")],
    ),
    "constant": (
        everywhere("rewards", lambda number: 0),
        "constant",
        [("note", "rewards", None, None, STEPS * EPISODES, None)],
    ),
    "frozen": (
        set_values("observations/pos", (1, slice(None), 0.5), (3, slice(None), 0.25)),
        "frozen",
        [("note", "observations/pos", 1, None, 2, None)],
    ),
    "goals": (everywhere("observations/goal", float), "frozen", [("note", "observations/goal", 0, None, 4, None)]),
    "early": (
        set_values("terminations", (1, 4, True), (1, 7, True), (2, 0, True)),
        "flags",
        [("warning", "terminations", 1, 4, 3, None)],
    ),
    "no end": (
        set_values("terminations", (2, STEPS - 1, False), (3, STEPS - 1, False)),
        "no end",
        [("warning", None, 2, STEPS - 1, 2, None)],
    ),
    "duplicates": (repeat, "duplicates", [("warning", None, 0, None, 2, None)]),
    "same seeds": (with_fields(2, seed=1), "seed", [("note", None, 1, None, 2, None)]),
    "other options": (
        with_fields(2, seed=1, options={"hard": True}),
        "seed",
        [],
    ),
    "some seeds": (with_fields(3, seed=None), "seed", [("note", None, 3, None, 1, None)]),
    "negative seeds": (with_fields(3, seed=-4), "seed", [("error", None, 3, None, 1, "-4")]),
}  # fmt: skip


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", CASES)
def test_each_problem_is_one_finding_about_its_leaf(case: str, data_format: str) -> None:
    change, kind, expected = CASES[case]
    buffers = episodes()
    change(buffers)
    report = minari.validate(created(buffers, data_format).id)
    assert found(report, kind) == expected
    assert [f.kind for f in report.findings if f.kind != kind] == []


@pytest.mark.parametrize("data_format", FORMATS)
def test_agents_are_examined_one_by_one(data_format: str) -> None:
    sheep = [replace(episode, seed=None) for episode in episodes()]
    wolves = [replace(episode, seed=None) for episode in episodes()[::-1]]
    set_values("observations/pos", (2, 5, [3, 0]))(sheep)
    set_values("rewards", (1, 1, np.nan))(wolves)
    set_values("terminations", (3, STEPS - 1, False))(wolves)
    buffers = [MultiAgentEpisodeBuffer({"sheep": a, 7: b}) for a, b in zip(sheep, wolves, strict=True)]
    observations, actions = (dict.fromkeys(("sheep", 7), space) for space in (INSIDE, FORCE))
    dataset = created(buffers, data_format, observation_space=observations, action_space=actions)
    report = minari.validate(dataset.id)
    assert {(f.kind, f.leaf, f.episode, f.step) for f in report.findings} == {
        ("outside", "agents/sheep/observations/pos", 2, 5),
        ("not finite", "agents/_key:7/rewards", 1, 1),
        ("no end", "agents/_key:7", 3, STEPS - 1),
    }


def test_vector_rewards_and_frames_are_examined() -> None:
    frames = spaces.Box(0, 255, (8, 8, 3), np.uint8)
    buffers: list[Any] = [
        replace(
            buffer,
            observations=np.full((STEPS + 1, 8, 8, 3), number, np.uint8),
            rewards=np.column_stack([np.arange(STEPS), np.zeros(STEPS)]) + number,
        )
        for number, buffer in enumerate(episodes())
    ]
    buffers[2].rewards[4, 1] = np.nan
    report = minari.validate(created(buffers, observation_space=frames).id)
    assert found(report, "not finite") == [("warning", "rewards", 2, 4, 1, "nan")]
    assert found(report, "frozen") == [("note", "observations", 0, None, EPISODES, None)]


def test_episodes_of_discrete_states_may_be_the_same() -> None:
    buffers: list[Any] = [replace(buffer, observations=np.arange(STEPS + 1) % 4) for buffer in episodes()]
    repeat(buffers)
    report = minari.validate(created(buffers, observation_space=spaces.Discrete(4)).id)
    assert [(f.level, f.kind) for f in report.findings] == [("note", "duplicates")]


@pytest.mark.parametrize("name", SPACES)
def test_samples_of_every_space_are_inside_it(name: str) -> None:
    space = SPACES[name]
    ends = {"terminations": np.arange(4) == 3, "truncations": np.zeros(4, np.bool_)}
    buffers = [as_buffer({**draw_truth(space, FORCE, 4, number), **ends}) for number in (1, 2, 3)]
    report = minari.validate(created(buffers, observation_space=space).id, checksums=True)
    unexpected = [f for f in report.findings if f.kind not in ("constant", "frozen", "duplicates")]
    assert (unexpected, report.episodes) == ([], 3)


NUMBERS = st.sampled_from([0.0, 0.5, 1.0, -1.0, 1.5, -3.0, np.nan, np.inf, -np.inf])


@given(st.lists(st.lists(NUMBERS, min_size=2, max_size=6), min_size=1, max_size=5))
def test_counts_are_those_of_a_loop(rows: list[list[float]]) -> None:
    """Values of an observation between -1 and infinity, counted one by one."""
    space = spaces.Box(-1, np.inf, (), np.float64)
    buffers = [
        EpisodeBuffer(
            observations=np.array(row), actions=np.zeros((len(row) - 1, 1)), rewards=np.zeros(len(row) - 1),
            terminations=np.arange(2, len(row) + 1) == len(row), truncations=np.zeros(len(row) - 1, np.bool_),
        )
        for row in rows
    ]  # fmt: skip
    dataset = created(buffers, observation_space=space)
    report = minari.validate(dataset.id)
    minari.delete_dataset(dataset.id)
    places = [(number, step, value) for number, row in enumerate(rows) for step, value in enumerate(row)]
    kinds = {
        "not finite": [place for place in places if np.isnan(place[2]) or place[2] == -np.inf],
        "infinite": [place for place in places if place[2] == np.inf],
        "outside": [place for place in places if np.isfinite(place[2]) and place[2] < -1],
    }
    for kind, expected in kinds.items():
        counts = [(f.episode, f.step, f.count) for f in report.findings if f.kind == kind]
        assert counts == [(*place[:2], len(expected)) for place in expected[:1]]


# Metadata


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"author": ["Ada", 3]}, "metadata"),
        ({"author_email": ["ada"]}, "metadata"),
        ({"code_permalink": "see below"}, "metadata"),
        ({"code_permalink": "http://[::bad"}, "metadata"),
        ({"description": 3}, "metadata"),
        ({"license": "  "}, "metadata"),
        ({"requirements": ["mujoco >> 3"]}, "metadata"),
        ({"requirements": "mujoco"}, "metadata"),
        ({"requirements": ["no-such-package-anywhere>=1"]}, "environment"),
        ({"combined_datasets": ["no id"]}, "metadata"),
        ({"ref_min_score": float("nan")}, "metadata"),
        ({"ref_min_score": 2.0, "ref_max_score": 1.0}, "metadata"),
        ({"num_episodes_average_score": 0}, "metadata"),
        ({"autor": "Ada"}, "metadata"),
        ({"env_spec": json.dumps({"id": "Nowhere-v0", "entry_point": None})}, "environment"),
        ({"env_spec": json.dumps({"id": "Nowhere-v0", "entry_point": "nowhere_to_be_found.sub:Env"})}, "environment"),
        ({"env_spec": json.dumps({"id": "Nowhere-v0", "entry_point": "os.path/..:Env"})}, ""),
        ({"dataset_id": "other/name-v3"}, "id"),
        ({"author": "Ada", "author_email": "ada@example.org", "code_permalink": "https://example.org/x"}, ""),
        ({"ref_min_score": 0, "ref_max_score": 1.5, "num_episodes_average_score": 10, "license": "MIT"}, ""),
        ({"author": [], "author_email": [], "description": "", "requirements": [], "robot": "anything"}, ""),
    ],
)
def test_metadata_is_compared_with_its_meaning(changes: dict[str, Any], expected: str) -> None:
    dataset = created(episodes())
    change_metadata(dataset, **changes)
    report = minari.validate(dataset.id)
    assert [f.kind for f in report.findings] == ([expected] if expected else [])
    assert report.ok


def test_packages_of_environments_are_found_without_importing_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "payload_package").mkdir()
    (tmp_path / "payload_package" / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    dataset = created(episodes())
    spec = {"id": "Own-v0", "entry_point": "payload_package.inner:Env"}
    change_metadata(dataset, env_spec=json.dumps(spec))
    assert minari.validate(dataset.id).findings == ()
    assert "payload_package" not in sys.modules


# Files


def test_wrong_index_is_an_error_and_made_again() -> None:
    dataset = created(episodes())
    expected = [episode.rewards.tolist() for episode in dataset]

    def swap(header: dict[str, Any], rows: Any) -> None:
        rows[[1, 2]] = rows[[2, 1]]

    rewrite_index(dataset.storage.data_path, swap)
    report = minari.validate(dataset.id)
    assert [(f.level, f.episode) for f in report.findings if f.kind == "index"] == [("error", 1), ("error", 2)]
    assert repair(dataset.id) == ["Made the index of 2 episodes again.", "Made checksums of 2 episodes."]
    assert minari.validate(dataset.id, checksums=True).findings == ()
    assert [episode.rewards.tolist() for episode in minari.load_dataset(dataset.id)] == expected


def test_id_of_another_place_is_repaired() -> None:
    dataset = created(episodes())
    change_metadata(dataset, dataset_id="other/name-v3")
    assert repair(dataset.id) == ["Set dataset_id to toy/a-v0, which was 'other/name-v3'."]
    assert minari.validate(dataset.id).findings == ()


def test_copy_of_a_remote_is_compared_with_its_manifest(tmp_path: Path) -> None:
    dataset = created(episodes())
    minari.upload_dataset(dataset.id, remote=f"file://{tmp_path}")
    copy = Path(shutil.copytree(tmp_path / "toy" / "a-v0", tmp_path / "copy" / "a-v0"))
    assert (copy / "data" / "manifest.json").exists()
    assert minari.validate(copy).findings == ()
    data_file = copy / "data" / "main_data.hdf5"
    content = data_file.read_bytes()
    for changed in (content + b"x", content[:-1] + b"x"):
        data_file.write_bytes(changed)
        assert [f.level for f in minari.validate(copy).findings if f.kind == "manifest"] == ["error"]
    data_file.unlink()
    messages = [f.message for f in minari.validate(copy).findings if f.kind == "manifest"]
    assert messages == [] or "missing" in messages[0]  # it may not even be opened
    data_file.write_bytes(content)
    minari.open_dataset(copy).update_dataset_from_buffer(episodes(1))
    assert [f.level for f in minari.validate(copy).findings if f.kind == "manifest"] == ["warning"]


@pytest.mark.skipif("zarr" not in FORMATS, reason="needs zarr")
def test_addresses_are_validated_in_place(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    for name, data_format in (("toy/a-v0", "zarr"), ("toy/b-v0", "hdf5")):
        local = created(episodes(), data_format, name).storage.data_path
        fsspec.filesystem("memory").put(str(local), f"/{name}/data", recursive=True)
        assert minari.validate(f"file://{local.parent}").ok
    for address in ("memory://toy/a-v0", "memory://toy/a-v0/data"):
        report = minari.validate(address)
        assert (report.ok, report.episodes, report.dataset) == (True, EPISODES, address)
    for address in ("memory://toy/b-v0", "gcp://bucket/toy/b-v0"):
        with pytest.raises(DataPathError, match=rf"cannot be read in place.*minari download {address}"):
            minari.validate(address)
    with pytest.raises(DataPathError):
        minari.validate("memory://toy/nothing-v0")


def test_address_that_cannot_be_reached_is_named_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("upath")

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError("the key is secret")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "info", refuse)
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "_open", refuse)
    with pytest.raises(DataPathError, match=r"memory://toy/a-v0 cannot be read \(PermissionError\)") as caught:
        minari.validate("memory://toy/a-v0")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("agents", [False, True])
def test_pass_keeps_the_outcomes_of_sound_episodes(agents: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    buffers: list[Any] = episodes()
    set_values("truncations", (2, STEPS - 1, True))(buffers)
    given: dict[str, Any] = {}
    if agents:
        buffers = [MultiAgentEpisodeBuffer({"sheep": replace(one, seed=None)}) for one in buffers]
        given = {"observation_space": {"sheep": INSIDE}, "action_space": {"sheep": FORCE}}
    dataset = created(buffers, **given)
    expected = dataset.statistics()
    kept = dataset.storage.data_path / ".episode_statistics.json"
    content = kept.read_bytes()
    kept.unlink()
    assert minari.validate(dataset.id).findings == ()
    assert kept.read_bytes() == content
    monkeypatch.setattr(MinariStorage, "get_outcomes", None)
    np.testing.assert_array_equal(minari.load_dataset(dataset.id).statistics().returns, expected.returns)


def test_pass_keeps_no_outcomes_of_damaged_episodes() -> None:
    buffers = episodes()
    CASES["negative seeds"][0](buffers)
    data_path = created(buffers).storage.data_path
    minari.validate(data_path)
    assert not (data_path / ".episode_statistics.json").exists()


def test_seed_that_is_no_whole_number_is_an_error() -> None:
    h5py = pytest.importorskip("h5py")
    dataset = created(episodes())
    with h5py.File(dataset.storage.data_path / "main_data.hdf5", "a") as file:
        file["episode_2"].attrs["seed"] = 1.5
    report = minari.validate(dataset.id)
    assert [(f.level, f.kind, f.episode) for f in report.findings] == [("error", "unreadable", 2)]


# Real data


def test_real_data_have_no_warning(real_root: Path) -> None:
    report = minari.validate("D4RL/door/human-v2", checksums=True)
    assert {(f.level, f.kind) for f in report.findings} <= {("note", "environment"), ("note", "no checksums")}
    assert report.episodes == 25


def test_no_release_has_written_what_is_wrong(fixtures_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(fixtures_dir / "official", tmp_path / "official")
    for dataset in official_datasets():
        report = minari.validate(tmp_path / "official" / dataset.release / dataset.dataset_id)
        kinds = {(f.level, f.kind) for f in report.findings if f.level != "note"}
        assert kinds <= ({("warning", "duplicates")} if dataset.combines else set()), dataset


# The profile of shared datasets

COMPLETE: dict[str, Any] = {
    "author": "Ada", "author_email": "ada@example.org", "algorithm_name": "random", "description": "For a test.",
    "code_permalink": "https://example.org/x", "requirements": ["numpy"],
}  # fmt: skip


def complete(name: str = "toy/a-v0", buffers: list[Any] | None = None) -> minari.MinariDataset:
    dataset = created(episodes() if buffers is None else buffers, name=name, env="CartPole-v1", **COMPLETE)
    dataset.storage.update_metadata({"license": "MIT"})
    return dataset


def test_hub_profile_asks_for_complete_metadata() -> None:
    complete()
    assert minari.validate("toy/a-v0", profile="hub").findings == ()
    created(episodes(), name="plain-v0")
    report = minari.validate("plain-v0", profile="hub")
    assert (report.ok, report.profile, report.as_dict()["profile"]) == (True, "hub", "hub")
    assert [f.kind for f in report.findings] == ["missing"] * 8 + ["id"]
    assert {f.level for f in report.findings} == {"warning"}
    assert minari.validate("plain-v0").findings == ()
    with pytest.raises(ArgumentError, match="'hub'"):
        minari.validate("plain-v0", profile="none")
    with pytest.raises(ArgumentTypeError, match=r"directory, such as dataset\.id\.$"):
        minari.validate(minari.load_dataset("plain-v0"))  # type: ignore[arg-type]


@pytest.mark.parametrize("case", ["NaN", "infinite reward", "early", "no end", "negative seeds"])
def test_upload_refuses_errors_of_the_profile(case: str, tmp_path: Path) -> None:
    change, kind, _ = CASES[case]
    buffers = episodes()
    change(buffers)
    dataset = complete(buffers=buffers)
    report = minari.validate(dataset.id, profile="hub")
    assert [(f.level, f.kind) for f in report.findings] == [("error", kind)]
    remote = f"file://{tmp_path}"
    with pytest.raises(DatasetCorruptError, match=r"toy/a-v0 is not uploaded .*--profile hub.*validate=False"):
        minari.upload_dataset(dataset.id, remote=remote)
    assert not minari.list_remote_datasets(remote)
    minari.upload_dataset(dataset.id, remote=remote, validate=False)
    assert list(minari.list_remote_datasets(remote)) == [dataset.id]


def test_refusal_names_the_first_error_and_counts_the_others(tmp_path: Path) -> None:
    buffers = episodes()
    for name in ("NaN", "infinite reward", "no end"):
        CASES[name][0](buffers)
    dataset = complete(buffers=buffers)
    with pytest.raises(DatasetCorruptError, match=r"neither terminated.*, and 2 other errors"):
        minari.upload_dataset(dataset.id, remote=f"file://{tmp_path}")


@pytest.mark.parametrize("case", ["outside", "duplicates", "constant"])
def test_upload_takes_what_is_only_unusual(case: str, tmp_path: Path) -> None:
    buffers = episodes()
    CASES[case][0](buffers)
    dataset = complete(buffers=buffers)
    minari.upload_dataset(dataset.id, remote=f"file://{tmp_path}")
    assert list(minari.list_remote_datasets(f"file://{tmp_path}")) == [dataset.id]
