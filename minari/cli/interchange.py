"""``minari import`` and ``minari export``: datasets from and to the formats of other programs."""

from __future__ import annotations

import inspect
import signal
import threading
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import minari
from minari._base.json_text import parse_json
from minari._base.suggestions import did_you_mean
from minari.cli.changing import refuse_unknown
from minari.cli.options import parse_compression
from minari.cli.progress import progress_bars
from minari.cli.running import UsageError
from minari.cli.terminal import counted, echo, print_json
from minari.errors import MissingDependencyError
from minari.interchange import Format, Report, export_dataset, formats, get_format, import_dataset
from minari.interchange.format import options_of
from minari.interchange.registry import package_of, sniffed_format


__all__ = ["list_formats", "run_export", "run_import"]


def run_import(
    arguments: Sequence[str],
    dataset_id: str | None,
    data_format: str | None,
    compression: list[str] | None,
    env: str | None,
    metadata: Mapping[str, Any],
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Create a dataset from files of another program, and print what was taken, assumed and missing.

    Args:
        arguments: the format, unless the files are to be looked at; the path; and the options of the format.
        dataset_id: id of the new dataset.
        data_format: format of its storage.
        compression: codecs as given.
        env: id of the environment.
        metadata: metadata of the new dataset.
        dry_run: True to write nothing.
        as_json: True to print the report as JSON.
        quiet: True for no progress bars.
    """
    one, path, rest = _format_and_path(arguments)
    options = _parsed_options(one.NAME, one.read, rest)
    if dataset_id is None and not dry_run:
        raise UsageError("Give the id of the new dataset with --dataset-id, or --dry-run for the report only.")
    with _tidied_when_ended(), progress_bars(quiet=quiet):
        imported = import_dataset(
            path,
            dataset_id or "dry/run-v0",
            one.NAME,
            env=env,
            data_format=data_format,
            compression=parse_compression(compression),
            metadata=metadata,
            dry_run=dry_run,
            **options,
        )
    report = imported if isinstance(imported, Report) else imported.storage.metadata["conversion"]
    described = report.as_dict() if isinstance(report, Report) else dict(report)
    if as_json:
        print_json({**described, **({} if dry_run else {"dataset_id": dataset_id})})
        return
    sizes = f"{counted(described['episodes'], 'episode')}, {counted(described['steps'], 'step')}"
    if isinstance(imported, Report):
        echo(f"Nothing was written; {path} ({one.NAME}) has {sizes}")
    else:
        echo(f"Dataset {dataset_id} imported from {path} ({one.NAME}): {sizes}, at {imported.storage.data_path.parent}")
    _echo_sentences(described)


def run_export(
    dataset_id: str, format_name: str, path: str, rest: Sequence[str], dry_run: bool, as_json: bool, quiet: bool
) -> None:
    """Write a dataset in the format of another program, and print what it cannot hold."""
    one = get_format(format_name)
    options = _parsed_options(one.NAME, one.write, rest)
    refuse_unknown([dataset_id], "exported")
    with _tidied_when_ended(), progress_bars(quiet=quiet):
        report = export_dataset(minari.load_dataset(dataset_id), path, format_name, dry_run=dry_run, **options)
    if as_json:
        print_json(report.as_dict())
        return
    sizes = f"{counted(report.episodes, 'episode')}, {counted(report.steps, 'step')}"
    where = "nothing was written" if dry_run else f"at {path}"
    echo(f"Dataset {dataset_id} exported to {format_name}: {sizes}, {where}")
    _echo_sentences(report.as_dict())


@contextmanager
def _tidied_when_ended() -> Iterator[None]:
    """Let a request to end, SIGTERM, be an exception, so that files that are half written are removed."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def list_formats(names: Sequence[str], *, with_options: bool, as_json: bool) -> None:
    """Print formats: what they are for and what they need, or their options too.

    Args:
        names: the formats; all of them if there are none.
        with_options: True to print the options.
        as_json: True to print JSON, which has the options in any case.
    """
    found = {name: _facts(name) for name in names or formats()}
    if as_json:
        print_json({name: {key: _names(value) for key, value in one.items()} for name, one in found.items()})
        return
    for name, one in found.items():
        echo(_line(name, one))
        for verb in ("import", "export") if with_options else ():
            for option, parameter in one.get(f"{verb}_options", {}).items():
                echo(f"  {verb} --{option.replace('_', '-')} {_described(parameter)}{_default(parameter)}")


def _facts(name: str) -> dict[str, Any]:
    """Return what there is to say about a format; of one whose packages are missing, only what it needs."""
    package = package_of(name) if name in formats() else ""
    try:
        one = get_format(name)
    except MissingDependencyError:
        return {"needs": package, "installed": False}
    return {
        "needs": "" if package == "minari" else package,
        "installed": True,
        "readable": not one.IS_REFUSED,
        "writable": one.is_writable,
        "import_options": options_of(one.read),
        "export_options": options_of(one.write) if one.is_writable else {},
    }


def _default(parameter: inspect.Parameter) -> str:
    value = parameter.default
    if value is None or value is inspect.Parameter.empty:
        return ""
    return f" (default: {str(value).lower() if isinstance(value, bool) else value})"


def _names(value: Any) -> Any:
    return list(value) if isinstance(value, Mapping) else value


def _line(name: str, facts: Mapping[str, Any]) -> str:
    if not facts["installed"]:
        return f'{name:14}not installed: pip install "{facts["needs"]}"'
    if not facts["readable"]:
        return f"{name:14}refused, as its files are pickles"
    verbs = "import, export" if facts["writable"] else "import"
    return f"{name:14}{verbs:16}{facts['needs'] and facts['needs'] + ' (installed)'}".rstrip()


def _echo_sentences(report: Mapping[str, Any]) -> None:
    for kind in ("taken", "assumed", "missing"):
        for sentence in report.get(kind, ()):
            echo(f"  {kind:9}{' '.join(str(sentence).split())}")


def _format_and_path(arguments: Sequence[str]) -> tuple[Format, Path, list[str]]:
    """Return the format, the path and the other arguments."""
    first = arguments[0] if arguments else ""
    if not arguments or first.startswith("--"):
        raise UsageError("Give the file or directory to import, after the name of its format if that is known.")
    named = len(arguments) > 1 and not arguments[1].startswith("--")
    path = Path(arguments[1] if named else first).expanduser()
    if not named and first in formats() and not path.exists():
        raise UsageError(f"Give the file or directory to import after the format {first}.")
    if named:
        return get_format(first), path, list(arguments[2:])
    if not path.exists():
        raise UsageError(f"There is no file or directory {path}; give the path of what is to be imported.")
    return sniffed_format(path), path, list(arguments[1:])


def _parsed_options(name: str, function: Any, rest: Sequence[str]) -> dict[str, Any]:
    """Return the options of a format from arguments such as ``--final-observation repeat``.

    Raises:
        UsageError: the format has no such option, or its value is missing or of another type.
    """
    known = options_of(function)
    found: dict[str, Any] = {}
    words = list(rest)
    while words:
        word = words.pop(0)
        flag, equals, text = word.partition("=")
        option = flag.removeprefix("--").replace("-", "_")
        if not word.startswith("--") or option not in known:
            spelled = [f"--{other.replace('_', '-')}" for other in known]
            expected = f"one of {', '.join(spelled)}" if known else "no further option"
            raise UsageError(
                f"The format {name} does not know {flag}, expected {expected}.{did_you_mean(flag, spelled)}"
            )
        is_flag = known[option].annotation is bool
        if not equals and not is_flag:
            if not words:
                raise UsageError(f"{flag} has no value, expected {_described(known[option])}.")
            text = words.pop(0)
        found[option] = True if is_flag and not equals else _value(flag, text, known[option])
    return found


def _value(flag: str, text: str, parameter: inspect.Parameter) -> Any:
    """Return the value of an option from its text."""
    kinds = _kinds(parameter.annotation)
    if text.startswith("[") and any(get_origin(kind) is Sequence for kind in kinds):
        with suppress(ValueError):
            return parse_json(text)
    if str in kinds or any(isinstance(kind, str) for kind in kinds):
        return text
    try:
        value = parse_json(text)
    except ValueError:
        value = text
    numbers = (int, float) if float in kinds else (int,)
    if isinstance(value, numbers) and not isinstance(value, bool) and kinds & {int, float}:
        return value
    origins = {get_origin(kind) or kind for kind in kinds}
    if isinstance(value, tuple(kind for kind in origins if isinstance(kind, type)) or ()):
        return value
    raise UsageError(f"{flag} is {text!r}, expected {_described(parameter)}.")


def _kinds(annotation: Any) -> set[Any]:
    """Return the types and choices that an annotation allows."""
    if get_origin(annotation) in (Union, types.UnionType):
        return {kind for part in get_args(annotation) for kind in _kinds(part)}
    if get_args(annotation) and all(isinstance(choice, str) for choice in get_args(annotation)):
        return set(get_args(annotation))
    return {annotation}


def _described(parameter: inspect.Parameter) -> str:
    """Return what the value of an option may be."""
    kinds = _kinds(parameter.annotation) - {types.NoneType}
    choices = sorted(kind for kind in kinds if isinstance(kind, str))
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    others = [names.get(kind, "JSON") for kind in kinds if not isinstance(kind, str)]
    return " or ".join([*choices, *dict.fromkeys(others)])
