// Package sluice is what a sluice plugin in Go uses.
//
// A plugin is a type with the methods of [Plugin], registered in an init function of package main:
//
//	func init() { sluice.Register(&filter{}) }
//
//	func main() {} // not called: a plugin has no beginning and no end
//
// State that outlives a restart needs package sluice/state, calls between batches need package sluice/timer.
//
// A component has one thread. Goroutines run while Init or Process waits for them, and not between calls.
package sluice

// Plugin is what the collector calls.
type Plugin interface {
	// Init is called once, before anything else. config is the stage's config table as JSON, see [ParseConfig]. An error is
	// a configuration error, shown to the operator as it is.
	Init(config []byte) (Manifest, error)
	// Process is called once per batch. What it writes, keeps, routes and alerts counts only if it returns nil.
	Process(b *Batch) error
}

// Manifest says what the plugin is and what it asks for. A request: the operator's grant decides.
type Manifest struct {
	// Name of the plugin.
	Name string
	// Version of the plugin.
	Version string
	// Reads are the columns that it reads.
	Reads []Column
	// Writes are the columns that it writes or clears.
	Writes []Column
	// Stateful says that the plugin keeps something between batches that is more than a cache: then it runs as one instance
	// unless the operator says otherwise. Set by itself with package sluice/state.
	Stateful bool
	// TickMs is how often Tick of package sluice/timer is wanted, in milliseconds. 0: never.
	TickMs uint32
}

var registered Plugin

// Register makes a plugin the one of this component. Call it from an init function.
func Register(p Plugin) {
	registered = p
}
