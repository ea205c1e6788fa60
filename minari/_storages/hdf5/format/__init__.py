"""The bytes of HDF5 files, read and written without an HDF5 library."""
