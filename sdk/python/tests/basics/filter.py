"""What every plugin has, one thing a case: `act` says which."""

import sys
from collections.abc import Callable
from typing import Any

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

    # Groups

    def groups(self, batch: Batch) -> None:
        large = c.bytes > 250  # all but the first two

        customers = batch.group([c.customer_id])
        check(customers.firsts, [0, 1, 3])
        check(len(customers), 3)
        check(customers.of_rows(), [0, 1, 0, 2, 1, 0, 1])
        check(customers.counts(), [3, 3, 1])
        check(customers.counts(large), [2, 2, 1])
        check(customers.sums(c.bytes), [1000, 1400, 400])
        check(customers.sums(c.bytes, c.packets), [4600, 7800, 1600])
        check(customers.sums(c.bytes, only=batch.where(large)), [900, 1200, 400])
        check(customers.sums(c.bytes, times=c.packets, only=large), [4500, 7400, 1600])
        check(customers.numbers(c.customer_id), [7, 9, 0])
        check(customers.texts(c.note), ["DE", "CH", "CH"])

        places = batch.group([c.note, c.src_addr])
        check(places.firsts, [0, 1, 3, 4, 5])
        check(places.of_rows(), [0, 1, 0, 2, 3, 4, 1])
        check(places.texts(c.note), ["DE", "CH", "CH", "CH", "CH"])
        check(places.numbers(c.src_addr.lo), [0xFFFF_C000_0201, 1, 0xFFFF_C000_0201, 1, 2])

        rest = batch.group([c.customer_id], only=large)
        check(rest.firsts, [2, 3, 4])
        check(len(rest), 4)
        check(rest.of_rows(), [3, 3, 0, 1, 2, 0, 2])
        check(rest.counts(), [2, 1, 2, 2])
        check(rest.sums(c.bytes), [900, 400, 1200, 300])
        check(rest.numbers(c.customer_id), [7, 0, 9])

        check(batch.group([]).counts(), [7])
        check(batch.numbers_at(c.bytes, [6, 0, 0]), [700, 100, 100])
        check(batch.texts_at(c.note, batch.where(large)), ["DE", "CH", "CH", "CH", "CH"])

    def groups_big(self, batch: Batch) -> None:
        protos = batch.group([c.proto])
        check(protos.sums(c.bytes), [2**53 + 1, 2**63 + 1, 2**64 - 1])
        check(protos.sums(c.bytes, times=c.packets), [2**53 + 1, 2**64 - 1, 2**64 - 1])
        check(protos.numbers(c.bytes), [2**53 + 1, 2**63 + 1, 2**63 + 1])
        check(batch.numbers_at(c.bytes, [3]), [2**63])

    def groups_keep(self, batch: Batch) -> None:
        customers = batch.group([c.customer_id])
        customers.keep(customer != 9 for customer in customers.numbers(c.customer_id))

    def groups_many(self, batch: Batch) -> None:
        ports = batch.group([c.dst_port])
        ports.keep(group in (31, 33) for group in range(len(ports)))

    def groups_route(self, batch: Batch) -> None:
        customers = batch.group([c.customer_id], only=c.customer_id != 0)
        names = [f"customer-{customer}" for customer in customers.numbers(c.customer_id)]
        customers.route([*names, "unknown"], range(len(customers)))

    def groups_none(self, batch: Batch) -> None:
        none = batch.group([c.customer_id])
        check([len(none), none.of_rows(), none.counts()], [0, [], []])
        none.keep([])
        none.route([], [])
        rest = batch.group([c.customer_id], only=c.customer_id != 0)
        check(rest.counts(), [0])
        rest.route(["rest"], [0])

    def groups_absent(self, batch: Batch) -> None:
        all = batch.group([c.customer_id, c.note, c.src_addr])
        check(all.firsts, [0])
        check(all.counts(), [2])
        check(all.sums(c.bytes, times=c.packets), [0])
        check(all.numbers(c.customer_id), [0])
        check(all.texts(c.note), [""])

    def groups_denied(self, batch: Batch) -> None:
        many = [c.proto, c.src_port, c.dst_port, c.bytes, c.packets, c.note, c.tcp_flags, c.src_addr]
        other = batch.group(many[:1])
        groups = batch.group(many[:7])
        text: Any = c.note
        number: Any = c.bytes
        calls: list[tuple[str, Callable[[], object]]] = [
            ("wrong_length", lambda: groups.keep([True])),
            ("wrong_length", lambda: groups.route(["a"], [0])),
            ("out_of_range", lambda: groups.route(["a"], [0, 1])),
            ("not_granted", lambda: groups.sums(c.dst_as)),
            ("not_granted", lambda: groups.sums(c.bytes, times=c.dst_as)),
            ("not_granted", lambda: groups.numbers(c.dst_as)),
            ("out_of_range", lambda: batch.numbers_at(c.bytes, [2])),
            ("out_of_range", lambda: batch.texts_at(c.note, [2])),
            ("absent", lambda: other.route(["wrong"], [0, 0])),
            # These take the grouping away.
            ("wrong_width", lambda: batch.group([c.proto, c.as_path])),
            ("not_granted", lambda: batch.group([c.dst_as])),
            ("out_of_range", lambda: batch.group(many)),
            ("absent", lambda: groups.route(["wrong"], [0, 0])),
        ]
        for reason, call in calls:
            try:
                call()
            except Denied as error:
                assert error.reason.replace("-", "_") == reason, error
                count(reason)
                info(str(error))
        groups = batch.group(many[:1])
        wrong = [
            lambda: batch.group(c.proto),  # type: ignore[arg-type]
            lambda: batch.group(["proto"]),  # type: ignore[list-item]
            lambda: batch.group([c.proto], only=[True] * batch.rows),  # type: ignore[arg-type]
            lambda: groups.counts([True] * batch.rows),  # type: ignore[arg-type]
            lambda: groups.sums(text),
            lambda: groups.sums(c.bytes, times=text),
            lambda: groups.numbers(text),
            lambda: groups.texts(number),
            lambda: groups.route([1, 2], [0, 1]),  # type: ignore[list-item]
            lambda: groups.route(["a", "b"], [0, -1]),
            lambda: batch.numbers_at(c.bytes, ["0"]),  # type: ignore[list-item]
        ]
        for call in wrong:
            try:
                call()
            except (TypeError, ValueError, OverflowError):
                count("refused")
        groups.route(["a", "b"], [1, 0])

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


def check(got: object, want: object) -> None:
    assert got == want, f"{got}, not {want}"
    count("right")
