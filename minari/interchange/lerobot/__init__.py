"""LeRobot: directories of Parquet tables with images and videos, versions 1, 2.0, 2.1 and 3.0; 3.0 is written.

A row has the observation before a step, the action, and, named ``next.*``, what follows: the reward and flags. Episodes
are bounded by the table of episodes only (in version 1, by the columns ``episode_index``): ``next.done`` may be set on
several rows. ``next.done`` of the last row is a termination, a truncation, or, with ``done="success"``, a termination
where ``next.success`` is set; episodes without it are truncated. ``next.terminated`` and ``next.truncated``, which our
export writes, are taken as they are. There is no place for the observation after the last step: our export puts it into
columns of the table of episodes, and for other datasets the option ``final_observation`` says where it comes from.
Rewards that are missing are zeros only with ``rewards="zeros"``.

A ``.`` in the names of features is a level of nested dicts: ``observation.images.front`` is
``observations["images"]["front"]``; other columns become infos, those named ``next.*`` of the observation after the
step. Frames of videos are found by their presentation time. The text of the task is the metadata ``task`` of an
episode, or the info ``task`` if it changes within one. The layouts are those of https://github.com/huggingface/lerobot
(``src/lerobot/datasets``, releases 0.1 to 0.4) and of files that they have written.
"""

from minari.interchange.lerobot.lerobot import LeRobot


__all__ = ["LeRobot"]
