// The way to the collector, and what is different between JavaScript engines on that way.
//
// QuickJS hands lists over as arrays and unsigned results as signed numbers, and takes a u64 only as a number;
// StarlingMonkey hands over typed arrays and BigInt. A wrong type ends the instance in both. So
// everything that is passed is checked and made what both take, and everything that comes is made the same.

import * as logging from "sluice:plugin/log@0.1.0";

/** A call that the collector refused. It changed nothing. */
export class Denied extends Error {
  constructor(column, reason, text) {
    super(column ? `column \`${column}\`: ${text}` : text);
    this.name = "Denied";
    this.column = column;
    this.reason = reason;
  }
}

const WIDTHS = { w8: "u8", w16: "u16", w32: "u32", w64: "u64", text: "text", lists: "lists" };

/** What to throw for an error of an import. */
export function refused(error, column = "") {
  const payload = error?.payload;
  if (typeof payload === "string") return new Error(payload);
  switch (payload?.tag) {
    case "no-batch":
      return new Denied(column, payload.tag, "there is no batch outside `process`");
    case "not-granted":
      return new Denied(column, payload.tag, "the stage's grant does not cover it");
    case "wrong-width":
      return new Denied(column, payload.tag, `it holds ${WIDTHS[payload.val]}`);
    case "absent":
      return new Denied(column, payload.tag, "no row has it");
    case "wrong-length":
      return new Denied(column, payload.tag, `the batch wants a length of ${payload.val}`);
    case "out-of-range":
      return new Denied(column, payload.tag, "a value is out of range");
    default:
      return error;
  }
}

/** What `call` answers, or `otherwise` if no row has the column. */
export function orAbsent(column, call, otherwise) {
  try {
    return call();
  } catch (error) {
    if (error?.payload?.tag === "absent") return otherwise();
    throw refused(error, column.name);
  }
}

/** A text that can be passed on; half a surrogate pair becomes U+FFFD. */
export function text(value) {
  if (typeof value !== "string") throw new TypeError(`a text is needed, not ${show(value)}`);
  return value.isWellFormed?.() === false ? value.toWellFormed() : value;
}

/** A whole number from 0 to `highest`. */
export function whole(value, highest) {
  if (typeof value !== "number" || !Number.isInteger(value)) {
    throw new TypeError(`a whole number is needed, not ${show(value)}`);
  }
  if (value < 0 || value > highest) throw new RangeError(`${value} is not between 0 and ${highest}`);
  return value;
}

// QuickJS has no TextEncoder. It cuts a u32 at 2^31 - 1, unless it comes as the signed number of the same bits;
// componentize-js 0.23.0 makes another number of it, whatever it comes as.
const isQuickJs = typeof globalThis.TextEncoder === "undefined";

/** A whole number of 32 bits, as the engine takes it. */
export function u32(value) {
  if (!isQuickJs && value > 0x7fffffff) throw new RangeError("StarlingMonkey passes on no single number beyond 2^31 - 1");
  return whole(value, 0xffffffff) | 0;
}

/** A whole number of 64 bits as a BigInt. A number beyond 2^53 may have been another one once, so it is refused. */
export function u64(value) {
  if (typeof value === "bigint") {
    if (value < 0n || value > 0xffffffffffffffffn) throw new RangeError(`${value} is not between 0 and 2^64 - 1`);
    return value;
  }
  return BigInt(whole(value, Number.MAX_SAFE_INTEGER));
}

/** A column of a class. */
export function kind(column, wanted) {
  if (!(column instanceof wanted)) throw new TypeError(`a ${wanted.name} is needed, not ${show(column)}`);
  return column;
}

/** Names a value in a message. */
export function show(value) {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "object" && value !== null) return value.name ?? value.constructor?.name ?? "an object";
  return String(value);
}

/** Leaves lines in the collector's log. */
export function log(level, message) {
  logging.log(level, text(message));
}

// QuickJS has no console, StarlingMonkey's writes to stdout.
const say = (level) => (...parts) => log(level, parts.map((part) => (typeof part === "string" ? part : show(part))).join(" "));
globalThis.console = { log: say("info"), info: say("info"), warn: say("warn"), error: say("error"), debug: say("debug") };
