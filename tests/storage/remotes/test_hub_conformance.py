"""Conformance of the remote of the Hugging Face Hub."""

from __future__ import annotations

import pytest

from minari.testing.remote_conformance import RemoteConformance
from support.servers.hub import HubServer


class TestHub(RemoteConformance):
    @pytest.fixture
    def address(self, hub: HubServer) -> str:
        return "hf://lab"


class TestHubInANamespace(RemoteConformance):
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
    def address(self, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> str:
        address = "hf://lab/group/ours"
        monkeypatch.setenv("MINARI_REMOTE", address)  # where the prefix ends, an address itself does not say
        return address
