"""The batch that is being processed."""

from __future__ import annotations

import ipaddress
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from . import host
from .expression import Address, Column, Condition, Lists, Number, Text

_TYPECODE = {1: "B", 2: "H", 4: "I", 8: "Q"}


class Rows:
    """Some rows of a batch: one bit a row. Combine with `&`, `|` and `~`."""

    __slots__ = ("batch", "bits", "_words")

    def __init__(self, batch: Batch, bits: int) -> None:
        self.batch = batch
        self.bits = bits
        self._words: list[int] | None = None

    def count(self) -> int:
        """How many rows."""
        return self.bits.bit_count()

    def __bool__(self) -> bool:
        return self.bits != 0

    def __iter__(self) -> Iterator[int]:
        """The numbers of the rows, ascending from 0."""
        bits = self.bits
        while bits:
            lowest = bits & -bits
            yield lowest.bit_length() - 1
            bits ^= lowest

    def __and__(self, other: Rows) -> Rows:
        return Rows(self.batch, self.bits & other.bits)

    def __or__(self, other: Rows) -> Rows:
        return Rows(self.batch, self.bits | other.bits)

    def __invert__(self) -> Rows:
        return Rows(self.batch, self.bits ^ self.batch.every_row)

    def words(self) -> list[int]:
        """The bitmap: bit `r % 32` of word `r / 32`."""
        if self._words is None:
            length = (self.batch.rows + 31) // 32 * 4
            self._words = memoryview(self.bits.to_bytes(length, "little")).cast("I").tolist()
        return self._words


class Texts:
    """A text column: row `r` holds `words[codes[r]]`, which is also `texts[r]`."""

    __slots__ = ("words", "codes")

    def __init__(self, words: list[str], codes: list[int]) -> None:
        self.words = words
        self.codes = codes

    def __getitem__(self, row: int) -> str:
        return self.words[self.codes[row]]


class ListColumn:
    """A list column: row `r` holds `values[offsets[r]:offsets[r + 1]]`, which is also `lists[r]`."""

    __slots__ = ("offsets", "values")

    def __init__(self, offsets: list[int], values: list[int]) -> None:
        self.offsets = offsets
        self.values = values

    def __getitem__(self, row: int) -> list[int]:
        return self.values[self.offsets[row] : self.offsets[row + 1]]


