// Keeps large TCP flows to port 443, and says whose they are.
package main

import "sluice"

const tcp, https = 6, 443

// filter is the plugin.
type filter struct {
	customerID uint32
	minBytes   uint64
	tags       []uint32 // customerID in every row, as many as the largest batch had
}

func init() { sluice.Register(&filter{}) }

func main() {} // not called: a plugin has no beginning and no end

// Init reads the stage's config table: { customer_id = 7, min_bytes = 10000 }.
func (f *filter) Init(config []byte) (sluice.Manifest, error) {
	c := sluice.ParseConfig(config)
	c.Require("customer_id", "add config = { customer_id = 7 } to the stage")
	f.customerID = uint32(c.Uint("customer_id", 1, 1<<32-1, 0))
	f.minBytes = c.Uint("min_bytes", 0, 1<<64-1, 10_000)
	return sluice.Manifest{
		Name:    "tenant-filter",
		Version: "0.1.0",
		Reads:   []sluice.Column{sluice.Proto, sluice.DstPort, sluice.Bytes},
		Writes:  []sluice.Column{sluice.CustomerID},
	}, c.Err()
}

// Process is called once per batch.
func (f *filter) Process(b *sluice.Batch) error {
	keep := b.Bitmap()
	choose(keep, b.U8s(sluice.Proto), b.U16s(sluice.DstPort), b.U64s(sluice.Bytes), f.minBytes)
	sluice.Count("kept", uint32(keep.Count()))
	for len(f.tags) < b.Rows() {
		f.tags = append(f.tags, f.customerID)
	}
	b.SetU32s(sluice.CustomerID, f.tags[:b.Rows()])
	b.Keep(keep)
	return nil
}

// choose sets the rows to keep. The columns are of one length; saying so in the first two lines spares the compiler a check
// in every row.
func choose(keep sluice.Bitmap, proto []uint8, port []uint16, bytes []uint64, minBytes uint64) {
	port = port[:len(proto)]
	bytes = bytes[:len(proto)]
	for word := range keep {
		first := word * 32
		last := min(first+32, len(proto))
		var chosen uint32
		for row := first; row < last; row++ {
			// `&` of bits, not `&&`: a branch that cannot be foreseen costs more than a comparison.
			holds := sluice.Bit(proto[row] == tcp) & sluice.Bit(port[row] == https) & sluice.Bit(bytes[row] > minBytes)
			chosen |= holds << (row & 31)
		}
		keep[word] = chosen
	}
}
