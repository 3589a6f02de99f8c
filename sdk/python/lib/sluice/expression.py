"""Columns, and the conditions that are written with them.

A condition is not evaluated where it is written: `Batch.where` has the collector test whole columns,
and gets a bit a row.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from . import host

if TYPE_CHECKING:
    from .batch import Batch

_HIGHEST = 2**64 - 1


class Condition:
    """Says of every row whether it holds. Combine with `&`, `|` and `~`, and give it to `Batch.where`."""

    __slots__ = ("bits",)

    def __init__(self, bits: Callable[[Batch], int]) -> None:
        self.bits = bits

    def __and__(self, other: Condition) -> Condition:
        left, right = self.bits, _condition(other).bits
        return Condition(lambda batch: left(batch) & right(batch))

    def __or__(self, other: Condition) -> Condition:
        left, right = self.bits, _condition(other).bits
        return Condition(lambda batch: left(batch) | right(batch))

    def __invert__(self) -> Condition:
        # The bits beyond the last row have to stay 0.
        inner = self.bits
        return Condition(lambda batch: inner(batch) ^ batch.every_row)

    def __bool__(self) -> bool:
        raise TypeError(
            "a condition is about many rows: combine conditions with & | ~, each in parentheses, "
            "instead of and, or, not, in, or two comparisons in a row"
        )


class _Comparisons(Condition):
    """Comparisons that all have to hold: the collector makes them at once, and one bitmap crosses."""

    __slots__ = ("all",)

    # Comparisons of one call, as the contract has it.
    _MOST = 64

    def __init__(self, all: list[tuple[Number, object, int]]) -> None:
        self.all = all
        records = [host.kernels.Comparison(column.id, cmp, value) for column, cmp, value in all]

        def bits(batch: Batch) -> int:
            try:
                return batch.bits(host.kernels.test_all(records))
            except host.Err as error:
                raise self._denied(error) from None

        super().__init__(bits)

    def __and__(self, other: Condition) -> Condition:
        if isinstance(other, _Comparisons) and len(self.all) + len(other.all) <= self._MOST:
            return _Comparisons([*self.all, *other.all])
        return super().__and__(other)

    def _denied(self, error: object) -> Exception:
        """What to raise: the error does not say which of the columns it is about."""
        for column, cmp, value in self.all:
            try:
                host.kernels.test(column.id, cmp, value)
            except host.Err as refused:
                return host.denied(refused, column.name)
        return host.denied(error)


def _condition(value: object) -> Condition:
    if not isinstance(value, Condition):
        raise TypeError(f"{value!r} is no condition: put each comparison in parentheses, (a == 1) & (b == 2)")
    return value


class Column:
    """A column: its name and its number."""

    __slots__ = ("name", "id")

    def __init__(self, name: str, id: int) -> None:
        self.name = name
        self.id = id

    def __repr__(self) -> str:
        return f"<column {self.name}>"

    def __hash__(self) -> int:
        return self.id

    def ids(self) -> tuple[int, ...]:
        """The numbers of the columns that this stands for."""
        return (self.id,)


class Number(Column):
    """A column of one unsigned number a row. A column that no row has compares as zeros."""

    __slots__ = ("width",)

    def __init__(self, name: str, id: int, width: int) -> None:
        super().__init__(name, id)
        self.width = width
        """Bytes a row: 1, 2, 4 or 8; 0 for an operator's own column, until it is read."""

    def _test(self, cmp: str, value: object) -> Condition:
        if not isinstance(value, int):
            raise TypeError(f"`{self.name}` can be compared with a whole number, not with {value!r}")
        return _Comparisons([(self, _cmp(cmp), host.whole(value, _HIGHEST))])

    def __eq__(self, value: object) -> Condition:  # type: ignore[override]
        return self._test("EQ", value)

    def __ne__(self, value: object) -> Condition:  # type: ignore[override]
        return self._test("NE", value)

    def __lt__(self, value: int) -> Condition:
        return self._test("LT", value)

    def __le__(self, value: int) -> Condition:
        return self._test("LE", value)

    def __gt__(self, value: int) -> Condition:
        return self._test("GT", value)

    def __ge__(self, value: int) -> Condition:
        return self._test("GE", value)

    __hash__ = Column.__hash__

    def one_of(self, values: Iterable[int]) -> Condition:
        """Rows whose number is one of `values`."""
        numbers = [host.whole(value, _HIGHEST) for value in values]

        def bits(batch: Batch) -> int:
            try:
                return batch.bits(host.kernels.test_in(self.id, numbers))
            except host.Err as error:
                raise host.denied(error, self.name) from None

        return Condition(bits)


class Text(Column):
    """A column of one text a row; `""` where the row has none."""

    __slots__ = ()

    def __eq__(self, value: object) -> Condition:  # type: ignore[override]
        return self.one_of([value])  # type: ignore[list-item]

    def __ne__(self, value: object) -> Condition:  # type: ignore[override]
        return ~self.one_of([value])  # type: ignore[list-item]

    __hash__ = Column.__hash__

    def one_of(self, values: Iterable[str]) -> Condition:
        """Rows whose text is one of `values`."""
        if isinstance(values, str):
            raise TypeError(f"a list of texts is needed, not {values!r}")
        wanted = {host.text(value) for value in values}

        def bits(batch: Batch) -> int:
            texts = batch.texts(self)
            chosen = [word in wanted for word in texts.words]
            if all(chosen):
                return batch.every_row
            # Most words are of no interest in most batches: then nothing is to be done a row.
            return batch.bits_of(map(chosen.__getitem__, texts.codes)) if any(chosen) else 0

        return Condition(bits)


class Lists(Column):
    """A column of a list of 32-bit numbers a row."""

    __slots__ = ()


class Address(Column):
    """An address: two columns, the high and the low half of 128 bits; IPv4 is `::ffff:a.b.c.d`."""

    __slots__ = ("hi", "lo")

    def __init__(self, name: str, hi: int, lo: int) -> None:
        super().__init__(name, hi)
        self.hi = Number(f"{name}_hi", hi, 8)
        self.lo = Number(f"{name}_lo", lo, 8)

    def ids(self) -> tuple[int, ...]:
        return (self.hi.id, self.lo.id)

    def within(self, prefix: str) -> Condition:
        """Rows whose address lies in `prefix`, e.g. `"192.0.2.0/24"`, `"2001:db8::/32"` or one address."""
        network = ipaddress.ip_network(host.text(prefix), strict=False)
        value, bits = int(network.network_address), network.prefixlen
        if network.version == 4:
            value, bits = value | 0xFFFF << 32, bits + 96
        hi, lo = value >> 64, value & _HIGHEST

        def test(batch: Batch) -> int:
            try:
                return batch.bits(host.kernels.test_prefix(self.hi.id, self.lo.id, hi, lo, bits))
            except host.Err as error:
                raise host.denied(error, self.name) from None

        return Condition(test)


def _cmp(name: str) -> object:
    return getattr(host.load("types").Cmp, name)
