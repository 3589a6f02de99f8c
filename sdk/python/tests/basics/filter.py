"""What every plugin has, one thing a case: `act` says which."""

import sys

from sluice import Batch, Config, Denied, Fatal, Plugin, RetryLater, count, export, gauge, info
from sluice import columns as c


@export
class Basics(Plugin):
    name = "basics"
    reads = [c.proto, c.src_port, c.dst_port, c.bytes, c.packets, c.src_addr, c.note, c.as_path, c.tcp_flags, c.customer_id]
    writes = [c.src_port, c.bytes, c.src_addr, c.customer_id, c.note, c.as_path, c.tos, c.proto, c.src_addr_anon, c.src_addr_preserved]

    def init(self, config: Config) -> None:
        act = config.text("act", default="nothing")
        self.prefix = config.text("prefix", default="192.0.2.0/24")
        self.act = getattr(self, act)
        if act == "init_fails":
            self.init_fails()

    def process(self, batch: Batch) -> None:
        self.act(batch)

    def nothing(self, batch: Batch) -> None:
        pass

    # Conditions

    def within(self, batch: Batch) -> None:
        batch.keep(c.src_addr.within(self.prefix))

    def outside(self, batch: Batch) -> None:
        outside = batch.where(~c.src_addr.within(self.prefix))
        count("outside", outside.count())
        batch.keep(outside)

    def one_of(self, batch: Batch) -> None:
        batch.keep(c.dst_port.one_of([53, 443]) | (c.proto != 17))

    def many(self, batch: Batch) -> None:
        """More than the collector compares at once, with others between them."""
        all = (c.proto == 6) & (c.src_addr.within(self.prefix) | (c.bytes > 2**60)) & (c.packets <= 10)
        for port in range(80):
            all = all & (c.dst_port != port)
        batch.keep(all)

    def loop(self, batch: Batch) -> None:
        syn = batch.where(flags & 2 for flags in batch.values(c.tcp_flags))
        for row in syn:
            count("bytes_of_syn", batch.values(c.bytes)[row])
        count("sum", batch.sum(c.packets, syn))
        batch.keep(syn)

    # Text, lists, writing

    def text(self, batch: Batch) -> None:
        batch.fill(c.note, c.dst_port == 443, "Zürich ✓")
        batch.fill(c.note, c.dst_port == 53, "Genève")
        count("zurich", batch.where(c.note == "Zürich ✓").count())
        count("others", batch.where(c.note != "Zürich ✓").count())
        count("none", batch.where(c.note.one_of(["Bern", "Basel"])).count())
        count("without", batch.where(c.note == "").count())

    def rewrite(self, batch: Batch) -> None:
        batch.set(c.src_port, [port + 1 for port in batch.values(c.src_port)])
        batch.fill(c.bytes, c.proto == 6, 2**64 - 1)
        addresses = batch.addresses(c.src_addr)
        batch.set(c.src_addr.lo, [lo & ~0xFF for lo in addresses.lo])
        batch.set_lists(c.as_path, [[64496, row] for row in range(batch.rows)])
        assert batch.lists(c.as_path)[1] == [64496, 1]
        batch.set_texts(c.note, ["", str(addresses[0])], [1] + [0] * (batch.rows - 1))
        assert batch.texts(c.note)[0] == str(addresses[0])
        batch.clear(c.proto)

    def truncate(self, batch: Batch) -> None:
        before = batch.truncate(c.src_addr, 32, 128)
        v4, v6 = batch.truncate(c.src_addr, 16, 32)
        assert [v4.bits, v6.bits] == [rows.bits for rows in before]
        # A column of one byte too, which nothing is handed over for.
        batch.fill(c.tos, v4, 255)
        batch.fill(c.src_port, v6, 65535)
        batch.fill(c.customer_id, v4 | v6, 2**32 - 1)
        count("v4", v4.count())
        batch.clear(c.src_addr)
        assert not any(rows for rows in batch.truncate(c.src_addr, 0, 0))

    def cut(self, batch: Batch) -> None:
        v4, v6 = batch.truncate(c.src_addr, 24, 48)
        batch.fill(c.src_addr_anon, v4 | v6, 2)
        batch.fill(c.src_addr_preserved, v4, 24)
        batch.fill(c.src_addr_preserved, v6, 48)

    def routes(self, batch: Batch) -> None:
        web = batch.where(c.dst_port == 443)
        batch.route(["other", "web"], [row in set(web) for row in range(batch.rows)])

    def absent(self, batch: Batch) -> None:
        count("has", batch.has(c.packets))
        assert list(batch.values(c.packets)) == [0] * batch.rows
        assert batch.texts(c.note)[0] == "" and batch.lists(c.as_path)[0] == []
        assert batch.addresses(c.src_addr)[0] is None
        count("zeros", batch.where(c.packets == 0).count())

    # What goes wrong

    def denied(self, batch: Batch) -> None:
        for reason, call in [
            ("not_granted", lambda: batch.values(c.dst_as)),
            ("not_granted", lambda: batch.where(c.dst_as == 1)),
            ("not_granted", lambda: batch.fill(c.src_as, c.proto == 6, 1)),
            ("not_granted", lambda: batch.keep(c.dst_addr.within("192.0.2.0/24"))),
            ("wrong_length", lambda: batch.set(c.src_port, [1])),
            ("wrong_length", lambda: batch.where([True])),
            ("out_of_range", lambda: batch.set_texts(c.note, ["a"], [7] * batch.rows)),
            ("out_of_range", lambda: batch.route([], [0] * batch.rows)),
        ]:
            try:
                call()
            except Denied as error:
                assert error.reason.replace("-", "_") == reason, error
                count(reason)

    def not_granted(self, batch: Batch) -> None:
        batch.keep((c.proto >= 0) & (c.dst_as == 1))

    def wrong_types(self, batch: Batch) -> None:
        wrong = [
            lambda: batch.set(c.src_port, ["1"] * batch.rows),
            lambda: batch.set(c.src_port, [65536] * batch.rows),
            lambda: batch.set(c.bytes, [-1] * batch.rows),
            lambda: batch.set(c.bytes, [1.5] * batch.rows),
            lambda: batch.set(c.tos, [1] * batch.rows),
            lambda: batch.fill(c.customer_id, c.proto == 6, "7"),
            lambda: batch.fill(c.customer_id, c.proto == 6, 2**32),
            lambda: batch.fill(c.tos, c.proto == 6, 256),
            lambda: batch.truncate(c.src_addr, 33, 128),
            lambda: batch.truncate(c.src_addr, 32, 129),
            lambda: batch.truncate(c.src_addr.lo, 32, 128),
            lambda: batch.keep([True] * batch.rows),
            lambda: batch.texts(c.bytes),
            lambda: batch.set_texts(c.note, [1], [0] * batch.rows),
            lambda: batch.route([None], [0] * batch.rows),
            lambda: c.proto == "6",
            lambda: c.proto == c.tos,
            lambda: c.proto > -1,
            lambda: c.proto in [17],
            lambda: c.proto == 6 and c.dst_port == 443,
            lambda: c.src_addr.within("192.0.2.0/33"),
            lambda: c.note.one_of("a"),
            lambda: count("x", 1.5),
            lambda: count("x", -1),
            lambda: count(1),
            lambda: gauge("x", "y"),
            lambda: info(b"x"),
        ]
        for call in wrong:
            try:
                call()
            except (TypeError, ValueError, OverflowError):
                count("refused")
        count("of", len(wrong))

    def odd_texts(self, batch: Batch) -> None:
        info("half a pair: \ud800")
        print("printed")
        print("to stderr", file=sys.stderr)

    def uncaught(self, batch: Batch) -> None:
        batch.keep(c.bytes > 0)
        self.divide(0)

    def divide(self, by: int) -> None:
        count("quotient", 1 // by)

    def exit(self, batch: Batch) -> None:
        sys.exit(3)

    def fatal(self, batch: Batch) -> None:
        raise Fatal("this batch is not for me")

    def later(self, batch: Batch) -> None:
        raise RetryLater("the moon is not full")

    def init_fails(self, batch: Batch | None = None) -> None:
        raise KeyError("customers")
