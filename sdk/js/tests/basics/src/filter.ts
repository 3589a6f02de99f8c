// What every plugin has, one thing a case: `act` says which. In TypeScript, so that the types are tried as well.

import {
  type Batch,
  type Config,
  Denied,
  Fatal,
  Plugin,
  RetryLater,
  columns as c,
  component,
  count,
  gauge,
  info,
} from "../sdk/sluice.js";

type Act = (batch: Batch) => void;

class Basics extends Plugin {
  name = "basics";
  reads = [c.proto, c.src_port, c.dst_port, c.bytes, c.packets, c.src_addr, c.note, c.as_path, c.tcp_flags, c.tos, c.customer_id];
  writes = [c.src_port, c.bytes, c.src_addr, c.customer_id, c.note, c.as_path, c.tos, c.proto];
  act: Act = () => {};
  prefix = "";

  init(config: Config) {
    const act = config.text("act", { default: "nothing" });
    this.prefix = config.text("prefix", { default: "192.0.2.0/24" });
    config.integer("limit", 0, undefined, { default: 0 });
    if (act === "init_fails") throw new TypeError("customers");
    this.act = this.acts[act];
  }

  process(batch: Batch) {
    this.act(batch);
  }

  acts: Record<string, Act> = {
    nothing() {},

    // Conditions

    within: (batch) => batch.keep(c.src_addr.within(this.prefix)),

    outside: (batch) => {
      const outside = batch.where(c.src_addr.within(this.prefix).not());
      count("outside", outside.count());
      batch.keep(outside);
    },

    one_of: (batch) => batch.keep(c.dst_port.oneOf([53, 443]).or(c.proto.ne(17))),

    // More than the collector compares at once, with others between them.
    many: (batch) => {
      const ports = Array.from({ length: 80 }, (_, port) => c.dst_port.ne(port));
      const first = c.proto.eq(6).and(c.src_addr.within(this.prefix).or(c.bytes.gt(2n ** 60n)));
      batch.keep(ports.reduce((all, port) => all.and(port), first.and(c.packets.le(10))));
    },

    big: (batch) => {
      count("equal", batch.where(c.bytes.eq(2n ** 60n + 1n)).count());
      count("others", batch.where(c.bytes.ne(2n ** 60n + 1n)).count());
      count("more", batch.where(c.bytes.gt(2n ** 60n)).count());
      assert(batch.values(c.bytes)[0] === 2n ** 60n + 1n);
      assert(batch.numbers(c.bytes)[1] === 1000);
    },

    loop: (batch) => {
      const flags = batch.values(c.tcp_flags);
      const syn = batch.where((row) => flags[row] & 2);
      const bytes = batch.numbers(c.bytes);
      for (const row of syn) count("bytes_of_syn", bytes[row]);
      count("sum", batch.sum(c.packets, syn));
      assert(syn.has(0) && !syn.has(1) && syn.not().count() === 1);
      batch.keep(syn);
    },

    // Text, lists, writing

    text: (batch) => {
      batch.fill(c.note, c.dst_port.eq(443), "Zürich ✓");
      batch.fill(c.note, c.dst_port.eq(53), "Genève");
      count("zurich", batch.where(c.note.eq("Zürich ✓")).count());
      count("others", batch.where(c.note.ne("Zürich ✓")).count());
      count("none", batch.where(c.note.oneOf(["Bern", "Basel"])).count());
      count("without", batch.where(c.note.eq("")).count());
    },

    rewrite: (batch) => {
      batch.set(c.src_port, batch.values(c.src_port).map((port) => port + 1));
      batch.fill(c.bytes, c.proto.eq(6), 2n ** 64n - 1n);
      batch.fill(c.tos, c.proto.eq(6), 255);
      batch.fill(c.customer_id, c.proto.eq(6), 2 ** 32 - 1);
      const addresses = batch.addresses(c.src_addr);
      batch.set(c.src_addr.lo, addresses.lo.map((lo) => lo & ~0xffn));
      batch.setLists(c.as_path, Array.from({ length: batch.rows }, (_, row) => [4294967295, row]));
      assert(batch.lists(c.as_path).get(1).join() === "4294967295,1");
      const codes = new Uint32Array(batch.rows);
      codes[0] = 1;
      batch.setTexts(c.note, ["", addresses.get(0)], codes);
      assert(batch.texts(c.note).get(0) === addresses.get(0));
      count("sum_is_huge", Number(batch.sum(c.bytes) >= 2 ** 63));
      batch.clear(c.proto);
    },

    truncate: (batch) => {
      const before = batch.truncate(c.src_addr, 32, 128);
      const { v4, v6 } = batch.truncate(c.src_addr, 16, 32);
      assert(v4.words.join() === before.v4.words.join() && v6.words.join() === before.v6.words.join());
      batch.fill(c.tos, v4, 255);
      batch.fill(c.src_port, v6, 65535);
      batch.fill(c.customer_id, v4.or(v6), 2 ** 32 - 1);
      count("v4", v4.count());
      batch.clear(c.src_addr);
      const none = batch.truncate(c.src_addr, 0, 0);
      assert(none.v4.count() + none.v6.count() === 0);
    },

    cut: (batch) => void batch.truncate(c.src_addr, 16, 32),

    routes: (batch) => {
      const web = batch.where(c.dst_port.eq(443));
      batch.route(["other", "web"], Array.from({ length: batch.rows }, (_, row) => Number(web.has(row))));
    },

    absent: (batch) => {
      assert(!batch.has(c.packets) && batch.values(c.packets).every((value) => value === 0n));
      assert(batch.texts(c.note).get(0) === "" && batch.lists(c.as_path).get(0).length === 0);
      assert(batch.addresses(c.src_addr).get(0) === "" && batch.numbers(c.packets)[1] === 0);
      count("zeros", batch.where(c.packets.eq(0)).count());
    },

    addresses: (batch) => {
      const addresses = batch.addresses(c.src_addr);
      for (let row = 0; row < batch.rows; row++) info(`address ${addresses.get(row)}.`);
    },

    // What goes wrong

    denied: (batch) => {
      const calls: [string, () => unknown][] = [
        ["not_granted", () => batch.values(c.dst_as)],
        ["not_granted", () => batch.where(c.dst_as.eq(1))],
        ["not_granted", () => batch.fill(c.src_as, c.proto.eq(6), 1)],
        ["not_granted", () => batch.keep(c.dst_addr.within("192.0.2.0/24"))],
        ["wrong_length", () => batch.set(c.src_port, [1])],
        ["out_of_range", () => batch.setTexts(c.note, ["a"], new Uint32Array(batch.rows).fill(7))],
        ["out_of_range", () => batch.route([], new Uint16Array(batch.rows))],
      ];
      for (const [reason, call] of calls) {
        try {
          call();
        } catch (error) {
          assert(error instanceof Denied && error.reason.replace(/-/g, "_") === reason);
          count(reason);
        }
      }
    },

    not_granted: (batch) => batch.keep(c.proto.ge(0).and(c.dst_as.eq(1))),

    wrong_types: (batch) => {
      // What the types forbid too: not everybody checks them.
      const any = (value: unknown) => value as never;
      const rows = Array.from({ length: batch.rows });
      const wrong = [
        () => batch.set(c.src_port, any(rows.map(() => "1"))),
        () => batch.set(c.src_port, rows.map(() => 65536)),
        () => batch.set(c.bytes, rows.map(() => -1)),
        () => batch.set(c.bytes, rows.map(() => 1.5)),
        () => batch.set(c.bytes, rows.map(() => 2 ** 60)),
        () => batch.fill(c.customer_id, c.proto.eq(6), any("7")),
        () => batch.fill(c.customer_id, c.proto.eq(6), 2 ** 32),
        () => batch.keep(any([true])),
        () => batch.where(any(6)),
        () => batch.fill(c.tos, c.proto.eq(6), 256),
        () => batch.truncate(c.src_addr, 33, 128),
        () => batch.truncate(c.src_addr, 32, 129),
        () => batch.truncate(any(c.src_addr.lo), 32, 128),
        () => batch.texts(any(c.bytes)),
        () => batch.setTexts(c.note, any([1]), rows.map(() => 0)),
        () => batch.route(any([null]), rows.map(() => 0)),
        () => c.proto.eq(any("6")),
        () => c.proto.eq(any(c.tos)),
        () => c.proto.gt(-1),
        () => c.bytes.gt(2 ** 60),
        () => c.bytes.gt(2n ** 60n + 1n),
        () => c.proto.eq(6).and(any(true)),
        () => c.src_addr.within("192.0.2.0/33"),
        () => c.src_addr.within("192.0.2.256"),
        () => c.src_addr.within("2001:db8::1::2"),
        () => c.note.oneOf("a"),
        () => count("x", 1.5),
        () => count("x", -1),
        () => count(any(1)),
        () => gauge("x", any("y")),
        () => info(any(1)),
      ];
      for (const call of wrong) {
        try {
          call();
          info(`not refused: ${call}`);
        } catch (error) {
          assert(error instanceof TypeError || error instanceof RangeError);
          count("refused");
        }
      }
      count("of", wrong.length);
    },

    odd_texts: () => {
      info("half a pair: \ud800");
      console.log("logged", 1, 2n, { a: 1 });
      console.error("to stderr");
    },

    uncaught: (batch) => {
      batch.keep(c.bytes.gt(0));
      (undefined as unknown as Batch).keep(batch.where(c.bytes.gt(0)));
    },

    fatal() {
      throw new Fatal("this batch is not for me");
    },

    later() {
      throw new RetryLater("the moon is not full");
    },
  };
}

function assert(holds: boolean) {
  if (!holds) throw new Error("an assertion failed");
}

export const { stage } = component(Basics);
