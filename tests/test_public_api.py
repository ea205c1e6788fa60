"""The contract with programs written for 0.5: import paths, names, arguments."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import json
import os
import typing
from collections.abc import Callable
from typing import Any

import pytest

import minari
from minari import errors
from support.programs import run


HAS_SERVER = importlib.util.find_spec("starlette") is not None and importlib.util.find_spec("uvicorn") is not None
HAS_ARROW = importlib.util.find_spec("pyarrow") is not None  # an extra

# Where programs import from. Names are looked up as attributes, so submodules count too.

IMPORTS: dict[str, list[str]] = {
    "minari": [
        "MinariDataset", "EpisodeData", "StepData", "DataCollector", "EpisodeMetadataCallback", "StepDataCallback",
        "download_dataset", "list_remote_datasets", "upload_dataset", "delete_dataset", "list_local_datasets",
        "load_dataset", "combine_datasets", "create_dataset_from_buffers", "split_dataset", "get_normalized_score",
        "supported_dataset_versions", "__version__",
    ],
    "minari.data_collector": ["DataCollector", "EpisodeBuffer"],
    "minari.data_collector.data_collector": ["DataCollector", "AUTOSEED_BIT_SIZE"],
    "minari.data_collector.episode_buffer": ["EpisodeBuffer"],
    "minari.data_collector.callbacks": ["StepDataCallback", "EpisodeMetadataCallback"],
    "minari.data_collector.callbacks.step_callback": ["StepDataCallback", "StepData"],
    "minari.data_collector.callbacks.episode_metadata": ["EpisodeMetadataCallback"],
    "minari.dataset": [],
    "minari.dataset.minari_dataset": [
        "MinariDataset", "MinariDatasetSpec", "EpisodeData", "parse_dataset_id", "gen_dataset_id",
    ],
    "minari.dataset.minari_storage": ["MinariStorage", "METADATA_FILE_NAME", "PathLike", "is_image_space"],
    "minari.dataset.episode_data": ["EpisodeData"],
    "minari.dataset.step_data": ["StepData"],
    "minari.dataset._storages": ["get_storage_keys", "get_minari_storage"],
    "minari.dataset._storages.hdf5_storage": ["HDF5Storage"],
    **({"minari.dataset._storages.arrow_storage": ["ArrowStorage", "ParquetStorage"]} if HAS_ARROW else {}),
    "minari.storage": ["get_dataset_path"],
    "minari.storage.datasets_root_dir": ["get_dataset_path"],
    "minari.storage.local": [
        "load_dataset", "list_local_datasets", "delete_dataset", "list_non_hidden_dirs", "dataset_id_sort_key",
        "get_dataset_path",
    ],
    "minari.storage.hosting": ["upload_dataset", "download_dataset", "list_remote_datasets"],
    "minari.storage.remotes": ["get_cloud_storage", "DEFAULT_REMOTE"],
    "minari.namespace": [
        "create_namespace", "update_namespace_metadata", "get_namespace_metadata", "delete_namespace",
        "list_local_namespaces", "list_remote_namespaces", "download_namespace_metadata", "upload_namespace",
        "namespace_hierarchy", "validate_namespace",
    ],
    "minari.plot": ["returns", "compare", "episode"],
    "minari.serialization": ["serialize_space", "deserialize_space"],
    "minari.utils": [
        "combine_datasets", "split_dataset", "create_dataset_from_buffers", "get_normalized_score",
        "validate_datasets_to_combine", "get_average_reference_score", "RandomPolicy", "get_env_spec_dict",
        "get_dataset_spec_dict", "get_dataset_path", "_generate_dataset_metadata", "_generate_dataset_path",
    ],
    "minari.cli": ["app"],
    **({"minari.viewer": ["create_app", "serve"]} if HAS_SERVER else {}),
    "minari.errors": list(errors.__all__),
}  # fmt: skip

#: Imports one module in a fresh interpreter; NumPy and Gymnasium, which are most of the time, are shared by a fork.
FRESH = """
import importlib, json, os, sys
import gymnasium, numpy
from gymnasium import wrappers
imports = json.loads(sys.argv[1])
for module, names in imports.items():
    assert not [name for name in sys.modules if name.split(".")[0] == "minari"]
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            loaded = importlib.import_module(module)
            missing = [name for name in names if not hasattr(loaded, name)]
            print(module, "lacks", missing) if missing else print(module, "ok")
        except BaseException as error:
            print(module, "fails", repr(error))
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_each_import_path_can_be_the_first() -> None:
    lines = run(FRESH, json.dumps(IMPORTS)).splitlines()
    assert lines == [f"{module} ok" for module in IMPORTS]


