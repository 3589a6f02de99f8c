// What a sluice plugin in AssemblyScript uses. The collector calls `init` once and `process` once per batch; a batch
// is columns of numbers, one value a row, and what the plugin wrote and kept counts when `process` returned null.
//
// Memory: the `Values` that a function here returns live until the call ends and are freed then. Copy what is to live
// on. Strings, arrays and objects are collected between two calls as usual.
//
// Refusals: what the collector refuses (a column that is not granted, or holds something else) is remembered. A read
// then answers zeros, so that nothing has to be checked, and the batch fails with a message that names the column.

import * as abi from "./abi";
import { columnName } from "./columns";

export { Config, Kind } from "./config";
export { abort } from "./abi";

// ---- Columns ----

/** One value a row. `values[row]` checks the row, `unchecked(values[row])` does not. */
@unmanaged
export class Values<T> {
  /** How many there are. */
  @inline get length(): i32 {
    return load<i32>(changetype<usize>(this) - abi.LENGTH);
  }
  @inline @operator("[]") private get(row: i32): T {
    if (<u32>row >= <u32>this.length) throw new RangeError("row out of range");
    return load<T>(changetype<usize>(this) + (<usize>row << alignof<T>()));
  }
  @inline @operator("[]=") private set(row: i32, value: T): void {
    if (<u32>row >= <u32>this.length) throw new RangeError("row out of range");
    store<T>(changetype<usize>(this) + (<usize>row << alignof<T>()), value);
  }
  @inline @operator("{}") private uncheckedGet(row: i32): T {
    return load<T>(changetype<usize>(this) + (<usize>row << alignof<T>()));
  }
  @inline @operator("{}=") private uncheckedSet(row: i32, value: T): void {
    store<T>(changetype<usize>(this) + (<usize>row << alignof<T>()), value);
  }
  /** Sets all of them. */
  fill(value: T): this {
    for (let row = 0, rows = this.length; row < rows; row++) unchecked((this[row] = value));
    return this;
  }
}

/** `length` values, all zero, until the call ends. */
export function zeros<T>(length: i32 = rows()): Values<T> {
  return changetype<Values<T>>(abi.allocate(<usize>length << alignof<T>(), length));
}

/** A text column: row `r` holds `words[codes[r]]`. Not all words need occur. */
export class Texts {
  constructor(public words: string[], public codes: Values<u32>) {}
}

/** A list column: row `r` holds `values[offsets[r]]` up to, not including, `values[offsets[r + 1]]`. */
export class Lists {
  constructor(public offsets: Values<u32>, public values: Values<u32>) {}
}

/** Rows in the batch. */
export function rows(): i32 {
  return abi.batch_rows();
}

/** Batch time in milliseconds since the Unix epoch: the only clock there is. */
export function nowMs(): u64 {
  return abi.batch_now_ms();
}

/** Whether some row may have the column. */
export function has(column: u16): bool {
  return abi.batch_has(column) != 0;
}

/** Number of an operator's own column by its name; 0 if there is none. */
export function columnNumber(name: string): u16 {
  const text = String.UTF8.encode(name);
  abi.batch_column_of(changetype<usize>(text), text.byteLength, abi.ANSWER);
  return load<u8>(abi.ANSWER) ? load<u16>(abi.ANSWER, 2) : 0;
}

/** A one-byte column; zeros where no row has it. The values may be changed: what is set is another call. */
export function u8s(column: u16): Values<u8> {
  abi.batch_u8s(column, abi.ANSWER);
  return answered<u8>(column);
}

/** A two-byte column. */
export function u16s(column: u16): Values<u16> {
  abi.batch_u16s(column, abi.ANSWER);
  return answered<u16>(column);
}

/** A four-byte column. */
export function u32s(column: u16): Values<u32> {
  abi.batch_u32s(column, abi.ANSWER);
  return answered<u32>(column);
}

