"""Kills, torn writes, full disks and I/O errors at every place where an operation changes a file.

How it works, module by module:

``faults.c``
    A small library that is preloaded into the processes under test. It counts the system calls that change
    files below a directory (they all go through libc, those of h5py and pyarrow included), and at the N-th one
    kills the process before or after it, writes only a part and kills, writes only a part and says so, or
    lets it fail with ENOSPC or EIO, once or from there on.
``operations``
    What is done: creating, recording, appending, combining, downloading, and so on, in every format; each
    begins with a root that was prepared once, and ends with one that was looked at once.
``states``
    What a root holds, as a fresh process sees it: every dataset with all of its values and metadata,
    recordings, namespaces, and what lies on the remote.
``faults``
    One integer, the *seed*, decides about one fault: the operation and format, how it goes wrong, and at
    which of the calls that a dry run has counted. After the fault a fresh process looks: the state is the one
    before or the one after, and where the call said that it failed, the one before; nothing is doubled or
    lost. Then the operation is tried again, now and then with a second fault in the middle of that, and in
    the end it must have been done once, and the next change must go well.
``campaign``
    Compiles the library, and runs seeds in a server process that forks a child for every step, since no
    process may know what another one did. ``python -m tests.kill.replay SEED`` does one fault over.

``test_faults.py`` tries 500 of them, and 5,000 with ``-m soak``.
"""

from __future__ import annotations

import sys
from pathlib import Path


if str(Path(__file__).resolve().parents[1]) not in sys.path:  # where it is run as a program, and not by pytest
    sys.path.append(str(Path(__file__).resolve().parents[1]))