def test_the_old_homes_hold_the_same_objects() -> None:
    for name in ("EpisodeBuffer", "EpisodeData", "StepData", "get_dataset_path", "load_dataset", "DataCollector"):
        found = {
            id(getattr(importlib.import_module(module), name)) for module, names in IMPORTS.items() if name in names
        }
        assert len(found) == 1, name


def test_submodules_are_there_after_a_bare_import() -> None:
    modules = [module for module in IMPORTS if module not in ("minari", "minari.cli")]
    attributes = ["minari.storage.local", "minari.storage.hosting", "minari.utils", "minari.data_collector.callbacks"]
    lazy = {"minari.dataset._storages.hdf5_storage", "minari.dataset._storages.arrow_storage"}  # they bring packages
    program = f"import minari\nfor path in {[m for m in [*modules, *attributes] if m not in lazy]}: eval(path)"
    assert run(program) == ""


def test_the_public_names() -> None:
    ours = {
        "DataCollectorV0", "create_dataset_from_arrays", "create_dataset_from_collector_env", "diff_datasets",
        "edit_dataset", "mix",
        "namespace", "open_dataset", "rename_dataset", "sampling", "serialization", "utils", "validate",
        "VectorDataCollector", "MultiAgentDataCollector", "verify",
    }  # fmt: skip
    assert sorted(minari.__all__) == sorted({*IMPORTS["minari"], *ours})
    assert set(minari.__all__) <= set(dir(minari))
    scope: dict[str, Any] = {}
    exec("from minari import *", scope)
    assert set(minari.__all__) <= set(scope)


def test_the_version_and_the_format_versions() -> None:
    assert tuple(int(part) for part in minari.__version__.split(".")[:2]) >= (0, 6)
    exact = {"0.4.0", "0.4.1", "0.4.2", "0.4.3", "0.5.0", "0.5.1", "0.5.2", "0.5.3", "0.5.4"}
    assert exact <= set(minari.supported_dataset_versions)


# Arguments: the names, order and defaults of 0.5, as a call would write them; what is ours comes after `*`.

JPEG = "jpeg_encoding=False"
DESCRIPTION = "author=None, author_email=None, code_permalink=None"
SCORES = "ref_min_score=None, ref_max_score=None, expert_policy=None, num_episodes_average_score=100"
NAMES = "id, observations, actions, rewards, terminations, truncations, infos"