/** An eight-byte column. */
export function u64s(column: u16): Values<u64> {
  abi.batch_u64s(column, abi.ANSWER);
  return answered<u64>(column);
}

/** A text column; the empty text where no row has it. */
export function texts(column: u16): Texts {
  abi.batch_texts(column, abi.ANSWER);
  if (load<u8>(abi.ANSWER)) {
    refusedRead(column);
    return new Texts([""], zeros<u32>());
  }
  const list = load<usize>(abi.ANSWER, 4);
  const words = new Array<string>(load<i32>(abi.ANSWER, 8));
  for (let i = 0, count = words.length; i < count; i++) words[i] = abi.text(list + 8 * i);
  return new Texts(words, listAt<u32>(12));
}

/** A list column; empty lists where no row has it. */
export function lists(column: u16): Lists {
  abi.batch_u32_lists(column, abi.ANSWER);
  if (load<u8>(abi.ANSWER)) {
    refusedRead(column);
    return new Lists(zeros<u32>(rows() + 1), zeros<u32>(0));
  }
  const offsets = listAt<u32>(4);
  return new Lists(offsets, listAt<u32>(12));
}

/** Replaces a one-byte column: one value a row, 0 means absent. */
export function setU8s(column: u16, values: Values<u8>): void {
  abi.batch_set_u8s(column, changetype<usize>(values), values.length, abi.ANSWER);
  written(column);
}

/** Replaces a two-byte column. */
export function setU16s(column: u16, values: Values<u16>): void {
  abi.batch_set_u16s(column, changetype<usize>(values), values.length, abi.ANSWER);
  written(column);
}

/** Replaces a four-byte column. */
export function setU32s(column: u16, values: Values<u32>): void {
  abi.batch_set_u32s(column, changetype<usize>(values), values.length, abi.ANSWER);
  written(column);
}

/** Replaces an eight-byte column. */
export function setU64s(column: u16, values: Values<u64>): void {
  abi.batch_set_u64s(column, changetype<usize>(values), values.length, abi.ANSWER);
  written(column);
}

/** Replaces a text column: one index into `words` a row. */
export function setTexts(column: u16, words: string[], codes: Values<u32>): void {
  const list = abi.listOfTexts(words);
  abi.batch_set_texts(column, list, words.length, changetype<usize>(codes), codes.length, abi.ANSWER);
  written(column);
}

/** Replaces a list column: one offset more than rows, ascending from 0. */
export function setLists(column: u16, offsets: Values<u32>, values: Values<u32>): void {
  const at = changetype<usize>(values);
  abi.batch_set_u32_lists(column, changetype<usize>(offsets), offsets.length, at, values.length, abi.ANSWER);
  written(column);
}

/** Makes a column absent in every row. */
export function clear(column: u16): void {
  abi.batch_clear(column, abi.ANSWER);
  written(column);
}

/**
 * Keeps the rows whose `mask` is true, drops the others, and returns how many are kept. The last call counts; not called,
 * all rows stay.
 */
export function keep(mask: Values<bool>): u32 {
  const bitmap = bitmapOf(mask);
  abi.batch_keep(changetype<usize>(bitmap), bitmap.length, abi.ANSWER);
  if (load<u8>(abi.ANSWER)) remember("keep: " + reason());
  let kept: u32 = 0;
  for (let word = 0, words = bitmap.length; word < words; word++) kept += popcnt(unchecked(bitmap[word]));
  return kept;
}

/** One bit a row. */
function bitmapOf(mask: Values<bool>): Values<u32> {
  const count = mask.length;
  const words = (count + 31) >>> 5;
  const bitmap = abi.allocate(<usize>words << 2, words);
  const from = changetype<usize>(mask);
  let row = 0;
  for (; row + 8 <= count; row += 8) {
    // Moves the lowest bit of each of the eight bytes into the highest byte.
    const bits = (load<u64>(from + row) * 0x0102040810204080) >> 56;
    store<u8>(bitmap + (row >>> 3), <u8>bits);
  }
  for (; row < count; row++) {
    const bit = <u32>load<u8>(from + row);
    store<u8>(bitmap + (row >>> 3), load<u8>(bitmap + (row >>> 3)) | (bit << (row & 7)));
  }
  return changetype<Values<u32>>(bitmap);
}

