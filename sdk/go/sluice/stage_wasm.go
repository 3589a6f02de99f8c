package sluice

import (
	"errors"
	"unsafe"

	"sluice/internal/host"
)

// What the results point to: it has to stay until the collector has read it.
var (
	manifest      Manifest
	reads, writes []uint16
	message       string
)

//go:wasmexport sluice:plugin/stage@0.1.0#init
func stageInit(config unsafe.Pointer, length uint32) unsafe.Pointer {
	err := initialise(append([]byte(nil), unsafe.Slice((*byte)(config), length)...))
	if err != nil {
		message = host.Valid(err.Error())
		host.PutByte(0, 1)
		putText(4, message)
	} else {
		host.PutByte(0, 0)
		putText(4, manifest.Name)
		putText(12, manifest.Version)
		host.PutList(20, unsafe.Pointer(unsafe.SliceData(reads)), len(reads))
		host.PutList(28, unsafe.Pointer(unsafe.SliceData(writes)), len(writes))
		host.PutByte(36, bit(manifest.Stateful))
		host.PutByte(40, bit(manifest.TickMs != 0))
		host.PutWord(44, manifest.TickMs)
	}
	host.End()
	return host.Result
}

func initialise(config []byte) (err error) {
	if registered == nil {
		return errors.New("the component has no plugin: call sluice.Register in an init function")
	}
	if manifest, err = registered.Init(config); err != nil {
		return err
	}
	if manifest.TickMs != 0 && !host.HasTimer {
		return errors.New("the manifest has TickMs, but nothing ticks: call timer.Register")
	}
	manifest.Name, manifest.Version = host.Valid(manifest.Name), host.Valid(manifest.Version)
	manifest.Stateful = manifest.Stateful || host.IsStateful
	reads, writes = flat(manifest.Reads), flat(manifest.Writes)
	return nil
}

//go:wasmexport sluice:plugin/stage@0.1.0#process
func stageProcess() unsafe.Pointer {
	batch := Batch{rows: int(host.Rows())}
	err := registered.Process(&batch)
	if err == nil {
		err = batch.err
	}
	host.PutByte(0, bit(err != nil))
	if err != nil {
		message = host.Valid(err.Error())
		host.PutByte(4, bit(!errors.As(err, new(retryLater))))
		putText(8, message)
	}
	host.End()
	return host.Result
}

// flat returns the numbers of columns, both of an address.
func flat(columns []Column) (all []uint16) {
	for _, column := range columns {
		low, high := column.numbers()
		for number := low; number <= high; number++ {
			all = append(all, number)
		}
	}
	return all
}

func putText(offset uintptr, text string) {
	host.PutList(offset, unsafe.Pointer(unsafe.StringData(text)), len(text))
}

func bit(is bool) uint8 {
	if is {
		return 1
	}
	return 0
}
