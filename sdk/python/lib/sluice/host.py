"""The way to the collector: the calls that componentize-py generates, and what they refuse.

Outside of a component (in an editor, in a plain unit test) the package can be imported, and every
call that needs the collector says so.
"""

import importlib
from typing import Any

try:
    import wit_world  # pyright: ignore[reportMissingImports]
except ImportError:
    wit_world = None


class Denied(Exception):
    """A call that the collector refused. It changed nothing.

    `reason` is one of `no-batch`, `not-granted`, `wrong-width`, `absent`, `wrong-length` and `out-of-range`.
    """

    def __init__(self, column: str, reason: str, text: str) -> None:
        super().__init__(f"column `{column}`: {text}" if column else text)
        self.column = column
        self.reason = reason


class _Nowhere:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"`{name}` needs the collector: try the plugin with `sluice plugin test`")


def load(interface: str) -> Any:
    """The generated module of an interface of the contract."""
    if wit_world is None:
        return _Nowhere()
    try:
        return importlib.import_module(f"wit_world.imports.{interface}")
    except ImportError:
        raise ImportError(
            f"sluice.{interface} needs an import: add `import sluice:plugin/{interface}@0.1.0;` to plugin.wit"
        ) from None


batch = load("batch")
kernels = load("kernels")
logging = load("log")
counters = load("metrics")

if wit_world is None:

    class Err(Exception):
        value: Any = None

else:
    from componentize_py_types import Err  # pyright: ignore[reportMissingImports]

_HOLDS = {"W8": "u8", "W16": "u16", "W32": "u32", "W64": "u64", "TEXT": "text", "LISTS": "lists"}


def denied(error: Any, column: str = "") -> Exception:
    """What to raise for an error of an import: `Denied`, or `LookupError` with the collector's text."""
    value = error.value
    if isinstance(value, str):
        return LookupError(value)
    kind = type(value).__name__
    if kind == "Denied_NotGranted":
        return Denied(column, "not-granted", "the stage's grant does not cover it")
    if kind == "Denied_Absent":
        return Denied(column, "absent", "no row has it")
    if kind == "Denied_WrongWidth":
        return Denied(column, "wrong-width", f"it holds {_HOLDS[value.value.name]}")
    if kind == "Denied_WrongLength":
        return Denied(column, "wrong-length", f"the batch wants a length of {value.value}")
    if kind == "Denied_NoBatch":
        return Denied(column, "no-batch", "there is no batch outside `process`")
    return Denied(column, "out-of-range", "a value is out of range")


def text(value: str) -> str:
    """A text that can be passed on: a wrong type would end the instance, and so would half a surrogate pair."""
    if not isinstance(value, str):
        raise TypeError(f"a text is needed, not {value!r}")
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()


def whole(value: int, highest: int) -> int:
    """A whole number from 0 to `highest`, which can be passed on."""
    if not isinstance(value, int):
        raise TypeError(f"a whole number is needed, not {value!r}")
    if not 0 <= value <= highest:
        raise ValueError(f"{value} is not between 0 and {highest}")
    return int(value)
