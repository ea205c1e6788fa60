"""Storage backends for Arrow and Parquet: a directory of files for each episode."""
