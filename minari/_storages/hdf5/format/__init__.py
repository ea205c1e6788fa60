"""Bytes of HDF5 files, read and made without an HDF5 library."""
