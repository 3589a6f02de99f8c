package sluice

import "sluice/internal/host"

// Cmp is how Test compares a value (left) with the given one (right), both unsigned.
type Cmp uint32

// The comparisons.
const (
	Eq Cmp = iota
	Ne
	Lt
	Le
	Gt
	Ge
)

// Test returns the rows whose number compares as asked. An absent column compares as zeros. This and the methods below
// run in the collector, for plugins in slow languages: a loop over a column in Go is as fast.
func (b *Batch) Test(c Column, op Cmp, value uint64) Bitmap {
	host.Test(first(c), uint32(op), value, host.Answer)
	return b.chosen(c)
}

// Comparison is a number of each row, and what it is compared with.
type Comparison struct {
	Column Column
	Op     Cmp
	Value  uint64
}

// TestAll returns the rows for which every one of up to 64 comparisons holds; without any, all rows.
func (b *Batch) TestAll(comparisons ...Comparison) Bitmap {
	// As the contract lays a comparison out.
	type wire struct {
		column uint16
		op     uint8
		_      [5]uint8
		value  uint64
	}
	of := host.Make[wire](len(comparisons))
	for i, c := range comparisons {
		of[i] = wire{column: uint16(first(c.Column)), op: uint8(c.Op), value: c.Value}
	}
	data, length := host.Data(of)
	host.TestAll(data, length, host.Answer)
	if host.Byte(0) == 0 {
		return host.List[uint32](4)
	}
	// The answer does not say which of the columns it is about.
	why := denied(0, 4)
	for _, c := range comparisons {
		b.Test(c.Column, c.Op, c.Value)
	}
	b.fail(why)
	return b.Bitmap()
}

// TestIn returns the rows whose number is one of values.
func (b *Batch) TestIn(c Column, values []uint64) Bitmap {
	data, length := host.Data(values)
	host.TestIn(first(c), data, length, host.Answer)
	return b.chosen(c)
}

// TestPrefix returns the rows whose address lies in a prefix. bits counts from the left of the 128, so an IPv4 prefix
// has 96 more than it is written with. A netip.Prefix p gives p.Addr().As16().
func (b *Batch) TestPrefix(c AddrColumn, prefix [16]byte, bits uint8) Bitmap {
	var hi, lo uint64
	for i := range 8 {
		hi, lo = hi<<8|uint64(prefix[i]), lo<<8|uint64(prefix[8+i])
	}
	host.TestPrefix(uint32(c.Hi()), uint32(c.Lo()), hi, lo, uint32(bits), host.Answer)
	return b.chosen(c)
}

// FillU32 sets a four-byte column to value in the rows chosen; elsewhere it stays as it is.
func (b *Batch) FillU32(c U32Column, rows Bitmap, value uint32) {
	data, length := host.Data(rows)
	host.FillU32(uint32(c), data, length, value, host.Answer)
	b.done(uint32(c))
}

// Fill sets a column of numbers to value in the rows chosen; elsewhere it stays as it is, and a column that no row has
// becomes one of zeros first.
func (b *Batch) Fill(c Column, rows Bitmap, value uint64) {
	data, length := host.Data(rows)
	host.Fill(first(c), data, length, value, host.Answer)
	b.done(first(c))
}

// Truncate zeroes the bits of each row's address after the first v4Bits, 0 to 32, of an IPv4 address, and after the first
// v6Bits, 0 to 128, of another, and returns the rows that have the one and the other; a row without an address is in
// neither. With 32 and 128 nothing is written, and the right to read is enough.
func (b *Batch) Truncate(c AddrColumn, v4Bits, v6Bits uint8) (v4, v6 Bitmap) {
	host.Truncate(uint32(c.Hi()), uint32(c.Lo()), uint32(v4Bits), uint32(v6Bits), host.Answer)
	if b.refused(first(c)) {
		return b.Bitmap(), b.Bitmap()
	}
	return host.List[uint32](4), host.List[uint32](12)
}

// Sum returns the sum of a column of numbers over the rows chosen; it stays at 2^64-1 when it would pass it.
func (b *Batch) Sum(c Column, rows Bitmap) uint64 {
	data, length := host.Data(rows)
	host.Sum(first(c), data, length, host.Answer)
	if host.Byte(0) == 0 {
		return host.Long(8)
	}
	if why := denied(first(c), 8); why.Reason != ErrAbsent {
		b.fail(why)
	}
	return 0
}

func (b *Batch) chosen(c Column) Bitmap {
	if b.refused(first(c)) {
		return b.Bitmap()
	}
	return host.List[uint32](4)
}
