"""The contract with programs written for 0.5 besides names: the errors that they catch, and smaller promises."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import pkgutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari import errors
from minari._base.settings import get_default_remote
from support.programs import cartpole, run
from support.scripted import PLANE, buffer_of


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")


SPACES = {"observation_space": PLANE, "action_space": spaces.Discrete(3)}

# Errors

#: The built-in exceptions that those of the library are.
CAUGHT = [
    "RuntimeError",
    "OSError",
    "ValueError",
    "IndexError",
    "FileNotFoundError",
    "ImportError",
    "BlockingIOError",
    "NotImplementedError",
    "TypeError",
]


#: Modules that know nothing of this library, whose exceptions callers translate.
INTERNAL = ("minari._storages.hdf5.format.", "minari.interchange.restricted_pickle")


def test_the_tree_of_errors_is_complete() -> None:
    """Each error that the library raises on purpose stands in `errors.py`, in its list and in its picture."""
    defined = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    assert set(errors.__all__) == defined
    assert errors.__doc__ is not None
    drawn = [line.split()[1 + line.count("│")] for line in errors.__doc__.splitlines() if "──" in line]
    assert {"MinariError", *drawn} == defined
    for name in drawn:
        kind = getattr(errors, name)
        if name.endswith("Warning"):
            assert issubclass(kind, UserWarning)
            continue
        assert issubclass(kind, errors.MinariError)
        builtin = next(base for base in kind.__mro__ if base.__module__ == "builtins")
        assert builtin.__name__ in CAUGHT, name


def test_every_exception_of_the_library_is_in_the_tree() -> None:
    for module in pkgutil.walk_packages(minari.__path__, "minari."):
        if module.name.endswith("__main__"):
            continue
        try:
            names = vars(importlib.import_module(module.name))
        except ImportError as error:
            if str(error.name).startswith("minari"):
                raise
            continue  # the package of a format, which need not be installed
        for name, value in names.items():
            if inspect.isclass(value) and issubclass(value, Exception) and value.__module__.startswith("minari"):
                is_internal = value.__module__.startswith(INTERNAL)
                is_ours = issubclass(value, (errors.MinariError, UserWarning))
                assert is_internal or is_ours, f"{module.name}.{name}"


SETUP = """
import warnings
warnings.simplefilter("ignore")
import numpy as np, minari
from gymnasium import spaces
from support.scripted import PLANE, ScriptedEnv, buffer_of
new = {"observation_space": PLANE, "action_space": spaces.Discrete(3)}
create, namespace = minari.create_dataset_from_buffers, minari.namespace
dataset = create("test/there-v0", [buffer_of(3), buffer_of(2)], **new)
"""
#: Mistakes, what older programs catch of them, and what they are here.
MISTAKES = [
    ("minari.load_dataset('test/none-v0')", FileNotFoundError, "DatasetNotFoundError"),
    ("minari.delete_dataset('test/none-v0')", FileNotFoundError, "DatasetNotFoundError"),
    ("minari.load_dataset('no id')", ValueError, "DatasetIdError"),
    ("minari.load_dataset('../x')", ValueError, "DatasetIdError"),
    ("minari.load_dataset('test/there')", ValueError, "DatasetIdError"),
    ("minari.open_dataset('/no/such/directory')", ValueError, "DataPathError"),
    ("minari.list_remote_datasets('nowhere://bucket')", ValueError, "RemoteError"),
    ("create('test/there-v0', [buffer_of(2)], **new)", ValueError, "DatasetExistsError"),
    ("create('test/new-v0', [], **new, data_format='x')", ValueError, "UnknownFormatError"),
    ("create('test/new-v0', [])", ValueError, "SpaceError"),
    ("create('test/new-v0', [buffer_of(3, actions=[0])], **new)", ValueError, "EpisodeError"),
    ("create('test/new-v0', [buffer_of(1)], author=7, **new)", ValueError, "MetadataError"),
    ("dataset.update_dataset_from_buffer([buffer_of(2, observations=np.zeros((3, 9)))])", ValueError, "EpisodeError"),
    ("dataset.update_dataset_from_buffer([buffer_of(2, seed='seven')])", ValueError, "EpisodeError"),
    ("minari.MinariDataset(dataset.storage, [7])", IndexError, "EpisodeIndexError"),
    ("minari.DataCollector(ScriptedEnv(), lambda: (lambda **_: {})).reset()", ValueError, "EpisodeError"),
    ("minari.split_dataset(dataset, [3])", ValueError, "CombineError"),
    ("minari.combine_datasets([], 'test/new-v0')", ValueError, "CombineError"),
    ("minari.combine_datasets(['test/there-v0'], 'test/new-v0')", ValueError, "CombineError"),
    ("minari.get_normalized_score(dataset, [1])", ValueError, "ScoreError"),
    ("dataset.sample_episodes(5)", ValueError, "EpisodeError"),
    ("dataset[7]", IndexError, "EpisodeIndexError"),
    ("dataset.recover_environment()", ValueError, "EnvironmentSpecError"),
    ("dataset.storage.update_episode_metadata([{}])", ValueError, "MetadataError"),
    ("dataset.storage.update_metadata({'total_steps': 1})", ValueError, "MetadataError"),
    ("dataset.storage.update_metadata({'dataset_id': 'x-v0'})", ValueError, "MetadataError"),
    ("namespace.create_namespace('a b')", ValueError, "DatasetIdError"),
    ("namespace.create_namespace('test')", ValueError, "NamespaceError"),
    ("namespace.delete_namespace('test')", ValueError, "NamespaceError"),
    ("namespace.create_namespace(None)", TypeError, "DatasetIdError"),
]


@pytest.mark.parametrize(("use", "older", "ours"), MISTAKES, ids=[row[0] for row in MISTAKES])
def test_errors_are_what_older_programs_catch(use: str, older: type[Exception], ours: str) -> None:
    scope: dict[str, Any] = {}
    exec(SETUP, scope)
    with pytest.raises(older) as caught:
        eval(use, scope)
    assert isinstance(caught.value, getattr(errors, ours))
    assert isinstance(caught.value, errors.MinariError)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) > 20


def test_errors_are_the_same_where_assertions_are_taken_out() -> None:
    program = f"""{SETUP}