class Addresses:
    """An address column as two views, high and low halves; `addresses[r]` is the address of a row."""

    __slots__ = ("hi", "lo")

    def __init__(self, hi: memoryview, lo: memoryview) -> None:
        self.hi = hi
        self.lo = lo

    def __getitem__(self, row: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The address of `row`, or None if it has none."""
        value = self.hi[row] << 64 | self.lo[row]
        if value >> 32 == 0xFFFF:
            return ipaddress.IPv4Address(value & 0xFFFFFFFF)
        return ipaddress.IPv6Address(value) if value else None


class Groups:
    """The rows of a batch by what they have in common, numbered from 0 by their first rows: see `Batch.group`.

    `len(groups)` is how many there are, with the rest. They are good until the batch is grouped again; what is written
    to the batch changes no group.
    """

    __slots__ = ("batch", "firsts", "has_rest", "_number")

    def __init__(self, batch: Batch, firsts: list[int], has_rest: bool) -> None:
        self.batch = batch
        self._number = batch._groupings
        self.firsts = firsts
        """The first row of each group, ascending; the rest has none here."""
        self.has_rest = has_rest
        """Whether the last group is the rest."""

    def __len__(self) -> int:
        return len(self.firsts) + self.has_rest

    def of_rows(self) -> list[int]:
        """The group of each row."""
        return self._ask(host.kernels.group_of_rows)

    def counts(self, only: Rows | Condition | None = None) -> list[int]:
        """How many rows each group has, or how many of those in `only`."""
        words = self.batch._words(only)
        return self._ask(lambda: host.kernels.group_counts(words))

    def sums(
        self, column: Number, times: Number | None = None, only: Rows | Condition | None = None
    ) -> list[int]:
        """Sum of a column over each group, or over those of its rows that are in `only`.

        With `times`, such as the sampling rate, each number is first multiplied by the one in that column. A sum stays
        at 2^64 - 1 when it would pass it.
        """
        _kind(column, Number)
        factor = None if times is None else _kind(times, Number).id
        words = self.batch._words(only)
        try:
            return self._ask(lambda: host.kernels.group_sums(column.id, factor, words))
        except host.Denied:
            # The answer does not say which of the columns it is about.
            for one in [column, times]:
                if one is not None:
                    self._ask(lambda: host.kernels.group_sums(one.id, None, None), one.name)
            raise

    def numbers(self, column: Number) -> list[int]:
        """What the first row of each group has in a numeric column: of one that the rows were grouped by, what all rows of
        the group have. There is none for the rest.
        """
        return self.batch.numbers_at(column, self.firsts)

    def texts(self, column: Text) -> list[str]:
        """What the first row of each group has in a text column, as `numbers`."""
        return self.batch.texts_at(column, self.firsts)

    def keep(self, groups: Iterable[object]) -> None:
        """Which groups stay, with all their rows: one true or false value a group, as `Batch.keep`."""
        bits = [1 if group else 0 for group in groups]
        if len(bits) != len(self):
            raise host.Denied("", "wrong-length", f"there are {len(self)} groups, not {len(bits)}")
        words = [sum(bit << at for at, bit in enumerate(bits[start : start + 32])) for start in range(0, len(bits), 32)]
        self._ask(lambda: host.kernels.keep_groups(words))

    def route(self, names: Sequence[str], index: Iterable[int]) -> None:
        """Where the rows of each group go: one index into `names` a group, the rest too, as `Batch.route`."""
        texts, indexes = [host.text(name) for name in names], array("H", index).tolist()
        self._ask(lambda: host.kernels.route_groups(texts, indexes))

    def _ask(self, call: Callable[[], Any], column: str = "") -> Any:
        # The collector answers for the last grouping, whichever is meant.
        if self.batch._groupings != self._number:
            raise host.Denied("", "absent", "the batch has been grouped again since")
        try:
            return call()
        except host.Err as error:
            raise host.denied(error, column) from None


class Batch:
    """The batch that is being processed. Reads see what this call has written so far.

    A column that no row has reads as zeros, empty texts and empty lists; `has` tells. Every call
    raises `Denied` if the stage's grant does not cover the column.
    """

    def __init__(self) -> None:
        self.rows: int = host.batch.rows()
        """Rows in the batch."""
        self.every_row: int = (1 << self.rows) - 1
        self._groupings = 0

    @property
    def id(self) -> int:
        """Number of the batch, unique within one run of the collector."""
        return host.batch.id()

    @property
    def now_ms(self) -> int:
        """Batch time in milliseconds since the Unix epoch: the only clock a plugin has."""
        return host.batch.now_ms()

    def has(self, column: Column) -> bool:
        """Whether some row may have the column; False too where the grant does not cover it."""
        return any(host.batch.has(id) for id in column.ids())

    # Choosing rows

    def where(self, condition: Condition | Iterable[object]) -> Rows:
        """The rows for which `condition` holds: a condition on columns, or one true or false value a row."""
        if isinstance(condition, Condition):
            return Rows(self, condition.bits(self))
        return Rows(self, self.bits_of(condition))

    def keep(self, rows: Rows | Condition) -> None:
        """Which rows stay; the last call counts. Not called: all stay."""
        try:
            host.batch.keep(self._rows(rows).words())
        except host.Err as error:
            raise host.denied(error) from None

    def route(self, names: Sequence[str], index: Iterable[int]) -> None:
        """Where each row goes: one index into `names` a row; the last call counts."""
        try:
            host.batch.route([host.text(name) for name in names], array("H", index).tolist())
        except host.Err as error:
            raise host.denied(error) from None

    def sum(self, column: Number, rows: Rows | Condition | None = None) -> int:
        """Sum of a column over `rows`, or over all; it stays at 2^64 - 1 when it would pass it."""
        chosen = Rows(self, self.every_row) if rows is None else self._rows(rows)
        try:
            return host.kernels.sum(_kind(column, Number).id, chosen.words())
        except host.Err as error:
            raise host.denied(error, column.name) from None

    # Groups

    def group(self, columns: Iterable[Column], only: Rows | Condition | None = None) -> Groups:
        """Sorts the rows into groups: those of one group have the same in each of up to 8 columns, numbers or texts; an
        address is two of them.

        A column that no row has holds zeros or empty texts. With `only`, the other rows are one group more, the rest,
        after the last. No row crosses: this is the fast way to split or to count.
        """
        all = [_kind(column, Column) for column in columns]
        words = self._words(only)
        self._groupings += 1
        try:
            firsts = host.kernels.group([id for column in all for id in column.ids()], words)
        except host.Err as error:
            raise self._not_grouped(error, all) from None
        return Groups(self, firsts, words is not None)

    def _not_grouped(self, error: object, columns: list[Column]) -> Exception:
        """What to raise: the error does not say which of the columns it is about."""
        for column in columns:
            try:
                host.kernels.group(list(column.ids()), None)
            except host.Err as refused:
                return host.denied(refused, column.name)
        return host.denied(error)

    def numbers_at(self, column: Number, rows: Iterable[int]) -> list[int]:
        """The numbers of a numeric column in some rows; zeros where no row has it."""
        _kind(column, Number)
        numbers = array("I", rows).tolist()
        try:
            return host.kernels.numbers_at(column.id, numbers)
        except host.Err as error:
            raise host.denied(error, column.name) from None

    def texts_at(self, column: Text, rows: Iterable[int]) -> list[str]:
        """The texts of a text column in some rows; empty where no row has it."""
        _kind(column, Text)
        numbers = array("I", rows).tolist()
        try:
            return host.kernels.texts_at(column.id, numbers)
        except host.Err as error:
            raise host.denied(error, column.name) from None

    # Reading

    def values(self, column: Number) -> memoryview:
        """A numeric column: one number a row, as a view that can be indexed, sliced and looped over."""
        _kind(column, Number)
        try:
            data = host.batch.raw(column.id)
        except host.Err as error:
            denied = host.denied(error, column.name)
            if not _is_absent(denied):
                raise denied from None
            data = bytes(self.rows * (column.width or 1))
        width = column.width or (len(data) // self.rows if self.rows else 1)
        return memoryview(data).cast(_TYPECODE[width])

    def addresses(self, column: Address) -> Addresses:
        """An address column."""
        _kind(column, Address)
        return Addresses(self.values(column.hi), self.values(column.lo))

    def texts(self, column: Text) -> Texts:
        """A text column."""
        try:
            return Texts(*host.batch.texts(_kind(column, Text).id))
        except host.Err as error:
            denied = host.denied(error, column.name)
            if not _is_absent(denied):
                raise denied from None
            return Texts([""], [0] * self.rows)

    def lists(self, column: Lists) -> ListColumn:
        """A list column."""
        try:
            return ListColumn(*host.batch.u32_lists(_kind(column, Lists).id))
        except host.Err as error:
            denied = host.denied(error, column.name)
            if not _is_absent(denied):
                raise denied from None
            return ListColumn([0] * (self.rows + 1), [])

    # Writing

    def fill(self, column: Number | Text, rows: Rows | Condition, value: int | str) -> None:
        """Sets a column to `value` in `rows`; elsewhere it stays as it is."""
        chosen = self._rows(rows)
        if isinstance(column, Text):
            texts = self.texts(column)
            for row in chosen:
                texts.codes[row] = len(texts.words)
            self.set_texts(column, [*texts.words, host.text(value)], texts.codes)  # type: ignore[arg-type]
            return
        width = _kind(column, Number).width or 8
        number = host.whole(value, 2 ** (8 * width) - 1)  # type: ignore[arg-type]
        try:
            host.kernels.fill(column.id, chosen.words(), number)
        except host.Err as error:
            raise host.denied(error, column.name) from None

    def truncate(self, address: Address, v4_bits: int, v6_bits: int) -> tuple[Rows, Rows]:
        """Zeroes the bits of each row's address after the first `v4_bits`, 0 to 32, of an IPv4 address, and after the
        first `v6_bits`, 0 to 128, of another.

        Answers the rows with an IPv4 address and those with another; a row without an address is in neither. With 32
        and 128 nothing is written, and the right to read is enough.
        """
        _kind(address, Address)
        bits = host.whole(v4_bits, 32), host.whole(v6_bits, 128)
        try:
            families = host.kernels.truncate(address.hi.id, address.lo.id, *bits)
        except host.Err as error:
            denied = host.denied(error, address.name)
            if not _is_absent(denied):
                raise denied from None
            return Rows(self, 0), Rows(self, 0)
        return Rows(self, self.bits(families.v4)), Rows(self, self.bits(families.v6))

    def set(self, column: Number, values: Iterable[int]) -> None:
        """Replaces a numeric column: one number a row. Not for one-byte columns, see `OneByte`."""
        width = _kind(column, Number).width or 4
        if width == 1:
            raise OneByte(column)
        setter = {2: host.batch.set_u16s, 4: host.batch.set_u32s, 8: host.batch.set_u64s}[width]
        # An array takes whole numbers of its width only, and says so; the call would end the instance.
        numbers = array(_TYPECODE[width])
        numbers.extend(values)
        try:
            setter(column.id, numbers.tolist())
        except host.Err as error:
            raise host.denied(error, column.name) from None

    def set_texts(self, column: Text, words: Iterable[str], codes: Iterable[int]) -> None:
        """Replaces a text column: one index into `words` a row."""
        try:
            host.batch.set_texts(
                _kind(column, Text).id, [host.text(word) for word in words], array("I", codes).tolist()
            )
        except host.Err as error:
            raise host.denied(error, column.name) from None

    def set_lists(self, column: Lists, lists: Iterable[Iterable[int]]) -> None:
        """Replaces a list column: one list a row."""
        offsets, values = [0], array("I")
        for numbers in lists:
            values.extend(numbers)
            offsets.append(len(values))
        try:
            host.batch.set_u32_lists(_kind(column, Lists).id, offsets, values.tolist())
        except host.Err as error:
            raise host.denied(error, column.name) from None

    def clear(self, column: Column) -> None:
        """Makes a column absent in every row. Needs the grant to write it."""
        for id in _kind(column, Column).ids():
            try:
                host.batch.clear(id)
            except host.Err as error:
                raise host.denied(error, column.name) from None

    # For conditions

    def bits(self, words: list[int]) -> int:
        """The bitmap of the collector as one number, row 0 lowest."""
        return int.from_bytes(array("I", words), "little")

    def bits_of(self, rows: Iterable[object]) -> int:
        """The same of one true or false value a row."""
        digits = bytes([49 if row else 48 for row in rows])
        if len(digits) != self.rows:
            raise host.Denied("", "wrong-length", f"the batch has {self.rows} rows, not {len(digits)}")
        # Reading digits is a loop in C.
        return int(digits[::-1], 2) if digits else 0

    def _words(self, only: Rows | Condition | None) -> list[int] | None:
        return None if only is None else self._rows(only).words()

    def _rows(self, rows: Rows | Condition) -> Rows:
        if isinstance(rows, Condition):
            return self.where(rows)
        if not isinstance(rows, Rows):
            raise TypeError(f"rows are needed, as of batch.where(...), not {rows!r}")
        return rows


class OneByte(TypeError):
    """Writing a whole one-byte column (`u8`), which cannot be done from Python without losing memory.

    componentize-py never frees the bytes that it hands to a call. `fill` the rows of one value, which hands over
    none; write a `u16`, `u32`, `u64` or text column, or `clear` the column; or write this plugin in another language.
    """

    def __init__(self, column: Column) -> None:
        super().__init__(
            f"`{column.name}` is a one-byte column, which a plugin in Python can read, fill and clear but not set: "
            "use `fill`, a wider column or a text, or another language (sdk/python/README.md says why)"
        )


def _is_absent(error: Exception) -> bool:
    return isinstance(error, host.Denied) and error.reason == "absent"


def _kind(column: Any, kind: type) -> Any:
    if not isinstance(column, kind):
        raise TypeError(f"a column of the kind {kind.__name__} is needed, not {column!r}")
    return column
