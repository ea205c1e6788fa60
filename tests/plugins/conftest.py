"""Packages of other authors: tests install them, and run their tests in separate processes."""

from __future__ import annotations


collect_ignore_glob = ["*"]
