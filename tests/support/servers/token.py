"""A server that gives access tokens to service accounts whose key it knows, and such keys."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from support.servers import serving


ACCESS_TOKEN = "ya29.access-token-of-the-tests"


class ServiceAccount:
    """A key pair, and its private half in a file as Google gives it to people."""

    def __init__(self, token_uri: str) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._token_uri = token_uri
        self.secret = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    def write(self, file: Path, **changes: str | None) -> Path:
        """Write the key file; fields can be changed, or left out with None."""
        fields: dict[str, str | None] = {
            "type": "service_account",
            "project_id": "p",
            "private_key_id": "0123456789abcdef",
            "private_key": self.secret,
            "client_email": "tests@p.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": self._token_uri,
        }
        fields |= changes
        file.write_text(json.dumps({key: value for key, value in fields.items() if value is not None}))
        return file

    def signed(self, assertion: str) -> bool:
        """Return whether this account has signed a JWT."""
        message, _, signature = assertion.rpartition(".")
        try:
            self._key.public_key().verify(_decoded(signature), message.encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True


class TokenServer(ThreadingHTTPServer):
    """Knows one account; counts the tokens that it has given and the requests that it has refused."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/token"
        self.account = ServiceAccount(self.url)
        self.given = 0
        self.refused = 0


class _Handler(BaseHTTPRequestHandler):
    server: TokenServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if self.server.account.signed(form["assertion"][0]):
            self.server.given += 1
            self._answer(200, {"access_token": ACCESS_TOKEN, "expires_in": 3600, "token_type": "Bearer"})
        else:
            self.server.refused += 1
            self._answer(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})

    def _answer(self, status: int, content: dict[str, object]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def running_token_server() -> Iterator[TokenServer]:
    """A server on a free port, until the end of the block."""
    with serving(server := TokenServer()):
        yield server


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
