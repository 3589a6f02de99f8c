// Tables that the collector owns. The stage's grant needs `tables = [...]`.

import * as tables from "sluice:plugin/tables@0.1.0";
import { Address } from "./condition.js";
import { orAbsent, refused, text, u32, u64 } from "./host.js";

/** A prefix or MMDB table, or one of values, of the TOML. */
export class Table {
  #table;

  constructor(name) {
    try {
      this.#table = tables.open(text(name));
    } catch (error) {
      throw refused(error);
    }
  }

  codesOf(batch, key, number) {
    const zeros = () => new Uint32Array(batch.rows);
    // 0 is no column; the high half of an address stands for all of it beside anything but its low half.
    const [hi, lo] =
      key instanceof Address ? [key.hi, number ?? key.lo] : number ? [key, number] : [{ id: 0 }, key];
    return orAbsent(key, () => this.#table.lookupColumns(hi.id, lo.id), zeros);
  }

  lookup(hi, lo) {
    const [his, los] = [BigUint64Array.from(hi, u64), BigUint64Array.from(lo, u64)];
    if (his.length !== los.length) throw new RangeError(`${his.length} high and ${los.length} low halves are no addresses`);
    return this.#table.lookup(his, los);
  }

  value(code) {
    return this.#table.value(u32(code)) ?? undefined;
  }

  get codes() {
    return this.#table.codes();
  }

  get generation() {
    return Number(this.#table.generation());
  }
}
