// Package state is for plugins that keep something between batches: it survives a hot swap and an instance that was
// replaced, and a restart if the operator gives the stage a file for it.
package state

import "sluice/internal/host"

// Snapshotter is a plugin that can save its state.
type Snapshotter interface {
	// Snapshot returns the state as bytes, with a version of the plugin's own in it. The collector calls it between batches.
	Snapshot() []byte
	// Restore takes over a snapshot, perhaps of another version of the plugin. False: not understood, starting empty;
	// an error: the state is understood and wrong. Called after Init, before any batch. data is the plugin's to keep.
	Restore(data []byte) (understood bool, err error)
}

var registered Snapshotter

// Register makes the collector call Snapshot and Restore. Call it from an init function, beside sluice.Register.
func Register(s Snapshotter) {
	registered = s
	host.IsStateful = true
}
