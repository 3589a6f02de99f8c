// Counts rows over batches, in a state that is saved: the SDK's own test of packages state and timer.
package main

import (
	"encoding/binary"
	"errors"

	"sluice"
	"sluice/state"
	"sluice/timer"
)

const version = 1

type counter struct{ rows, ticks uint64 }

func init() {
	c := &counter{}
	sluice.Register(c)
	state.Register(c)
	timer.Register(c)
}

func main() {}

func (c *counter) Init(config []byte) (sluice.Manifest, error) {
	return sluice.Manifest{Name: "counter", Version: "0.1.0", TickMs: 10}, sluice.ParseConfig(config).Err()
}

func (c *counter) Process(b *sluice.Batch) error {
	c.rows += uint64(b.Rows())
	sluice.Gauge("rows", float64(c.rows))
	return nil
}

func (c *counter) Tick(nowMs uint64) {
	c.ticks++
	sluice.Gauge("ticks", float64(c.ticks))
	sluice.Gauge("now_ms", float64(nowMs))
}

func (c *counter) Snapshot() []byte {
	return binary.LittleEndian.AppendUint64([]byte{version}, c.rows)
}

func (c *counter) Restore(data []byte) (bool, error) {
	if len(data) == 0 || data[0] != version {
		return false, nil
	}
	if len(data) != 9 {
		return false, errors.New("the state of the counter is cut off")
	}
	c.rows = binary.LittleEndian.Uint64(data[1:])
	return true, nil
}
