package sluice

import (
	"strconv"

	"sluice/internal/host"
)

// Column is a column of a batch: one of the types below. The constants of this package are the standard ones;
// an operator's own columns have a name only, see [ColumnOf].
type Column interface {
	// numbers returns the first and the last of the columns that it stands for.
	numbers() (first, last uint16)
}

type (
	// U8Column holds one byte a row.
	U8Column uint16
	// U16Column holds two bytes a row.
	U16Column uint16
	// U32Column holds four bytes a row.
	U32Column uint16
	// U64Column holds eight bytes a row.
	U64Column uint16
	// TextColumn holds a text a row, as a code and the words of the batch.
	TextColumn uint16
	// ListColumn holds a list of 32-bit numbers a row.
	ListColumn uint16
	// AddrColumn is a pair of columns: the high half of an address and, in the next column, the low half.
	AddrColumn uint16
)

func (c U8Column) numbers() (first, last uint16)   { return uint16(c), uint16(c) }
func (c U16Column) numbers() (first, last uint16)  { return uint16(c), uint16(c) }
func (c U32Column) numbers() (first, last uint16)  { return uint16(c), uint16(c) }
func (c U64Column) numbers() (first, last uint16)  { return uint16(c), uint16(c) }
func (c TextColumn) numbers() (first, last uint16) { return uint16(c), uint16(c) }
func (c ListColumn) numbers() (first, last uint16) { return uint16(c), uint16(c) }
func (c AddrColumn) numbers() (first, last uint16) { return uint16(c), uint16(c) + 1 }

// Hi is the column of the high halves.
func (c AddrColumn) Hi() U64Column { return U64Column(c) }

// Lo is the column of the low halves.
func (c AddrColumn) Lo() U64Column { return U64Column(c) + 1 }

// ColumnOf returns the number of the column called name, e.g. of an operator's own; convert it to the type of
// what the column holds: sluice.U32Column(number). Half of an address is called src_addr_hi or src_addr_lo.
func ColumnOf(name string) (number uint16, ok bool) {
	host.ColumnOf(host.Valid(name), host.Answer)
	return uint16(host.Word(0) >> 16), host.Byte(0) != 0
}

func first(c Column) uint32 {
	number, _ := c.numbers()
	return uint32(number)
}

// nameOf returns the name of a column for people.
func nameOf(number uint16) string {
	if int(number) < len(names) && names[number] != "" {
		return "column `" + names[number] + "`"
	}
	return "column " + strconv.Itoa(int(number))
}
