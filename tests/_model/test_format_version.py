"""Readable format versions, and the versions of combinations."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from minari._model.format_version import (
    FORMAT_VERSION,
    UNIFORM_BOUNDS_VERSION,
    check_readable,
    combine_versions,
    frames_were_jpeg,
    is_compatible,
    supported_dataset_versions,
)
from minari.errors import CombineError, DatasetVersionError


READABLE = ["0.3.0", "0.4", "0.4.3", "0.5.0", "0.5.4", "0.5.4.dev1", "~=0.3.0", "~=0.4", "~=0.4.1", "~=0.5", "0.6"]
READABLE += [">=0.4.1,<0.5", "==0.4.*", "==0.5.4", "!=0.4.2", "===0.4", ">= 0.3 , < 0.7", None]
NEWER = ["0.5.5", "0.6.0", "0.99", "~=0.6", ">0.5.4,<1", ">=0.6"]
UNREADABLE = ["1.0.0", "2.1", "~=1.0", "0.2.2", "~=0.2.0", "<0.3", "<0.4,>0.5"]
GARBAGE = ["", " ", "newest", "~=", "0.5.x", "===abc", 3, ["0.5.4"]]


def test_the_newest_version_is_one_that_is_supported() -> None:
    assert FORMAT_VERSION in supported_dataset_versions
    newer = {version for version in supported_dataset_versions if Version(version) > Version(FORMAT_VERSION)}
    assert newer == {UNIFORM_BOUNDS_VERSION}
    assert all(map(is_compatible, supported_dataset_versions))
    versions = ["0.5.0", "0.5.1", "0.5.2", "0.5.3", "~=0.4", None]
    assert [version for version in versions if frames_were_jpeg(version)] == ["0.5.3"]


@pytest.mark.parametrize("version", [*READABLE, *NEWER])
def test_versions_of_the_line_are_read_with_a_warning_if_they_are_newer(version: str | None) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_readable(version, "toy/a-v0")
    assert is_compatible(version) == (version in READABLE) == (not caught)
    assert all(re.search(r"toy/a-v0.*newer", str(warning.message)) for warning in caught)


@pytest.mark.parametrize("version", [*UNREADABLE, *GARBAGE])
def test_other_lines_and_what_is_no_version_are_refused(version: Any) -> None:
    assert not is_compatible(version)
    message = r"toy/a-v0.*0\.3\.0 to 0\.5\.4" if version in UNREADABLE else "not a version"
    with pytest.raises(DatasetVersionError, match=message):
        check_readable(version, "toy/a-v0")
    if version in GARBAGE:
        with pytest.raises(DatasetVersionError, match="not a version"):
            combine_versions(["0.5.4", version])


@pytest.mark.parametrize(
    ("versions", "combined"),
    [
        (["0.4.3", "0.5.4"], FORMAT_VERSION),
        (["0.5.1"], FORMAT_VERSION),
        (["~=0.4", "0.5.2"], FORMAT_VERSION),
        ([None, "0.5.2"], FORMAT_VERSION),
        (["~=0.4"], ">=0.4,<1"),
        (["~=0.4", "~=0.4.1"], ">=0.4.1,<0.5"),
        (["~=0.4.2", ">=0.4.1,<=0.4.2"], "==0.4.2"),
        ([">0.4.1", "<0.5"], ">0.4.1,<0.5"),
        ([">=0.4", "~=0.4,!=0.4.2"], ">=0.4,<1,!=0.4.2"),
        (["~=0.4", "!=0.6.*,!=1.2"], ">=0.4,<1,!=0.6.*"),
        ([None, "~=0.3"], ">=0.3.0,<0.4"),
    ],
)
def test_versions_of_combinations_are_intersected(versions: list[str | None], combined: str) -> None:
    assert combine_versions(versions) == combined


@pytest.mark.parametrize("versions", [["~=0.4.0", "~=0.5.0"], ["<0.4", ">=0.4"], ["==0.4.1", "!=0.4.1"]])
def test_specifiers_that_exclude_each_other_are_refused(versions: list[str]) -> None:
    with pytest.raises(CombineError, match="exclude each other"):
        combine_versions(versions)


releases = st.tuples(st.integers(0, 2), st.integers(0, 6), st.integers(0, 4))
specifiers = st.lists(
    st.builds(
        lambda operator, release: operator + ".".join(map(str, release)),
        st.sampled_from(["~=", "==", "!=", "<", "<=", ">", ">="]),
        releases,
    )
    | releases.map(lambda release: f"!={release[0]}.{release[1]}.*")
    | releases.map(lambda release: f"=={release[0]}.{release[1]}.*"),
    min_size=1,
    max_size=3,
).map(",".join)


@given(st.lists(specifiers, min_size=1, max_size=3), releases)
def test_a_combination_admits_what_all_of_them_admit(versions: list[str], release: tuple[int, ...]) -> None:
    version = Version(".".join(map(str, release)))
    admitted = all(SpecifierSet(text).contains(version) for text in versions)
    try:
        combined = combine_versions(versions)
    except CombineError:
        assert not admitted
    else:
        assert SpecifierSet(combined).contains(version) == admitted
