// A plugin with state: counts rows from batch to batch, over restarts.

import { Plugin, columns as c, component, decode, encode, gauge, info } from "../sdk/sluice.js";

class Stateful extends Plugin {
  name = "stateful";
  reads = [c.bytes];
  tickMs = 1000;
  rows = 0;

  init(config) {
    this.wrong = config.flag("wrong");
  }

  process(batch) {
    this.rows += batch.rows;
    gauge("rows", this.rows);
  }

  tick() {
    if (this.wrong) throw new Error("a tick that fails is logged");
    info(`tick after ${this.rows} rows`);
  }

  snapshot() {
    return encode(JSON.stringify({ version: 1, rows: this.rows, names: "Zürich" }));
  }

  restore(data) {
    const state = JSON.parse(decode(data));
    if (state.version !== 1) return false;
    this.rows = state.rows;
    return true;
  }
}

export const { stage, state, timer } = component(Stateful);
