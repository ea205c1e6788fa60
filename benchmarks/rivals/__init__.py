"""The same work done by this library, by plain NumPy, and by the other ways in which people store such data.

``python -m benchmarks rivals`` runs it. A library is added in one file: a module in :mod:`benchmarks.rivals.libraries`,
or a file anywhere that ``--add FILE`` names, with subclasses of :class:`benchmarks.rivals.rival.Rival`.

What runs inside the environments of the libraries is :mod:`~benchmarks.rivals.operations` and what it imports, which
needs NumPy and the library in question; the modules of the libraries import theirs when they are used. Every number is
measured in a process of its own, the libraries take turns, and everything that is read is compared with the source.
"""
