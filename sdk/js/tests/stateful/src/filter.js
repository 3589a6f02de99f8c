// A plugin with state: counts rows from batch to batch, over restarts.

import { Plugin, columns as c, component, decode, encode, gauge, info } from "../sdk/sluice.js";

class Stateful extends Plugin {
  name = "stateful";
  reads = [c.bytes];
  tickMs = 1000;
  rows = 0;

  init(config) {
    this.layout = config.integer("layout", 1, 2, { default: 1 });
    this.wrong = config.flag("wrong");
  }

  process(batch) {
    this.rows += batch.rows;
    gauge("rows", this.rows);
  }

  tick(nowMs) {
    if (this.wrong) throw new Error("a tick that fails is logged");
    info(`tick after ${this.rows} rows at ${nowMs}`);
  }

  snapshot() {
    return encode(JSON.stringify({ layout: this.layout, rows: this.rows, names: "Zürich" }));
  }

  restore(data) {
    const state = JSON.parse(decode(data));
    if (state.layout !== 1) return false;
    this.rows = state.rows;
    return true;
  }
}

export const { stage, state, timer } = component(Stateful);
