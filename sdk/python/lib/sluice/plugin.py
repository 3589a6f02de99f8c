"""What a plugin is, and how it becomes the component's exports."""

from __future__ import annotations

import linecache
import sys
import traceback
from collections.abc import Sequence
from typing import TypeVar

from . import host
from .batch import Batch
from .config import Config, ConfigError
from .expression import Column, Number
from . import columns as standard


class RetryLater(Exception):
    """Raise it in `process` if the same batch may succeed later."""


class Fatal(Exception):
    """Raise it in `process` if this batch never will; the stage's `on_error` decides about its rows.

    So does any other exception, which is taken for a mistake and leaves its traceback in the log.
    """


class Plugin:
    """A plugin. Write a class with `process`, and mark it with `@export`.

    The collector makes one object, calls `init` once and then `process` once a batch. Attributes that the object keeps
    from batch to batch are a cache, unless the plugin has `snapshot` and `restore`.
    """

    name: str = "unnamed"
    """Name of the plugin."""
    version: str = "0.1.0"
    """Its version."""
    reads: Sequence[Column] = ()
    """Columns that it reads: a request, the operator's grant decides."""
    writes: Sequence[Column] = ()
    """Columns that it writes or clears."""
    tick_ms: int | None = None
    """How often `tick` is wanted, in milliseconds."""
    stateful: bool = False
    """Whether it keeps state between batches: then it runs as one instance. A plugin with `tick` or `snapshot` does."""

    def init(self, config: Config) -> None:
        """Reads the configuration. Here `reads` and `writes` may still be set.

        Raise `ConfigError` for what is wrong with it.
        """

    def process(self, batch: Batch) -> None:
        """Transforms one batch. What it writes, keeps, routes and alerts counts only if it does not raise."""
        raise NotImplementedError("a plugin has a method `process`")

    def tick(self, now_ms: int) -> None:
        """Called now and then between batches, if plugin.wit exports `timer`.

        `now_ms` is batch time in milliseconds since the Unix epoch, or the wall clock's when a live source is idle.
        """

    def snapshot(self) -> bytes:
        """The state as bytes, beginning with a version of the plugin's own, if plugin.wit exports `state`."""
        return b""

    def restore(self, data: bytes) -> bool:
        """Takes over a snapshot, perhaps of another version of the plugin. False: not understood, starting empty.

        Raise if the state is understood and wrong. Called after `init`, before any batch.
        """
        return False


_HERE = __file__.rsplit("/", 1)[0]

P = TypeVar("P", bound=type[Plugin])

_EXPORTS = {"tick": ("Timer", "timer"), "snapshot": ("State", "state"), "restore": ("State", "state")}


def column(name: str, kind: type[Column] = Number) -> Column:
    """The column called `name`: a standard one, or in `init` an operator's own, of the kind `Number`, `Text` or `Lists`."""
    found = standard.BY_NAME.get(name)
    if found is not None:
        return found
    id = host.batch.column_of(host.text(name))
    if id is None:
        raise LookupError(f"there is no column `{name}`")
    return Number(name, id, 0) if kind is Number else kind(name, id)


def export(plugin: P) -> P:
    """Makes a `Plugin` the component's exports. Used as a decorator, once, in the module that is built."""
    if host.wit_world is None:
        return plugin
    from wit_world import exports  # pyright: ignore[reportMissingImports]
    from wit_world.exports.stage import (  # pyright: ignore[reportMissingImports]
        Failure_Fatal,
        Failure_RetryLater,
        Manifest,
    )

    overridden = [method for method in _EXPORTS if getattr(plugin, method) is not getattr(Plugin, method)]
    for method in overridden:
        cls, interface = _EXPORTS[method]
        if not hasattr(exports, cls):
            raise TypeError(f"`{method}` needs an export: add `export sluice:plugin/{interface}@0.1.0;` to plugin.wit")

    _remember_source(plugin.process.__code__.co_filename)
    this: list[Plugin] = []

    class Stage:
        def init(self, text: str) -> object:
            try:
                new = plugin()
                config = Config(text)
                new.init(config)
                config.check()
                manifest = Manifest(
                    name=host.text(new.name),
                    version=host.text(new.version),
                    reads=_ids(new.reads),
                    writes=_ids(new.writes),
                    stateful=bool(new.stateful or overridden),
                    tick_ms=None if new.tick_ms is None else host.whole(new.tick_ms, 2**32 - 1),
                )
            except (ConfigError, LookupError) as error:
                raise host.Err(_said(error)) from None
            except BaseException as error:
                _print(error)
                raise host.Err(_said(error)) from None
            this[:] = [new]
            return manifest

        def process(self) -> None:
            try:
                this[0].process(Batch())
            except RetryLater as error:
                raise host.Err(Failure_RetryLater(host.text(str(error)))) from None
            except Fatal as error:
                raise host.Err(Failure_Fatal(host.text(str(error)))) from None
            except BaseException as error:
                _print(error)
                raise host.Err(Failure_Fatal(_said(error))) from None

    class Timer:
        def tick(self, now_ms: int) -> None:
            try:
                this[0].tick(now_ms)
            except BaseException as error:
                # A tick has no result: the instance goes on.
                _print(error)

    class State:
        def snapshot(self) -> bytes:
            try:
                return _bytes(this[0].snapshot())
            except BaseException as error:
                # No result either: a state that cannot be had ends the instance, which the collector reports.
                _print(error)
                raise

        def restore(self, data: bytes) -> bool:
            try:
                return bool(this[0].restore(data))
            except BaseException as error:
                _print(error)
                raise host.Err(_said(error)) from None

    vars(sys.modules[plugin.__module__]).update(Stage=Stage, Timer=Timer, State=State)
    return plugin


def _ids(columns: Sequence[Column]) -> list[int]:
    # One column may stand in two addresses, or twice in the list.
    ids = dict.fromkeys(id for column in columns for id in column.ids())
    return list(ids)


def _bytes(data: bytes) -> bytes:
    if not isinstance(data, bytes):
        raise TypeError(f"a snapshot is bytes, not {type(data).__name__}")
    return data


def _said(error: BaseException) -> str:
    """What the collector is told: the text, and of a mistake also what kind and where."""
    if isinstance(error, (ConfigError, LookupError, host.Denied)) and not isinstance(error, (KeyError, IndexError)):
        return host.text(str(error))
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_HERE)]
    place = f" ({own[-1].filename.rsplit('/', 1)[-1]}, line {own[-1].lineno})" if own else ""
    return host.text(f"{type(error).__name__}: {error}{place}")


def _print(error: BaseException) -> None:
    """Leaves the traceback in the log, where stderr goes."""
    lines = traceback.format_exception(error)
    sys.stderr.write(host.text("".join(lines)))
    sys.stderr.flush()


def _remember_source(path: str) -> None:
    """Reads the source now: a running plugin sees no files, and a traceback without its lines says little."""
    lines = linecache.getlines(path)
    # Without a time of change the entry is not compared with the file, which is not there any more.
    linecache.cache[path] = (sum(map(len, lines)), None, lines, path)
