"""Registry of the formats of other programs, each imported when it is first used."""

from __future__ import annotations

from pathlib import Path

from minari._base.json_text import shortened
from minari._base.plugins import Target, find_target, known_targets, load_class
from minari._base.suggestions import did_you_mean
from minari.errors import InterchangeError, MinariError, MissingDependencyError, UnknownFormatError
from minari.interchange.damage import DAMAGE
from minari.interchange.format import Format


__all__ = ["ENTRY_POINT_GROUP", "formats", "get_format", "package_of", "sniffed_format"]

ENTRY_POINT_GROUP = "minari.interchange"

#: Where the class of each format is, and what it needs, in the order in which files are looked at.
_FORMATS: dict[str, Target] = {
    "d4rl": ("minari.interchange.d4rl:D4RL", "minari"),
    "robomimic": ("minari.interchange.robomimic:Robomimic", "minari"),
    "maniskill": ("minari.interchange.maniskill:ManiSkill", "minari"),
    "d3rlpy": ("minari.interchange.d3rlpy:D3rlpy", "minari"),
    "tianshou": ("minari.interchange.tianshou:Tianshou", "minari"),
    "torchrl": ("minari.interchange.torchrl:TorchRL", "minari"),
    "rllib": ("minari.interchange.rllib:RLlib", "minari"),
    "sb3": ("minari.interchange.sb3:SB3", "minari"),
    "imitation": ("minari.interchange.imitation.format:Imitation", "minari"),
    "rlds": ("minari.interchange.rlds.format:RLDS", "minari[rlds]"),
    "rl_unplugged": ("minari.interchange.rl_unplugged:RLUnplugged", "minari[rl_unplugged]"),
    "csv": ("minari.interchange.tables:CSV", "minari[arrow]"),
    "parquet": ("minari.interchange.tables:Parquet", "minari[arrow]"),
    "crowdplay": ("minari.interchange.crowdplay:CrowdPlay", "minari"),
    "og_marl": ("minari.interchange.og_marl:OGMARL", "minari[og-marl]"),
    "lerobot": ("minari.interchange.lerobot:LeRobot", "minari[lerobot]"),
}


def formats() -> list[str]:
    """Return the names of the formats, sorted."""
    return sorted(known_targets(_FORMATS, ENTRY_POINT_GROUP))


def package_of(name: str) -> str:
    """Return what is to be installed for a format: an extra such as ``minari[rlds]``, or another package."""
    return known_targets(_FORMATS, ENTRY_POINT_GROUP)[name][1]


def get_format(name: str) -> Format:
    """Return a format by its name.

    Raises:
        UnknownFormatError: no format has that name.
        MissingDependencyError: a package that the format needs is not installed.
    """
    target = find_target(name, _FORMATS, ENTRY_POINT_GROUP) if isinstance(name, str) else None
    if target is None:
        raise UnknownFormatError(
            f"There is no format {shortened(name)}, expected one of {', '.join(formats())}."
            f"{did_you_mean(name, formats()) if isinstance(name, str) else ''}"
        )
    format_type: type[Format] = load_class(target, f"The format {name!r} needs")
    return format_type()


def sniffed_format(path: Path) -> Format:
    """Return the format of a file or directory.

    Raises:
        InterchangeError: it looks like none of the formats, or like several.
    """
    found, missing = [], []
    for name in [*_FORMATS, *(name for name in formats() if name not in _FORMATS)]:
        try:
            one = get_format(name)
            if one.sniff(path):
                found.append(one)
        except MissingDependencyError as error:
            missing.append(str(error))
        except (MinariError, *DAMAGE):  # it is damaged, or something else
            continue
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(repr(one.NAME) for one in found)
        raise InterchangeError(f"{path} looks like the formats {names}, expected one; name the format.")
    hint = f" (not looked for: {' '.join(missing)})" if missing else ""
    raise InterchangeError(
        f"{path} looks like none of the formats {', '.join(formats())}{hint}; name the format if it is one of them."
    )
