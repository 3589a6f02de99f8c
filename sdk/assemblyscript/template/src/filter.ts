// Keeps TCP flows to port 443 of more than `min_bytes` bytes, and writes the customer into them.

import * as columns from "../sdk/columns";
import { Config, Manifest, count, keep, rows, setU32s, u16s, u64s, u8s, zeros } from "../sdk/sluice";

let customerId: u32 = 0;
let minBytes: u64 = 0;

/** Null, or what is wrong with the configuration. */
export function init(config: Config, manifest: Manifest): string | null {
  customerId = 0;
  minBytes = 10000;
  while (config.next()) {
    if (config.key == "customer_id") {
      if (!config.isInteger(1, u32.MAX_VALUE)) return `customer_id must be a number from 1 to ${u32.MAX_VALUE}`;
      customerId = <u32>config.integer();
    } else if (config.key == "min_bytes") {
      if (!config.isInteger()) return "min_bytes must be a number, 0 or more";
      minBytes = config.integer();
    } else {
      return "unknown key `" + config.key + "`, expected `customer_id` or `min_bytes`";
    }
  }
  if (customerId == 0) return "customer_id is missing: add config = { customer_id = 7 } to the stage";

  manifest.name = "tenant-filter";
  manifest.version = "0.1.0";
  manifest.reads = [columns.PROTO, columns.DST_PORT, columns.BYTES];
  manifest.writes = [columns.CUSTOMER_ID];
  return null;
}

/** Null, or why the batch was not processed. */
export function process(): string | null {
  const proto = u8s(columns.PROTO);
  const dstPort = u16s(columns.DST_PORT);
  const bytes = u64s(columns.BYTES);
  const stays = zeros<bool>();

  // `unchecked`: all four have one value a row. `&` takes no branch, `&&` one or two.
  for (let row = 0, end = rows(); row < end; row++) {
    const wanted = u32(unchecked(proto[row]) == 6) & u32(unchecked(dstPort[row]) == 443) & u32(unchecked(bytes[row]) > minBytes);
    unchecked((stays[row] = <bool>wanted));
  }
  count("kept", keep(stays));
  // Rows that are dropped get the customer too: it is less work than to leave them out.
  setU32s(columns.CUSTOMER_ID, zeros<u32>().fill(customerId));
  return null;
}
