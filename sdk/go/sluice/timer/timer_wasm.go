package timer

import "sluice/internal/host"

//go:wasmexport sluice:plugin/timer@0.1.0#tick
func tick(nowMs uint64) {
	if registered != nil {
		registered.Tick(nowMs)
	}
	host.End()
}
