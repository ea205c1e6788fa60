"""Benchmarks of the library against the released ``minari==0.5.4`` and against lower bounds.

From a checkout, with the suite's own dependencies::

    pip install -e ".[benchmarks]"
    python -m benchmarks                # every workload, in both releases
    python -m benchmarks growth         # cost of an episode as the dataset grows
    python -m benchmarks memory         # peak memory of operations on large datasets
    python -m benchmarks interchange    # other formats, beside the loaders of their users
    python -m benchmarks rivals         # the same work beside every other way to store such data
    python -m benchmarks render         # pages and charts from stored results, without measuring

``python -m benchmarks --help`` shows the options. The released package gets its own virtual environment,
created once and kept in the user's cache. ``--check`` compares the figures with the targets of the
maintainers and exits with 1 if one is missed.

Method:

- A workload is one value in :mod:`benchmarks.workloads`. The same code, written against the public names
  that both releases have, runs on both sides with equal data. Each side reads what it wrote itself, except
  in the one workload that says otherwise.
- Both sides and a floor (the same bytes moved without the library) take turns in fresh processes, so that
  other activity on the machine affects all of them. The minimum of the repeats counts.
- The clock runs inside the process, around the operation alone. Imports and first uses happen before, in
  an untimed run. Workloads that are whole programs (importing, the command line, "in a new process") are
  timed from outside.
- Every run also computes a value from what it read or wrote, such as a sum, and both sides must agree.
"""
