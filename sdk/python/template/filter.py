"""Keeps TCP flows to port 443 that are large enough, drops the rest, and says whose they are."""

from sluice import Batch, Config, Plugin, count, export
from sluice import columns as c

TCP = 6


@export
class TenantFilter(Plugin):
    name = "tenant-filter"
    version = "0.1.0"
    reads = [c.proto, c.dst_port, c.bytes]
    writes = [c.customer_id]

    def init(self, config: Config) -> None:
        config.expect("customer_id", "min_bytes")
        self.customer_id = config.integer("customer_id", 1, 2**32 - 1, example=7)
        min_bytes = config.integer("min_bytes", 0, default=10_000)
        self.wanted = (c.proto == TCP) & (c.dst_port == 443) & (c.bytes > min_bytes)

    def process(self, batch: Batch) -> None:
        keep = batch.where(self.wanted)
        count("kept", keep.count())
        batch.fill(c.customer_id, keep, self.customer_id)
        batch.keep(keep)
