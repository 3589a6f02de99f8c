package sluice

import (
	"errors"

	"sluice/internal/host"
)

// ErrRegrouped: [Batch.Group] was called again, and the collector knows the last grouping only.
var ErrRegrouped = errors.New("the batch has been grouped again since")

// Groups are the rows of a batch by what they have in common, numbered from 0 by their first rows. Rows that were left out
// are one group more, the rest, after the last. They are good until the next call of [Batch.Group], and until Process
// returns. What is written to the batch changes no group.
//
// A grouping that is refused has all rows in one group, so that nothing has to be checked; what is asked of it then, and
// what it is told, fails the batch for the same reason.
type Groups struct {
	batch   *Batch
	number  int
	firsts  []uint32
	hasRest bool
	refusal error
}

// Group sorts the rows into groups: those of one group have the same in each of up to 8 columns, numbers or texts; an
// address is two of them. An absent column holds zeros or empty texts. With only, which may be nil, the rows that are not
// chosen are the rest. The rows themselves stay in the collector.
func (b *Batch) Group(columns []Column, only Bitmap) *Groups {
	b.groupings++
	g := &Groups{batch: b, number: b.groupings, hasRest: only != nil}
	if g.refusal = group(columns, only); g.refusal != nil {
		b.fail(g.refusal)
		g.firsts = host.Make[uint32](min(b.rows, 1))
		return g
	}
	g.firsts = host.List[uint32](4)
	return g
}

func group(columns []Column, only Bitmap) error {
	why := groupBy(columns, only)
	if why == nil {
		return nil
	}
	// The answer does not say which of the columns it is about.
	for _, c := range columns {
		if why := groupBy([]Column{c}, nil); why != nil {
			why.Column = uint16(first(c))
			return why
		}
	}
	return why
}

func groupBy(columns []Column, only Bitmap) *Denied {
	numbers := host.Make[uint16](2 * len(columns))[:0]
	for _, c := range columns {
		low, high := c.numbers()
		for column := low; column <= high; column++ {
			numbers = append(numbers, column)
		}
	}
	of, count := host.Data(numbers)
	data, length := host.Data(only)
	host.Group(of, count, only != nil, data, length, host.Answer)
	if host.Byte(0) != 0 {
		return denied(0, 4)
	}
	return nil
}

// Firsts returns the first row of each group, ascending; the rest has none here.
func (g *Groups) Firsts() []uint32 {
	return g.firsts
}

// Count returns how many groups there are, with the rest.
func (g *Groups) Count() int {
	if g.hasRest {
		return len(g.firsts) + 1
	}
	return len(g.firsts)
}

// Bitmap returns a bitmap with none of the groups, for Keep.
func (g *Groups) Bitmap() Bitmap {
	return host.Make[uint32](words(g.Count()))
}

// OfRows returns the group of each row.
func (g *Groups) OfRows() []uint32 {
	if g.isCurrent() {
		host.GroupOfRows(host.Answer)
		if !g.batch.refused(0) {
			return host.List[uint32](4)
		}
	}
	return host.Make[uint32](g.batch.rows)
}

// Counts returns how many rows each group has, or with only, which may be nil, how many of those that are chosen.
func (g *Groups) Counts(only Bitmap) []uint32 {
	if g.isCurrent() {
		data, length := host.Data(only)
		host.GroupCounts(only != nil, data, length, host.Answer)
		if !g.batch.refused(0) {
			return host.List[uint32](4)
		}
	}
	return host.Make[uint32](g.Count())
}

// Sums returns the sum of a column of numbers over each group, or with only, which may be nil, over those of its rows that
// are chosen. With times, which may be nil, such as the sampling rate, each number is first multiplied by the one in that
// column. A sum stays at 2^64-1 when it would pass it.
func (g *Groups) Sums(c, times Column, only Bitmap) []uint64 {
	if g.isCurrent() {
		var factor uint32
		if times != nil {
			factor = first(times)
		}
		data, length := host.Data(only)
		host.GroupSums(first(c), times != nil, factor, only != nil, data, length, host.Answer)
		if host.Byte(0) == 0 {
			return host.List[uint64](4)
		}
		g.batch.fail(g.ofWhich(c, times))
	}
	return host.Make[uint64](g.Count())
}

// ofWhich reads the refusal of Sums, which does not say which of the columns it is about.
func (g *Groups) ofWhich(c, times Column) *Denied {
	why := denied(first(c), 4)
	if times == nil || why.Reason == ErrWrongLength {
		return why
	}
	host.GroupSums(first(c), false, 0, false, nil, 0, host.Answer)
	if host.Byte(0) == 0 {
		why.Column = uint16(first(times))
	}
	return why
}

// Numbers returns what the first row of each group has in a column of numbers: of one that the rows were grouped by, what
// all rows of the group have. There is none for the rest.
func (g *Groups) Numbers(c Column) []uint64 {
	return g.batch.NumbersAt(c, g.firsts)
}

// Texts returns what the first row of each group has in a text column, as Numbers.
func (g *Groups) Texts(c TextColumn) []string {
	return g.batch.TextsAt(c, g.firsts)
}

// Keep says which groups stay, with all their rows: as [Batch.Keep].
func (g *Groups) Keep(groups Bitmap) {
	if g.isCurrent() {
		data, length := host.Data(groups)
		host.KeepGroups(data, length, host.Answer)
		g.batch.done(0)
	}
}

// Route says where the rows of each group go: an index into names for each group, the rest too, as [Batch.Route].
func (g *Groups) Route(names []string, index []uint16) {
	if g.isCurrent() {
		texts, count := host.TextList(names)
		data, length := host.Data(index)
		host.RouteGroups(texts, count, data, length, host.Answer)
		g.batch.done(0)
	}
}

// isCurrent reports whether the collector has this grouping; if not, the batch fails.
func (g *Groups) isCurrent() bool {
	switch {
	case g.refusal != nil:
		g.batch.fail(g.refusal)
	case g.number != g.batch.groupings:
		g.batch.fail(ErrRegrouped)
	default:
		return true
	}
	return false
}

// NumbersAt returns what some rows have in a column of numbers of any width, zeros if no row has it.
func (b *Batch) NumbersAt(c Column, rows []uint32) []uint64 {
	data, length := host.Data(rows)
	host.NumbersAt(first(c), data, length, host.Answer)
	if b.refused(first(c)) {
		return host.Make[uint64](len(rows))
	}
	return host.List[uint64](4)
}

// TextsAt returns what some rows have in a text column, empty texts if no row has it.
func (b *Batch) TextsAt(c TextColumn, rows []uint32) []string {
	data, length := host.Data(rows)
	host.TextsAt(uint32(c), data, length, host.Answer)
	if b.refused(uint32(c)) {
		return make([]string, len(rows))
	}
	return own(host.List[[2]uint32](4))
}
