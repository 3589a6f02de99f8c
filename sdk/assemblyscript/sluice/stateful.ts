// The same for a plugin that keeps state: src/filter.ts also has `tick`, `snapshot` and `restore`. Begin with this
// file instead of plugin.ts, and give its three exports their names in plugin.toml too.

import { restore, snapshot, tick } from "../src/filter";
import { giveText, release, reset } from "./abi";
import { Level, log, takeFailure } from "./sluice";

export * from "./plugin";

/** What an export returns: the snapshot itself is kept until the collector has read it. */
const AREA: usize = memory.data(12, 4);
let kept: Uint8Array | null = null;

export function timer_tick(nowMs: u64): void {
  reset();
  tick(nowMs);
  complain("tick");
  release();
}

export function state_snapshot(): usize {
  reset();
  const data = snapshot();
  complain("snapshot");
  kept = data;
  store<usize>(AREA, data.dataStart);
  store<usize>(AREA, data.length, 4);
  return AREA;
}

export function state_restore(data: usize, length: usize): usize {
  reset();
  answerRestore(data, length);
  release();
  return AREA;
}

function answerRestore(data: usize, length: usize): void {
  const copy = new Uint8Array(<i32>length);
  memory.copy(copy.dataStart, data, length);
  const understood = restore(copy);
  const refused = takeFailure();
  store<u8>(AREA, u8(refused != null));
  if (refused != null) giveText(AREA + 4, refused);
  else store<u8>(AREA, u8(understood), 4);
}

/** These two cannot fail: what was refused goes into the log. */
function complain(call: string): void {
  const refused = takeFailure();
  if (refused != null) log(Level.ERROR, call + ": " + refused);
}
