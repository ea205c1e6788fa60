"""Infrastructure that knows nothing of datasets: files, locks, threads, JSON, settings."""
