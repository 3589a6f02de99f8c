// The contract of wit/ as the canonical ABI spells it, and the memory that crosses. Used by sluice.ts.
// An import is in the plugin only if something calls it.

@external("sluice:plugin/batch@0.1.0", "rows")
export declare function batch_rows(): i32;
@external("sluice:plugin/batch@0.1.0", "now-ms")
export declare function batch_now_ms(): u64;
@external("sluice:plugin/batch@0.1.0", "has")
export declare function batch_has(column: i32): i32;
@external("sluice:plugin/batch@0.1.0", "column-of")
export declare function batch_column_of(name: usize, length: usize, answer: usize): void;
@external("sluice:plugin/batch@0.1.0", "u8s")
export declare function batch_u8s(column: i32, answer: usize): void;
@external("sluice:plugin/batch@0.1.0", "u16s")
export declare function batch_u16s(column: i32, answer: usize): void;
@external("sluice:plugin/batch@0.1.0", "u32s")
export declare function batch_u32s(column: i32, answer: usize): void;
@external("sluice:plugin/batch@0.1.0", "u64s")
export declare function batch_u64s(column: i32, answer: usize): void;
@external("sluice:plugin/batch@0.1.0", "texts")
export declare function batch_texts(column: i32, answer: usize): void;
@external("sluice:plugin/batch@0.1.0", "u32-lists")
export declare function batch_u32_lists(column: i32, answer: usize): void;
@external("sluice:plugin/batch@0.1.0", "set-u8s")
export declare function batch_set_u8s(column: i32, values: usize, count: usize, answer: usize): void;
@external("sluice:plugin/batch@0.1.0", "set-u16s")
export declare function batch_set_u16s(column: i32, values: usize, count: usize, answer: usize): void;
@external("sluice:plugin/batch@0.1.0", "set-u32s")
export declare function batch_set_u32s(column: i32, values: usize, count: usize, answer: usize): void;
@external("sluice:plugin/batch@0.1.0", "set-u64s")
export declare function batch_set_u64s(column: i32, values: usize, count: usize, answer: usize): void;
@external("sluice:plugin/batch@0.1.0", "set-texts")
export declare function batch_set_texts(
  column: i32, words: usize, wordCount: usize, codes: usize, count: usize, answer: usize,
): void;
@external("sluice:plugin/batch@0.1.0", "set-u32-lists")
export declare function batch_set_u32_lists(
  column: i32, offsets: usize, offsetCount: usize, values: usize, count: usize, answer: usize,
): void;
@external("sluice:plugin/batch@0.1.0", "clear")
export declare function batch_clear(column: i32, answer: usize): void;
@external("sluice:plugin/batch@0.1.0", "keep")
export declare function batch_keep(bitmap: usize, words: usize, answer: usize): void;
@external("sluice:plugin/batch@0.1.0", "route")
export declare function batch_route(names: usize, nameCount: usize, index: usize, count: usize, answer: usize): void;
@external("sluice:plugin/log@0.1.0", "log")
declare function log_log(level: i32, message: usize, length: usize): void;
@external("sluice:plugin/metrics@0.1.0", "count")
export declare function metrics_count(name: usize, length: usize, add: u32): void;
@external("sluice:plugin/metrics@0.1.0", "gauge")
export declare function metrics_gauge(name: usize, length: usize, value: f64): void;
@external("sluice:plugin/events@0.1.0", "emit")
export declare function events_emit(
  kind: usize, kindLength: usize, severity: i32, subject: usize, subjectLength: usize, value: f64, threshold:
  f64, note: usize, noteLength: usize,
): void;
@external("sluice:plugin/tables@0.1.0", "open")
export declare function tables_open(name: usize, length: usize, answer: usize): void;
@external("sluice:plugin/tables@0.1.0", "[method]table.lookup-columns")
export declare function tables_lookup_columns(table: i32, hi: i32, lo: i32, answer: usize): void;
@external("sluice:plugin/tables@0.1.0", "[method]table.lookup-into")
export declare function tables_lookup_into(
  table: i32, hi: i32, lo: i32, into: i32, some: i32, bitmap: usize, words: usize, keep: i32, answer: usize,
): void;
@external("sluice:plugin/tables@0.1.0", "[method]table.value")
export declare function tables_value(table: i32, code: u32, answer: usize): void;
@external("sluice:plugin/tables@0.1.0", "[method]table.generation")
export declare function tables_generation(table: i32): u64;

