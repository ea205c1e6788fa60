"""What every kind of remote promises, of Google Cloud Storage."""

from __future__ import annotations

import pytest

from minari.testing.remote_conformance import RemoteConformance


class TestGCS(RemoteConformance):
    @pytest.fixture
    def address(self, bucket: str) -> str:
        return f"gcp://{bucket}"


class TestGCSBelowAPrefix(RemoteConformance):
    @pytest.fixture
    def address(self, bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
        address = f"gs://{bucket}/labs/ours"
        monkeypatch.setenv("MINARI_REMOTE", address)  # where the prefix ends, an address itself does not say
        return address
