"""Values of options that several commands share, parsed for the library."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import minari
from minari._base.json_text import shortened
from minari.cli.running import UsageError


__all__ = ["parse_compression", "parse_env_kwargs", "parse_episodes", "read_credentials"]

_NUMBERS = re.compile(r"\s*(\d{1,18})(?:\s*-\s*(\d{1,18}))?\s*", re.ASCII)


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


def parse_env_kwargs(text: str | None) -> dict[str, Any]:
    """Return the arguments of an environment.

    Raises:
        UsageError: the text is not a JSON object.
    """
    try:
        arguments = json.loads(text or "{}")
    except ValueError as error:
        raise UsageError(f"--env-kwargs is {text!r}, which is not valid JSON: {error}.") from error
    if not isinstance(arguments, dict):
        raise UsageError(f"--env-kwargs is {text!r}, expected a JSON object such as '{{\"g\": 9.81}}'.")
    return arguments


def parse_episodes(option: str, text: str, total: int) -> list[int]:
    """Return numbers of episodes; of a range, those up to the first that no episode has, which is refused later.

    >>> parse_episodes("--episodes", "3, 7,10-14", 20), parse_episodes("--episodes", "1-999999999", 3)
    ([3, 7, 10, 11, 12, 13, 14], [1, 2, 3])

    Args:
        option: the name of the option, for the message.
        text: numbers and ranges of them.
        total: the number of episodes.

    Raises:
        UsageError: the text is neither numbers nor ranges of them.
    """
    numbers: list[int] = []
    for part in text.split(","):
        match = _NUMBERS.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if match is None:
            raise UsageError(
                f"{option} is {shortened(text)}, expected numbers of episodes and ranges of them, such as 3,7,10-14."
            )
        if last < first:
            raise UsageError(
                f"{option} is {shortened(text)}, in which a range goes backwards; write {last}-{first} for it."
            )
        numbers += range(first, min(last, max(first, total)) + 1)
    return numbers


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
