"""Thousands of damaged and hostile datasets, and what the library makes of them.

One integer, the *seed*, decides everything about one *mutant*: ``FAMILIES[seed % 5]`` is its format (or
``remote``, for what is downloaded), and a generator seeded with it draws the dataset that is taken, what
is done to it, and how it is used after that. How it works, module by module:

``subjects``
    The datasets, made by the library when a run begins, or recorded by released versions. A dataset lies
    in a *scene* with a sibling that must stay as it is and a directory outside that nobody may touch.
``mutations``
    What is done to the files: damage of bytes, lies that are well-formed, links and pipes and directories
    in the place of files.
``using``
    What a program does with a dataset: list, load, read every value, window and piece of metadata, show,
    read again with checksums verified; then one change or several (convert, combine, append, repack,
    upload, ...) that are read again, show, or validate. A hook of the interpreter looks out for commands,
    foreign imports, pickles, and files opened or changed outside of the scene.
``verdicts``
    What became of it. Fine are ``ok`` (the values that were written), ``refused`` (an error of the
    library), and ``unverified`` (other values, read without asking for checksums, or after a lie).
    Failures are ``crash``, ``hang``, ``foreign`` (an exception of somebody else), ``memory``, ``wrong`` (other
    values although checksums were verified, or a copy that differs from what it was made of) and
    ``escape`` (something outside was read, changed or run).
``children``
    A server imports everything once and forks a child for a batch of mutants, with limits of memory and
    file size. The child says when it begins a mutant and what came out; when nothing comes for too long, it
    is killed. A mutant that crashes or hangs costs only itself, and the rest of the batch goes on in a new
    child. Whatever failed is tried again alone, and the report says whether it fails there too.
``campaign``
    Runs seeds in a server process, sums up, and writes what to do next: ``python -m tests.fuzz.replay SEED``
    does one mutant over with a full report, and keeps its files with ``--keep DIRECTORY``.

``test_mutants.py`` runs 2,000 mutants of every family, and 100,000 with ``-m soak``.
"""

from __future__ import annotations

import sys
from pathlib import Path


if str(Path(__file__).resolve().parents[1]) not in sys.path:  # where it is run as a program, and not by pytest
    sys.path.append(str(Path(__file__).resolve().parents[1]))
