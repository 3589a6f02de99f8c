//go:build !wasm

package host

import "unsafe"

// Outside of a component there is no collector to call: what needs none can be tested natively, the rest with
// `sluice plugin test`.
func absent() {
	panic("sluice: this calls the collector, which is there only in a component: use `sluice plugin test`")
}

// Alloc is for what goes to the collector, Own for what comes from it.
func Alloc(uintptr) unsafe.Pointer { absent(); return nil }

func Own([]byte) []byte { absent(); return nil }

func ColumnOf(string, unsafe.Pointer)                                                    { absent() }
func Rows() uint32                                                                       { absent(); return 0 }
func ID() uint64                                                                         { absent(); return 0 }
func NowMs() uint64                                                                      { absent(); return 0 }
func Has(uint32) bool                                                                    { absent(); return false }
func U8s(uint32, unsafe.Pointer)                                                         { absent() }
func U16s(uint32, unsafe.Pointer)                                                        { absent() }
func U32s(uint32, unsafe.Pointer)                                                        { absent() }
func U64s(uint32, unsafe.Pointer)                                                        { absent() }
func Texts(uint32, unsafe.Pointer)                                                       { absent() }
func U32Lists(uint32, unsafe.Pointer)                                                    { absent() }
func SetU8s(uint32, unsafe.Pointer, uint32, unsafe.Pointer)                              { absent() }
func SetU16s(uint32, unsafe.Pointer, uint32, unsafe.Pointer)                             { absent() }
func SetU32s(uint32, unsafe.Pointer, uint32, unsafe.Pointer)                             { absent() }
func SetU64s(uint32, unsafe.Pointer, uint32, unsafe.Pointer)                             { absent() }
func SetTexts(uint32, unsafe.Pointer, uint32, unsafe.Pointer, uint32, unsafe.Pointer)    { absent() }
func SetU32Lists(uint32, unsafe.Pointer, uint32, unsafe.Pointer, uint32, unsafe.Pointer) { absent() }
func Clear(uint32, unsafe.Pointer)                                                       { absent() }
func Keep(unsafe.Pointer, uint32, unsafe.Pointer)                                        { absent() }
func Route(unsafe.Pointer, uint32, unsafe.Pointer, uint32, unsafe.Pointer)               { absent() }
func Test(uint32, uint32, uint64, unsafe.Pointer)                                        { absent() }
func TestAll(unsafe.Pointer, uint32, unsafe.Pointer)                                     { absent() }
func TestIn(uint32, unsafe.Pointer, uint32, unsafe.Pointer)                              { absent() }
func TestPrefix(uint32, uint32, uint64, uint64, uint32, unsafe.Pointer)                  { absent() }
func FillU32(uint32, unsafe.Pointer, uint32, uint32, unsafe.Pointer)                     { absent() }
func Fill(uint32, unsafe.Pointer, uint32, uint64, unsafe.Pointer)                        { absent() }
func Truncate(uint32, uint32, uint32, uint32, unsafe.Pointer)                            { absent() }
func Sum(uint32, unsafe.Pointer, uint32, unsafe.Pointer)                                 { absent() }
func Group(unsafe.Pointer, uint32, bool, unsafe.Pointer, uint32, unsafe.Pointer)         { absent() }
func GroupOfRows(unsafe.Pointer)                                                         { absent() }
func GroupCounts(bool, unsafe.Pointer, uint32, unsafe.Pointer)                           { absent() }
func GroupSums(uint32, bool, uint32, bool, unsafe.Pointer, uint32, unsafe.Pointer)       { absent() }
func KeepGroups(unsafe.Pointer, uint32, unsafe.Pointer)                                  { absent() }
func RouteGroups(unsafe.Pointer, uint32, unsafe.Pointer, uint32, unsafe.Pointer)         { absent() }
func NumbersAt(uint32, unsafe.Pointer, uint32, unsafe.Pointer)                           { absent() }
func TextsAt(uint32, unsafe.Pointer, uint32, unsafe.Pointer)                             { absent() }
func Log(uint32, string)                                                                 { absent() }
func Count(string, uint32)                                                               { absent() }
func Gauge(string, float64)                                                              { absent() }
func Emit(string, uint32, string, float64, float64, string)                              { absent() }
func TableOpen(string, unsafe.Pointer)                                                   { absent() }
func TableLookup(uint32, unsafe.Pointer, uint32, unsafe.Pointer, uint32, unsafe.Pointer) { absent() }
func TableLookupColumns(uint32, uint32, uint32, unsafe.Pointer)                          { absent() }
func TableLookupInto(uint32, uint32, uint32, uint32, bool, unsafe.Pointer, uint32, bool, unsafe.Pointer) {
	absent()
}
func TableValue(uint32, uint32, unsafe.Pointer)                                     { absent() }
func TableCodes(uint32) uint32                                                      { absent(); return 0 }
func TableGeneration(uint32) uint64                                                 { absent(); return 0 }
func TableClose(uint32)                                                             { absent() }
func KeyOpen(string, unsafe.Pointer)                                                { absent() }
func KeyPrefixPreserving(uint32, uint32, uint32, unsafe.Pointer)                    { absent() }
func KeyKeyedHash(uint32, uint32, uint32, unsafe.Pointer)                           { absent() }
func KeyPrf(uint32, unsafe.Pointer, uint32, unsafe.Pointer, uint32, unsafe.Pointer) { absent() }
func KeyClose(uint32)                                                               { absent() }
func AssetRead(string, unsafe.Pointer)                                              { absent() }