/** Where the collector puts an answer; the largest has 20 bytes. Overwritten by the next call. */
export const ANSWER: usize = memory.data(24, 8);

// ---- Blocks that live until the call ends: a chain, each with 16 bytes in front: the next block, and its length ----

const HEADER: usize = 16;
/** How far before a block the number of its values stands. */
export const LENGTH: usize = 8;

let held: usize = 0;

/** Where the collector puts what it gives. */
export function cabi_realloc(old: usize, oldSize: usize, align: usize, size: usize): usize {
  if (!size) return align;
  const block = heap.alloc(HEADER + size);
  store<usize>(block, held);
  held = block;
  if (oldSize) memory.copy(block + HEADER, old, min(oldSize, size));
  return block + HEADER;
}

/** Notes how many values are in a block that the collector has filled, and returns it. */
export function received(block: usize, length: i32): usize {
  store<i32>(block - LENGTH, length);
  return block;
}

/** A block of zeros of `length` values. */
export function allocate(size: usize, length: i32): usize {
  const block = cabi_realloc(0, 0, 8, max(size, 1));
  memory.fill(block, 0, size);
  return received(block, length);
}

/** Ends a call: frees the blocks, and collects what the plugin has let go. */
export function release(): void {
  while (held) {
    const next = load<usize>(held);
    heap.free(held);
    held = next;
  }
  __collect();
}

// ---- What an export returns: kept until the next call, when the collector has read it ----

let given: ArrayBuffer[] = [];

/** Begins a call: what the last one returned has been read. */
export function reset(): void {
  if (given.length) given = [];
}

/** Stores place and length of a text at `at`. */
export function giveText(at: usize, value: string): void {
  const encoded = String.UTF8.encode(value);
  given.push(encoded);
  store<usize>(at, changetype<usize>(encoded));
  store<usize>(at, encoded.byteLength, 4);
}

/** Stores place and length of a list of columns at `at`. */
export function giveColumns(at: usize, columns: u16[]): void {
  const copy = new ArrayBuffer(2 * columns.length);
  given.push(copy);
  for (let i = 0; i < columns.length; i++) store<u16>(changetype<usize>(copy) + 2 * i, columns[i]);
  store<usize>(at, changetype<usize>(copy));
  store<usize>(at, columns.length, 4);
}

// ---- Texts ----

/** The text whose place and length stand at `at`. */
export function text(at: usize): string {
  return String.UTF8.decodeUnsafe(load<usize>(at), load<usize>(at, 4));
}

/** Places and lengths of `texts`, in a block. */
export function listOfTexts(texts: string[]): usize {
  const list = allocate(8 * texts.length, texts.length);
  for (let i = 0; i < texts.length; i++) {
    const length = String.UTF8.byteLength(texts[i]);
    const copy = allocate(length, length);
    String.UTF8.encodeUnsafe(changetype<usize>(texts[i]), texts[i].length, copy);
    store<usize>(list + 8 * i, copy);
    store<usize>(list + 8 * i, length, 4);
  }
  return list;
}

export function logLine(level: i32, message: string): void {
  const encoded = String.UTF8.encode(message);
  log_log(level, changetype<usize>(encoded), encoded.byteLength);
}

/** What `throw` and a failed `assert` do: the text goes into the log, and the instance ends. */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  logLine(0, `${message ? message : "aborted"} (${file ? file : "?"}:${line}:${column})`);
  unreachable();
}
