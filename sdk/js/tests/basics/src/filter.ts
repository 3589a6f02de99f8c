// What every plugin has, one thing a case: `act` says which. In TypeScript, so that the types are tried as well.

import {
  type Batch,
  type Config,
  Denied,
  Fatal,
  Plugin,
  RetryLater,
  Rows,
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

    // Groups

    groups: (batch) => {
      const large = c.bytes.gt(250); // all but the first two

      const customers = batch.group([c.customer_id]);
      check(customers.firsts, [0, 1, 3]);
      check([customers.count()], [3]);
      check(customers.ofRows(), [0, 1, 0, 2, 1, 0, 1]);
      check(customers.counts(), [3, 3, 1]);
      check(customers.counts(large), [2, 2, 1]);
      check(customers.sums(c.bytes), [1000, 1400, 400]);
      check(customers.sums(c.bytes, { times: c.packets }), [4600, 7800, 1600]);
      check(customers.sums(c.bytes, { only: batch.where(large) }), [900, 1200, 400]);
      check(customers.sums(c.bytes, { times: c.packets, only: large }), [4500, 7400, 1600]);
      check(customers.numbers(c.customer_id), [7, 9, 0]);
      check(customers.texts(c.note), ["DE", "CH", "CH"]);

      const places = batch.group([c.note, c.src_addr]);
      check(places.firsts, [0, 1, 3, 4, 5]);
      check(places.ofRows(), [0, 1, 0, 2, 3, 4, 1]);
      check(places.texts(c.note), ["DE", "CH", "CH", "CH", "CH"]);
      check(places.numbers(c.src_addr.lo), [0xffff_c000_0201, 1, 0xffff_c000_0201, 1, 2]);

      const rest = batch.group([c.customer_id], large);
      check(rest.firsts, [2, 3, 4]);
      check([rest.count()], [4]);
      check(rest.ofRows(), [3, 3, 0, 1, 2, 0, 2]);
      check(rest.counts(), [2, 1, 2, 2]);
      check(rest.sums(c.bytes), [900, 400, 1200, 300]);
      check(rest.numbers(c.customer_id), [7, 0, 9]);

      check(batch.group([]).counts(), [7]);
      check(batch.numbersAt(c.bytes, [6, 0, 0]), [700, 100, 100]);
      check(batch.textsAt(c.note, batch.where(large)), ["DE", "CH", "CH", "CH", "CH"]);
    },

    groups_big: (batch) => {
      const protos = batch.group([c.proto]);
      check(protos.sums(c.bytes), [2 ** 53, 2 ** 63, 2 ** 64]);
      check(protos.sums(c.bytes, { times: c.packets }), [2 ** 53, 2 ** 64, 2 ** 64]);
      check(protos.numbers(c.bytes), [2 ** 53, 2 ** 63, 2 ** 63]);
      check(Array.from(protos.firsts, (first) => batch.values(c.bytes)[first]), [2n ** 53n + 1n, 2n ** 63n + 1n, 2n ** 63n + 1n]);
    },

    groups_keep: (batch) => {
      const customers = batch.group([c.customer_id]);
      const numbers = customers.numbers(c.customer_id);
      customers.keep((group) => numbers[group] !== 9);
    },

    groups_many: (batch) => batch.group([c.dst_port]).keep((group) => group === 31 || group === 33),

    groups_route: (batch) => {
      const customers = batch.group([c.customer_id], c.customer_id.ne(0));
      const names = Array.from(customers.numbers(c.customer_id), (customer) => `customer-${customer}`);
      customers.route([...names, "unknown"], Array.from({ length: customers.count() }, (_, group) => group));
    },

    groups_none: (batch) => {
      const none = batch.group([c.customer_id]);
      check([none.count(), none.ofRows().length, none.counts().length], [0, 0, 0]);
      none.keep(() => true);
      none.route([], []);
      const rest = batch.group([c.customer_id], c.customer_id.ne(0));
      check(rest.counts(), [0]);
      rest.route(["rest"], [0]);
    },

    groups_absent: (batch) => {
      const all = batch.group([c.customer_id, c.note, c.src_addr]);
      check(all.firsts, [0]);
      check(all.counts(), [2]);
      check(all.sums(c.bytes, { times: c.packets }), [0]);
      check(all.numbers(c.customer_id), [0]);
      check(all.texts(c.note), [""]);
    },

    groups_denied: (batch) => {
      const many = [c.proto, c.src_port, c.dst_port, c.bytes, c.packets, c.note, c.tcp_flags, c.src_addr];
      const other = batch.group(many.slice(0, 1));
      let groups = batch.group(many.slice(0, 7));
      const any = (value: unknown) => value as never;
      const long = new (Rows as unknown as new (batch: Batch, words: Uint32Array) => Rows)(batch, new Uint32Array(2));
      const calls: [string, () => unknown][] = [
        ["wrong_length", () => groups.counts(long)],
        ["wrong_length", () => groups.sums(c.bytes, { only: long })],
        ["wrong_length", () => groups.route(["a"], [0])],
        ["out_of_range", () => groups.route(["a"], [0, 1])],
        ["not_granted", () => groups.sums(c.dst_as)],
        ["not_granted", () => groups.sums(c.bytes, { times: c.dst_as })],
        ["not_granted", () => groups.numbers(c.dst_as)],
        ["out_of_range", () => batch.numbersAt(c.bytes, [2])],
        ["out_of_range", () => batch.textsAt(c.note, [2])],
        ["absent", () => other.route(["wrong"], [0, 0])],
        // These take the grouping away.
        ["wrong_length", () => batch.group([c.proto], long)],
        ["wrong_width", () => batch.group([c.proto, c.as_path])],
        ["not_granted", () => batch.group([c.dst_as])],
        ["out_of_range", () => batch.group(many)],
        ["absent", () => groups.route(["wrong"], [0, 0])],
      ];
      for (const [reason, call] of calls) {
        try {
          call();
        } catch (error) {
          assert(error instanceof Denied && error.reason.replace(/-/g, "_") === reason);
          count(reason);
          info((error as Denied).message);
        }
      }
      groups = batch.group(many.slice(0, 1));
      const wrong = [
        () => batch.group(any(c.proto)),
        () => batch.group([any("proto")]),
        () => batch.group([c.proto], any([true, true])),
        () => groups.counts(any([true, true])),
        () => groups.sums(any(c.note)),
        () => groups.sums(c.bytes, { times: any(c.note) }),
        () => groups.numbers(any(c.note)),
        () => groups.texts(any(c.bytes)),
        () => groups.keep(any([true, true])),
        () => groups.route(any([1, 2]), [0, 1]),
        () => groups.route(["a", "b"], [0, -1]),
        () => batch.numbersAt(c.bytes, any(["0"])),
      ];
      expectRefused(wrong);
      groups.route(["a", "b"], [1, 0]);
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
      expectRefused(wrong);
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

function check(got: ArrayLike<unknown>, want: unknown[]) {
  const all = Array.from(got);
  const isRight = all.length === want.length && all.every((value, i) => value === want[i]);
  if (!isRight) throw new Error(`${all}, not ${want}`);
  count("right");
}

/** Each of them is answered with an error of the language, which is counted. */
function expectRefused(calls: (() => void)[]) {
  for (const call of calls) {
    try {
      call();
      info(`not refused: ${call}`);
    } catch (error) {
      assert(error instanceof TypeError || error instanceof RangeError);
      count("refused");
    }
  }
}

function assert(holds: boolean) {
  if (!holds) throw new Error("an assertion failed");
}

export const { stage } = component(Basics);
