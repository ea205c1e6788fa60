"""Downloads and uploads of datasets, whatever the remote: checked, resumed, and retried."""
