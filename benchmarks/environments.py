"""The interpreters: the one that runs the benchmarks, one with the released package, and those of other libraries."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import uuid
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.errors import BenchmarkError
from benchmarks.processes import call_worker


RELEASE = "0.5.4"
#: Pillow is missing from the released package's own extras.
REQUIRED = (f"minari[all]=={RELEASE}", "pillow")
#: Packages that both sides should have in the same version, as only Minari is compared.
SHARED = ("numpy", "gymnasium", "h5py", "pyarrow")


@dataclass(frozen=True, slots=True)
class Side:
    """An interpreter and its installed packages.

    Attributes:
        name: "ours" or "released".
        python: The interpreter.
        versions: Versions of Python, Minari and its dependencies; also `path` and `scripts`.
    """

    name: str
    python: Path
    versions: dict[str, Any]

    @property
    def command_line(self) -> Path:
        """The program ``minari``.

        Raises:
            BenchmarkError: It is not installed.
        """
        found = shutil.which("minari", path=self.versions["scripts"])
        if found is None:
            raise BenchmarkError(
                f'There is no program `minari` in {self.versions["scripts"]}: run pip install -e ".[benchmarks]".'
            )
        return Path(found)

    def installed(self) -> dict[str, str]:
        """Return the versions without the paths."""
        return {name: text for name, text in self.versions.items() if name not in ("path", "scripts") and text}


def default_directory() -> Path:
    """Return the cache directory for environments of the current user."""
    if os.name == "nt":
        cache = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "minari-benchmarks"


def our_side() -> Side:
    """Return the interpreter that runs the benchmarks."""
    return _side("ours", Path(sys.executable))


def rival_interpreters(given: Sequence[str], known: Sequence[str]) -> dict[str, Path]:
    """Return the interpreters of rivals, given as ``NAME=PYTHON``, by name.

    Raises:
        BenchmarkError: a rival is unknown, or given without an interpreter.
    """
    found: dict[str, Path] = {}
    for text in given:
        name, _, python = text.partition("=")
        if not python or name not in known:
            expected = " or ".join(f"{one}=PYTHON" for one in known)
            raise BenchmarkError(f"--rival is {text!r}, expected {expected}.")
        found[name] = Path(python)
    return found


def released_side(given: Path | None, directory: Path, ours: Side, echo: Callable[[str], None]) -> Side:
    """Return an interpreter with the released package.

    Args:
        given: An interpreter that has it; None to create an environment.
        directory: Directory for such environments.
        ours: The other side, whose versions are used where pip can install them.
        echo: Prints a message before slow steps.

    Raises:
        BenchmarkError: The interpreter has another release, or the environment cannot be created.
    """
    side = _side("released", given or _kept_environment(directory, ours, echo))
    if side.versions["minari"] != RELEASE:
        raise BenchmarkError(f"{side.python} has minari {side.versions['minari']}, expected {RELEASE}.")
    return side


def _side(name: str, python: Path) -> Side:
    return Side(name, python, call_worker(python, "versions", {}))


def library_environment(name: str, requirements: Sequence[str], directory: Path, echo: Callable[[str], None]) -> Path:
    """Return an interpreter that has some packages; create its environment if needed.

    Args:
        name: What it is called in the message.
        requirements: For pip.
        directory: Directory for such environments.
        echo: Prints a message before slow steps.

    Raises:
        BenchmarkError: pip cannot install them.
    """
    wanted = [f"python=={platform.python_version()}", *requirements]

    def make(home: Path) -> Path:
        return _make(home, [list(requirements)], "--rival", echo)

    return _kept(directory, wanted, name, make, echo)


def has_installed(requirements: Sequence[str]) -> bool:
    """Return whether the interpreter that runs the benchmarks has some packages in suitable versions."""
    from packaging.requirements import Requirement  # which the environments of other libraries may not have

    for text in requirements:
        requirement = Requirement(text)
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            return False
        if not requirement.specifier.contains(found, prereleases=True):
            return False
    return True


def _kept_environment(directory: Path, ours: Side, echo: Callable[[str], None]) -> Path:
    """Return the environment of the released package for our versions; create it if needed."""
    shared = [f"{package}=={ours.versions[package]}" for package in SHARED if ours.versions[package]]
    wanted = [f"python=={ours.versions['python']}", *REQUIRED, *shared]
    return _kept(directory, wanted, f"minari {RELEASE}", lambda home: make_environment(home, shared, echo), echo)


def _kept(
    directory: Path, wanted: Sequence[str], title: str, make: Callable[[Path], Path], echo: Callable[[str], None]
) -> Path:
    """Return the interpreter of the environment that was made for some requirements; make it if needed."""
    # This file names a complete environment and its requirements; an incomplete one has no such file.
    ready = directory / f"{hashlib.sha256(chr(10).join(wanted).encode()).hexdigest()[:12]}.json"
    if ready.exists():
        python = Path(json.loads(ready.read_text(encoding="utf-8"))["python"])
        if python.exists():
            return python
    home = directory / uuid.uuid4().hex[:12]
    echo(f"Creating an environment for {title} in {home} (once)")
    python = make(home)
    draft = ready.with_suffix(f".{home.name}")
    draft.write_text(json.dumps({"python": str(python), "asked": list(wanted)}, indent=2), encoding="utf-8")
    draft.replace(ready)
    return python


def make_environment(home: Path, shared: list[str], echo: Callable[[str], None]) -> Path:
    """Create an environment with the released package in place, as it cannot be moved; delete it on failure."""
    attempts = [[*REQUIRED, *shared], list(REQUIRED)] if shared else [list(REQUIRED)]
    return _make(home, attempts, "--released-python", echo)


def _make(home: Path, attempts: Sequence[list[str]], option: str, echo: Callable[[str], None]) -> Path:
    """Create an environment with the first requirements that pip can install."""
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    try:
        venv.create(home, with_pip=True, symlinks=os.name != "nt")
        said: str | None = None
        for number, requirements in enumerate(attempts):
            said = _install(python, requirements)
            if said is None:
                return python
            if number + 1 < len(attempts):
                left_out = [text for text in requirements if text not in attempts[number + 1]]
                echo(f"pip cannot install {', '.join(left_out)} together; it chooses the versions itself")
        raise BenchmarkError(
            f"pip could not install {' '.join(attempts[-1])}; give an interpreter that has them with {option}. "
            f"It said: {(said or 'nothing')[-2000:]}"
        )
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise


def _install(python: Path, requirements: list[str]) -> str | None:
    """Return None, or the output of pip if it failed."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stdout + done.stderr
