package sluice

import (
	"errors"
	"fmt"

	"sluice/internal/host"
)

// Level is how much a log line matters.
type Level uint32

// The levels.
const (
	// LevelError: a person is needed.
	LevelError Level = iota
	// LevelWarn: something is wrong and the plugin goes on.
	LevelWarn
	// LevelInfo: worth knowing.
	LevelInfo
	// LevelDebug: for the plugin's author.
	LevelDebug
)

// Log writes one line to the collector's log, with the stage's name; cut after 4096 bytes, rate-limited per stage.
func Log(level Level, line string) {
	host.Log(uint32(level), host.Valid(line))
}

// Logf is Log with a format of package fmt, which makes the component larger by a third of a megabyte.
func Logf(level Level, format string, args ...any) {
	Log(level, fmt.Sprintf(format, args...))
}

// Count adds to a counter of the plugin's own, published with the stage's name: at most 64 names per stage, of at most
// 64 bytes, lower case, digits and _; others are ignored.
func Count(name string, add uint32) {
	host.Count(host.Valid(name), add)
}

// Gauge sets a gauge of the plugin's own. Names as of Count.
func Gauge(name string, value float64) {
	host.Gauge(host.Valid(name), value)
}

// Alert is something that a person or another program should know.
type Alert struct {
	// Kind is what it is, from a closed set, e.g. dos-raised.
	Kind string
	// Severity is 0 emergency to 7 debug, as in syslog (RFC 5424, section 6.2.1).
	Severity uint8
	// Subject is what it is about, e.g. an address.
	Subject string
	// Value is what was measured.
	Value float64
	// Threshold is what it was compared with.
	Threshold float64
	// Note is for people, with the unit.
	Note string
}

// Emit raises the alert. Those of a Process that fails are not raised; rate-limited per stage.
func (a Alert) Emit() {
	host.Emit(host.Valid(a.Kind), uint32(a.Severity), host.Valid(a.Subject), a.Value, a.Threshold, host.Valid(a.Note))
}

// Asset returns a file that the TOML names, as it was when the stage was loaded.
func Asset(name string) ([]byte, error) {
	host.AssetRead(host.Valid(name), host.Answer)
	if host.Byte(0) != 0 {
		return nil, errors.New(host.Text(4))
	}
	return host.Own(host.List[byte](4)), nil
}

// Table is a prefix or MMDB table, or one of values, that the collector owns. A lookup gives a code for each row; 0 means that nothing
// matched. Codes are those of one generation.
type Table struct{ handle uint32 }

// OpenTable opens a table by its name in the TOML.
func OpenTable(name string) (*Table, error) {
	host.TableOpen(host.Valid(name), host.Answer)
	if host.Byte(0) != 0 {
		return nil, errors.New(host.Text(4))
	}
	return &Table{host.Word(4)}, nil
}

// Lookup returns the codes of the longest prefixes that cover the addresses of an address column of the batch:
// a code for each row, zeros if no row has the column.
func (t *Table) Lookup(b *Batch, c AddrColumn) []uint32 {
	host.TableLookupColumns(t.handle, uint32(c.Hi()), uint32(c.Lo()), host.Answer)
	return numbers[uint32](b, uint32(c))
}

// LookupNumber returns the codes for a column of numbers, of any width, in a table of values: a code for each row.
func (t *Table) LookupNumber(b *Batch, number Column) []uint32 {
	return t.lookupKey(b, 0, number)
}

// LookupNumbers returns the codes for two columns of numbers, in a table of values: a code for each row.
func (t *Table) LookupNumbers(b *Batch, first, second Column) []uint32 {
	hi, _ := first.numbers()
	return t.lookupKey(b, hi, second)
}

// LookupAddressed returns the codes for an address column and a number, e.g. an exporter and the index of one of its
// interfaces, in a table of values: a code for each row.
func (t *Table) LookupAddressed(b *Batch, c AddrColumn, number Column) []uint32 {
	return t.lookupKey(b, uint16(c.Hi()), number)
}

func (t *Table) lookupKey(b *Batch, hi uint16, number Column) []uint32 {
	lo, _ := number.numbers()
	host.TableLookupColumns(t.handle, uint32(hi), uint32(lo), host.Answer)
	return numbers[uint32](b, uint32(lo))
}

// By is what rows are looked up by in [Table.LookupInto].
type By struct{ hi, lo uint16 }

// ByAddr is an address.
func ByAddr(c AddrColumn) By {
	return By{uint16(c.Hi()), uint16(c.Lo())}
}

