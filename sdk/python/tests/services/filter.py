"""Alerts, tables, keys and files."""

from sluice import Batch, Config, Denied, Plugin, count, export
from sluice import columns as c
from sluice.assets import read
from sluice.events import alert
from sluice.keys import Key
from sluice.tables import Table


@export
class Services(Plugin):
    name = "services"
    reads = [c.src_addr, c.dst_addr, c.bytes, c.proto]
    writes = [c.src_addr, c.customer_id]

    def init(self, config: Config) -> None:
        self.act = getattr(self, config.text("act"))
        if self.act in (self.customers, self.values):
            self.table = Table("customers")
            self.generation = 0
        if self.act == self.encrypt:
            self.key = Key("secret")
        if self.act == self.missing:
            Table("no-such-table")

    def process(self, batch: Batch) -> None:
        self.act(batch)

    def alerts(self, batch: Batch) -> None:
        for row in batch.where(c.bytes > 1000):
            subject = str(batch.addresses(c.src_addr)[row])
            value = batch.values(c.bytes)[row]
            alert("large-flow", subject, severity=5, value=value, threshold=1000, note="größer als 1 kB ✓")

    def wrong_alerts(self, batch: Batch) -> None:
        for call in [
            lambda: alert("x", None),
            lambda: alert(1, "x"),
            lambda: alert("x", "x", severity=8),
            lambda: alert("x", "x", severity="high"),
            lambda: alert("x", "x", value="y"),
        ]:
            try:
                call()
            except (TypeError, ValueError):
                count("refused")

    def customers(self, batch: Batch) -> None:
        if self.generation != self.table.generation:
            values = (self.table.value(code) for code in range(self.table.codes))
            self.ids = [int(value) if value else 0 for value in values]
            self.generation = self.table.generation
        codes = self.table.codes_of(batch, c.src_addr)
        batch.set(c.customer_id, [self.ids[code] for code in codes])
        assert self.table.codes_of(batch, c.dst_addr) == [0] * batch.rows
        addresses = batch.addresses(c.src_addr)
        assert self.table.lookup(addresses.hi, addresses.lo) == codes
        try:
            self.table.lookup([1, 2], [1])
        except ValueError:
            count("unequal")

    def values(self, batch: Batch) -> None:
        """The customer by address and number, and which other keys the table has, as counters."""
        number_of = lambda code: int(self.table.value(code) or 0)
        # First what another key says, which does not stay.
        assert self.table.lookup_into(batch, c.customer_id, c.bytes)
        assert self.table.lookup_into(batch, c.customer_id, c.src_addr, c.bytes, only=c.bytes == 10)
        assert self.table.lookup_into(batch, c.customer_id, c.src_addr, c.bytes, only=c.bytes != 10, keep=True)
        try:
            self.table.lookup_into(batch, c.note, c.bytes)
        except Denied as error:
            assert (error.column, error.reason) == ("note", "not-granted")
        count("numbers", sum(number_of(code) for code in self.table.codes_of(batch, c.bytes)))
        count("pairs", sum(number_of(code) for code in self.table.codes_of(batch, c.proto, c.bytes)))
        count("lists", sum(number_of(code) for code in self.table.lookup([0, 6], [10, 10])))

    def encrypt(self, batch: Batch) -> None:
        before = batch.values(c.src_addr.lo).tolist()
        self.key.prefix_preserving(batch, c.src_addr)
        count("changed", before != batch.values(c.src_addr.lo).tolist())
        count("prf", len(self.key.prf([0] * batch.rows, before)))
        try:
            self.key.keyed_hash(batch, c.dst_addr)
        except Denied as error:
            count(error.reason.replace("-", "_"))

    def missing(self, batch: Batch) -> None:
        pass

    def file(self, batch: Batch) -> None:
        count("bytes", len(read("list")))
        try:
            read("no-such-file")
        except LookupError:
            count("no_such_file")
