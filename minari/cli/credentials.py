"""The token or key for a remote from the command line."""

from __future__ import annotations

from pathlib import Path

from minari._base.settings import get_default_remote
from minari.cli.running import UsageError


__all__ = ["credentials"]

_TOLD_THE_TOKEN = ("hf://", "http://", "https://")  # other remotes get the path of the key file


def credentials(address: str | None, token: str | None, key_path: str | None) -> str | None:
    """Return the token of a remote: a Hub or web server needs the token itself, others the path of a file.

    Args:
        address: address of the remote, or of a dataset on it; None for the remote of ``MINARI_REMOTE``.
        token: value of ``--token``.
        key_path: value of ``--key-path``.

    Returns:
        None if neither is given: the remote then uses the credentials of its own client.

    Raises:
        UsageError: both are given, or there is no such file.
    """
    if key_path is None:
        return token
    if token is not None:
        raise UsageError("Of --token and --key-path, give the one that the remote asks for.")
    file = Path(key_path).expanduser()
    if file.is_file():
        is_text = (address or get_default_remote()).lower().startswith(_TOLD_THE_TOKEN)
        return file.read_text(encoding="utf-8").strip() if is_text else str(file)
    if key_path.startswith("hf_"):  # the token itself, in the form of the Hub
        return key_path
    raise UsageError(f"There is no file {key_path}; --key-path names the file that holds the token or key.")
