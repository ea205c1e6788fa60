"""One fault after the other: what is tried, and what must be so after it."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import minari
from fuzz.fingerprints import fingerprint_of
from fuzz.subjects import Stage
from support.limits import Outcome, run_limited

from .operations import CASES, NEW, A, Operation, Place, buffers, prepare
from .states import State, observe


#: As in ``faults.c``, with how often each is drawn.
MODES = {"kill before": (1, 5), "kill after": (2, 4), "torn write": (3, 4), "short write": (4, 1)}
ERRORS = {
    "ENOSPC once": (5, errno.ENOSPC, 3),
    "ENOSPC from there on": (6, errno.ENOSPC, 3),
    "EIO once": (5, errno.EIO, 3),
    "EIO from there on": (6, errno.EIO, 1),
}
_WEIGHTS = {**{name: weight for name, (_, weight) in MODES.items()}, **{n: w for n, (_, _, w) in ERRORS.items()}}
_SECONDS = 30.0


@dataclass(frozen=True)
class FaultVerdict:
    """The outcome of one fault.

    Attributes:
        seed: of it.
        operation: with the format.
        fault: what went wrong, at which call of how many.
        problem: what was not as it must be; empty where all was well.
        outcome: what the operation said, or ``killed``.
        done: whether it had been done after the fault.
    """

    seed: int
    operation: str
    fault: str
    problem: str
    outcome: str
    done: bool

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class _Prepared:
    stage: Stage
    before: State
    after: State
    calls: int


class Faults:
    """Makes faults happen.

    Args:
        library: the compiled ``faults.c``, which is loaded already.
        work: an empty directory.
    """

    def __init__(self, library: str, work: Path) -> None:
        self._library = ctypes.CDLL(library)
        self._library.faults_count.restype = ctypes.c_long
        self._library.faults_last.restype = ctypes.c_char_p
        self._library.faults_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int]
        self._work = work
        self._prepared: dict[int, _Prepared] = {}

    def run(self, seed: int) -> FaultVerdict:
        """Try one."""
        rng = random.Random(seed)
        number = seed % len(CASES)
        operation, data_format = CASES[number]
        prepared = self._prepared.get(number) or self._prepare(number)
        mode = rng.choices(tuple(_WEIGHTS), tuple(_WEIGHTS.values()))[0]
        at = rng.randint(1, max(1, prepared.calls))
        prepared.stage.set_up()
        place = self._place(data_format)
        place.notes.unlink(missing_ok=True)
        trial = _Trial(self, operation, place, prepared, rng)
        try:
            problem = trial.run(mode, at)
        except _UnexpectedError as error:
            problem = str(error)
        fault = f"{mode} at call {at} of {prepared.calls}{trial.further}"
        return FaultVerdict(seed, f"{operation.name} {data_format}", fault, problem, trial.outcome, trial.done)

    def _place(self, data_format: str) -> Place:
        scene = self._work / "scene"
        return Place(scene / "root", scene / "remote", self._work / "notes", data_format)

    def _prepare(self, number: int) -> _Prepared:
        """Make the root of an operation, and do the operation once without a fault."""
        operation, data_format = CASES[number]
        place = self._place(data_format)
        master = self._work / f"master-{number}"
        shutil.rmtree(place.root.parent, ignore_errors=True)

        def make() -> None:
            prepare(place)
            if operation.first is not None:
                operation.first(place)

        _value(run_limited(make, seconds=60))
        shutil.copytree(place.root.parent, master)
        before: State = _value(run_limited(lambda: observe(place)))
        calls: int = _value(self._armed(operation.run, place, 0, 0, 0))
        after: State = _value(run_limited(lambda: observe(place)))
        if before == after:
            raise RuntimeError(f"{operation.name} changes nothing, so nothing can be seen of it.")
        stage = Stage(master, place.root.parent)
        self._prepared[number] = _Prepared(stage, before, after, calls)
        return self._prepared[number]

    def _armed(self, work: Callable[[Place], Any], place: Place, at: int, mode: int, code: int) -> Outcome:
        """Do something in a child where the N-th call goes wrong; the result is how many calls there were."""

        def armed() -> int:
            os.environ["FAULTS_ONCE"] = "1" if mode == 5 else ""
            self._library.faults_arm(os.fsencode(place.root.parent), at, mode, code)
            try:
                work(place)
            finally:
                calls = self._library.faults_count()
                self._library.faults_disarm()
            return int(calls)

        return run_limited(armed, seconds=_SECONDS)


class _UnexpectedError(Exception):
    pass


class _Trial:
    """One fault, from the fault to the state in the end."""

    def __init__(
        self, faults: Faults, operation: Operation, place: Place, prepared: _Prepared, rng: random.Random
    ) -> None:
        self._faults, self._operation, self._place, self._prepared, self._rng = faults, operation, place, prepared, rng
        self.outcome = ""
        self.further = ""
        self.done = False

    def run(self, mode: str, at: int) -> str:
        """Do it; what is wrong, or an empty text."""
        kind, code = (MODES[mode][0], 0) if mode in MODES else ERRORS[mode][:2]
        outcome = self._faults._armed(self._operation.run, self._place, at, kind, code)
        problem = self._say(outcome)
        state = self._look("after the fault")
        self.done = self._is(state, self._prepared.after)
        return problem or self._judge(state, outcome) or self._go_on(state)

    def _say(self, outcome: Outcome) -> str:
        self.outcome = {"crash": "killed", "returned": "returned"}.get(
            outcome.kind, f"{outcome.error}: {outcome.text}"
        )[:1500]
        if outcome.kind in ("hang", "memory") or (outcome.kind == "crash" and outcome.error != "SIGKILL"):
            return f"the operation: {outcome.kind} {outcome.error} {outcome.text[-600:]}"
        if outcome.kind == "raised" and not outcome.is_ours:
            return f"the operation raised an exception that is not ours: {outcome.error}"
        return ""

    def _look(self, when: str) -> State:
        outcome = run_limited(lambda: observe(self._place), seconds=_SECONDS)
        if outcome.kind != "returned":
            raise _UnexpectedError(
                f"{when} the root cannot be read: {outcome.kind} {outcome.error} {outcome.text[:900]}"
            )
        state: State = outcome.value
        return state

    def _is(self, state: State, wanted: State) -> bool:
        """Return whether a state equals another; for recordings in progress, only datasets count."""
        if self._operation.name != "record":
            return state == wanted
        return (state.datasets, state.remote) == (wanted.datasets, wanted.remote)

    def _judge(self, state: State, outcome: Outcome) -> str:
        """Return whether the state matches the result of the operation."""
        before, after = (self._is(state, wanted) for wanted in (self._prepared.before, self._prepared.after))
        if self._operation.name == "record":
            problem = self._judge_recording(state, after)
            if problem:
                return problem
            if not before and not after and len(self._prepared.before.datasets) < len(state.datasets):
                return f"neither before nor after: {state.difference(self._prepared.after)}"
        if outcome.kind == "raised" and not before and not self._only_namespaces(state):
            return f"the call failed, and something has changed: {state.difference(self._prepared.before)}"
        if outcome.kind == "returned" and not after:
            return f"the call returned, and it is not done: {state.difference(self._prepared.after)}"
        if not before and not after and not self._only_namespaces(state):
            return f"neither before nor after: {state.difference(self._prepared.before)}"
        return ""

    def _only_namespaces(self, state: State) -> bool:
        """A namespace that was made for a dataset may be there without it."""

        def rest(of: State) -> Any:
            return of.datasets, of.recordings, of.remote

        if rest(self._prepared.before) == rest(self._prepared.after):  # the operation is on namespaces themselves
            return False
        known = {**self._prepared.before.namespaces, **self._prepared.after.namespaces}
        made = {name for name in state.namespaces if name not in self._prepared.before.namespaces}
        return made <= known.keys() and rest(state) in (rest(self._prepared.before), rest(self._prepared.after))

    def _judge_recording(self, state: State, after: bool) -> str:
        """Recorded episodes that are known to be on disk can be recovered."""
        if after:
            return "" if not state.recordings else "a recording is still there beside the dataset"
        notes = self._place.notes.read_text() if self._place.notes.exists() else "0"
        expected = next(v for k, v in self._prepared.after.datasets.items() if k not in self._prepared.before.datasets)[
            0
        ]
        found = state.recordings[0] if state.recordings else ()
        if found != expected[: len(found)]:
            return "a recording has other episodes than were recorded"
        if len(found) < int(notes):
            difference = state.difference(self._prepared.after)
            return f"{notes} episodes were on disk, and {len(found)} can be recovered: {difference}"
        return ""

    def _go_on(self, state: State) -> str:
        """Try again where it was not done, with a second fault in the middle of that now and then, and go on."""
        if self._operation.name == "record":
            return self._recover(state)
        if self._rng.random() < 0.3:
            at = self._rng.randint(1, self._prepared.calls)
            self.further = f", then a kill at call {at} of the next try"
            if not self._is(state, self._prepared.after):
                self._faults._armed(self._operation.run, self._place, at, 1, 0)
            else:
                self._faults._armed(_next_change, self._place, at, 1, 0)
            state = self._look("after the second fault")
        if self._is(state, self._prepared.after) or self._advanced(state):
            return self._change()
        outcome = run_limited(lambda: self._operation.run(self._place), seconds=_SECONDS)
        if outcome.kind != "returned":
            return f"trying again fails: {outcome.kind} {outcome.error} {outcome.text[:900]}"
        return self._change(self._prepared.after)

    def _advanced(self, state: State) -> bool:
        """Return whether the change after the operation was made before it was killed."""
        if self._is(state, self._prepared.before):  # of which an edit may drop episodes
            return False
        return len(state.datasets.get(A, ((),))[0]) > len(self._prepared.after.datasets.get(A, ((),))[0])

    def _recover(self, state: State) -> str:
        if not state.recordings or not state.recordings[0]:
            return ""

        def recover() -> State:
            from minari._catalog.recordings import list_recordings
            from minari.storage.local import recover_recording

            recover_recording(list_recordings(self._place.root)[0].name, NEW, root=self._place.root)
            return observe(self._place)

        outcome = run_limited(recover, seconds=_SECONDS)
        if outcome.kind != "returned":
            return f"recovering fails: {outcome.kind} {outcome.error} {outcome.text[:900]}"
        if outcome.value.datasets[NEW][0] != state.recordings[0]:
            return "the recovered dataset has other episodes than the recording"
        return ""

    def _change(self, expected: State | None = None) -> str:
        """The state is this one, if any, and one more change goes well, in a fresh process."""

        def look_and_change() -> tuple[State | None, bool]:
            state = None if expected is None else observe(self._place)
            if A not in minari.list_local_datasets(root=self._place.root):
                return state, True
            before = fingerprint_of(self._place.load(A))
            _next_change(self._place)
            return state, fingerprint_of(self._place.load(A))[:-1] == before

        outcome = run_limited(look_and_change, seconds=_SECONDS)
        if outcome.kind != "returned":
            return f"the next change fails: {outcome.kind} {outcome.error} {outcome.text[:900]}"
        state, is_sound = outcome.value
        if state != expected:
            return f"trying again leads elsewhere: {state.difference(expected)}"
        return "" if is_sound else "the next change has changed what was there"


def _next_change(place: Place) -> None:
    dataset = place.load(A)
    dataset.update_dataset_from_buffer(buffers(30, observations=dataset.observation_space))


def _value(outcome: Outcome) -> Any:
    if outcome.kind != "returned":
        raise RuntimeError(f"The harness failed: {outcome}")
    return outcome.value