for use in {[use for use, *_ in MISTAKES]!r}:
    try:
        eval(use)
    except minari.errors.MinariError as error:
        print([kind.__name__ for kind in type(error).__mro__])
    else:
        print(use, "passed")
print(sorted(minari.list_local_datasets()), len(dataset), __debug__)
"""
    *raised, last = run(program, flags=("-O",)).splitlines()
    assert all(f"'{ours}'" in kinds for kinds, (_, _, ours) in zip(raised, MISTAKES, strict=True)), raised
    assert last == "['test/there-v0'] 2 False"


# Smaller promises


@pytest.fixture
def dataset() -> minari.MinariDataset:
    return minari.create_dataset_from_buffers(
        "test/small-v1", [buffer_of(2), buffer_of(3)], env="CartPole-v1", **SPACES
    )


def test_the_variables_are_read_at_each_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / name))
        monkeypatch.setenv("MINARI_REMOTE", f"hf://{name}")
        assert minari.storage.get_dataset_path("x-v0") == tmp_path / name / "x-v0"
        assert get_default_remote() == f"hf://{name}"
        assert minari.list_local_datasets() == {}
        minari.create_dataset_from_buffers("x-v0", [buffer_of(2)], **SPACES)
        assert list(minari.list_local_datasets()) == ["x-v0"]
    monkeypatch.delenv("MINARI_REMOTE")
    assert get_default_remote() == "hf://farama-minari"
    monkeypatch.delenv("MINARI_DATASETS_PATH")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert minari.storage.get_dataset_path() == tmp_path / ".minari" / "datasets"


def test_the_spec_as_a_dict_is_fit_for_json(dataset: minari.MinariDataset) -> None:
    spec = dataclasses.asdict(dataset.spec)
    for key in ("observation_space", "action_space", "env_spec"):
        assert spec.pop(key) is not None
    assert json.loads(json.dumps(spec)) == spec
    assert isinstance(spec["data_path"], str)
    assert (spec["namespace"], spec["dataset_name"], spec["version"]) == ("test", "small", 1)


def test_episodes_and_buffers_have_lengths_and_looks(dataset: minari.MinariDataset) -> None:
    episode = dataset[np.int64(1)]
    assert (len(episode), len(dataset), len(buffer_of(3))) == (3, 2, 3)
    assert repr(episode).startswith("EpisodeData(id=1, total_steps=3, observations=ndarray of shape (4, 2)")
    assert all(one.shape == (3,) for one in (episode.rewards, episode.terminations, episode.truncations))
    with pytest.raises(dataclasses.FrozenInstanceError):
        episode.id = 3  # type: ignore[misc]


def test_open_for_spaces_of_ones_own() -> None:
    class Ring(spaces.Box):
        """A space that is registered by its user."""

    @minari.serialization.serialize_space.register(Ring)
    def _(space: Ring) -> dict[str, Any]:
        return {"type": "Ring", "n": int(space.shape[0])}

    @minari.serialization.deserialize_space.register("Ring")
    def _(description: dict[str, Any]) -> Ring:
        return Ring(0, 1, (description["n"],))

    dataset = minari.create_dataset_from_buffers(
        "test/ring-v0", [buffer_of(2)], observation_space=Ring(0, 1, (2,)), action_space=spaces.Discrete(3)
    )
    assert type(minari.load_dataset("test/ring-v0").observation_space) is Ring
    assert dataset[0].observations.shape == (3, 2)


def test_listing_is_sorted_and_filtered() -> None:
    for dataset_id in ("b/x-v10", "b/x-v2", "a/z-v0", "x-v0", "b/a/y-v0", "ab/q-v0"):
        minari.create_dataset_from_buffers(dataset_id, [buffer_of(2)], **SPACES)
    assert list(minari.list_local_datasets()) == ["x-v0", "a/z-v0", "ab/q-v0", "b/x-v2", "b/x-v10", "b/a/y-v0"]
    assert list(minari.list_local_datasets(latest_version=True, prefix="b/")) == ["b/x-v10", "b/a/y-v0"]
    assert list(minari.list_local_datasets(False, True, "b")) == ["b/x-v2", "b/x-v10", "b/a/y-v0"]
    # A prefix is a namespace or an id, as it was.
    assert list(minari.list_local_datasets(prefix="b/x")) == list(minari.list_local_datasets(prefix="none")) == []


def test_the_library_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    dataset = cartpole(buffer_steps=5)
    minari.combine_datasets([dataset, dataset], "test/both-v0")
    dataset[:1].save("test/part-v0")
    dataset.recover_environment()
    dataset.update_dataset_from_buffer([buffer_of(1, observations=np.zeros((2, 4)))])
    minari.namespace.create_namespace("other")
    minari.namespace.delete_namespace("other")
    minari.split_dataset(dataset, [1, 1])
    for dataset_id in list(minari.list_local_datasets()):
        minari.delete_dataset(dataset_id)
    with pytest.raises(FileNotFoundError):
        minari.load_dataset("test/both-v0")
    assert capfd.readouterr() == ("", "")