/** Sends row `r` to the route `names[index[r]]`; the last call counts. */
export function route(names: string[], index: Values<u16>): void {
  const list = abi.listOfTexts(names);
  abi.batch_route(list, names.length, changetype<usize>(index), index.length, abi.ANSWER);
  if (load<u8>(abi.ANSWER)) remember("route: " + reason());
}

// ---- Telling people ----

export enum Level { ERROR, WARN, INFO, DEBUG }

/** One line in the collector's log. */
export function log(level: Level, message: string): void {
  abi.logLine(level, message);
}

/** Adds to a counter. Names: lower case, digits and `_`; at most 64 a stage. */
export function count(name: string, add: u32): void {
  const text = String.UTF8.encode(name);
  abi.metrics_count(changetype<usize>(text), text.byteLength, add);
}

/** Sets a gauge. */
export function gauge(name: string, value: f64): void {
  const text = String.UTF8.encode(name);
  abi.metrics_gauge(changetype<usize>(text), text.byteLength, value);
}

/** Something that a person or another program should know. */
export class Alert {
  /** What it is, from a closed set, e.g. `dos-raised`. */
  kind: string = "";
  /** 0 emergency to 7 debug, as in syslog. */
  severity: u8 = 5;
  /** What it is about, e.g. an address. */
  subject: string = "";
  /** The measured value. */
  value: f64 = 0;
  /** What it was compared with. */
  threshold: f64 = 0;
  /** For people, with the unit. */
  note: string = "";

  /** Raises it, if the grant has `events = true`. */
  emit(): void {
    const kind = String.UTF8.encode(this.kind);
    const subject = String.UTF8.encode(this.subject);
    const note = String.UTF8.encode(this.note);
    abi.events_emit(
      changetype<usize>(kind), kind.byteLength, this.severity, changetype<usize>(subject), subject.byteLength,
      this.value, this.threshold, changetype<usize>(note), note.byteLength,
    );
  }
}

// ---- Tables of the collector ----

/** A table. Open it once, in `init`. */
export class Table {
  private constructor(private handle: i32) {}

  /** Opens a table by its name in the TOML. If there is none, null, and the call fails with the reason. */
  static open(name: string): Table | null {
    const text = String.UTF8.encode(name);
    abi.tables_open(changetype<usize>(text), text.byteLength, abi.ANSWER);
    if (!load<u8>(abi.ANSWER)) return new Table(load<i32>(abi.ANSWER, 4));
    remember(abi.text(abi.ANSWER + 4));
    return null;
  }

  /**
   * For each row the code of the longest prefix that covers the address in the two columns; 0 where there is none. In a
   * table of values: of the key in two columns of numbers, of the number in `lo` if `hi` is 0, or of an address (its high
   * half) and a number.
   */
  lookup(hi: u16, lo: u16): Values<u32> {
    abi.tables_lookup_columns(this.handle, hi, lo, abi.ANSWER);
    return answered<u32>(lo);
  }

