// Tables that the collector owns. The stage's grant needs `tables = [...]`.

import * as tables from "sluice:plugin/tables@0.1.0";
import { orAbsent, refused, text, u32, u64 } from "./host.js";

/** A prefix, MMDB or key table of the TOML. */
export class Table {
  #table;

  constructor(name) {
    try {
      this.#table = tables.open(text(name));
    } catch (error) {
      throw refused(error);
    }
  }

  codesOf(batch, address) {
    const zeros = () => new Uint32Array(batch.rows);
    return orAbsent(address, () => this.#table.lookupColumns(address.hi.id, address.lo.id), zeros);
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
