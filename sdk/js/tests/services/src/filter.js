// Alerts, tables, keys and files.

import { Denied, Plugin, columns as c, component, count } from "../sdk/sluice.js";
import { read } from "../sdk/assets.js";
import { alert } from "../sdk/events.js";
import { Key } from "../sdk/keys.js";
import { Table } from "../sdk/tables.js";

class Services extends Plugin {
  name = "services";
  reads = [c.src_addr, c.dst_addr, c.bytes, c.proto];
  writes = [c.src_addr, c.customer_id];
  generation = -1;

  init(config) {
    const act = config.text("act");
    this.act = this[act];
    if (act === "customers" || act === "values") this.table = new Table("customers");
    if (act === "encrypt") this.key = new Key("secret");
    if (act === "missing") new Table("no-such-table");
  }

  process(batch) {
    this.act(batch);
  }

  alerts(batch) {
    const [addresses, bytes] = [batch.addresses(c.src_addr), batch.numbers(c.bytes)];
    for (const row of batch.where(c.bytes.gt(1000))) {
      alert("large-flow", addresses.get(row), { severity: 5, value: bytes[row], threshold: 1000, note: "größer als 1 kB ✓" });
    }
  }

  wrong_alerts() {
    const wrong = [
      () => alert("x", null),
      () => alert(1, "x"),
      () => alert("x", "x", { severity: 8 }),
      () => alert("x", "x", { severity: "high" }),
      () => alert("x", "x", { value: "y" }),
    ];
    for (const call of wrong) {
      try {
        call();
      } catch {
        count("refused");
      }
    }
  }

  customers(batch) {
    if (this.generation !== this.table.generation) {
      this.ids = Array.from({ length: this.table.codes }, (_, code) => Number(this.table.value(code) ?? 0));
      this.generation = this.table.generation;
    }
    const codes = this.table.codesOf(batch, c.src_addr);
    batch.set(c.customer_id, Uint32Array.from(codes, (code) => this.ids[code]));
    if (this.table.codesOf(batch, c.dst_addr).length !== batch.rows) throw new Error("an absent column has no codes");
    const { hi, lo } = batch.addresses(c.src_addr);
    if (Array.from(this.table.lookup(hi, lo)).join() !== Array.from(codes).join()) throw new Error("two lookups differ");
    try {
      this.table.lookup([1n, 2n], [1n]);
    } catch (error) {
      if (error instanceof RangeError) count("unequal");
    }
  }

  /** The customer by address and number, and which other keys the table has, as counters. */
  values(batch) {
    const numberOf = (code) => Number(this.table.value(code) ?? 0);
    const sum = (codes) => Array.from(codes, numberOf).reduce((all, one) => all + one, 0);
    // First what another key says, which does not stay.
    const key = { number: c.bytes };
    this.table.lookupInto(batch, c.customer_id, c.bytes);
    this.table.lookupInto(batch, c.customer_id, c.src_addr, { ...key, only: c.bytes.eq(10) });
    this.table.lookupInto(batch, c.customer_id, c.src_addr, { ...key, only: c.bytes.ne(10), keep: true });
    try {
      this.table.lookupInto(batch, c.note, c.bytes);
    } catch (error) {
      if (!(error instanceof Denied) || error.column !== "note") throw error;
    }
    count("numbers", sum(this.table.codesOf(batch, c.bytes)));
    count("pairs", sum(this.table.codesOf(batch, c.proto, c.bytes)));
    count("lists", sum(this.table.lookup([0n, 6n], [10n, 10n])));
  }

  encrypt(batch) {
    const before = batch.values(c.src_addr.lo);
    this.key.prefixPreserving(batch, c.src_addr);
    count("changed", Number(batch.values(c.src_addr.lo).join() !== before.join()));
    try {
      this.key.keyedHash(batch, c.dst_addr);
    } catch (error) {
      if (error instanceof Denied) count(error.reason.replace(/-/g, "_"));
    }
  }

  file() {
    count("bytes", read("list").length);
    try {
      read("no-such-file");
    } catch {
      count("no_such_file");
    }
  }
}

export const { stage } = component(Services);
