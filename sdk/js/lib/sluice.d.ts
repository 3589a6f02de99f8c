// What a plugin sees. Everything here throws `Denied` if the stage's grant does not cover a column, and TypeError or
// RangeError for a value that cannot be passed on.

export * as columns from "./columns.js";

/** A column: its name and its number. */
export declare class Column {
  constructor(name: string, id: number);
  readonly name: string;
  readonly id: number;
  /** The numbers of the columns that this stands for: two for an address. */
  readonly ids: number[];
}

/** A column of one unsigned number a row. A column that no row has compares as zeros. */
export declare class NumberColumn<T extends number | bigint = number | bigint> extends Column {
  constructor(name: string, id: number, width: number);
  /** Bytes a row: 1, 2, 4 or 8; 0 for an operator's own column. */
  readonly width: number;
  /** @internal */
  readonly holds?: T;
  /** Numbers up to 2^53 - 1; a BigInt beyond. */
  eq(value: number | bigint): Condition;
  ne(value: number | bigint): Condition;
  /** A BigInt beyond 2^53 has to be one that a double can hold, such as `2n ** 63n`; as of `le`, `gt` and `ge`. */
  lt(value: number | bigint): Condition;
  le(value: number | bigint): Condition;
  gt(value: number | bigint): Condition;
  ge(value: number | bigint): Condition;
  /** Rows whose number is one of `values`. */
  oneOf(values: Iterable<number | bigint>): Condition;
}

/** A column of one text a row; `""` where the row has none. */
export declare class TextColumn extends Column {
  eq(value: string): Condition;
  ne(value: string): Condition;
  /** Rows whose text is one of `values`. */
  oneOf(values: Iterable<string>): Condition;
}

/** A column of a list of 32-bit numbers a row. */
export declare class ListsColumn extends Column {}

/** An address: two columns, the high and the low half of 128 bits; IPv4 is `::ffff:a.b.c.d`. */
export declare class Address extends Column {
  constructor(name: string, hi: number, lo: number);
  readonly hi: NumberColumn<bigint>;
  readonly lo: NumberColumn<bigint>;
  /** Rows whose address lies in `prefix`, e.g. `"192.0.2.0/24"`, `"2001:db8::/32"` or one address. */
  within(prefix: string): Condition;
}

/** Says of every row whether it holds. Evaluated in the collector, by `Batch.where`; make it once, in `init`. */
export declare class Condition {
  and(other: Condition): Condition;
  or(other: Condition): Condition;
  not(): Condition;
}

/** Some rows of a batch: one bit a row. Iterating gives their numbers, ascending from 0. */
export declare class Rows implements Iterable<number> {
  readonly batch: Batch;
  /** Bit `r % 32` of word `r / 32`. */
  readonly words: Uint32Array;
  /** How many rows. */
  count(): number;
  has(row: number): boolean;
  and(other: Rows): Rows;
  or(other: Rows): Rows;
  not(): Rows;
  [Symbol.iterator](): Iterator<number>;
}

/** A text column: row `r` holds `words[codes[r]]`. */
export interface Texts {
  readonly words: string[];
  readonly codes: ArrayLike<number>;
  get(row: number): string;
}

/** A list column: row `r` holds `values` from `offsets[r]` to before `offsets[r + 1]`. */
export interface Lists {
  readonly offsets: ArrayLike<number>;
  readonly values: Uint32Array;
  get(row: number): Uint32Array;
}

/** An address column: the halves of every row's address. */
export interface Addresses {
  readonly hi: BigUint64Array;
  readonly lo: BigUint64Array;
  /** The address of a row as text, `""` for none. */
  get(row: number): string;
}

/**
 * The rows of a batch by what they have in common, numbered from 0 by their first rows: see `Batch.group`. They are good
 * until the batch is grouped again; what is written to the batch changes no group.
 */
