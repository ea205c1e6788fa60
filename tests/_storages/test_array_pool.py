"""Memory of arrays that nobody refers to any more: it is used again then, and not before."""

from __future__ import annotations

import gc
import platform
import threading
from typing import Any

import numpy as np
import pytest

from minari._storages.array_pool import ArrayPool
from support.programs import run


MEGABYTE = 2**20


def address(array: Any) -> int:
    found: int = array.__array_interface__["data"][0]
    return found


def test_memory_of_a_deleted_array_is_used_again() -> None:
    pool = ArrayPool()
    first = pool.empty((MEGABYTE,), np.uint8)
    where = address(first)
    del first
    assert pool.idle_bytes == MEGABYTE
    assert address(pool.empty((MEGABYTE // 8,), np.float64)) == where
    assert pool.empty((2, MEGABYTE), np.uint8).nbytes == 2 * MEGABYTE


def test_memory_is_used_again_for_smaller_arrays() -> None:
    pool = ArrayPool()
    held = [pool.empty((3 * MEGABYTE,), np.uint8), pool.empty((4 * MEGABYTE,), np.uint8)]
    where = address(held[0])
    held.clear()
    smaller = pool.empty((5, MEGABYTE // 2), np.uint8)
    assert (address(smaller), smaller.nbytes, pool.idle_bytes) == (where, 5 * MEGABYTE // 2, 4 * MEGABYTE)
    assert pool.empty((MEGABYTE,), np.uint8).nbytes == MEGABYTE
    assert pool.idle_bytes == 5 * MEGABYTE  # the larger one is too large for that
    del smaller
    assert pool.idle_bytes == 8 * MEGABYTE


@pytest.mark.parametrize(
    "keep",
    [
        lambda array: array[3:4],
        lambda array: array.reshape(-1).view(np.uint8)[5:6],
        lambda array: memoryview(array),
        lambda array: np.frombuffer(array, np.uint8),
        lambda array: np.asarray(array).T,
        lambda array: array.ctypes,
        lambda array: np.from_dlpack(array),
        lambda array: [{"nested": array.view()}],
    ],
)
def test_memory_is_not_used_again_while_anything_refers_to_it(keep: Any) -> None:
    pool = ArrayPool()
    first = pool.empty((MEGABYTE,), np.float64)
    where = address(first)
    kept = keep(first)
    del first
    gc.collect()
    assert pool.idle_bytes == 0
    assert address(pool.empty((MEGABYTE,), np.float64)) != where
    del kept
    assert pool.idle_bytes >= 8 * MEGABYTE


def test_arrays_are_as_any_others() -> None:
    array = ArrayPool().empty((512, 1024), ">i4")
    assert array.flags.writeable
    assert array.flags.c_contiguous
    assert array.flags.aligned
    assert (type(array), array.dtype, array.shape) == (np.ndarray, np.dtype(">i4"), (512, 1024))
    assert ArrayPool().empty((0, 3), float).shape == (0, 3)
    assert ArrayPool().empty((), float).shape == ()


def test_idle_memory_is_limited() -> None:
    pool = ArrayPool(4 * MEGABYTE)
    held = [pool.empty((megabytes * MEGABYTE,), np.uint8) for megabytes in (1, 1, 2, 1, 3, 5)]
    while held:
        del held[0]
        assert pool.idle_bytes <= 4 * MEGABYTE
    assert ArrayPool(0).empty((MEGABYTE,), np.uint8).shape == (MEGABYTE,)


def test_threads_never_share_memory() -> None:
    pool = ArrayPool()
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(200):
            array = pool.empty((MEGABYTE,), np.uint8)
            array[:: 2**16] = number
            if (array[:: 2**16] != number).any():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert pool.idle_bytes <= 8 * MEGABYTE


def test_a_program_ends_silently_with_arrays_left() -> None:
    assert (
        run(
            """
            from minari._storages.array_pool import new_array
            left = new_array((1000, 1000), float)
            cycle = [left[1:]]
            cycle.append(cycle)
            print(left.shape)
            """
        )
        == "(1000, 1000)\n"
    )


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep memory in ways of their own")
def test_memory_of_batches_is_not_given_back() -> None:
    """Arrays of some hundred KiB that are made and freed again and again are on pages that the process has."""
    program = """
        import resource
        import numpy as np
        from minari._storages.array_pool import keep_freed_memory
        keep_freed_memory()
        kept = None
        for turn in range(220):
            if turn == 20:
                before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            kept = [np.full(40_000, 1.0), np.full(30_000, 1.0)]  # while the last ones are alive
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 5_000)
    """
    assert run(program) == "True\n"
