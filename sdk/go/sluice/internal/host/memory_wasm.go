package host

import (
	"runtime"
	"runtime/debug"
	"unsafe"
)

const (
	// What the WASI adapter asks for before Go's runtime is up: its state and its stack, 64 KiB each.
	earlyBytes = 192 << 10
	// Words of the arena at the start. It grows to what a batch needs.
	firstWords = 8 << 10
	// Lists of more words than this are Go's own memory, so that one large file does not stay for good.
	largeWords = 128 << 10
	// Bytes of garbage that may pile up between two collections: as much as is in use, within these bounds.
	minGarbage, maxGarbage = 4 << 20, 16 << 20
	// Calls between two looks at the heap, which take 4 microseconds each, at most.
	maxCalls = 16
)

// The collector hands a list over by asking for memory in the middle of a call, where nothing may call out.
// Go's garbage collector reads the clock, which is a call out, and would end the instance there. So it never
// runs by itself, lists go to an arena that is used again for every batch, and End collects between batches.
var (
	early     [earlyBytes / 8]uint64
	earlyUsed uintptr

	arena   []uint64
	used    int // words of arena given out
	spilled int // words given out by arenas before this one, in this call

	isUp bool

	heap   runtime.MemStats
	full   uint64 = minGarbage // bytes of the heap at which to collect
	calls  uint64              // since the last look at the heap
	atLook uint64 = 1          // calls at which to look again
)

func init() {
	debug.SetGCPercent(-1)
	arena = make([]uint64, firstWords)
	isUp = true
}

// Alloc returns size bytes, aligned for any number, that are good until End. They are not cleared.
func Alloc(size uintptr) unsafe.Pointer {
	words := int((size + 7) / 8)
	if words > largeWords {
		return unsafe.Pointer(unsafe.SliceData(make([]uint64, words)))
	}
	if words >= len(arena)-used {
		spilled += used
		arena, used = make([]uint64, max(2*len(arena), words+1)), 0
	}
	at := unsafe.Pointer(&arena[used])
	used += words
	return at
}

// End ends a call of the collector: what Alloc gave is void, and garbage is collected if there is much of it.
func End() {
	if spilled > 0 {
		needed := spilled + used
		arena = make([]uint64, needed+needed/4) // the next batch may be a little larger
	}
	used, spilled = 0, 0
	if calls++; calls < atLook {
		return
	}
	before := heap.HeapAlloc
	runtime.ReadMemStats(&heap)
	growth := (heap.HeapAlloc - min(before, heap.HeapAlloc)) / calls
	if heap.HeapAlloc >= full {
		runtime.GC()
		runtime.ReadMemStats(&heap)
		full = heap.HeapAlloc + min(max(heap.HeapAlloc, minGarbage), maxGarbage)
	}
	// Half way to full, if the heap goes on growing like that.
	calls, atLook = 0, min(max((full-heap.HeapAlloc)/2/max(growth, 1), 1), 2*calls, maxCalls)
}

// Own returns bytes that the collector handed over as memory that stays.
func Own(handed []byte) []byte {
	if len(handed) > 8*largeWords {
		return handed // Alloc gave it memory of its own
	}
	return append([]byte(nil), handed...)
}

// The collector calls this for every list and text that it hands over, from within a function of it.
//
//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	if !isUp {
		at := unsafe.Pointer(&early[earlyUsed])
		earlyUsed += uintptr(size+7) / 8
		return at
	}
	at := Alloc(uintptr(size))
	if oldSize > 0 {
		copy(unsafe.Slice((*byte)(at), size), unsafe.Slice((*byte)(old), oldSize))
	}
	return at
}
