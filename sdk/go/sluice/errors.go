package sluice

import (
	"errors"
	"strconv"

	"sluice/internal/host"
)

// Why the collector refused a call. For errors.Is; the error itself is a [Denied].
var (
	// ErrNoBatch: there is no batch outside of Process.
	ErrNoBatch = errors.New("there is no batch outside of Process")
	// ErrNotGranted: the grant of the stage does not cover the column, for reading or for writing.
	ErrNotGranted = errors.New("the stage's grant does not cover it")
	// ErrWrongWidth: the column holds something else, see [Denied.Width].
	ErrWrongWidth = errors.New("it holds something else")
	// ErrAbsent: no row has the column. Readers of this package answer zeros instead.
	ErrAbsent = errors.New("no row has it")
	// ErrWrongLength: the list has another length than the batch wants, see [Denied.Length].
	ErrWrongLength = errors.New("the list has another length than the batch")
	// ErrOutOfRange: a code is beyond the words, an index beyond the names, offsets do not ascend, or there are
	// more words or names than a batch may have.
	ErrOutOfRange = errors.New("a value is out of range")
)

// Width is what a column holds.
type Width uint8

// The widths.
const (
	W8 Width = iota
	W16
	W32
	W64
	WText
	WLists
)

// String returns what the operator calls it.
func (w Width) String() string {
	names := [...]string{"u8", "u16", "u32", "u64", "text", "lists"}
	if int(w) < len(names) {
		return names[w]
	}
	return "something unknown"
}

// Denied is a call that the collector refused. A refused call changed nothing.
type Denied struct {
	// Column is the number of the column, 0 if the call was about none.
	Column uint16
	// Reason is one of the errors above.
	Reason error
	// Width is what the column holds, with ErrWrongWidth.
	Width Width
	// Length is what the batch wants, with ErrWrongLength.
	Length int
}

// Error says which column and why.
func (d *Denied) Error() string {
	text := d.Reason.Error()
	switch d.Reason {
	case ErrWrongWidth:
		text = "it holds " + d.Width.String()
	case ErrWrongLength:
		text = "the batch wants a length of " + strconv.Itoa(d.Length)
	}
	if d.Column == 0 {
		return text
	}
	return nameOf(d.Column) + ": " + text
}

// Unwrap returns the reason, for errors.Is.
func (d *Denied) Unwrap() error { return d.Reason }

// denied reads a refusal from the collector's answer.
func denied(column uint32, offset uintptr) *Denied {
	reasons := [...]error{ErrNoBatch, ErrNotGranted, ErrWrongWidth, ErrAbsent, ErrWrongLength, ErrOutOfRange}
	d := &Denied{Column: uint16(column), Reason: reasons[host.Byte(offset)]}
	switch d.Reason {
	case ErrWrongWidth:
		d.Width = Width(host.Byte(offset + 4))
	case ErrWrongLength:
		d.Length = int(host.Word(offset + 4))
	}
	return d
}

// RetryLater wraps an error of Process so that the collector gives the same batch again. Any other error is for good:
// on_error of the stage decides about the rows.
func RetryLater(err error) error {
	return retryLater{err}
}

type retryLater struct{ error }

func (r retryLater) Unwrap() error { return r.error }
