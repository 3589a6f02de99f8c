// Package timer is for plugins that want to be called between batches.
package timer

import "sluice/internal/host"

// Ticker is a plugin that is called now and then; how often is in TickMs of its manifest.
type Ticker interface {
	// Tick may log, count and raise alerts; there is no batch. nowMs is batch time, or the wall clock's when a live source
	// is idle, in milliseconds since the Unix epoch.
	Tick(nowMs uint64)
}

var registered Ticker

// Register makes the collector call Tick. Call it from an init function, beside sluice.Register.
func Register(t Ticker) {
	registered = t
	host.HasTimer = true
}