export declare class Groups {
  readonly batch: Batch;
  /** The first row of each group, ascending; the rest has none here. */
  readonly firsts: Uint32Array;
  /** Whether the last group is the rest. */
  readonly hasRest: boolean;
  /** How many groups there are, with the rest. */
  count(): number;
  /** The group of each row. */
  ofRows(): Uint32Array;
  /** How many rows each group has, or how many of those in `only`. */
  counts(only?: Rows | Condition): Uint32Array;
  /**
   * Sum of a column over each group, or over those of its rows that are in `only`. With `times`, such as the sampling rate,
   * each number is first multiplied by the one in that column. Exact to 2^53, and no more than 2^64.
   */
  sums(column: NumberColumn, options?: { times?: NumberColumn; only?: Rows | Condition }): Float64Array;
  /**
   * What the first row of each group has in a numeric column: of one that the rows were grouped by, what all rows of the
   * group have. There is none for the rest. Exact to 2^53; `batch.values(column)[first]` is exact.
   */
  numbers(column: NumberColumn): Float64Array;
  /** What the first row of each group has in a text column, as `numbers`. */
  texts(column: TextColumn): string[];
  /** Which groups stay, with all their rows: a function that is called once a group, as `Batch.keep`. */
  keep(choose: (group: number) => unknown): void;
  /** Where the rows of each group go: one index into `names` a group, the rest too, as `Batch.route`. */
  route(names: Iterable<string>, index: Iterable<number>): void;
}

/**
 * The batch that is being processed. Reads see what this call has written so far. A column that no row has reads as
 * zeros, empty texts and empty lists; `has` tells.
 */
export declare class Batch {
  /** Rows in the batch. */
  readonly rows: number;
  /** Number of the batch, unique within one run of the collector. */
  readonly id: number;
  /** Batch time in milliseconds since the Unix epoch: the only clock a plugin has. */
  readonly nowMs: number;
  /** Whether some row may have the column; false too where the grant does not cover it. */
  has(column: Column): boolean;

  /** The rows for which a condition holds; a function is called once a row, which costs much more. */
  where(condition: Condition | ((row: number) => unknown)): Rows;
  /** Which rows stay; the last call counts. Not called: all stay. */
  keep(rows: Rows | Condition): void;
  /** Where each row goes: one index into `names` a row; the last call counts. */
  route(names: Iterable<string>, index: Iterable<number>): void;
  /** Sum of a column over `rows`, or over all; exact to 2^53, and no more than 2^64. */
  sum(column: NumberColumn, rows?: Rows | Condition): number;

  /**
   * Sorts the rows into groups: those of one group have the same in each of up to 8 columns, numbers or texts; an address is
   * two of them. A column that no row has holds zeros or empty texts. With `only`, the other rows are one group more, the
   * rest, after the last. No row crosses: this is the fast way to split or to count.
   */
  group(columns: Iterable<Column>, only?: Rows | Condition): Groups;
  /** The numbers of a numeric column in some rows, exact to 2^53; zeros where no row has it. */
  numbersAt(column: NumberColumn, rows: Iterable<number>): Float64Array;
  /** The texts of a text column in some rows; empty where no row has it. */
  textsAt(column: TextColumn, rows: Iterable<number>): string[];

  /** A numeric column, one number a row; 8-byte columns as BigInt, which are exact. */
  values(column: NumberColumn<bigint>): BigUint64Array;
  values(column: NumberColumn<number>): Uint8Array | Uint16Array | Uint32Array;
  /** The same as numbers, exact to 2^53. */
  numbers(column: NumberColumn): ArrayLike<number>;
  addresses(column: Address): Addresses;
  texts(column: TextColumn): Texts;
  lists(column: ListsColumn): Lists;

  /** Sets a column to `value` in `rows`; elsewhere it stays as it is. */
  fill(column: NumberColumn, rows: Rows | Condition, value: number | bigint): void;
  fill(column: TextColumn, rows: Rows | Condition, value: string): void;
  /**
   * Zeroes the bits of each row's address after the first `v4Bits`, 0 to 32, of an IPv4 address, and after the first `v6Bits`,
   * 0 to 128, of another, and says which rows have which; a row without an address is in neither. With 32 and 128
   * nothing is written, and the right to read is enough.
   */
  truncate(address: Address, v4Bits: number, v6Bits: number): { v4: Rows; v6: Rows };
  /** Replaces a numeric column: one number a row. An array as of `values` is passed on as it is, others are checked. */
  set(column: NumberColumn, values: Iterable<number | bigint>): void;
  /** Replaces a text column: one index into `words` a row. */
  setTexts(column: TextColumn, words: Iterable<string>, codes: Iterable<number> | ArrayLike<number>): void;
  /** Replaces a list column: one list a row. */
  setLists(column: ListsColumn, lists: Iterable<Iterable<number>>): void;
  /** Makes a column absent in every row. Needs the grant to write it. */
  clear(column: Column): void;
}

