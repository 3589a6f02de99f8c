"""Tables that the collector owns. Needs the import in plugin.wit and `tables = [...]` in the grant."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from . import host
from .batch import Batch, Rows
from .expression import Address, Column, Condition, Number, Text

_tables = host.load("tables")


def _pair(key: Column, number: Column | None) -> tuple[int, int]:
    """The columns that stand for a key."""
    if isinstance(key, Address):
        return key.hi.id, (key.lo if number is None else number).id
    return (0, key.id) if number is None else (key.id, number.id)


class Table:
    """A prefix or MMDB table, or one of values, of the TOML. A lookup gives a code; 0 means that nothing matched.

    Codes are those of one `generation`, so a plugin may remember `value(code)` until that changes.
    """

    def __init__(self, name: str) -> None:
        """Opens the table called `name`; raises LookupError with what is wrong."""
        try:
            self._table = _tables.open(host.text(name))
        except host.Err as error:
            raise host.denied(error) from None

    def codes_of(self, batch: Batch, key: Column, number: Column | None = None) -> list[int]:
        """A code for the address of each row; zeros if no row has it.

        In a table of values the key is an address or a number, alone or with a number after it.
        """
        try:
            return self._table.lookup_columns(*_pair(key, number))
        except host.Err as error:
            denied = host.denied(error, key.name)
            if isinstance(denied, host.Denied) and denied.reason == "absent":
                return [0] * batch.rows
            raise denied from None

    def lookup_into(
        self,
        batch: Batch,
        column: Number | Text,
        key: Column,
        number: Column | None = None,
        *,
        only: Rows | Condition | None = None,
        keep: bool = False,
    ) -> bool:
        """Writes what the table says of each row into a column of texts, or of numbers: decimal digits, with `AS` before
        them or not. No row crosses: this is the fast way to enrich. The key is as in `codes_of`.

        The other rows become 0 or empty, or with `keep` stay as they are: those without a match, those that are not in
        `only`, and those whose value is no number that the column has room for. False if no row has the key: then
        nothing is written.
        """
        if not isinstance(column, (Number, Text)):
            raise TypeError(f"a column of numbers or texts is needed, not {column!r}")
        hi, lo = _pair(key, number)
        words = batch._words(only)
        try:
            self._table.lookup_into(hi, lo, column.id, words, bool(keep))
        except host.Err as error:
            denied = host.denied(error, column.name)
            if isinstance(denied, host.Denied) and denied.reason == "absent":
                return False
            # The error does not say which of the columns it is about: this one says so if it is the key.
            self.codes_of(batch, key, number)
            raise denied from None
        return True

    def lookup(self, hi: Iterable[int], lo: Iterable[int]) -> list[int]:
        """Codes of addresses given as halves, or in a table of values of keys in two numbers; as many of one as of the other."""
        his, los = array("Q", hi).tolist(), array("Q", lo).tolist()
        if len(his) != len(los):
            raise ValueError(f"{len(his)} high and {len(los)} low halves are no addresses")
        return self._table.lookup(his, los)

    def value(self, code: int) -> str | None:
        """The value of a code, or None for 0 and for codes of another generation. Keep it: it is a call and a text."""
        return self._table.value(host.whole(code, 2**32 - 1))

    @property
    def codes(self) -> int:
        """One more than the highest code."""
        return self._table.codes()

    @property
    def generation(self) -> int:
        """Changes whenever the table was exchanged, but not within one call of `process`."""
        return self._table.generation()
