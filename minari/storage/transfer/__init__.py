"""Downloads and uploads of datasets from and to any remote: verified, resumed and retried."""
