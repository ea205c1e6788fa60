"""The HDF5 format: one file with a group for each episode, readable by every release of Minari."""
