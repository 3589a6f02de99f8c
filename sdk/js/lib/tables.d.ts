import type { Address, Batch, Condition, NumberColumn, Rows, TextColumn } from "./sluice.js";

/** A prefix or MMDB table, or one of values, of the TOML. Needs `tables = ["..."]` in the stage's grant. */
export declare class Table {
  /** Opens the table called `name`; throws what is wrong. */
  constructor(name: string);
  /** A code for the address of each row: 0 where nothing matched, zeros if no row has the address. */
  codesOf(batch: Batch, address: Address): ArrayLike<number>;
  /** In a table of values: a code for the number, the two numbers, or the address and the number, of each row. */
  codesOf(batch: Batch, key: Address | NumberColumn<any>, number?: NumberColumn<any>): ArrayLike<number>;
  /**
   * Writes what the table says of each row into a column of texts, or of numbers: decimal digits, with `AS` before them or not. No
   * row crosses: this is the fast way to enrich. The other rows become 0 or empty, or with `keep` stay as they are: those without a
   * match, those that are not in `only`, and those whose value is no number that the column has room for. False if no row has the
   * key: then nothing is written.
   */
  lookupInto(
    batch: Batch,
    column: NumberColumn<any> | TextColumn,
    key: Address | NumberColumn<any>,
    options?: { number?: NumberColumn<any>; only?: Rows | Condition; keep?: boolean },
  ): boolean;
  /** Codes of addresses given as halves, or in a table of values of keys in two numbers; as many of one as of the other. */
  lookup(hi: Iterable<bigint>, lo: Iterable<bigint>): ArrayLike<number>;
  /** The value of a code; none for 0 and for codes of another generation. Keep it: it is a call and a text. */
  value(code: number): string | undefined;
  /** One more than the highest code. */
  readonly codes: number;
  /** Changes whenever the table was exchanged, but not within one call of `process`. */
  readonly generation: number;
}
