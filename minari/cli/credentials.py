"""The token or key that a command is given for a remote."""

from __future__ import annotations

from pathlib import Path

from minari._base.settings import get_default_remote
from minari.cli.running import UsageError


__all__ = ["credentials"]

_TOLD_THE_TOKEN = ("hf://", "http://", "https://")  # the others are told where the key file lies


def credentials(address: str | None, token: str | None, key_path: str | None) -> str | None:
    """What a remote is given as its token: a Hub or a web server wants the token itself, others the path of a file.

    Args:
        address: of the remote, or of a dataset on it; None is the remote of ``MINARI_REMOTE``.
        token: what ``--token`` says.
        key_path: what ``--key-path`` says.

    Returns:
        None where neither is given: the remote then looks where its own client does.

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
    if key_path.startswith("hf_"):  # the token itself, as the Hub spells them
        return key_path
    raise UsageError(f"There is no file {key_path}; --key-path names the file that holds the token or key.")
