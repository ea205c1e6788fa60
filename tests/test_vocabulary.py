"""Retired terms do not appear in names, documentation, docstrings, comments, messages or tests.

Spelling is checked by ``codespell`` (see ``pyproject.toml``). This module checks the terms of the glossary, and
the form of docstrings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path


REPOSITORY = Path(__file__).parents[1]
DIRECTORIES = ("benchmarks", "docs", ".ci", ".github")
FILES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "pyproject.toml", ".pre-commit-config.yaml")
SUFFIXES = {".py", ".md", ".toml", ".yml", ".yaml", ".c", ""}

#: Retired terms, as regular expressions, and what to write instead.
RETIRED = {
    r"anew\b": "again, recreate",
    r"under[ _]way\b": "in progress, concurrent",
    r"whole or not at all": "atomic",
    r"in one step\b": "atomically",
    r"at the same time": "concurrently",
    r"(?:is|are|was|were|be|been|being) told\b": "receives, is reported",
    r"(?:speak|speaks|spoke) of\b": "mentions",
    r"so that nobody": "to prevent",
    r"broken off\b": "interrupted",
    r"moulds?\b": "template",
    r"folders?": "directory",
    r"metadata (?:are|were|have|say|speak|tell|need|carry|lie)\b": "metadata is (singular)",
    r"catalogues?": "catalog",
    r"each_at_once|in_threads": "parallel_map",
    r"retrying": "with_retries",
    r"survey": "list_with_metadata",
    r"carry_out": "run_command",
    r"def _?(?:complain|tell)\b": "echo",
    r"def _?spell\b": "to_hdf5_name",
    r"organis|licence|behaviour|colour|neighbour|normalis|initialis|serialis|recognis|labell|cancell": "US spelling",
}

#: Uses that stay: public names, names on disk, and words of other projects.
ALLOWED = {
    r"folder_lock": "public name in `minari.dataset._storages.file_lock`, imported by formats of other packages",
    r"ipykernel|executable folder": "",
}

#: Names of modules that were replaced.
RETIRED_MODULES = {
    *("storing", "continuing", "new_storage", "stored_metadata", "raw_metadata", "publication", "receiving"),
    *("outgoing", "under_way", "downloading", "moulds", "growing_columns", "pending", "recorded_values"),
    *("older_names", "versions", "catalogue", "object_catalogue", "registers", "transaction", "folder_changes"),
}


def files() -> Iterator[Path]:
    """Yield all text files of the repository that are written by hand."""
    for name in FILES:
        yield REPOSITORY / name
    for name in DIRECTORIES:
        for path in sorted((REPOSITORY / name).rglob("*")):
            if path.is_file() and path.suffix in SUFFIXES and "_build" not in path.parts and path != Path(__file__):
                yield path


def test_no_retired_terms() -> None:
    retired = re.compile("|".join(rf"(?P<t{number}>(?<![A-Za-z]){term})" for number, term in enumerate(RETIRED)), re.I)
    allowed = re.compile("|".join(ALLOWED))
    remedies = list(RETIRED.values())
    found = []
    for path in files():
        if not path.exists():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for match in retired.finditer(allowed.sub("", line)):
                remedy = remedies[int(str(match.lastgroup)[1:])]
                found.append(f"{path.relative_to(REPOSITORY)}:{number}: {match[0]!r}; write {remedy}")
    assert not found, "\n".join(found)
