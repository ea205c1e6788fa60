"""Values of options that several commands share, parsed for the library."""

from __future__ import annotations

from pathlib import Path

import minari
from minari.cli.running import UsageError


__all__ = ["parse_compression", "read_credentials"]


def parse_compression(texts: list[str] | None) -> str | dict[str, str] | None:
    """Return the choice of codecs for a dataset.

    Args:
        texts: one codec for all columns (``gzip:9``), or a codec per column (``observations/pixels=gzip``).

    Raises:
        UsageError: both kinds are given, or a column twice.
    """
    if not texts:
        return None
    if len(texts) == 1 and "=" not in texts[0]:
        return texts[0]
    choice: dict[str, str] = {}
    for text in texts:
        column, equals, codec = text.rpartition("=")
        if not equals or column in choice:
            raise UsageError(
                f"--compression is given as {', '.join(texts)}; expected one codec for all columns, such as gzip:9, "
                f"or one for each of some, such as observations/pixels=gzip:9."
            )
        choice[column] = codec
    return choice


def read_credentials(address: str | None, token: str | None, key_path: str | None) -> str | None:
    """Return what a remote takes as its token: the text of the token, or the path of a file.

    Args:
        address: address of the remote, or of a dataset on it; by default that of ``MINARI_REMOTE``.
        token: value of ``--token``.
        key_path: value of ``--key-path``.

    Returns:
        The token or path; None if neither option is given, so that the remote uses the credentials of its client.

    Raises:
        UsageError: both options are given, or the file does not exist.
        RemoteError: there is no such kind of remote.
    """
    if key_path is None:
        return token
    if token is not None:
        raise UsageError("Of --token and --key-path, give the one that the remote asks for.")
    file = Path(key_path).expanduser()
    if file.is_file():
        is_text = minari.storage.remotes.get_remote_class(address).TOKEN_IS_TEXT
        return file.read_text(encoding="utf-8").strip() if is_text else str(file)
    if key_path.startswith("hf_"):  # the token itself: tokens of the Hub begin like this
        return key_path
    raise UsageError(f"There is no file {key_path}; --key-path names the file that holds the token or key.")
