"""Work in a child process with limits of time and memory, and what became of it.

Hostile data may crash the interpreter, never come to an end or eat all memory, so tests read them in a
child: :func:`run_limited` takes a function, which runs in a fork, or a command line.

    outcome = run_limited(lambda: minari.open_dataset(path)[0].observations.shape)
    assert outcome.kind == "raised" and outcome.error == "DatasetCorruptError", outcome
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import pickle
import resource
import select
import signal
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


MEGABYTE = 1 << 20

#: The largest file that a child may make, in bytes.
LARGEST_FILE = 256 * MEGABYTE


@dataclass(frozen=True)
class Outcome:
    """The outcome of a child process.

    Attributes:
        kind: ``returned``, ``raised``, ``crash`` (killed by a signal, or gone without a word), ``hang``
            (still at it when its time was over), or ``memory`` (it raised :class:`MemoryError`).
        value: what the function returned; of a command, its standard output.
        error: the name of the exception's class, or of the signal.
        text: its message, or what there is of a traceback.
        is_ours: whether it is an exception of the library.
        peak: how many bytes were resident at most beyond those at the beginning; 0 where unknown.
    """

    kind: str
    value: Any = None
    error: str = ""
    text: str = ""
    is_ours: bool = False
    peak: int = 0


def run_limited(work: Callable[[], Any] | Sequence[str], *, seconds: float = 30, megabytes: int = 4096) -> Outcome:
    """Do something in a child process.

    Args:
        work: a function whose result can be pickled, or the arguments of a command.
        seconds: how long it may take, by the clock.
        megabytes: how much address space it may have beyond what it has at the beginning; of a command,
            how much at all.
    """
    if callable(work):
        return _run_function(work, seconds, megabytes)
    return _run_command(work, seconds, megabytes)


def limit_memory(size: int) -> None:
    """Let this process have no more than so many bytes of address space, beyond those that it has now."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (memory_of_this_process("VmSize") + size, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit_files(LARGEST_FILE)


def limit_files(size: int) -> None:
    """Let this process make no file that is larger; can be called again with more."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


def memory_of_this_process(kind: str) -> int:
    """A figure of this process in bytes, such as ``VmSize``, ``VmPeak`` or ``VmHWM``; 0 where there is none."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{kind}:")), 0)


def forget_peak() -> None:
    """Let ``VmHWM`` begin again with what is resident now, where the system can do that."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def name_of_signal(number: int) -> str:
    """Such as ``SIGSEGV``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _run_function(work: Callable[[], Any], seconds: float, megabytes: int) -> Outcome:
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as crash:
        child = os.fork()
        if child == 0:
            try:
                os.close(reading)
                faulthandler.enable(crash.fileno())
                with os.fdopen(writing, "wb") as pipe:
                    pickle.dump(_outcome_of(work, megabytes), pipe)
            finally:
                os._exit(0)
        os.close(writing)
        answer, in_time = _read_all(reading, seconds)
        if not in_time:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        crash.seek(0)
        trace = crash.read().decode(errors="replace")
    if not in_time:
        return Outcome("hang", text=f"no answer within {seconds:g} s")
    if os.WIFSIGNALED(status) or not answer:
        name = name_of_signal(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else "no answer"
        return Outcome("crash", error=name, text=trace)
    outcome: Outcome = pickle.loads(answer)
    return outcome


def _outcome_of(work: Callable[[], Any], megabytes: int) -> Outcome:
    limit_memory(megabytes * MEGABYTE)
    return outcome_of(work)


def outcome_of(work: Callable[[], Any]) -> Outcome:
    """Call a function in this process, whose limits have been set."""
    from minari.errors import MinariError

    gc.freeze()  # or memory that the parent no longer needs could be freed here, and hide what the work takes
    forget_peak()
    before = memory_of_this_process("VmRSS")
    try:
        value = work()
        pickle.dumps(value)
    except MemoryError:
        return Outcome("memory", error="MemoryError", text=traceback.format_exc())
    except BaseException as error:
        text = f"{error}\n{traceback.format_exc()}"
        peak = max(0, memory_of_this_process("VmHWM") - before)
        return Outcome("raised", None, type(error).__name__, text, isinstance(error, MinariError), peak)
    return Outcome("returned", value, peak=max(0, memory_of_this_process("VmHWM") - before))


def _read_all(descriptor: int, seconds: float) -> tuple[bytes, bool]:
    """Return the data from a pipe until it is closed, and whether it arrived in time."""
    parts, deadline = [], time.monotonic() + seconds
    try:
        while True:
            if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return b"", False
            part = os.read(descriptor, 1 << 16)
            if not part:
                return b"".join(parts), True
            parts.append(part)
    finally:
        os.close(descriptor)


def _run_command(arguments: Sequence[str], seconds: float, megabytes: int) -> Outcome:
    def limit() -> None:
        size = megabytes * MEGABYTE
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    try:
        done = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, preexec_fn=limit
        )
    except subprocess.TimeoutExpired:
        return Outcome("hang", text=f"no answer within {seconds:g} s")
    if done.returncode < 0:
        return Outcome("crash", done.stdout, name_of_signal(-done.returncode), done.stderr)
    if done.returncode == 0:
        return Outcome("returned", done.stdout, text=done.stderr)
    last = done.stderr.strip().splitlines()[-1:] or [""]
    kind = "memory" if last[0].startswith("MemoryError") else "raised"
    return Outcome(kind, done.stdout, last[0].partition(":")[0].rpartition(".")[2], done.stderr)
