package sluice

import (
	"strings"

	"sluice/internal/host"
)

// Batch is the batch that is being processed. Reading a column copies it into the plugin, so read it once.
//
// What the methods return is good until Process returns: its memory is used again for the next batch. (Words of
// texts are strings like any other.) It may be changed, and given back with a Set method. Reads see what this
// call of Process has written so far.
//
// No method returns an error: the first call that the collector refuses is remembered, and the batch fails with it when
// Process returns. A read that is refused answers zeros. See [Batch.Err].
type Batch struct {
	rows int
	err  error
	// Calls of Group so far: the collector knows the last grouping only.
	groupings int
}

// Addrs is an address column: the halves of every row's address, IPv4 as ::ffff:a.b.c.d.
type Addrs struct {
	Hi, Lo []uint64
}

// At returns the address of a row; netip.AddrFrom16(a.At(row)).Unmap() is the type of the standard library.
func (a Addrs) At(row int) (address [16]byte) {
	for i := range 8 {
		address[i] = byte(a.Hi[row] >> (56 - 8*i))
		address[8+i] = byte(a.Lo[row] >> (56 - 8*i))
	}
	return address
}

// Texts is a text column: row r holds Words[Codes[r]].
type Texts struct {
	Words []string
	Codes []uint32
}

// At returns the text of a row.
func (t Texts) At(row int) string {
	return t.Words[t.Codes[row]]
}

// Lists is a list column: row r holds Values[Offsets[r]:Offsets[r+1]].
type Lists struct {
	// Offsets are one more than rows, ascending from 0.
	Offsets []uint32
	Values  []uint32
}

// At returns the list of a row.
func (l Lists) At(row int) []uint32 {
	return l.Values[l.Offsets[row]:l.Offsets[row+1]]
}

// Rows returns how many rows there are: the length of every column.
func (b *Batch) Rows() int {
	return b.rows
}

// ID returns the number of the batch, unique within one run of the collector.
func (b *Batch) ID() uint64 {
	return host.ID()
}

// NowMs returns batch time in milliseconds since the Unix epoch: the only clock a plugin has.
func (b *Batch) NowMs() uint64 {
	return host.NowMs()
}

// Has reports whether some row may have the column; false too where the grant does not cover it.
func (b *Batch) Has(c Column) bool {
	low, high := c.numbers()
	return host.Has(uint32(low)) || low != high && host.Has(uint32(high))
}

// Err returns the first refusal since the last call of Err, and forgets it: who asks decides what becomes of the
// batch. A refusal that nobody asked for fails it.
func (b *Batch) Err() error {
	err := b.err
	b.err = nil
	return err
}

// U8s returns a one-byte column: a value for each row, zeros if no row has it.
func (b *Batch) U8s(c U8Column) []uint8 {
	host.U8s(uint32(c), host.Answer)
	return numbers[uint8](b, uint32(c))
}

// U16s returns a two-byte column: a value for each row, zeros if no row has it.
func (b *Batch) U16s(c U16Column) []uint16 {
	host.U16s(uint32(c), host.Answer)
	return numbers[uint16](b, uint32(c))
}

// U32s returns a four-byte column: a value for each row, zeros if no row has it.
func (b *Batch) U32s(c U32Column) []uint32 {
	host.U32s(uint32(c), host.Answer)
	return numbers[uint32](b, uint32(c))
}

// U64s returns an eight-byte column: a value for each row, zeros if no row has it.
func (b *Batch) U64s(c U64Column) []uint64 {
	host.U64s(uint32(c), host.Answer)
	return numbers[uint64](b, uint32(c))
}

// Addrs returns an address column, zeros if no row has it.
func (b *Batch) Addrs(c AddrColumn) Addrs {
	return Addrs{Hi: b.U64s(c.Hi()), Lo: b.U64s(c.Lo())}
}

// Texts returns a text column, of empty texts if no row has it.
func (b *Batch) Texts(c TextColumn) Texts {
	host.Texts(uint32(c), host.Answer)
	if b.refused(uint32(c)) {
		return Texts{Words: []string{""}, Codes: host.Make[uint32](b.rows)}
	}
	return Texts{Words: own(host.List[[2]uint32](4)), Codes: host.List[uint32](12)}
}

