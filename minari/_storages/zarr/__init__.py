"""Storage backend for Zarr: one array a leaf, in chunks and shards."""
