"""The Arrow and Parquet formats: a directory of files for each episode."""
