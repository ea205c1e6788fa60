"""Conformance of the remote of Google Cloud Storage."""

from __future__ import annotations

import pytest

from minari.testing.remote_conformance import RemoteConformance


class TestGCS(RemoteConformance):
    @pytest.fixture
    def address(self, bucket: str) -> str:
        return f"gcp://{bucket}"


class TestGCSBelowAPrefix(RemoteConformance):
    # These have nothing to do with where datasets lie, and take long.
    test_several_threads = None
    test_two_that_upload_the_same = None
    test_transfers_are_reported = None
    test_an_interrupted_upload_leaves_no_dataset = None
    test_an_interrupted_download_leaves_nothing = None
    test_malformed_names = None
    test_links_that_lead_out_are_not_sent = None
    test_names_that_lead_out_elsewhere_are_not_sent = None

    @pytest.fixture
    def address(self, bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
        address = f"gs://{bucket}/labs/ours"
        monkeypatch.setenv("MINARI_REMOTE", address)  # where the prefix ends, an address itself does not say
        return address