// ByNumber is a number of any width, in a table of values.
func ByNumber(number Column) By {
	_, lo := number.numbers()
	return By{0, lo}
}

// ByNumbers are two numbers, in a table of values.
func ByNumbers(first, second Column) By {
	hi, _ := first.numbers()
	_, lo := second.numbers()
	return By{hi, lo}
}

// ByAddressed is an address and a number, e.g. an exporter and the index of one of its interfaces, in a table of values.
func ByAddressed(c AddrColumn, number Column) By {
	_, lo := number.numbers()
	return By{uint16(c.Hi()), lo}
}

// Others says what becomes of rows that [Table.LookupInto] has nothing to write into: those without a match, those that are not chosen,
// and those whose value is no number that the column has room for.
type Others bool

const (
	// BlankOthers become 0 or empty.
	BlankOthers Others = false
	// KeepOthers stay as they are.
	KeepOthers Others = true
)

// LookupInto writes what the table says of each row, or with only, which may be nil, of those chosen, into a column of texts, or of
// numbers: decimal digits, with AS before them or not. No row crosses: this is the fast way to enrich. It reports whether any
// row has the key; if none has, nothing is written.
func (t *Table) LookupInto(b *Batch, by By, into Column, only Bitmap, others Others) bool {
	data, length := host.Data(only)
	host.TableLookupInto(
		t.handle, uint32(by.hi), uint32(by.lo), first(into), only != nil, data, length, bool(others), host.Answer)
	return !b.refused(first(into))
}

// LookupAddrs returns the codes for addresses that are in no column, or, in a table of values, for keys in two numbers:
// a number is (0, n). The result is good until Process returns.
func (t *Table) LookupAddrs(a Addrs) []uint32 {
	hi, hiLength := host.Data(a.Hi)
	lo, loLength := host.Data(a.Lo)
	host.TableLookup(t.handle, hi, hiLength, lo, loLength, host.Answer)
	return host.List[uint32](0)
}

// Value returns the value of a code; none for 0 and for codes of another generation. Keep it: it is a call and a text.
func (t *Table) Value(code uint32) (value string, ok bool) {
	host.TableValue(t.handle, code, host.Answer)
	if host.Byte(0) == 0 {
		return "", false
	}
	return host.Text(4), true
}

// Codes returns one more than the highest code.
func (t *Table) Codes() int {
	return int(host.TableCodes(t.handle))
}

// Generation changes whenever the table was exchanged: codes learned before are void. It does not change within one
// call of Process.
func (t *Table) Generation() uint64 {
	return host.TableGeneration(t.handle)
}

// Close gives the table back. A plugin may have 64 tables and keys open.
func (t *Table) Close() {
	host.TableClose(t.handle)
}

// Key is a key that the collector owns. It never enters the plugin.
type Key struct{ handle uint32 }

// OpenKey opens a key by its name in the TOML.
func OpenKey(name string) (*Key, error) {
	host.KeyOpen(host.Valid(name), host.Answer)
	if host.Byte(0) != 0 {
		return nil, errors.New(host.Text(4))
	}
	return &Key{host.Word(4)}, nil
}

// PrefixPreserving replaces an address column by its prefix-preserving anonymisation (Crypto-PAn); IPv4 stays IPv4,
// absent addresses stay absent. Needs the grants to read and to write both halves.
func (k *Key) PrefixPreserving(b *Batch, c AddrColumn) {
	host.KeyPrefixPreserving(k.handle, uint32(c.Hi()), uint32(c.Lo()), host.Answer)
	b.changed(c)
}

// KeyedHash replaces an address column by the first bits of a keyed hash (HMAC-SHA-256): 32 for IPv4, which stays IPv4,
// 128 for IPv6. Absent addresses stay absent.
func (k *Key) KeyedHash(b *Batch, c AddrColumn) {
	host.KeyKeyedHash(k.handle, uint32(c.Hi()), uint32(c.Lo()), host.Answer)
	b.changed(c)
}

// PRF returns a pseudo-random function of each pair: 64 bits of HMAC-SHA-256 over its 16 big-endian bytes. The result
// is good until Process returns.
func (k *Key) PRF(a Addrs) []uint64 {
	hi, hiLength := host.Data(a.Hi)
	lo, loLength := host.Data(a.Lo)
	host.KeyPrf(k.handle, hi, hiLength, lo, loLength, host.Answer)
	return host.List[uint64](0)
}

// Close gives the key back.
func (k *Key) Close() {
	host.KeyClose(k.handle)
}

// changed remembers a refusal, but not that there was nothing to change.
func (b *Batch) changed(c AddrColumn) {
	b.refused(uint32(c))
}
