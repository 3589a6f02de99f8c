// Keeps TCP flows to port 443 that are large enough, drops the rest, and says whose they are.

import { Plugin, columns as c, component, count } from "../sdk/sluice.js";

const TCP = 6;

class TenantFilter extends Plugin {
  name = "tenant-filter";
  version = "0.1.0";
  reads = [c.proto, c.dst_port, c.bytes];
  writes = [c.customer_id];

  /** @param {import("../sdk/sluice.js").Config} config */
  init(config) {
    config.expect("customer_id", "min_bytes");
    this.customerId = config.integer("customer_id", 1, 2 ** 32 - 1, { example: 7 });
    const minBytes = config.integer("min_bytes", 0, undefined, { default: 10_000 });
    this.wanted = c.proto.eq(TCP).and(c.dst_port.eq(443)).and(c.bytes.gt(minBytes));
  }

  /** @param {import("../sdk/sluice.js").Batch} batch */
  process(batch) {
    const keep = batch.where(this.wanted);
    count("kept", keep.count());
    batch.fill(c.customer_id, keep, this.customerId);
    batch.keep(keep);
  }
}

export const { stage } = component(TenantFilter);
