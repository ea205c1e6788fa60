"""The Arrow and Parquet formats: a directory with files for each episode."""