  /**
   * Writes what the table says of each row, or of those of which `only` is true (null: all), into a column of texts, or of
   * numbers: decimal digits, with `AS` before them or not. The other rows become 0 or empty, or stay as they are. No row
   * crosses: this is the fast way to enrich. False if no row has the key, and then nothing is written.
   */
  lookupInto(hi: u16, lo: u16, into: u16, only: Values<bool> | null = null, keepOthers: bool = false): bool {
    let bitmap: usize = 0;
    let words = 0;
    if (only != null) {
      const bits = bitmapOf(only);
      bitmap = changetype<usize>(bits);
      words = bits.length;
    }
    abi.tables_lookup_into(this.handle, hi, lo, into, i32(only != null), bitmap, words, i32(keepOthers), abi.ANSWER);
    if (!load<u8>(abi.ANSWER)) return true;
    if (load<u8>(abi.ANSWER, 4) == ABSENT) return false;
    // The answer does not say which of the columns it is about.
    const why = reason();
    abi.tables_lookup_columns(this.handle, hi, lo, abi.ANSWER);
    remember(named(load<u8>(abi.ANSWER) ? lo : into) + why);
    return false;
  }

  /** The value of a code; null for 0 and for codes of another generation. */
  value(code: u32): string | null {
    abi.tables_value(this.handle, code, abi.ANSWER);
    return load<u8>(abi.ANSWER) ? abi.text(abi.ANSWER + 4) : null;
  }

  /** Changes when the table was exchanged: codes from before are void. */
  get generation(): u64 {
    return abi.tables_generation(this.handle);
  }
}

// ---- The plugin itself ----

/** What the plugin is and what it asks for. The operator's `grant` decides. */
export class Manifest {
  name: string = "";
  version: string = "";
  reads: u16[] = [];
  writes: u16[] = [];
  /** Keeps state between batches: the collector then runs one instance of it. */
  stateful: bool = false;
  /** How often `tick` is wanted, in milliseconds; 0: never. */
  tickMs: u32 = 0;
}

let failure: string | null = null;
let mayRetry = false;

/** For `process`: as returning a message, but the batch may come again. `return retryLater("...");` */
export function retryLater(message: string): string {
  mayRetry = failure == null;
  return message;
}

/** For `restore`: the state is understood and wrong. */
export function refuse(message: string): void {
  remember(message);
}

function remember(message: string): void {
  if (failure == null) failure = message;
}

/** What was refused in the call that ends; null if nothing was. For plugin.ts. */
export function takeFailure(): string | null {
  const taken = failure;
  failure = null;
  return taken;
}

/** Whether the message that `process` returned came from `retryLater`. For plugin.ts. */
export function takeRetry(): bool {
  const taken = mayRetry;
  mayRetry = false;
  return taken;
}

// ---- Answers of the collector: `result<.., denied>` in abi.ANSWER ----

function listAt<T>(offset: usize): Values<T> {
  const length = load<i32>(abi.ANSWER + offset + 4);
  return changetype<Values<T>>(length ? abi.received(load<usize>(abi.ANSWER + offset), length) : abi.allocate(0, 0));
}

function answered<T>(column: u16): Values<T> {
  if (!load<u8>(abi.ANSWER)) return listAt<T>(4);
  refusedRead(column);
  return zeros<T>();
}

const ABSENT: u8 = 3;

function refusedRead(column: u16): void {
  if (load<u8>(abi.ANSWER, 4) != ABSENT) refused(column);
}

function written(column: u16): void {
  if (load<u8>(abi.ANSWER)) refused(column);
}

function refused(column: u16): void {
  remember(named(column) + reason());
}

function named(column: u16): string {
  const name = columnName(column);
  return name == "" ? `column ${column}: ` : "column `" + name + "`: ";
}

function reason(): string {
  switch (load<u8>(abi.ANSWER, 4)) {
    case 0: return "there is no batch outside of process";
    case 1: return "the stage's grant does not cover it";
    case 2: return holds(load<u8>(abi.ANSWER, 8));
    case 3: return "no row has it";
    case 4: return "the list has another length than the batch";
    default: return "a value is out of range";
  }
}

function holds(width: u8): string {
  switch (width) {
    case 0: return "it holds u8";
    case 1: return "it holds u16";
    case 2: return "it holds u32";
    case 3: return "it holds u64";
    case 4: return "it holds text";
    default: return "it holds lists";
  }
}
