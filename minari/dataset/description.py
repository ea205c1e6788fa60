"""Facts and statistics of a dataset and its environment, for tables and pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from gymnasium.envs.registration import EnvSpec

from minari._base.json_text import parse_json, shortened
from minari._model.env_spec import is_gymnasiums_own, spaces_of
from minari._model.format_version import is_compatible
from minari._model.frame_stack import DEDUPLICATE
from minari._model.metadata import DEDUPLICATED, FRAME_STACK
from minari._model.metadata_json import size_text, texts_of
from minari._model.multi_agent import AgentSpaces, agent_of_name
from minari._model.recorded_with import VERIFICATION, versions_text
from minari.errors import EnvironmentSpecError
from minari.spaces.serialization import deserialize_space


__all__ = ["Fact", "agents_of", "dataset_facts", "env_facts", "env_id_of", "get_dataset_spec_dict", "get_env_spec_dict"]

Form: TypeAlias = Literal["text", "code", "link"]

_NOT_PROVIDED = "Not provided"
#: What :func:`get_dataset_spec_dict` has beside the command that downloads the dataset.
_SPEC_KEYS = frozenset(
    {
        *("total_steps", "total_episodes", "observation_space", "action_space", "algorithm_name", "author"),
        *("author_email", "code_permalink", "minari_version"),
    }
)
_STATUSES = ("exact", "within tolerance", "diverged", "not reproducible")  # of verified episodes
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOST = 2**63  # episodes
_COMMON = frozenset({"python", "platform", "minari", "numpy"})  # versions that are not those of an environment
_MOST_PACKAGES = 6
# The fields of a spec that say what is made and how, and the form in which they are shown.
_SPEC_FIELDS: dict[str, Form] = {
    "entry_point": "code",
    "max_episode_steps": "text",
    "reward_threshold": "text",
    "nondeterministic": "code",
    "order_enforce": "code",
    "disable_env_checker": "code",
    "kwargs": "code",
    "additional_wrappers": "code",
    "vector_entry_point": "code",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact about a dataset or an environment, as shown on a terminal or a web page.

    Attributes:
        key: metadata key.
        title: title in a table.
        value: value; None if it is not provided.
        form: markup in Markdown.
        to_text: converts the value to text.
        remark: suffix of the text.
    """

    key: str
    title: str
    value: Any
    form: Form = "text"
    to_text: Callable[[Any], str] = str
    remark: str = ""

    @property
    def text(self) -> str:
        """Return the value as plain text."""
        return f"{_NOT_PROVIDED if self.value is None else self.to_text(self.value)}{self.remark}"

    @property
    def markdown(self) -> str:
        """Return the value as Markdown; text from the metadata is not escaped."""
        if self.value is None or self.form == "text":
            return self.text
        text = self.to_text(self.value)
        return f"`{text}`{self.remark}" if self.form == "code" else f"[{text}]({text}){self.remark}"


