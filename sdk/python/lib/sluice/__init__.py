"""Plugins for sluice in Python: a class with `init` and `process`, marked with `@export`.

    from sluice import Batch, Config, Plugin, count, export
    from sluice import columns as c

Alerts, tables, keys and files are in `sluice.events`, `sluice.tables`, `sluice.keys` and `sluice.assets`:
each is an import of its own in plugin.wit, because the operator grants each on its own.
"""

from .batch import Addresses, Batch, Groups, ListColumn, OneByte, Rows, Texts
from .config import Config, ConfigError
from .expression import Address, Column, Condition, Lists, Number, Text
from .host import Denied
from .log import debug, error, info, warn
from .metrics import count, gauge
from .plugin import Fatal, Plugin, RetryLater, column, export

__all__ = [
    "Address",
    "Addresses",
    "Batch",
    "Column",
    "Condition",
    "Config",
    "ConfigError",
    "Denied",
    "Fatal",
    "Groups",
    "ListColumn",
    "Lists",
    "Number",
    "OneByte",
    "Plugin",
    "RetryLater",
    "Rows",
    "Text",
    "Texts",
    "column",
    "count",
    "debug",
    "error",
    "export",
    "gauge",
    "info",
    "warn",
]
