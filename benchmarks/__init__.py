"""How fast the library is, beside the released ``minari==0.5.4`` and beside what the machine can do.

From a checkout, with the suite's own dependencies::

    pip install -e ".[benchmarks]"
    python -m benchmarks                # every workload, beside the released package
    python -m benchmarks growth         # whether the cost of an episode grows with the dataset
    python -m benchmarks memory         # peak memory of what could hold too much

``python -m benchmarks --help`` shows the options. The released package gets a virtual environment of its
own, made once and kept in the user's cache.

How the figures come about:

- A workload is one value in :mod:`benchmarks.workloads`. The same code, written against the public names
  that both releases have, runs on both sides; the data are equal, and each side reads what it wrote itself
  (but for the one workload that says otherwise).
- Both sides, and a floor (the same bytes moved without the library), take turns in fresh processes, so
  that whatever else the machine does meets all of them. What counts is the minimum of the repeats.
- The clock runs inside the process, around the operation alone. Imports and first uses happen before, in
  an untimed run. Workloads that are whole programs (importing, the command line, "in a new process") are
  timed from outside.
- Every run also computes something from what it read or wrote, such as a sum, and both sides must agree.
"""
