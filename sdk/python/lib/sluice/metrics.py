"""The plugin's own counters and gauges, published with the stage's name.

At most 64 names a stage, of at most 64 bytes: lower case, digits and `_`. Others are ignored and counted.
"""

from . import host


def count(name: str, add: int = 1) -> None:
    """Adds to a counter; `add` is at most 2^32 - 1."""
    host.counters.count(host.text(name), host.whole(add, 2**32 - 1))


def gauge(name: str, value: float) -> None:
    """Sets a gauge."""
    host.counters.gauge(host.text(name), float(value))
