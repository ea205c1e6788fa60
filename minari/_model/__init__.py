"""The values that datasets consist of, without I/O."""