SIGNATURES: dict[str, str] = {
    "DataCollector": "env, step_data_callback=StepDataCallback, episode_metadata_callback=EpisodeMetadataCallback, "
    "record_infos=False, observation_space=None, action_space=None, data_format=None, *, " + JPEG,
    "DataCollector.reset": "self, *, seed=None, options=None",
    "DataCollector.step": "self, action",
    "DataCollector.create_dataset": f"self, dataset_id, eval_env=None, algorithm_name=None, {DESCRIPTION}, {SCORES}, "
    "description=None, requirements=None",
    "DataCollector.add_to_dataset": "self, dataset",
    "create_dataset_from_buffers": f"dataset_id, buffer, env=None, eval_env=None, algorithm_name=None, {DESCRIPTION}, "
    f"action_space=None, observation_space=None, {SCORES}, description=None, data_format=None, requirements=None, "
    f"*, {JPEG}",
    "data_collector.EpisodeBuffer": "id=None, seed=None, options=None, observations=None, actions=None, "
    "rewards=<factory>, terminations=<factory>, truncations=<factory>, infos=None",
    "data_collector.EpisodeBuffer.add_step_data": "self, step_data",
    "EpisodeData": NAMES,
    "load_dataset": "dataset_id, download=False",
    "list_local_datasets": "latest_version=False, compatible_minari_version=False, prefix=None",
    "delete_dataset": "dataset_id",
    "combine_datasets": "datasets_to_combine, new_dataset_id",
    "split_dataset": "dataset, sizes, seed=None",
    "get_normalized_score": "dataset, returns",
    "MinariDataset": "data, episode_indices=None",
    "MinariDataset.set_seed": "self, seed",
    "MinariDataset.sample_episodes": "self, n_episodes",
    "MinariDataset.iterate_episodes": "self, episode_indices=None",
    "MinariDataset.filter_episodes": "self, condition",
    "MinariDataset.recover_environment": "self, eval_env=False, **kwargs",
    "MinariDataset.update_dataset_from_buffer": "self, buffer",
    "dataset.minari_dataset.MinariDatasetSpec": "env_spec, total_episodes, total_steps, dataset_id, combined_datasets, "
    "observation_space, action_space, data_path, minari_version",
    "dataset.minari_dataset.parse_dataset_id": "dataset_id",
    "dataset.minari_dataset.gen_dataset_id": "namespace, dataset_name, version=None",
    "dataset.minari_storage.MinariStorage.read": "data_path",
    "dataset.minari_storage.MinariStorage.read_raw_metadata": "data_path",
    "dataset.minari_storage.MinariStorage.new": "data_path, observation_space=None, action_space=None, env_spec=None, "
    f"data_format='hdf5', *, {JPEG}",
    "dataset.minari_storage.MinariStorage.update_metadata": "self, metadata",
    "dataset.minari_storage.MinariStorage.update_episode_metadata": "self, metadatas, episode_indices=None",
    "dataset.minari_storage.MinariStorage.get_episode_metadata": "self, episode_indices",
    "dataset.minari_storage.MinariStorage.get_episodes": "self, episode_indices",
    "dataset.minari_storage.MinariStorage.update_episodes": "self, episodes",
    "dataset.minari_storage.MinariStorage.apply": "self, function, episode_indices=None",
    "dataset.minari_storage.MinariStorage.get_size": "self",
    "dataset.minari_storage.is_image_space": "space",
    "dataset._storages.get_storage_keys": "",
    "dataset._storages.get_minari_storage": "storage_type",
    "storage.get_dataset_path": "dataset_id=None",
    "storage.local.list_non_hidden_dirs": "path",
    "storage.local.dataset_id_sort_key": "dataset_id",
    "namespace.create_namespace": "namespace, description=None, **kwargs",
    "namespace.update_namespace_metadata": "namespace, description=None, **kwargs",
    "namespace.get_namespace_metadata": "namespace",
    "namespace.delete_namespace": "namespace",
    "namespace.list_local_namespaces": "",
    "namespace.namespace_hierarchy": "namespace",
    "namespace.validate_namespace": "namespace",
    "utils.validate_datasets_to_combine": "datasets_to_combine",
    "utils.get_average_reference_score": "env, policy, num_episodes",
    "utils.RandomPolicy": "env",
    "utils.get_env_spec_dict": "env_spec",
    "utils.get_dataset_spec_dict": "dataset_spec",
    "utils._generate_dataset_metadata": "dataset_id, env_spec, eval_env, algorithm_name, author, author_email, "
    "code_permalink, ref_min_score, ref_max_score, expert_policy, num_episodes_average_score, description, "
    "requirements",
    "utils._generate_dataset_path": "dataset_id",
    "StepDataCallback.__call__": "self, env, obs, info, action=None, rew=None, terminated=None, truncated=None",
    "EpisodeMetadataCallback.__call__": "self, episode",
}

