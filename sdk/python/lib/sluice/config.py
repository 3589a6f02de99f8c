"""The stage's `config` table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


class ConfigError(Exception):
    """Something is wrong with the configuration. The text is shown to the operator as it is: name the key and the remedy."""


class Config:
    """The stage's `config` table. A key that nobody asked for by the end of `init` is an error."""

    def __init__(self, text: str) -> None:
        self.values: dict[str, Any] = json.loads(text)
        """The table as it is, for what the methods do not cover; name its keys in `expect`."""
        self._known: list[str] = []

    def expect(self, *keys: str) -> None:
        """Says which keys there are, so that a mistyped one is the first thing to be reported."""
        self._known += [key for key in keys if key not in self._known]
        self.check()

    def integer(
        self, key: str, lowest: int, highest: int | None = None, *, default: int | None = None, example: int | None = None
    ) -> int:
        """A whole number from `lowest` to `highest`. Without a `default` it is required."""
        value = self._get(key, default, lowest if example is None else example)
        in_range = isinstance(value, int) and not isinstance(value, bool) and lowest <= value
        if not in_range or (highest is not None and value > highest):
            range = f"{lowest} or more" if highest is None else f"from {lowest} to {highest}"
            raise ConfigError(f"{key} must be a number{', ' if highest is None else ' '}{range}")
        return value

    def text(self, key: str, *, default: str | None = None, one_of: Sequence[str] = ()) -> str:
        """A text, or one of those given. Without a `default` it is required."""
        value = self._get(key, default, f'"{one_of[0] if one_of else "..."}"')
        if one_of and value not in one_of:
            raise ConfigError(f"{key} must be one of {_list(one_of)}")
        if not isinstance(value, str):
            raise ConfigError(f"{key} must be a text")
        return value

    def texts(self, key: str, *, default: Sequence[str] | None = None) -> list[str]:
        """A list of texts. Without a `default` it is required."""
        value = self._get(key, default, '["..."]')
        if not isinstance(value, (list, tuple)) or not all(isinstance(text, str) for text in value):
            raise ConfigError(f"{key} must be a list of texts")
        return list(value)

    def flag(self, key: str, *, default: bool = False) -> bool:
        """True or false."""
        value = self._get(key, default, "true")
        if not isinstance(value, bool):
            raise ConfigError(f"{key} must be true or false")
        return value

    def check(self) -> None:
        """Refuses keys that nobody expects. Done after `init` in any case."""
        for key in self.values:
            if key not in self._known:
                expected = f"expected {_list(self._known)}" if self._known else "there are none"
                raise ConfigError(f"unknown key `{key}`, {expected}")

    def _get(self, key: str, default: Any, example: Any) -> Any:
        if key not in self._known:
            self._known.append(key)
        if key in self.values:
            return self.values[key]
        if default is None:
            raise ConfigError(f"{key} is missing: add config = {{ {key} = {example} }} to the stage")
        return default


def _list(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
