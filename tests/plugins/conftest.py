"""What lies here are packages of others: tests install them, and run their tests in processes of their own."""

from __future__ import annotations


collect_ignore_glob = ["*"]