// Lists returns a list column, of empty lists if no row has it.
func (b *Batch) Lists(c ListColumn) Lists {
	host.U32Lists(uint32(c), host.Answer)
	if b.refused(uint32(c)) {
		return Lists{Offsets: host.Make[uint32](b.rows + 1)}
	}
	return Lists{Offsets: host.List[uint32](4), Values: host.List[uint32](12)}
}

// Bitmap returns a bitmap with none of the batch's rows.
func (b *Batch) Bitmap() Bitmap {
	return host.Make[uint32](words(b.rows))
}

// SetU8s replaces a one-byte column: a value for each row.
func (b *Batch) SetU8s(c U8Column, values []uint8) {
	data, length := host.Data(values)
	host.SetU8s(uint32(c), data, length, host.Answer)
	b.done(uint32(c))
}

// SetU16s replaces a two-byte column: a value for each row.
func (b *Batch) SetU16s(c U16Column, values []uint16) {
	data, length := host.Data(values)
	host.SetU16s(uint32(c), data, length, host.Answer)
	b.done(uint32(c))
}

// SetU32s replaces a four-byte column: a value for each row.
func (b *Batch) SetU32s(c U32Column, values []uint32) {
	data, length := host.Data(values)
	host.SetU32s(uint32(c), data, length, host.Answer)
	b.done(uint32(c))
}

// SetU64s replaces an eight-byte column: a value for each row.
func (b *Batch) SetU64s(c U64Column, values []uint64) {
	data, length := host.Data(values)
	host.SetU64s(uint32(c), data, length, host.Answer)
	b.done(uint32(c))
}

// SetAddrs replaces both halves of an address column.
func (b *Batch) SetAddrs(c AddrColumn, values Addrs) {
	b.SetU64s(c.Hi(), values.Hi)
	b.SetU64s(c.Lo(), values.Lo)
}

// SetTexts replaces a text column: a code for each row.
func (b *Batch) SetTexts(c TextColumn, values Texts) {
	texts, count := host.TextList(values.Words)
	data, length := host.Data(values.Codes)
	host.SetTexts(uint32(c), texts, count, data, length, host.Answer)
	b.done(uint32(c))
}

// SetLists replaces a list column.
func (b *Batch) SetLists(c ListColumn, values Lists) {
	offsets, count := host.Data(values.Offsets)
	data, length := host.Data(values.Values)
	host.SetU32Lists(uint32(c), offsets, count, data, length, host.Answer)
	b.done(uint32(c))
}

// Clear makes a column absent in every row. Needs the grant to write it.
func (b *Batch) Clear(c Column) {
	low, high := c.numbers()
	for column := low; column <= high; column++ {
		host.Clear(uint32(column), host.Answer)
		b.done(uint32(column))
	}
}

// Keep says which rows stay; the last call counts. Not called: all stay.
func (b *Batch) Keep(rows Bitmap) {
	data, length := host.Data(rows)
	host.Keep(data, length, host.Answer)
	b.done(0)
}

// Route says where each row goes: an index into names for each row; the last call counts.
func (b *Batch) Route(names []string, index []uint16) {
	texts, count := host.TextList(names)
	data, length := host.Data(index)
	host.Route(texts, count, data, length, host.Answer)
	b.done(0)
}

// numbers returns the column that the collector has just answered.
func numbers[T uint8 | uint16 | uint32 | uint64](b *Batch, column uint32) []T {
	if b.refused(column) {
		return host.Make[T](b.rows)
	}
	return host.List[T](4)
}

// refused reports whether a read has no answer. That no row has a column is no error.
func (b *Batch) refused(column uint32) bool {
	if host.Byte(0) == 0 {
		return false
	}
	if why := denied(column, 4); why.Reason != ErrAbsent {
		b.fail(why)
	}
	return true
}

// done remembers the refusal of a write.
func (b *Batch) done(column uint32) {
	if host.Byte(0) != 0 {
		b.fail(denied(column, 4))
	}
}

func (b *Batch) fail(why error) {
	if b.err == nil {
		b.err = why
	}
}

// own copies texts out of memory that is used again: strings are kept in maps, and must not change there.
func own(pairs [][2]uint32) []string {
	size := 0
	for _, pair := range pairs {
		size += int(pair[1])
	}
	var all strings.Builder
	all.Grow(size)
	for _, pair := range pairs {
		all.Write(host.At[byte](pair[0], pair[1]))
	}
	rest, words := all.String(), make([]string, len(pairs))
	for i, pair := range pairs {
		words[i], rest = rest[:pair[1]], rest[pair[1]:]
	}
	return words
}
