"""Robots as data, with their models and the policies that come with the package."""

from __future__ import annotations

import logging
from collections.abc import Callable
from difflib import get_close_matches
from importlib.metadata import entry_points

from tutelage.assets.g1 import g1
from tutelage.assets.go2 import go2
from tutelage.assets.robot import Gait, Joint, Mirror, Robot
from tutelage.assets.toy import toy

__all__ = ["ROBOTS", "Gait", "Joint", "Mirror", "Robot", "load_outside_robots", "robot"]

ROBOTS: dict[str, Callable[[], Robot]] = {"go2": go2, "g1": g1, "toy": toy}
"""Every robot by name. Another package adds its own through the entry point `tutelage.robots`."""

_log = logging.getLogger(__name__)


def load_outside_robots() -> None:
    """Add the robots that other installed packages offer to `ROBOTS`.

    An entry point names a function that takes nothing and returns a Robot. One that cannot be
    loaded is logged with its traceback and left out; the others are added all the same. A name
    that is taken keeps its first owner.
    """
    for entry in entry_points(group="tutelage.robots"):
        if entry.name in ROBOTS:
            continue
        try:
            ROBOTS[entry.name] = entry.load()
        except Exception:
            _log.exception("robot '%s' of '%s' could not be loaded", entry.name, entry.value)


def robot(name: str) -> Robot:
    """The robot of this name, made afresh."""
    if name not in ROBOTS:
        load_outside_robots()
    if name not in ROBOTS:
        near = get_close_matches(name, ROBOTS, n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        raise ValueError(f"no robot '{name}'{hint}; there are: {', '.join(sorted(ROBOTS))}")
    return ROBOTS[name]()
