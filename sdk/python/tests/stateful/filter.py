"""A plugin with state: counts rows from batch to batch, over restarts."""

import json

from sluice import Batch, Config, Plugin, export, gauge, info
from sluice import columns as c


@export
class Stateful(Plugin):
    name = "stateful"
    reads = [c.bytes]
    tick_ms = 1000

    def init(self, config: Config) -> None:
        self.rows = 0
        self.layout = config.integer("layout", 1, 2, default=1)
        self.wrong = config.flag("wrong")

    def process(self, batch: Batch) -> None:
        self.rows += batch.rows
        gauge("rows", self.rows)

    def tick(self, now_ms: int) -> None:
        if self.wrong:
            raise RuntimeError("a tick that fails is logged")
        info(f"tick after {self.rows} rows at {now_ms}")

    def snapshot(self) -> bytes:
        return json.dumps({"layout": self.layout, "rows": self.rows, "names": "Zürich"}).encode()

    def restore(self, data: bytes) -> bool:
        state = json.loads(data)
        if state["layout"] != 1:
            return False
        self.rows = state["rows"]
        return True