#: Arguments that only an older name of theirs can stand for, so that they have a default here.
MAY_HAVE_ANOTHER_NAME = {"combine_datasets": {"new_dataset_id"}}


def found(path: str) -> Any:
    """A public object by its path below `minari`."""
    value: Any = minari
    for part in path.split("."):
        value = getattr(value, part)
    return value


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def written(parameter: inspect.Parameter) -> str:
    """A parameter as the table has it."""
    if inspect.isclass(parameter.default) and parameter.default is not inspect.Parameter.empty:
        return f"{parameter.name}={parameter.default.__name__}"
    if parameter.kind is inspect.Parameter.VAR_KEYWORD:
        return f"**{parameter.name}"
    if parameter.default is inspect.Parameter.empty:
        return parameter.name
    return f"{parameter.name}={parameter.default!r}"


@pytest.mark.parametrize("path", SIGNATURES)
def test_arguments(path: str) -> None:
    by_place, _, by_name = SIGNATURES[path].partition("*, ")
    expected = [text for text in by_place.removesuffix(", ").split(", ") if text and text != "**kwargs"]
    ours = parameters(found(path))
    positional = [one for one in ours if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    aliased = MAY_HAVE_ANOTHER_NAME.get(path, set())
    assert [one.name if one.name in aliased else written(one) for one in positional] == expected
    keyword_only = [written(one) for one in ours if one.kind is inspect.Parameter.KEYWORD_ONLY]
    required = [text for text in by_name.split(", ") if text]
    assert keyword_only[: len(required)] == required
    assert all("=" in text for text in keyword_only)  # ours can be left out
    assert any(one.kind is inspect.Parameter.VAR_KEYWORD for one in ours) == SIGNATURES[path].endswith("**kwargs")


def test_step_data_has_six_keys() -> None:
    keys = {"observation", "action", "reward", "terminated", "truncated", "info"}
    assert set(typing.get_type_hints(minari.StepData)) == keys


@pytest.mark.parametrize(
    "path", ["EpisodeData", "data_collector.EpisodeBuffer", "dataset.minari_dataset.MinariDatasetSpec"]
)
def test_values_are_frozen_dataclasses(path: str) -> None:
    kind = found(path)
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen


def test_properties() -> None:
    dataset = "id total_episodes total_steps episode_indices observation_space action_space env_spec combined_datasets"
    for name in [*dataset.split(), "minari_version", "storage", "spec"]:
        assert isinstance(getattr(minari.MinariDataset, name), property), name
    assert minari.MinariDataset.episode_indices.fset is not None
    storage = minari.dataset.minari_storage.MinariStorage
    of_storage = "metadata data_path total_episodes total_steps observation_space action_space jpeg_encoding"
    for name in of_storage.split():
        assert isinstance(getattr(storage, name), property), name


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("minari.dataset._storages", "get_minari_storage get_storage_keys register_storage"),
        ("minari.dataset._storages.file_lock", "folder_lock"),
        ("minari.dataset._storages.zarr_storage", "ZarrStorage"),
        ("minari.dataset.compression", "Codec Codecs"),
        ("minari.dataset.encoding", "EpisodeCodec"),
        ("minari.dataset.episode_buffer", "EpisodeBuffer"),
        ("minari.dataset.metadata", "DatasetMetadata"),
        ("minari.dataset.minari_storage", "EpisodeWriter METADATA_FILE_NAME MinariStorage"),
        ("minari.storage.publishing", "write_atomically"),
        ("minari.storage.recordings", "Recording find_recording list_recordings recover_recording"),
    ],
)
def test_documented_names_outlive_moves(module: str, names: str) -> None:
    """Names that the documentation shows to authors of formats and programs stay where they were."""
    found = importlib.import_module(module)
    assert set(names.split()) <= set(found.__all__)
    assert all(hasattr(found, name) for name in names.split())
