"""What every kind of remote promises, of the Hugging Face Hub."""

from __future__ import annotations

import pytest

from minari.testing.remote_conformance import RemoteConformance
from support.servers.hub import HubServer


class TestHub(RemoteConformance):
    @pytest.fixture
    def address(self, hub: HubServer) -> str:
        return "hf://lab"


class TestHubInANamespace(RemoteConformance):
    @pytest.fixture
    def address(self, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> str:
        address = "hf://lab/group/ours"
        monkeypatch.setenv("MINARI_REMOTE", address)  # where the prefix ends, an address itself does not say
        return address
