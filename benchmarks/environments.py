"""The two interpreters: the one that runs the suite, and one with the released package."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import uuid
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.errors import BenchmarkError
from benchmarks.processes import call_worker


RELEASE = "0.5.4"
#: Pillow is missing from the released package's own extras.
REQUIRED = (f"minari[all]=={RELEASE}", "pillow")
#: What both sides should have in the same version, for the figures are about Minari alone.
SHARED = ("numpy", "gymnasium", "h5py", "pyarrow")


@dataclass(frozen=True, slots=True)
class Side:
    """An interpreter and what is installed in it.

    Attributes:
        name: "ours" or "released".
        python: The interpreter.
        versions: Of Python, minari and what it rests on; also `path` and `scripts`.
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
        """The versions, without the places."""
        return {name: text for name, text in self.versions.items() if name not in ("path", "scripts") and text}


def default_folder() -> Path:
    """Where environments are kept, for the user who runs the suite."""
    if os.name == "nt":
        cache = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "minari-benchmarks"


def our_side() -> Side:
    """The library as it is installed for the interpreter that runs the suite."""
    return _side("ours", Path(sys.executable))


def released_side(given: Path | None, folder: Path, ours: Side, tell: Callable[[str], None]) -> Side:
    """The released package.

    Args:
        given: An interpreter that has it; None for an environment of the suite's own.
        folder: Where such environments are kept.
        ours: The other side, whose versions are taken where pip can.
        tell: Is told what takes long.

    Raises:
        BenchmarkError: The interpreter has another release, or the environment cannot be made.
    """
    side = _side("released", given or _kept_environment(folder, ours, tell))
    if side.versions["minari"] != RELEASE:
        raise BenchmarkError(f"{side.python} has minari {side.versions['minari']}, expected {RELEASE}.")
    return side


def _side(name: str, python: Path) -> Side:
    return Side(name, python, call_worker(python, "versions", {}))


def _kept_environment(folder: Path, ours: Side, tell: Callable[[str], None]) -> Path:
    """The environment for our versions, made if it is not there yet."""
    shared = [f"{package}=={ours.versions[package]}" for package in SHARED if ours.versions[package]]
    wanted = "\n".join([f"python=={ours.versions['python']}", *REQUIRED, *shared])
    # A finished environment is named in this file, with what was asked of it; an unfinished one nowhere.
    ready = folder / f"{hashlib.sha256(wanted.encode()).hexdigest()[:12]}.json"
    if ready.exists():
        python = Path(json.loads(ready.read_text(encoding="utf-8"))["python"])
        if python.exists():
            return python
    home = folder / uuid.uuid4().hex[:12]
    tell(f"Making an environment for minari {RELEASE} in {home} (once)")
    python = _make_environment(home, shared, tell)
    draft = ready.with_suffix(f".{home.name}")
    draft.write_text(json.dumps({"python": str(python), "asked": wanted.splitlines()}, indent=2), encoding="utf-8")
    draft.replace(ready)
    return python


def _make_environment(home: Path, shared: list[str], tell: Callable[[str], None]) -> Path:
    """Made in its place, for an environment cannot be moved; removed again if anything goes wrong."""
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    try:
        venv.create(home, with_pip=True, symlinks=os.name != "nt")
        said = _install(python, [*REQUIRED, *shared])
        if said is not None and shared:
            tell(f"pip finds no set with {', '.join(shared)}; it chooses the versions itself")
            said = _install(python, list(REQUIRED))
        if said is not None:
            raise BenchmarkError(
                f"pip could not install {' '.join(REQUIRED)}; give an interpreter that has them with "
                f"--released-python. It said: {said[-2000:]}"
            )
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    return python


def _install(python: Path, requirements: list[str]) -> str | None:
    """None, or what pip said when it failed."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stdout + done.stderr
