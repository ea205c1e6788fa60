"""``minari import`` and ``minari export``: the list of formats, and its options."""

from __future__ import annotations

import json

import pytest

from cli.conftest import Minari
from minari.cli import interchange
from minari.errors import MissingDependencyError
from minari.interchange import Format, formats


def test_import_alone_lists_each_format_and_what_it_needs(run: Minari) -> None:
    lines = run("import").out.splitlines()
    assert [line.split()[0] for line in lines] == formats()
    assert "d4rl          import, export" in lines
    assert any(line.startswith("rlds ") and "minari[rlds]" in line for line in lines)
    assert any(line.startswith("sb3 ") and "refused" in line for line in lines)


def test_a_format_whose_packages_are_missing_is_listed_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> Format:
        raise MissingDependencyError(f"{name} needs something")

    monkeypatch.setattr(interchange, "get_format", missing)
    interchange.list_formats(["rlds"], with_options=True, as_json=False)
    assert capsys.readouterr().out == 'rlds          not installed: pip install "minari[rlds]"\n'


def test_options_of_one_format_are_listed_with_their_defaults(run: Minari) -> None:
    lines = run("import", "--formats", "maniskill").out.splitlines()
    assert lines == [
        "maniskill     import, export",
        "  import --rewards error or zeros (default: error)",
        "  import --states-as-observations true or false (default: false)",
        "  export --compress true or false (default: true)",
    ]


def test_formats_are_listed_as_json(run: Minari) -> None:
    found = json.loads(run("import", "--formats", "d4rl", "tianshou", "--json").out)
    assert list(found) == ["d4rl", "tianshou"]
    assert found["d4rl"]["import_options"] == ["final_observation", "max_episode_steps"]
    assert not found["tianshou"]["writable"]


def test_an_unknown_format_is_not_listed(run: Minari) -> None:
    ended = run("import", "--formats", "d4r")
    assert ended.code == 1
    assert "Did you mean 'd4rl'?" in ended.err
