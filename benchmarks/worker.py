"""One run of one workload: ``python -I worker.py run '{"name": "iterate", ...}'`` prints one line of JSON.

The interpreter may be that of the released package, and then nothing of this checkout but the package
`benchmarks` may be importable: ``minari`` is whichever that interpreter has installed.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import platform
import sys
import sysconfig
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


HERE = Path(__file__).resolve().parent
PACKAGES = ("numpy", "gymnasium", "h5py", "pyarrow", "zarr", "pillow")


def load_benchmarks() -> None:
    """Make `benchmarks` importable by its location, without adding the checkout to the path."""
    if "benchmarks" in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(
        "benchmarks", HERE / "__init__.py", submodule_search_locations=[str(HERE)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"no package at {HERE}")
    module = importlib.util.module_from_spec(spec)
    sys.modules["benchmarks"] = module
    spec.loader.exec_module(module)


def clock(operation: Callable[[Any], Any], state: Any) -> tuple[float, Any]:
    """Return the duration in seconds and the result of the operation."""
    gc.collect()
    begin = time.perf_counter()
    result = operation(state)
    return time.perf_counter() - begin, result


def versions() -> dict[str, Any]:
    """Return the versions installed for this interpreter."""
    import minari

    found: dict[str, Any] = {
        "python": platform.python_version(),
        "minari": minari.__version__,
        "path": str(Path(minari.__file__).parent),
        "scripts": sysconfig.get_path("scripts"),
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def run(workload: Any, job: Any) -> dict[str, Any]:
    """Return the seconds for each unit of the workload, and the value that both sides must agree on."""
    from benchmarks.workloads.rehearsal import rehearse

    if not workload.warm:
        rehearse(job.scratch / "rehearsal")
    state = workload.setup(job)
    if workload.warm:
        workload.run(state)
    before = least_bare(workload, state)
    seconds, result = clock(workload.run, state)
    seconds -= min(before, least_bare(workload, state))
    check = None if workload.check is None else workload.check(state, result)
    written = None if workload.written is None else bytes_below(job.scratch / workload.written)
    return {"seconds": seconds / workload.divisor(job), "check": check, "bytes": written}


def bytes_below(directory: Path) -> int:
    """Return the total size of all files in a directory, including hidden ones."""
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


def least_bare(workload: Any, state: Any) -> float:
    """Return the time to subtract: the minimum of several runs, as a disturbed run would subtract too much."""
    if workload.bare is None:
        return 0.0
    return min(clock(workload.bare, state)[0] for _ in range(3))


def floor(workload: Any, job: Any) -> dict[str, Any]:
    """Return the seconds for each unit of the floor, warmed up like the workload."""
    state = workload.floor.setup(job)
    if workload.warm:
        workload.floor.run(state)
    seconds, _ = clock(workload.floor.run, state)
    return {"seconds": seconds / workload.divisor(job), "check": None}


def main(task: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run a task."""
    load_benchmarks()
    warnings.simplefilter("ignore")
    if task == "versions":
        return versions()
    if task == "remote":
        from benchmarks.workloads.sharing import share

        return share(arguments)
    if task == "sample":
        from benchmarks.samplers import sample

        return sample(arguments)
    if task == "collect":
        from benchmarks.collectors import collect

        return collect(arguments)
    if task == "convert":
        from benchmarks.conversions import convert

        return convert(arguments)
    if task in ("load_foreign", "make_foreign"):
        from benchmarks import loaders

        return loaders.load(arguments) if task == "load_foreign" else loaders.make(arguments)
    if task in ("rival", "rival_source"):
        from benchmarks.rivals import operations

        return operations.operate(arguments) if task == "rival" else operations.make_source(arguments)
    if task == "make_samples":
        from benchmarks.workloads.samples import make_samples

        make_samples(Path(arguments["data"]), arguments["kind"], arguments["size"])
        return {}
    from benchmarks.workloads import DATA, WORKLOADS, Job
    from benchmarks.workloads.growing import GROWTH
    from benchmarks.workloads.holding import CASES, peak
    from benchmarks.workloads.storing import FORMS, measure

    name, size = arguments["name"], arguments["size"]
    data, scratch = Path(arguments["data"]), Path(arguments["scratch"])
    os.environ["MINARI_DATASETS_PATH"] = str(scratch)
    job = Job(size, data, scratch)
    if task == "make":
        _named(DATA, name).make(job)
    elif task == "make_large":
        _named(CASES, name).make(job)
    elif task == "grow":
        return GROWTH[name](job)
    elif task == "store":
        return measure(_named(FORMS, name), job)
    elif task == "peak":
        return peak(_named(CASES, name), job)
    else:
        return {"run": run, "floor": floor}[task](_named(WORKLOADS, name), job)
    return {}


def _named(values: Sequence[Any], name: str) -> Any:
    return next(value for value in values if value.name == name)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]))))
