"""Whole programs, timed from outside, including the interpreter and all imports."""

from __future__ import annotations

import numpy as np

from benchmarks.workloads.data import EPISODES, episodes
from benchmarks.workloads.workload import Floor, Job, Workload


#: Tells as well how long it took until the first episode was there: imports, wherever they happen, and opening.
OPEN_AND_SUM = f"""\
import time
begin = time.perf_counter()
import minari
episodes = iter(minari.load_dataset("{EPISODES}"))
total = float(next(episodes).observations.sum())
opened = time.perf_counter() - begin
total += sum(float(episode.observations.sum()) for episode in episodes)
print(opened, total)
"""

READ_AND_SUM = """\
import sys
import numpy
print(numpy.fromfile(sys.argv[1]).sum())
"""


def _read_and_sum(job: Job) -> list[str]:
    path = job.scratch / "observations.bin"
    np.concatenate([np.asarray(buffer.observations) for buffer in episodes(job.size)]).tofile(path)
    return ["-c", READ_AND_SUM, str(path)]


GYMNASIUM = Floor(
    note="`import gymnasium` in a new process", command=lambda job: ["-c", "import gymnasium"], at_most=1.3
)


def _program(name: str, title: str, *command: str) -> Workload:
    return Workload(
        name=name, title=title, target=1, command=lambda job: list(command), floor=GYMNASIUM, turns=4, size=0, quick=0
    )


WORKLOADS = (
    Workload(
        name="program_open_and_sum",
        title="The same as a whole program: interpreter start, imports, open, sum",
        target=20,
        data="episodes",
        command=lambda job: ["-c", OPEN_AND_SUM],
        floor=Floor(
            note="a new process that reads and sums the same file with `numpy.fromfile` and `sum`",
            command=_read_and_sum,
        ),
        turns=2,
        size=1000,
        quick=40,
    ),
    _program("import_minari", "`import minari`", "-c", "import minari"),
    _program("cli_help", "`minari --help`", "minari", "--help"),
    _program("cli_list_empty", "`minari list local`, empty root", "minari", "list", "local"),
)
