// Columns, and the conditions that are written with them. A condition is not evaluated where it is written:
// `batch.where` has the collector test whole columns, and gets a bit a row.

import * as kernels from "sluice:plugin/kernels@0.1.0";
import { parsePrefix } from "./address.js";
import { kind, refused, show, text, u64 } from "./host.js";

/** Says of every row whether it holds. */
export class Condition {
  /** `words` gives the bitmap of a batch as an array of its own: bit `r % 32` of word `r / 32`. */
  constructor(words) {
    this.words = words;
  }

  and(other) {
    const [left, right] = [this.words, kind(other, Condition).words];
    return new Condition((batch) => {
      const [words, others] = [left(batch), right(batch)];
      for (let i = 0; i < words.length; i++) words[i] &= others[i];
      return words;
    });
  }

  or(other) {
    const [left, right] = [this.words, kind(other, Condition).words];
    return new Condition((batch) => {
      const [words, others] = [left(batch), right(batch)];
      for (let i = 0; i < words.length; i++) words[i] |= others[i];
      return words;
    });
  }

  not() {
    const inner = this.words;
    return new Condition((batch) => invert(inner(batch), batch.rows));
  }
}

/** Turns every bit round but those beyond the last row. */
export function invert(words, rows) {
  for (let i = 0; i < words.length; i++) words[i] = ~words[i];
  if (rows % 32 !== 0) words[words.length - 1] &= (1 << rows % 32) - 1;
  return words;
}

// Comparisons of one call, as the contract has it.
const MOST = 64;

/** Comparisons that all have to hold: the collector makes them at once, and one bitmap crosses. */
class Comparisons extends Condition {
  constructor(all) {
    super(() => {
      try {
        return kernels.testAll(all.map(({ column, op, value }) => ({ column: column.id, op, value })));
      } catch (error) {
        // The error does not say which of the columns it is about.
        for (const { column, op, value } of all) call(column, () => kernels.test(column.id, op, value)).words();
        throw refused(error);
      }
    });
    this.all = all;
  }

  and(other) {
    const isMore = other instanceof Comparisons && this.all.length + other.all.length <= MOST;
    return isMore ? new Comparisons([...this.all, ...other.all]) : super.and(other);
  }
}

function test(column, op, value) {
  const number = u64(value);
  if (BigInt(Number(number)) !== number) {
    throw new RangeError(`\`${column.name}\` cannot be compared with ${number}: a double cannot hold it`);
  }
  return new Comparisons([{ column, op, value: Number(number) }]);
}

function call(column, words) {
  return new Condition(() => {
    try {
      return words();
    } catch (error) {
      throw refused(error, column.name);
    }
  });
}

/** A column: its name and its number. */
export class Column {
  constructor(name, id) {
    this.name = name;
    this.id = id;
  }

  /** The numbers of the columns that this stands for. */
  get ids() {
    return [this.id];
  }
}

/** A column of one unsigned number a row. A column that no row has compares as zeros. */
export class NumberColumn extends Column {
  /** `width`: bytes a row, or 0 for an operator's own column, whose width shows when it is read. */
  constructor(name, id, width) {
    super(name, id);
    this.width = width;
  }

  eq(value) {
    const number = u64(value);
    return BigInt(Number(number)) === number ? test(this, "eq", number) : this.oneOf([number]);
  }

  ne(value) {
    return this.eq(value).not();
  }

  lt(value) {
    return test(this, "lt", value);
  }

  le(value) {
    return test(this, "le", value);
  }

  gt(value) {
    return test(this, "gt", value);
  }

  ge(value) {
    return test(this, "ge", value);
  }

  oneOf(values) {
    const numbers = BigUint64Array.from(values, u64);
    return call(this, () => kernels.testIn(this.id, numbers));
  }
}

/** A column of one text a row; `""` where the row has none. */
export class TextColumn extends Column {
  eq(value) {
    return this.oneOf([value]);
  }

  ne(value) {
    return this.oneOf([value]).not();
  }

  oneOf(values) {
    if (typeof values === "string") throw new TypeError(`a list of texts is needed, not ${show(values)}`);
    const wanted = new Set(Array.from(values, text));
    return new Condition((batch) => {
      const { words, codes } = batch.texts(this);
      const chosen = words.map((word) => wanted.has(word));
      const bits = new Int32Array((batch.rows + 31) >>> 5);
      // Most words are of no interest in most batches: then nothing is to be done a row.
      if (chosen.includes(true)) {
        for (let row = 0; row < codes.length; row++) {
          if (chosen[codes[row]]) bits[row >> 5] |= 1 << (row & 31);
        }
      }
      return bits;
    });
  }
}

/** A column of a list of 32-bit numbers a row. */
export class ListsColumn extends Column {}

/** An address: two columns, the high and the low half of 128 bits; IPv4 is `::ffff:a.b.c.d`. */
export class Address extends Column {
  constructor(name, hi, lo) {
    super(name, hi);
    this.hi = new NumberColumn(`${name}_hi`, hi, 8);
    this.lo = new NumberColumn(`${name}_lo`, lo, 8);
  }

  get ids() {
    return [this.hi.id, this.lo.id];
  }

  within(prefix) {
    const { value, bits } = parsePrefix(text(prefix));
    const [hi, lo] = [value >> 64n, value & 0xffffffffffffffffn];
    // A number crosses as a double. What a double cannot hold goes as a list of the 64-bit numbers there are, or
    // as a range between two that it can hold.
    if (isExact(hi) && isExact(lo)) {
      return call(this, () => kernels.testPrefix(this.hi.id, this.lo.id, Number(hi), Number(lo), bits));
    }
    if (bits <= 64) return this.hi.oneOf(span(hi, 64 - bits));
    const sameHi = this.hi.oneOf([hi]);
    if (128 - bits < 11) return sameHi.and(this.lo.oneOf(span(lo, 128 - bits)));
    const end = lo + (1n << BigInt(128 - bits));
    const atLeast = sameHi.and(test(this.lo, "ge", lo));
    return end >> 64n ? atLeast : atLeast.and(test(this.lo, "lt", end));
  }
}

const isExact = (value) => BigInt(Number(value)) === value;

function span(first, bits) {
  return Array.from({ length: 2 ** bits }, (_, offset) => first + BigInt(offset));
}
