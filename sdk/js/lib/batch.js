// The batch that is being processed.

import * as host from "sluice:plugin/batch@0.1.0";
import * as kernels from "sluice:plugin/kernels@0.1.0";
import { formatAddress } from "./address.js";
import { Address, Column, Condition, ListsColumn, NumberColumn, TextColumn, invert } from "./condition.js";
import { Denied, kind, orAbsent, refused, show, text, u64, whole } from "./host.js";

const VIEWS = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array };
const SETTERS = { 1: "setU8s", 2: "setU16s", 4: "setU32s", 8: "setU64s" };

/** Some rows of a batch: one bit a row. */
export class Rows {
  constructor(batch, words) {
    this.batch = batch;
    this.words = words instanceof Uint32Array ? words : new Uint32Array(words);
  }

  count() {
    let count = 0;
    const { words } = this;
    for (let i = 0; i < words.length; i++) {
      let word = words[i];
      word -= (word >>> 1) & 0x55555555;
      word = (word & 0x33333333) + ((word >>> 2) & 0x33333333);
      count += Math.imul((word + (word >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
    }
    return count;
  }

  *[Symbol.iterator]() {
    for (let i = 0; i < this.words.length; i++) {
      for (let word = this.words[i]; word !== 0; word &= word - 1) yield i * 32 + 31 - Math.clz32(word & -word);
    }
  }

  has(row) {
    return ((this.words[row >>> 5] >>> (row & 31)) & 1) === 1;
  }

  and(other) {
    return new Rows(this.batch, this.words.map((word, i) => word & kind(other, Rows).words[i]));
  }

  or(other) {
    return new Rows(this.batch, this.words.map((word, i) => word | kind(other, Rows).words[i]));
  }

  not() {
    return new Rows(this.batch, invert(this.words.slice(), this.batch.rows));
  }
}

/** The rows of a batch by what they have in common. */
export class Groups {
  #number;

  constructor(batch, firsts, hasRest) {
    this.batch = batch;
    this.firsts = Uint32Array.from(firsts);
    this.hasRest = hasRest;
    this.#number = batch.groupings;
  }

  count() {
    return this.firsts.length + Number(this.hasRest);
  }

  ofRows() {
    return Uint32Array.from(this.#ask(() => kernels.groupOfRows()));
  }

  counts(only) {
    const words = this.batch.wordsOf(only);
    return Uint32Array.from(this.#ask(() => kernels.groupCounts(words)));
  }

  sums(column, { times, only } = {}) {
    const { id } = kind(column, NumberColumn);
    const factor = times === undefined ? undefined : kind(times, NumberColumn).id;
    const words = this.batch.wordsOf(only);
    try {
      return doubles(this.#ask(() => kernels.groupSums(id, factor, words)));
    } catch (error) {
      // The error does not say which of the columns it is about.
      for (const one of [column, times]) {
        if (one !== undefined) this.#ask(() => kernels.groupSums(one.id, undefined, undefined), one);
      }
      throw error;
    }
  }

  numbers(column) {
    return this.batch.numbersAt(column, this.firsts);
  }

  texts(column) {
    return this.batch.textsAt(column, this.firsts);
  }

  keep(choose) {
    if (typeof choose !== "function") throw new TypeError(`a function of a group is needed, not ${show(choose)}`);
    const count = this.count();
    const words = new Uint32Array((count + 31) >>> 5);
    for (let group = 0; group < count; group++) {
      if (choose(group)) words[group >>> 5] |= 1 << (group & 31);
    }
    this.#ask(() => kernels.keepGroups(words));
  }

  route(names, index) {
    const [all, indexes] = [Array.from(names, text), typed(Uint16Array, index, (value) => whole(value, 0xffff))];
    this.#ask(() => kernels.routeGroups(all, indexes));
  }

  #ask(call, column) {
    // The collector answers for the last grouping, whichever is meant.
    if (this.batch.groupings !== this.#number) throw new Denied("", "absent", "the batch has been grouped again since");
    return attempt(call, column);
  }
}

/** The batch that is being processed. */
export class Batch {
  constructor() {
    this.rows = host.rows();
    // Calls of `group` so far.
    this.groupings = 0;
  }

  get id() {
    return Number(host.id());
  }

  get nowMs() {
    return Number(host.nowMs());
  }

  has(column) {
    return kind(column, Column).ids.some((id) => host.has(id));
  }

  // Choosing rows

  where(condition) {
    if (condition instanceof Condition) return new Rows(this, condition.words(this));
    if (typeof condition !== "function") {
      throw new TypeError(`a condition or a function of a row is needed, not ${show(condition)}`);
    }
    const words = new Uint32Array((this.rows + 31) >>> 5);
    for (let row = 0; row < this.rows; row++) {
      if (condition(row)) words[row >>> 5] |= 1 << (row & 31);
    }
    return new Rows(this, words);
  }

  keep(rows) {
    attempt(() => host.keep(this.#rows(rows).words));
  }

  route(names, index) {
    attempt(() => host.route(Array.from(names, text), typed(Uint16Array, index, (value) => whole(value, 0xffff))));
  }

  sum(column, rows) {
    const words = rows === undefined ? this.where(new Condition(() => this.#all())).words : this.#rows(rows).words;
    const sum = attempt(() => kernels.sum(kind(column, NumberColumn).id, words), column);
    // QuickJS reads the sum as a signed number.
    return Number(sum) < 0 ? Number(sum) + 2 ** 64 : Number(sum);
  }

  // Groups

  group(columns, only) {
    const all = [...columns].map((column) => kind(column, Column));
    const words = this.wordsOf(only);
    this.groupings++;
    try {
      return new Groups(this, kernels.group(idsOf(all), words), words !== undefined);
    } catch (error) {
      // The error does not say which of the columns it is about.
      for (const column of all) attempt(() => kernels.group(idsOf([column]), undefined), column);
      throw refused(error);
    }
  }

  numbersAt(column, rows) {
    const { id } = kind(column, NumberColumn);
    const numbers = typed(Uint32Array, rows, checked(4));
    return doubles(attempt(() => kernels.numbersAt(id, numbers), column));
  }

  textsAt(column, rows) {
    const { id } = kind(column, TextColumn);
    const numbers = typed(Uint32Array, rows, checked(4));
    return attempt(() => kernels.textsAt(id, numbers), column);
  }

  /** The bitmap of a choice that may be left out. */
  wordsOf(only) {
    return only === undefined ? undefined : this.#rows(only).words;
  }

  // Reading

  values(column) {
    const { id, width } = kind(column, NumberColumn);
    const bytes = orAbsent(column, () => host.raw(id), () => new Uint8Array(this.rows * (width || 1)));
    const View = VIEWS[width || (this.rows ? bytes.length / this.rows : 1)];
    const isAligned = bytes.byteOffset % View.BYTES_PER_ELEMENT === 0;
    const { buffer, byteOffset, length } = isAligned ? bytes : bytes.slice();
    return new View(buffer, byteOffset, length / View.BYTES_PER_ELEMENT);
  }

  numbers(column) {
    const { id } = kind(column, NumberColumn);
    return orAbsent(column, () => host.f64s(id), () => new Float64Array(this.rows));
  }

  addresses(address) {
    kind(address, Address);
    const [hi, lo] = [this.values(address.hi), this.values(address.lo)];
    return { hi, lo, get: (row) => formatAddress(hi[row], lo[row]) };
  }

  texts(column) {
    const { id } = kind(column, TextColumn);
    const [words, codes] = orAbsent(column, () => host.texts(id), () => [[""], new Uint32Array(this.rows)]);
    return { words, codes, get: (row) => words[codes[row]] };
  }

  lists(column) {
    const { id } = kind(column, ListsColumn);
    const [offsets, values] = orAbsent(column, () => host.u32Lists(id), () => [new Uint32Array(this.rows + 1), []]);
    const unsigned = Uint32Array.from(values);
    return { offsets, values: unsigned, get: (row) => unsigned.subarray(offsets[row], offsets[row + 1]) };
  }

  // Writing

  fill(column, rows, value) {
    const chosen = this.#rows(rows);
    if (column instanceof TextColumn) {
      const { words, codes } = this.texts(column);
      for (const row of chosen) codes[row] = words.length;
      this.setTexts(column, [...words, value], codes);
      return;
    }
    const number = checked(kind(column, NumberColumn).width || 8)(value);
    if (BigInt(Number(number)) === BigInt(number)) {
      attempt(() => kernels.fill(column.id, chosen.words, Number(number)), column);
    } else if (column.width === 8) {
      // A number crosses as a double; what a double cannot hold goes as a list.
      const values = this.values(column);
      for (const row of chosen) values[row] = number;
      this.set(column, values);
    } else {
      throw new RangeError(`\`${column.name}\` cannot be filled with ${number}: a double cannot hold it`);
    }
  }

  truncate(address, v4Bits, v6Bits) {
    const { hi, lo } = kind(address, Address);
    const bits = [whole(v4Bits, 32), whole(v6Bits, 128)];
    const none = () => ({ v4: new Uint32Array((this.rows + 31) >>> 5), v6: new Uint32Array((this.rows + 31) >>> 5) });
    const { v4, v6 } = orAbsent(address, () => kernels.truncate(hi.id, lo.id, ...bits), none);
    return { v4: new Rows(this, v4), v6: new Rows(this, v6) };
  }

  set(column, values) {
    const width = kind(column, NumberColumn).width || 4;
    const numbers = typed(VIEWS[width], values, checked(width));
    attempt(() => host[SETTERS[width]](column.id, numbers), column);
  }

  setTexts(column, words, codes) {
    const { id } = kind(column, TextColumn);
    const [all, index] = [Array.from(words, text), typed(Uint32Array, codes, checked(4))];
    attempt(() => host.setTexts(id, all, index), column);
  }

  setLists(column, lists) {
    const { id } = kind(column, ListsColumn);
    const [offsets, values] = [[0], []];
    for (const list of lists) {
      for (const value of list) values.push(checked(4)(value));
      offsets.push(values.length);
    }
    attempt(() => host.setU32Lists(id, Uint32Array.from(offsets), Uint32Array.from(values)), column);
  }

  clear(column) {
    for (const id of kind(column, Column).ids) attempt(() => host.clear(id), column);
  }

  #rows(rows) {
    return rows instanceof Condition ? this.where(rows) : kind(rows, Rows);
  }

  #all() {
    return invert(new Int32Array((this.rows + 31) >>> 5), this.rows);
  }
}

function attempt(call, column) {
  try {
    return call();
  } catch (error) {
    throw error instanceof Denied ? error : refused(error, column?.name);
  }
}

/** The check of a value of `width` bytes, which is also what goes into the array. */
function checked(width) {
  return width === 8 ? u64 : (value) => whole(value, 2 ** (8 * width) - 1);
}

/** `values` as an array of the class `View`: of that class as they are, others one by one. */
function typed(View, values, check) {
  return values instanceof View ? values : View.from(values, check);
}

/** The numbers of the columns. QuickJS takes them as an array only, and no typed one. */
function idsOf(columns) {
  return columns.flatMap((column) => column.ids);
}

/** 64-bit numbers as doubles: QuickJS hands the 2^31 highest ones over as negative numbers, StarlingMonkey a BigInt. */
function doubles(numbers) {
  return Float64Array.from(numbers, (value) => (Number(value) < 0 ? Number(value) + 2 ** 64 : Number(value)));
}
