// Counts rows from batch to batch, over restarts.

import * as columns from "../sdk/columns";
import { Config, Level, Manifest, gauge, log, refuse, rows } from "../sdk/sluice";

let layout: u32 = 1;
let counted: u32 = 0;
let wrong = false;

export function init(config: Config, manifest: Manifest): string | null {
  while (config.next()) {
    if (config.key == "wrong") wrong = config.value == "true";
    else if (config.key == "layout") layout = <u32>config.integer();
    else return "what is `" + config.key + "`";
  }
  manifest.name = "stateful";
  manifest.version = "0.1.0";
  manifest.stateful = true;
  manifest.tickMs = 1000;
  manifest.reads = [columns.BYTES];
  return null;
}

export function process(): string | null {
  counted += rows();
  gauge("rows", counted);
  return null;
}

export function tick(nowMs: u64): void {
  if (wrong) refuse("a tick that fails is logged");
  else log(Level.INFO, `tick after ${counted} rows at ${nowMs}`);
}

export function snapshot(): Uint8Array {
  const data = new Uint8Array(8);
  store<u32>(data.dataStart, layout);
  store<u32>(data.dataStart, counted, 4);
  return data;
}

export function restore(data: Uint8Array): bool {
  if (data.length != 8 || load<u32>(data.dataStart) != 1) return false;
  counted = load<u32>(data.dataStart, 4);
  return true;
}