def dataset_facts(metadata: Mapping[str, Any]) -> list[Fact]:
    """Return the facts of a dataset that are shown to people, in order.

    ``minari show``, :func:`get_dataset_spec_dict` and dataset cards all derive from this list, so that they agree. Each
    of them may omit facts that it shows elsewhere.

    >>> first, *_, last = dataset_facts({"total_steps": 9, "license": "mit"})
    >>> (first.title, first.text), (last.title, last.text)
    (('Total Steps', '9'), ('License', 'mit'))

    Args:
        metadata: metadata of the dataset, as in ``MinariStorage.metadata`` or as stored.

    Returns:
        Totals and origin of the dataset, provided or not, and other facts that are provided. The text of a space raises
        :class:`SpaceError` if its description is damaged.
    """
    version = metadata.get("minari_version")
    inferred = " (inferred from the data)" if metadata.get("inferred_spaces") else ""
    scores = [metadata.get(f"ref_{bound}_score") for bound in ("min", "max")]
    people = {key: sorted(filter(None, texts_of(metadata.get(key)))) or None for key in ("author", "author_email")}
    spaces = [
        Fact(
            "observation_space",
            "Dataset Observation Space",
            metadata.get("observation_space"),
            "code",
            _space,
            inferred,
        ),
        Fact("action_space", "Dataset Action Space", metadata.get("action_space"), "code", _space, inferred),
    ]
    further = [
        Fact(
            "dataset_size",
            "Size",
            metadata.get("dataset_size"),
            to_text=_size,
            remark=f" ({metadata.get('data_format') or 'hdf5'})",
        ),
        Fact("compression", "Compression", metadata.get("compression"), to_text=_compression),
        Fact("frame_stack", "Frame Stacks", _frames_of(metadata)),
        Fact("ref_scores", "Reference Scores", None if scores == [None, None] else scores, to_text=_scores),
        Fact("requirements", "Requirements", texts_of(metadata.get("requirements")) or None, to_text=", ".join),
        Fact(
            "combined_datasets", "Combined From", texts_of(metadata.get("combined_datasets")) or None, to_text=", ".join
        ),
        Fact("split_from", "Split From", _split_from(metadata.get("split_from"))),
        Fact("env_spec", "Environment", env_id_of(metadata.get("env_spec"))),
        Fact("eval_env_spec", "Evaluation Environment", env_id_of(metadata.get("eval_env_spec"))),
        Fact(VERIFICATION, "Verified", _verified(metadata)),
        Fact("license", "License", metadata.get("license") or None),
    ]
    agents = agents_of(metadata)
    return [
        Fact("total_steps", "Total Steps", metadata.get("total_steps")),
        Fact("total_episodes", "Total Episodes", metadata.get("total_episodes")),
        *([Fact("agents", "Agents", agents, to_text=_agents)] if agents is not None else []),
        *(fact for fact in spaces if fact.value is not None),
        Fact("algorithm_name", "Algorithm", metadata.get("algorithm_name")),
        Fact("author", "Author", people["author"], to_text=", ".join),
        Fact("author_email", "Email", people["author_email"], to_text=", ".join),
        Fact("code_permalink", "Code Permalink", metadata.get("code_permalink") or None, "link"),
        Fact(
            "minari_version",
            "Minari Version",
            version,
            "code",
            remark=f" ({'supported' if is_compatible(version) else 'not supported'})",
        ),
        *(fact for fact in further if fact.value is not None),
    ]


def agents_of(metadata: Mapping[str, Any]) -> list[Any] | None:
    """Return the ids of the agents of a dataset; None if there is one without a name.

    >>> space = '{"type": "Dict", "subspaces": {"predator": {}, "_key:1": {}}}'
    >>> agents_of({"multi_agent": True, "observation_space": space})
    ['predator', 1]

    Args:
        metadata: metadata of the dataset, as in ``MinariStorage.metadata`` or as stored.
    """
    if metadata.get("multi_agent") is not True:
        return None
    space = metadata.get("observation_space")
    if isinstance(space, AgentSpaces):
        return list(space.spaces)
    try:
        described = parse_json(space) if isinstance(space, str) else space
    except ValueError:
        return []
    subspaces = described.get("subspaces") if isinstance(described, Mapping) else None
    return list(map(agent_of_name, subspaces)) if isinstance(subspaces, Mapping) else []


def _agents(agents: list[Any]) -> str:
    return ", ".join(map(str, agents))


def _space(space: Any) -> str:
    return str(deserialize_space(space) if isinstance(space, (str, dict)) else space)


def _size(size: Any) -> str:
    return size_text(size) if isinstance(size, (int, float)) else f"{size} MB"


def _compression(choice: Any) -> str:
    by_column = choice.items() if isinstance(choice, dict) else [("all columns", choice)]
    return ", ".join(f"{column}: {codec}" for column, codec in by_column)


def _frames_of(metadata: Mapping[str, Any]) -> str | None:
    """Return which stacks of frames are stored once; None if all are stored as they are."""
    if metadata.get(FRAME_STACK) != DEDUPLICATE:
        return None
    counts = metadata.get(DEDUPLICATED)
    known = counts if isinstance(counts, Mapping) else {}
    total = metadata.get("total_episodes")
    parts = [f"{name} in {count} of {total} episodes" for name, count in known.items()]
    return f"each frame is stored once: {', '.join(parts)}" if parts else "none is stored as single frames"


