"""The HDF5 format: one file with a group for each episode, as every release of Minari reads it."""
