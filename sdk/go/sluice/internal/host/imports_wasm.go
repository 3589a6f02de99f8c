package host

import "unsafe"

// The functions of wit/ as a core module imports them: a list or text argument is an address and a length, an
// answer of more than one number is written to an address given last.

//go:wasmimport sluice:plugin/batch@0.1.0 column-of
func ColumnOf(name string, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/batch@0.1.0 rows
func Rows() uint32

//go:wasmimport sluice:plugin/batch@0.1.0 id
func ID() uint64

//go:wasmimport sluice:plugin/batch@0.1.0 now-ms
func NowMs() uint64

//go:wasmimport sluice:plugin/batch@0.1.0 has
func Has(column uint32) bool

//go:wasmimport sluice:plugin/batch@0.1.0 u8s
func U8s(column uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/batch@0.1.0 u16s
func U16s(column uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/batch@0.1.0 u32s
func U32s(column uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/batch@0.1.0 u64s
func U64s(column uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/batch@0.1.0 texts
func Texts(column uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/batch@0.1.0 u32-lists
func U32Lists(column uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/batch@0.1.0 set-u8s
func SetU8s(column uint32, values unsafe.Pointer, length uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/batch@0.1.0 set-u16s
func SetU16s(column uint32, values unsafe.Pointer, length uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/batch@0.1.0 set-u32s
func SetU32s(column uint32, values unsafe.Pointer, length uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/batch@0.1.0 set-u64s
func SetU64s(column uint32, values unsafe.Pointer, length uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/batch@0.1.0 set-texts
func SetTexts(column uint32, words unsafe.Pointer, wordCount uint32, codes unsafe.Pointer, length uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/batch@0.1.0 set-u32-lists
func SetU32Lists(column uint32, offsets unsafe.Pointer, offsetCount uint32, values unsafe.Pointer, length uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/batch@0.1.0 clear
func Clear(column uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/batch@0.1.0 keep
func Keep(bitmap unsafe.Pointer, length uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/batch@0.1.0 route
func Route(names unsafe.Pointer, nameCount uint32, index unsafe.Pointer, length uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/kernels@0.1.0 test
func Test(column, op uint32, value uint64, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/kernels@0.1.0 test-all
func TestAll(comparisons unsafe.Pointer, length uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/kernels@0.1.0 test-in
func TestIn(column uint32, values unsafe.Pointer, length uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/kernels@0.1.0 test-prefix
func TestPrefix(hi, lo uint32, hiValue, loValue uint64, bits uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/kernels@0.1.0 fill-u32
func FillU32(column uint32, bitmap unsafe.Pointer, length, value uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/kernels@0.1.0 fill
func Fill(column uint32, bitmap unsafe.Pointer, length uint32, value uint64, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/kernels@0.1.0 truncate
func Truncate(hi, lo, v4Bits, v6Bits uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/kernels@0.1.0 sum
func Sum(column uint32, bitmap unsafe.Pointer, length uint32, answer unsafe.Pointer)

// What may be left out is a flag before its value.

//go:wasmimport sluice:plugin/kernels@0.1.0 group
func Group(columns unsafe.Pointer, columnCount uint32, hasOnly bool, only unsafe.Pointer, length uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/kernels@0.1.0 group-of-rows
func GroupOfRows(answer unsafe.Pointer)

//go:wasmimport sluice:plugin/kernels@0.1.0 group-counts
func GroupCounts(hasOnly bool, only unsafe.Pointer, length uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/kernels@0.1.0 group-sums
func GroupSums(column uint32, hasTimes bool, times uint32, hasOnly bool, only unsafe.Pointer, length uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/kernels@0.1.0 keep-groups
func KeepGroups(bitmap unsafe.Pointer, length uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/kernels@0.1.0 route-groups
func RouteGroups(names unsafe.Pointer, nameCount uint32, index unsafe.Pointer, length uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/kernels@0.1.0 numbers-at
func NumbersAt(column uint32, rows unsafe.Pointer, length uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/kernels@0.1.0 texts-at
func TextsAt(column uint32, rows unsafe.Pointer, length uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/log@0.1.0 log
func Log(level uint32, message string)

//go:wasmimport sluice:plugin/metrics@0.1.0 count
func Count(name string, add uint32)

//go:wasmimport sluice:plugin/metrics@0.1.0 gauge
func Gauge(name string, value float64)

//go:wasmimport sluice:plugin/events@0.1.0 emit
func Emit(kind string, severity uint32, subject string, value, threshold float64, note string)

//go:wasmimport sluice:plugin/tables@0.1.0 open
func TableOpen(name string, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/tables@0.1.0 [method]table.lookup
func TableLookup(table uint32, hi unsafe.Pointer, hiLength uint32, lo unsafe.Pointer, loLength uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/tables@0.1.0 [method]table.lookup-columns
func TableLookupColumns(table, hi, lo uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/tables@0.1.0 [method]table.lookup-into
func TableLookupInto(table, hi, lo, into uint32, hasOnly bool, only unsafe.Pointer, length uint32, keep bool, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/tables@0.1.0 [method]table.value
func TableValue(table, code uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/tables@0.1.0 [method]table.codes
func TableCodes(table uint32) uint32

//go:wasmimport sluice:plugin/tables@0.1.0 [method]table.generation
func TableGeneration(table uint32) uint64

//go:wasmimport sluice:plugin/tables@0.1.0 [resource-drop]table
func TableClose(table uint32)

//go:wasmimport sluice:plugin/keys@0.1.0 open
func KeyOpen(name string, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/keys@0.1.0 [method]key.prefix-preserving
func KeyPrefixPreserving(key, hi, lo uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/keys@0.1.0 [method]key.keyed-hash
func KeyKeyedHash(key, hi, lo uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/keys@0.1.0 [method]key.prf
func KeyPrf(key uint32, hi unsafe.Pointer, hiLength uint32, lo unsafe.Pointer, loLength uint32, answer unsafe.Pointer)

//go:wasmimport sluice:plugin/keys@0.1.0 [resource-drop]key
func KeyClose(key uint32)

//go:wasmimport sluice:plugin/assets@0.1.0 read
func AssetRead(name string, answer unsafe.Pointer)
