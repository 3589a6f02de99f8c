// What the compiler begins with: the exports of the component, on `init` and `process` of src/filter.ts. They have
// names that AssemblyScript can spell; `rename` in plugin.toml gives them those of the contract.

import { init, process } from "../src/filter";
import { cabi_realloc, giveColumns, giveText, release, reset } from "./abi";
import { Config, Manifest, takeFailure, takeRetry } from "./sluice";

export { cabi_realloc };

/** What an export returns: a `result<manifest, string>` or `result<_, failure>`. */
const AREA: usize = memory.data(48, 8);

export function stage_init(config: usize, length: usize): usize {
  reset();
  answerInit(String.UTF8.decodeUnsafe(config, length));
  release();
  return AREA;
}

function answerInit(json: string): void {
  const manifest = new Manifest();
  const message = init(new Config(json), manifest);
  const refused = takeFailure();
  const failure = message == null ? refused : message;
  takeRetry();
  memory.fill(AREA, 0, 48);
  if (failure != null) {
    store<u8>(AREA, 1);
    giveText(AREA + 4, failure);
    return;
  }
  giveText(AREA + 4, manifest.name);
  giveText(AREA + 12, manifest.version);
  giveColumns(AREA + 20, manifest.reads);
  giveColumns(AREA + 28, manifest.writes);
  store<u8>(AREA, u8(manifest.stateful), 36);
  store<u8>(AREA, u8(manifest.tickMs != 0), 40);
  store<u32>(AREA, manifest.tickMs, 44);
}

export function stage_process(): usize {
  reset();
  answerProcess();
  // Objects are collected here, where none is in use but what globals hold.
  release();
  return AREA;
}

function answerProcess(): void {
  const message = process();
  const refused = takeFailure();
  const retry = takeRetry();
  const failure = refused == null ? message : refused;
  store<u8>(AREA, u8(failure != null));
  if (failure == null) return;
  store<u8>(AREA, u8(!(retry && refused == null)), 4);
  giveText(AREA + 8, failure);
}
