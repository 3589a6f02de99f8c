// Calls what sluice.ts has: `act` says what.

import * as columns from "../sdk/columns";
import {
  Alert,
  Config,
  Kind,
  Level,
  Manifest,
  Table,
  Values,
  clear,
  columnNumber,
  count,
  gauge,
  has,
  keep,
  lists,
  log,
  nowMs,
  retryLater,
  route,
  rows,
  setLists,
  setTexts,
  setU16s,
  setU32s,
  setU64s,
  setU8s,
  texts,
  u16s,
  u32s,
  u64s,
  u8s,
  zeros,
} from "../sdk/sluice";

let act = "nothing";
let table: Table | null = null;

// ---- The batch ----

function readAll(): void {
  const proto = u8s(columns.PROTO);
  const srcPort = u16s(columns.SRC_PORT);
  const customer = u32s(columns.CUSTOMER_ID);
  const bytes = u64s(columns.BYTES);
  const notes = texts(columns.NOTE);
  const paths = lists(columns.AS_PATH);
  const end = rows();
  const sums = new StaticArray<u32>(3);
  let largest: u64 = 0;
  let zurich: u32 = 0;
  let listed: u32 = 0;
  for (let row = 0; row < end; row++) {
    sums[0] += proto[row];
    sums[1] += srcPort[row];
    sums[2] += customer[row];
    largest = max(largest, bytes[row]);
    zurich += u32(notes.words[notes.codes[row]] == "Zürich ✓");
    listed += paths.offsets[row + 1] - paths.offsets[row];
  }
  count("u8", sums[0]);
  count("u16", sums[1]);
  count("u32", sums[2]);
  count("u64_high", <u32>(largest >> 32));
  count("u64_low", <u32>largest);
  count("zurich", zurich);
  count("listed", listed);
  if (end && paths.offsets[1] > 1) count("second", paths.values[paths.offsets[0] + 1]);
  count("rows", end);
  count("seconds", <u32>(nowMs() / 1000));
}

function absent(): void {
  count("present", u32(has(columns.PROTO)));
  count("absent", u32(!has(columns.PACKETS)));
  const packets = u64s(columns.PACKETS);
  const notes = texts(columns.NOTE);
  const paths = lists(columns.AS_PATH);
  for (let row = 0, end = rows(); row < end; row++) {
    count("zeros", u32(packets[row] == 0));
    count("empty_texts", u32(notes.words[notes.codes[row]] == ""));
    count("empty_lists", u32(paths.offsets[row] == paths.offsets[row + 1]));
  }
}

function writeAll(): void {
  const proto = u8s(columns.PROTO);
  const ports = u16s(columns.SRC_PORT);
  const bytes = u64s(columns.BYTES);
  const tos = zeros<u8>();
  const customers = zeros<u32>();
  const codes = zeros<u32>();
  const offsets = zeros<u32>(rows() + 1);
  const path = zeros<u32>(2 * rows());
  for (let row = 0, end = rows(); row < end; row++) {
    ports[row] = ports[row] + 1;
    if (proto[row] == 6) {
      tos[row] = u8.MAX_VALUE;
      customers[row] = u32.MAX_VALUE;
      bytes[row] = u64.MAX_VALUE;
      codes[row] = 1;
    }
    path[2 * row] = u32.MAX_VALUE;
    path[2 * row + 1] = row;
    offsets[row + 1] = 2 * row + 2;
  }
  setU8s(columns.TOS, tos);
  setU16s(columns.SRC_PORT, ports);
  setU32s(columns.CUSTOMER_ID, customers);
  setU64s(columns.BYTES, bytes);
  setTexts(columns.NOTE, ["", "Genève"], codes);
  setLists(columns.AS_PATH, offsets, path);
  clear(columns.PROTO);
}

function names(): void {
  count("found", u32(columnNumber("bytes") == columns.BYTES));
  count("unknown", u32(columnNumber("no_such_column") == 0));
}

function noSuchWord(): void {
  const codes = zeros<u32>();
  codes[0] = 7;
  setTexts(columns.NOTE, ["a"], codes);
}

function keepOdd(): void {
  const ports = u16s(columns.DST_PORT);
  const odd = zeros<bool>();
  for (let row = 0, end = rows(); row < end; row++) odd[row] = (ports[row] & 1) == 1;
  count("kept", keep(odd));
}

function routeWeb(): void {
  const ports = u16s(columns.DST_PORT);
  const index = zeros<u16>();
  for (let row = 0, end = rows(); row < end; row++) index[row] = u16(ports[row] == 443);
  route(["other", "web"], index);
}

// ---- Telling people ----

function tell(): void {
  const bytes = u64s(columns.BYTES);
  for (let row = 0, end = rows(); row < end; row++) {
    if (bytes[row] <= 1000) continue;
    const alert = new Alert();
    alert.kind = "large-flow";
    alert.severity = 4;
    alert.subject = `row ${row}`;
    alert.value = <f64>bytes[row];
    alert.threshold = 1000;
    alert.note = "größer als 1 kB ✓";
    alert.emit();
    log(Level.ERROR, "an error of " + alert.subject);
  }
  log(Level.WARN, "a warning");
  log(Level.INFO, "Zürich ✓");
  log(Level.DEBUG, "a detail");
  gauge("ratio", 0.5);
}

