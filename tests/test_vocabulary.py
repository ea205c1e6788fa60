"""The language of names, documentation, docstrings, comments, messages and tests.

Spelling is checked by ``codespell`` (see ``pyproject.toml``). This module checks that no retired term is used, that
no replaced module comes back, and that docstrings begin with an imperative or a noun phrase.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest


REPOSITORY = Path(__file__).parents[1]
DIRECTORIES = ("minari", "tests", "benchmarks", "docs", "examples", ".ci", ".github")
FILES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "pyproject.toml", ".pre-commit-config.yaml")
SUFFIXES = {".py", ".md", ".toml", ".yml", ".yaml", ".c", ""}

#: Retired terms, as regular expressions, and the terms to use instead.
RETIRED = {
    r"anew\b": "again, recreate, rewrite",
    r"under[ _]way\b": "in progress, concurrent",
    r"whole or not at all": "atomic",
    r"in one step\b": "atomically",
    r"at the same time": "concurrently",
    r"(?:is|are|was|were|be|been|being) told\b": "receives, is reported",
    r"speaks? of\b": "claims, mentions",
    r"so that nobody": "to prevent",
    r"broken off\b": "interrupted",
    r"moulds?\b": "template",
    r"folders?": "directory",
    r"(?<!and )(?<!other )metadata (?:are|were|have|say|speak|tell|need|carry|lie)\b": "metadata (singular)",
    r"catalogues?": "catalog",
    r"each_at_once|in_threads": "parallel_map",
    r"def _?retrying\b": "with_retries",
    r"def _?survey\b": "list_with_metadata",
    r"def _?carry_out\b": "run_command",
    r"def _?complain\b|def _?tell\((?!self\))": "echo",
    r"def _?(?:un)?spell\b": "to_hdf5_name, from_hdf5_name",
    r"organisation|licence|behaviour|colour|neighbour|normalis|initialis|serialis|recognis": "US spelling",
}

#: Uses that stay, and the reason.
ALLOWED = {
    r"folder_lock": "public name in `minari.dataset._storages.file_lock`, imported by formats of other packages",
    r"remotes[./]folder|remotes import folder": "module of the remote for a shared directory",
    r"is_folder=": "argument of `huggingface_hub.CommitOperationDelete`",
    r"deletedFolder|upload_folder|upload_large_folder": "names in the protocol and the client of the Hugging Face Hub",
}

#: Names of modules that were replaced.
RETIRED_MODULES = {
    *("storing", "continuing", "storage_hooks", "new_storage", "stored_metadata", "raw_metadata", "publication"),
    *("receiving", "version_ranges", "outgoing", "under_way", "downloading", "moulds", "growing_columns", "pending"),
    *("recorded_values", "older_names", "versions", "catalogue", "object_catalogue", "registers", "transaction"),
    *("folder_changes", "hdf5_file", "hdf5_old", "hdf5_members", "hdf5_headers", "zarr_parts", "zarr_table"),
}

#: Words with which no docstring begins.
CLAUSES = re.compile(r"(?:What|Whatever|Whether|How|Who|Where|That|Which|Why|When)\b")


def files() -> Iterator[Path]:
    """Yield the text files of the repository that are written by hand."""
    paths = [REPOSITORY / name for name in FILES]
    for name in DIRECTORIES:
        paths += sorted((REPOSITORY / name).rglob("*"))
    for path in paths:
        if path.is_file() and path.suffix in SUFFIXES and "_build" not in path.parts and path != Path(__file__):
            yield path


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of a module with their line numbers."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text


def test_no_retired_terms() -> None:
    retired = re.compile("|".join(rf"(?P<t{number}>(?<![A-Za-z]){term})" for number, term in enumerate(RETIRED)), re.I)
    allowed = re.compile("|".join(ALLOWED))
    remedies = list(RETIRED.values())
    found = []
    for path in files():
        text = allowed.sub("", path.read_text(encoding="utf-8"))
        for match in retired.finditer(text):
            number = 1 + text.count("\n", 0, match.start())
            remedy = remedies[int(str(match.lastgroup)[1:])]
            found.append(f"{path.relative_to(REPOSITORY)}:{number}: {match[0]!r}; write {remedy}")
    assert not found, "\n".join(found)


def test_no_retired_modules() -> None:
    names = {path.stem for path in (REPOSITORY / "minari").rglob("*.py")}
    assert not names & RETIRED_MODULES


def test_docstrings_begin_with_imperative_or_noun_phrase() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{number}: {text.splitlines()[0]}"
        for path in files()
        if path.suffix == ".py"
        for number, text in docstrings(path)
        if CLAUSES.match(text)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("line", "is_allowed"),
    [
        ("the folder of the data", False),
        ("from minari.dataset._storages.file_lock import folder_lock", True),
        ("Metadata are stored", False),
        ("episodes and metadata are stored", True),
        ("def test_written_anew() -> None:", False),
        ("a renewed lease", True),
    ],
)
def test_rules(line: str, is_allowed: bool) -> None:
    text = re.sub("|".join(ALLOWED), "", line)
    assert is_allowed == (re.search(rf"(?<![A-Za-z])(?:{'|'.join(RETIRED)})", text, re.IGNORECASE) is None)