def _verified(metadata: Mapping[str, Any]) -> str | None:
    """Return the result of the last verification; None if there is none, or it is not one of this library."""
    report = metadata.get(VERIFICATION)
    counts = report.get("counts") if isinstance(report, Mapping) else None
    if not isinstance(report, Mapping) or not isinstance(counts, Mapping):
        return None
    checked, total, date = report.get("episodes"), report.get("total_episodes"), report.get("date")
    found = {status: counts[status] for status in _STATUSES if counts.get(status)}
    are_counts = all(type(count) is int and 0 <= count < _MOST for count in (checked, total, *found.values()))
    if not (are_counts and isinstance(date, str) and _DATE.fullmatch(date)):
        return None
    results = ", ".join(f"{status} in {count}" for status, count in found.items()) or "none"
    sampled = "" if checked == total else f", of {total} in all,"
    versions = report.get("replayed_with")
    of_env = {key: versions[key] for key in versions if key not in _COMMON} if isinstance(versions, Mapping) else {}
    shown = versions_text(dict(list(of_env.items())[:_MOST_PACKAGES]))
    is_current = all(report.get(key) == metadata.get(key) for key in ("total_episodes", "total_steps"))
    env = report.get("env")
    where = f" in {shortened(env)}" if isinstance(env, str) else ""
    remark = "" if is_current else "; stale, as the dataset has changed since"
    return f"{results} of {checked} episodes{sampled}{where} on {date}{f' ({shown})' if shown else ''}{remark}"


def _scores(scores: list[Any]) -> str:
    return f"min {scores[0]}, max {scores[1]}"


def _split_from(origin: object) -> str | None:
    """Return the dataset that a dataset is a part of; None if it is not."""
    if not isinstance(origin, Mapping) or "dataset_id" not in origin:
        return None
    return f"{origin['dataset_id']}, part {origin.get('part')} of {origin.get('parts')}"


def env_id_of(env_spec: object) -> str | None:
    """Return the id of an environment from its spec, or from a stored spec."""
    if isinstance(env_spec, EnvSpec):
        return env_spec.id
    try:
        described = parse_json(env_spec) if isinstance(env_spec, str) else env_spec
    except ValueError:
        return None
    name = described.get("id") if isinstance(described, Mapping) else None
    return None if name is None else str(name)


def env_facts(env_spec: EnvSpec) -> list[Fact]:
    """Return the facts of an environment from its spec, without its spaces, so that none of its code runs."""
    fields = {name: getattr(env_spec, name, None) for name in _SPEC_FIELDS}
    return [
        Fact("id", "ID", env_spec.id),
        *(Fact(name, name, str(value), _SPEC_FIELDS[name]) for name, value in fields.items()),
    ]


def get_dataset_spec_dict(dataset_spec: Mapping[str, Any]) -> dict[str, str]:
    """Describe a dataset by its metadata; the values are Markdown.

    >>> description = get_dataset_spec_dict(
    ...     {"dataset_id": "toy/a-v0", "total_episodes": 2, "total_steps": 9, "minari_version": "0.5.4"}
    ... )
    >>> description["Total Steps"], description["Author"], description["Minari Version"]
    ('9', 'Not provided', '`0.5.4` (supported)')

    Args:
        dataset_spec: the metadata of the dataset, as in ``MinariStorage.metadata`` or as stored. Missing
            values are described as such; a missing space has no entry.

    Raises:
        SpaceError: a stored space is damaged or its type is not registered.
    """
    facts = {fact.title: fact.markdown for fact in dataset_facts(dataset_spec) if fact.key in _SPEC_KEYS}
    return {**facts, "Download": f"`minari download {dataset_spec.get('dataset_id')}`"}


def get_env_spec_dict(env_spec: EnvSpec) -> dict[str, str]:
    """Describe an environment by its spec; the values are Markdown.

    One of Gymnasium's own environments is created to get its spaces. Others have no entry for them, since the
    spec may come from untrusted data, whose code is not run.

    >>> import gymnasium
    >>> description = get_env_spec_dict(gymnasium.spec("CartPole-v1"))
    >>> description["ID"], description["Action Space"], description["max_episode_steps"]
    ('CartPole-v1', '`Discrete(2)`', '500')
    """
    fields = {fact.title: fact.markdown for fact in env_facts(env_spec)}
    if not is_gymnasiums_own(env_spec):
        return fields
    try:
        observation_space, action_space = spaces_of(env_spec)
    except EnvironmentSpecError:
        return fields
    described_spaces = {"Observation Space": f"`{observation_space}`", "Action Space": f"`{action_space}`"}
    return {"ID": fields.pop("ID"), **described_spaces, **fields}