// ---- Tables ----

function numberOf(code: u32): u32 {
  const value = table!.value(code);
  return value == null ? 0 : <u32>parseInt(value);
}

function customers(): void {
  const generation = table!.generation;
  const codes = table!.lookup(columns.SRC_ADDR_HI, columns.SRC_ADDR_LO);
  for (let row = 0, end = rows(); row < end; row++) {
    count("none", u32(codes[row] == 0));
    codes[row] = numberOf(codes[row]);
  }
  setU32s(columns.CUSTOMER_ID, codes);
  count("same_generation", u32(table!.generation == generation));
}

function countValues(name: string, codes: Values<u32>): void {
  for (let row = 0, end = rows(); row < end; row++) count(name, numberOf(codes[row]));
}

function values(): void {
  countValues("numbers", table!.lookup(0, columns.BYTES));
  countValues("pairs", table!.lookup(columns.PROTO, columns.BYTES));
  countValues("addressed", table!.lookup(columns.SRC_ADDR_HI, columns.BYTES));
}

function into(): void {
  const bytes = u64s(columns.BYTES);
  const first = zeros<bool>();
  for (let row = 0, end = rows(); row < end; row++) first[row] = bytes[row] == 1;
  const hi = columns.SRC_ADDR_HI;
  const lo = columns.SRC_ADDR_LO;
  count("written", u32(table!.lookupInto(hi, lo, columns.CUSTOMER_ID)));
  count("written", u32(table!.lookupInto(hi, lo, columns.SRC_PORT, first)));
  count("written", u32(table!.lookupInto(hi, lo, columns.NOTE, first, true)));
}

// ---- Which ----

/** Takes a key that only the case about the configuration has: it is counted if it is right. */
function takeValue(config: Config): bool {
  if (config.key == "number") count("number", u32(config.isInteger() && config.integer() == u64.MAX_VALUE));
  else if (config.key == "negative") count("negative", u32(!config.isInteger() && config.float() == -1));
  else if (config.key == "ratio") gauge("ratio", config.float());
  else if (config.key == "flag") count("flag", u32(config.kind == Kind.BOOLEAN && config.value == "true"));
  else if (config.key == "text") count("text", u32(config.kind == Kind.STRING && config.value == "tab\t\"ü\\"));
  else if (config.key == "list") count("list", u32(config.kind == Kind.OTHER && config.value.startsWith("[")));
  else return false;
  return true;
}

export function init(config: Config, manifest: Manifest): string | null {
  act = "nothing";
  while (config.next()) {
    if (takeValue(config)) continue;
    if (config.key != "act" || config.kind != Kind.STRING) return "what is `" + config.key + "`";
    act = config.value;
  }
  if (act == "missing") table = Table.open("no-such-table");
  if (["customers", "values", "into", "into_refused", "by_refused"].includes(act)) table = Table.open("customers");

  manifest.name = "calls";
  manifest.version = "0.1.0";
  manifest.reads = [
    columns.PROTO, columns.SRC_PORT, columns.DST_PORT, columns.BYTES, columns.PACKETS, columns.SRC_ADDR_HI,
    columns.SRC_ADDR_LO, columns.CUSTOMER_ID, columns.NOTE, columns.AS_PATH,
  ];
  manifest.writes = [
    columns.PROTO, columns.TOS, columns.SRC_PORT, columns.BYTES, columns.CUSTOMER_ID, columns.NOTE, columns.AS_PATH,
  ];
  return null;
}

export function process(): string | null {
  if (act == "read") readAll();
  else if (act == "absent") absent();
  else if (act == "write") writeAll();
  else if (act == "names") names();
  else if (act == "not_granted") u32s(columns.DST_AS);
  else if (act == "wrong_width") u8s(columns.BYTES);
  else if (act == "not_written") setU32s(columns.SRC_AS, zeros<u32>());
  else if (act == "no_such_word") noSuchWord();
  else if (act == "keep") keepOdd();
  else if (act == "route") routeWeb();
  else if (act == "no_such_route") route([], zeros<u16>());
  else if (act == "tell") tell();
  else if (act == "fatal") return `batch ${0} is not for me`;
  else if (act == "later") return retryLater("the moon is not full");
  else if (act == "customers") customers();
  else if (act == "values") values();
  else if (act == "into") into();
  else if (act == "into_refused") table!.lookupInto(columns.SRC_ADDR_HI, columns.SRC_ADDR_LO, columns.SRC_AS);
  else if (act == "by_refused") table!.lookupInto(columns.DST_ADDR_HI, columns.DST_ADDR_LO, columns.CUSTOMER_ID);
  else if (act != "nothing") return "nothing is called `" + act + "`";
  return null;
}
