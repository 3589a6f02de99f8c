// What a plugin is, and how it becomes the component's exports.

import * as host from "sluice:plugin/batch@0.1.0";
import { Batch } from "./batch.js";
import * as standard from "./columns.js";
import { ListsColumn, NumberColumn, TextColumn } from "./condition.js";
import { Config, ConfigError } from "./config.js";
import { Denied, log, text, whole } from "./host.js";

/** Throw it in `process` if the same batch may succeed later. */
export class RetryLater extends Error {
  name = "RetryLater";
}

/** Throw it in `process` if this batch never will. */
export class Fatal extends Error {
  name = "Fatal";
}

/** A plugin: write a class with `process`, and export `component` of it. */
export class Plugin {
  name = "unnamed";
  version = "0.1.0";
  reads = [];
  writes = [];
  tickMs = undefined;
  stateful = false;

  init(_config) {}

  process(_batch) {
    throw new Error("a plugin has a method `process`");
  }

  tick(_nowMs) {}

  snapshot() {
    return new Uint8Array(0);
  }

  restore(_data) {
    return false;
  }
}

/** The column called `name`: a standard one, or in `init` an operator's own. */
export function column(name, type = "number") {
  if (Object.hasOwn(standard, name)) return standard[name];
  const id = host.columnOf(text(name));
  if (id === undefined || id === null) throw new ConfigError(`there is no column \`${name}\``);
  if (type === "text") return new TextColumn(name, id);
  return type === "lists" ? new ListsColumn(name, id) : new NumberColumn(name, id, 0);
}

/** The component's exports: `stage`, and `timer` and `state` for a plugin with `tick` and `snapshot`. */
export function component(PluginClass) {
  const exported = new Set();
  const overrides = (method) => PluginClass.prototype[method] !== Plugin.prototype[method];
  let plugin;

  function manifest(json) {
    const created = new PluginClass();
    const config = new Config(json);
    created.init(config);
    config.check();
    for (const [method, name] of [["tick", "timer"], ["snapshot", "state"], ["restore", "state"]]) {
      if (overrides(method) && !exported.has(name)) {
        throw new Error(`\`${method}\` is never called: export ${name} of component(...) as well`);
      }
    }
    plugin = created;
    return {
      name: text(plugin.name),
      version: text(plugin.version),
      reads: ids(plugin.reads),
      writes: ids(plugin.writes),
      stateful: plugin.stateful || exported.size > 0,
      tickMs: plugin.tickMs === undefined ? undefined : whole(plugin.tickMs, 0x7fffffff),
    };
  }

  return {
    stage: {
      init(json) {
        return refusing((said) => said, () => manifest(json));
      },
      process() {
        const failure = (said, error) => ({ tag: error instanceof RetryLater ? "retry-later" : "fatal", val: said });
        refusing(failure, () => plugin.process(new Batch()));
      },
    },
    get timer() {
      exported.add("timer");
      return {
        tick(nowMs) {
          try {
            plugin.tick(Number(nowMs));
          } catch (error) {
            // A tick has no result: the instance goes on.
            trace(error);
          }
        },
      };
    },
    get state() {
      exported.add("state");
      return {
        snapshot() {
          const data = plugin.snapshot();
          // No result either: a state that cannot be had ends the instance, which the collector reports.
          if (!(data instanceof Uint8Array)) throw new TypeError("a snapshot is a Uint8Array");
          return data;
        },
        restore(data) {
          return refusing((said) => said, () => Boolean(plugin.restore(data)));
        },
      };
    },
  };
}

/** What `call` answers; what it throws becomes the error that `payload` makes of the text. */
function refusing(payload, call) {
  try {
    return call();
  } catch (error) {
    const isMeant = [ConfigError, Denied, Fatal, RetryLater].some((type) => error instanceof type);
    if (!isMeant) trace(error);
    const said = isMeant ? error.message : String(error);
    throw { payload: payload(text(said), error) };
  }
}

/** Leaves an error that nobody meant in the log, line by line. */
function trace(error) {
  log("warn", String(error));
  for (const line of String(error?.stack ?? "").split("\n")) if (line.trim()) log("warn", line);
}

function ids(columns) {
  // One column may stand in two addresses, or twice in the list.
  return [...new Set(columns.flatMap((column) => column.ids))];
}