/** The stage's `config` table. A key that nobody asked for by the end of `init` is an error. */
export declare class Config {
  /** The table as it is, for what the methods do not cover; name its keys in `expect`. */
  readonly values: Record<string, unknown>;
  /** Says which keys there are, so that a mistyped one is the first thing to be reported. */
  expect(...keys: string[]): void;
  /** A whole number from `lowest` to `highest`, at most 2^53 - 1. Without a `default` it is required. */
  integer(key: string, lowest: number, highest?: number, options?: { default?: number; example?: number }): number;
  /** A text, or one of those given. Without a `default` it is required. */
  text(key: string, options?: { default?: string; oneOf?: string[] }): string;
  /** A list of texts. Without a `default` it is required. */
  texts(key: string, options?: { default?: string[] }): string[];
  /** True or false. */
  flag(key: string, options?: { default?: boolean }): boolean;
}

/** Something is wrong with the configuration. The text is shown to the operator as it is: name the key and the remedy. */
export declare class ConfigError extends Error {}

/** A call that the collector refused. It changed nothing. */
export declare class Denied extends Error {
  readonly column: string;
  readonly reason: "no-batch" | "not-granted" | "wrong-width" | "absent" | "wrong-length" | "out-of-range";
}

/** Throw it in `process` if the same batch may succeed later. */
export declare class RetryLater extends Error {}

/**
 * Throw it in `process` if this batch never will; the stage's `on_error` decides about its rows. So does any other
 * error, which is taken for a mistake and leaves its stack in the log.
 */
export declare class Fatal extends Error {}

/**
 * A plugin: write a class with `process`, and export `component` of it. The collector makes one object, calls `init`
 * once and then `process` once a batch. What the object keeps from batch to batch is a cache, unless it has `snapshot`.
 */
export declare class Plugin {
  /** Name of the plugin. */
  name: string;
  /** Its version. */
  version: string;
  /** Columns that it reads: a request, the operator's grant decides. */
  reads: Column[];
  /** Columns that it writes or clears. */
  writes: Column[];
  /** How often `tick` is wanted, in milliseconds. */
  tickMs: number | undefined;
  /** Whether it keeps state between batches: then it runs as one instance. A plugin with `tick` or `snapshot` does. */
  stateful: boolean;
  /** Reads the configuration. Here `reads` and `writes` may still be set. Throw `ConfigError` for what is wrong with it. */
  init(config: Config): void;
  /** Transforms one batch. What it writes, keeps, routes and alerts counts only if it does not throw. */
  process(batch: Batch): void;
  /** Called now and then between batches, if `timer` is exported; `nowMs` is batch time since the Unix epoch. */
  tick(nowMs: number): void;
  /** The state as bytes, beginning with a version of the plugin's own, if `state` is exported; see `encode`. */
  snapshot(): Uint8Array;
  /** Takes over a snapshot, perhaps of another version. False: not understood, starting empty. Throw if it is wrong. */
  restore(data: Uint8Array): boolean;
}

/** The component's exports: `export const { stage } = component(YourPlugin)`, and `timer` and `state` if it has those. */
export declare function component(plugin: new () => Plugin): { stage: object; timer: object; state: object };

/** The column called `name`: a standard one, or in `init` an operator's own. */
export declare function column(name: string, type?: "number"): NumberColumn;
export declare function column(name: string, type: "text"): TextColumn;
export declare function column(name: string, type: "lists"): ListsColumn;

/** Adds to a counter of the plugin's own. At most 64 names a stage: lower case, digits and `_`. */
export declare function count(name: string, add?: number): void;
/** Sets a gauge. */
export declare function gauge(name: string, value: number): void;

/** Logs one line: a person is needed. */
export declare function error(message: string): void;
/** Logs one line: something is wrong and the plugin goes on. */
export declare function warn(message: string): void;
/** Logs one line, worth knowing; `console.log` does the same. */
export declare function info(message: string): void;
/** Logs one line for the plugin's author. */
export declare function debug(message: string): void;

/** The UTF-8 bytes of a text: QuickJS has no TextEncoder. */
export declare function encode(text: string): Uint8Array;
/** The text of UTF-8 bytes; throws if they are none. */
export declare function decode(bytes: Uint8Array): string;

declare global {
  var console: Record<"log" | "info" | "warn" | "error" | "debug", (...parts: unknown[]) => void>;
}
