// Tables that the collector owns. The stage's grant needs `tables = [...]`.

import * as tables from "sluice:plugin/tables@0.1.0";
import { Address, NumberColumn, TextColumn } from "./condition.js";
import { orAbsent, refused, text, u32, u64 } from "./host.js";

/** The columns that stand for a key: 0 is none; the high half of an address stands for all of it beside anything but its low half. */
function pair(key, number) {
  if (key instanceof Address) return [key.hi.id, (number ?? key.lo).id];
  return number ? [key.id, number.id] : [0, key.id];
}

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
    return orAbsent(key, () => this.#table.lookupColumns(...pair(key, number)), zeros);
  }

  lookupInto(batch, column, key, { number, only, keep = false } = {}) {
    if (!(column instanceof NumberColumn || column instanceof TextColumn)) {
      throw new TypeError("a column of numbers or texts is needed");
    }
    const words = batch.wordsOf(only);
    try {
      this.#table.lookupInto(...pair(key, number), column.id, words, Boolean(keep));
      return true;
    } catch (error) {
      if (error?.payload?.tag === "absent") return false;
      // The error does not say which of the columns it is about: this one says so if it is the key.
      this.codesOf(batch, key, number);
      throw refused(error, column.name);
    }
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
