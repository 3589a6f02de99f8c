package state

import (
	"unsafe"

	"sluice/internal/host"
)

// What the results point to: it has to stay until the collector has read it.
var (
	taken   []byte
	message string
)

//go:wasmexport sluice:plugin/state@0.1.0#snapshot
func snapshot() unsafe.Pointer {
	taken = nil
	if registered != nil {
		taken = registered.Snapshot()
	}
	host.PutList(0, unsafe.Pointer(unsafe.SliceData(taken)), len(taken))
	host.End()
	return host.Result
}

//go:wasmexport sluice:plugin/state@0.1.0#restore
func restore(data unsafe.Pointer, length uint32) unsafe.Pointer {
	understood, err := false, error(nil)
	if registered != nil {
		understood, err = registered.Restore(host.Own(unsafe.Slice((*byte)(data), length)))
	}
	if err != nil {
		message = host.Valid(err.Error())
		host.PutByte(0, 1)
		host.PutList(4, unsafe.Pointer(unsafe.StringData(message)), len(message))
	} else {
		host.PutByte(0, 0)
		host.PutByte(4, 0)
		if understood {
			host.PutByte(4, 1)
		}
	}
	host.End()
	return host.Result
}
