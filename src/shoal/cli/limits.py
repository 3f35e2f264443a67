"""Keep the rate limits of a running command as `config.toml` and its schedule say.

The file is read again when it has changed, so that a service need not be restarted. A
limit on the command line or in a variable comes first, as always.
"""

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

from shoal.cli.output import Output
from shoal.config.options import OPTIONS
from shoal.config.schedule import Limits, limits_at
from shoal.config.values import Defaults, config_path, resolve
from shoal.core.report.units import format_size
from shoal.errors import ShoalError

if TYPE_CHECKING:
    from shoal.node.node import Node

__all__ = ["LiveLimits"]

PERIOD = 1.0  # seconds between two looks at the file and the clock
_NAMES = ("limit_up", "limit_down", "schedule")


class LiveLimits:
    """Set the rate limits of a node until `stop`."""

    def __init__(self, node: "Node", output: Output, options: dict[str, Any]) -> None:
        """Begin with the values in `options`, which the node has already."""
        self._node = node
        self._output = output
        self._options = [each for each in OPTIONS if each.keyword in _NAMES]
        given = options["given"]
        self._given = {name: given[name] for name in _NAMES if name in given}
        self._values = {name: options.get(name) for name in _NAMES}
        self._limits = Limits(self._values["limit_up"], self._values["limit_down"])
        self._read = _state_of_file()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Set what the schedule says now, and look again from time to time."""
        self._apply(is_told=False)
        self._look_later()

    def stop(self) -> None:
        """Leave the limits as they are; idempotent."""
        if self._timer is not None:
            self._timer.cancel()

    def reload(self) -> None:
        """Read the file again, whether it has changed or not."""
        self._read = _state_of_file()
        try:
            self._values |= resolve(self._options, self._given, Defaults.load())
        except ShoalError as error:
            self._output.warn(f"{error} The limits stay as they were.")
            return
        self._apply(is_told=True)

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PERIOD, self._look)

    def _look(self) -> None:
        if _state_of_file() != self._read:
            self.reload()
        else:
            self._apply(is_told=True)
        self._look_later()

    def _apply(self, *, is_told: bool) -> None:
        now = time.localtime()
        usual = Limits(self._values["limit_up"], self._values["limit_down"])
        minute = now.tm_hour * 60 + now.tm_min
        limits = limits_at(self._values["schedule"] or (), usual, now.tm_wday, minute)
        if limits != self._limits:
            self._limits = limits
            self._node.set_limits(up=limits.up, down=limits.down)
            if is_told:
                self._output.say(f"Limits: {_told(limits)}.")


def _told(limits: Limits) -> str:
    pairs = zip(("up", "down"), limits, strict=True)
    return ", ".join(
        f"{name} {'unlimited' if rate is None else format_size(rate) + '/s'}"
        for name, rate in pairs
    )


def _state_of_file() -> tuple[int, int, int] | None:
    """Return what differs once the file was written again; None without a file."""
    try:
        found = os.stat(config_path())
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
