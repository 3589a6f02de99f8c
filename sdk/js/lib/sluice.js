// Plugins for sluice: a class with `init` and `process`, exported as a component. Alerts, tables, keys and files are in
// events.js, tables.js, keys.js and assets.js beside this: a bundle imports of the collector only what is used.

import * as metrics from "sluice:plugin/metrics@0.1.0";
import { log, text, u32 } from "./host.js";

export * as columns from "./columns.js";
export { Batch, Groups, Rows } from "./batch.js";
export { Address, Column, Condition, ListsColumn, NumberColumn, TextColumn } from "./condition.js";
export { Config, ConfigError } from "./config.js";
export { Denied } from "./host.js";
export { decode, encode } from "./utf8.js";
export { Fatal, Plugin, RetryLater, column, component } from "./plugin.js";

/** Adds to a counter. */
export function count(name, add = 1) {
  metrics.count(text(name), u32(add));
}

/** Sets a gauge. */
export function gauge(name, value) {
  if (typeof value !== "number") throw new TypeError("a gauge is a number");
  metrics.gauge(text(name), value);
}

export const error = (message) => log("error", message);
export const warn = (message) => log("warn", message);
export const info = (message) => log("info", message);
export const debug = (message) => log("debug", message);
