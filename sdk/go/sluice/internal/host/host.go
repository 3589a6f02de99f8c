// Package host is the boundary to the collector: the functions that it offers, their answers, and memory for
// what it hands over. Layouts are those of the component model's canonical ABI.
package host

import (
	"strings"
	"unicode/utf8"
	"unsafe"
)

var (
	answer [3]uint64
	result [6]uint64

	// Answer is where the collector writes an answer of more than one number.
	Answer = unsafe.Pointer(&answer)
	// Result is where an export leaves a result of more than one number.
	Result = unsafe.Pointer(&result)

	// IsStateful says that package state is in use, HasTimer that package timer is.
	IsStateful, HasTimer bool
)

// Byte returns a byte of the answer.
func Byte(offset uintptr) uint8 {
	return *(*uint8)(unsafe.Add(Answer, offset))
}

// Word returns four bytes of the answer.
func Word(offset uintptr) uint32 {
	return *(*uint32)(unsafe.Add(Answer, offset))
}

// Long returns eight bytes of the answer.
func Long(offset uintptr) uint64 {
	return *(*uint64)(unsafe.Add(Answer, offset))
}

// List returns the list whose address and length are in the answer. It is good until End.
func List[T any](offset uintptr) []T {
	return At[T](Word(offset), Word(offset+4))
}

// Text returns a copy of the text whose address and length are in the answer.
func Text(offset uintptr) string {
	return string(List[byte](offset))
}

// At returns the list at an address of the collector's choice.
func At[T any](address, length uint32) []T {
	if length == 0 {
		// The address is then none that Go may hold. Not nil, which says of a bitmap that there is none.
		return []T{}
	}
	return unsafe.Slice((*T)(unsafe.Add(unsafe.Pointer(nil), address)), length)
}

// Make returns a list of zeros that is good until End.
func Make[T any](length int) []T {
	list := unsafe.Slice((*T)(Alloc(uintptr(length)*unsafe.Sizeof(*new(T)))), length)
	clear(list)
	return list
}

// Data returns address and length of a list for the collector.
func Data[T any](list []T) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.SliceData(list)), uint32(len(list))
}

// TextList returns address and length of a list of texts for the collector.
func TextList(texts []string) (unsafe.Pointer, uint32) {
	pairs := Make[[2]uint32](len(texts))
	for i, text := range texts {
		text = Valid(text)
		pairs[i] = [2]uint32{address(unsafe.Pointer(unsafe.StringData(text))), uint32(len(text))}
	}
	return Data(pairs)
}

// Valid returns a text as the collector takes it: one that is no UTF-8 would end the instance.
func Valid(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// PutByte, PutWord and PutList write to the result. What a list is in has to stay.
func PutByte(offset uintptr, value uint8) {
	*(*uint8)(unsafe.Add(Result, offset)) = value
}

// PutWord writes four bytes.
func PutWord(offset uintptr, value uint32) {
	*(*uint32)(unsafe.Add(Result, offset)) = value
}

// PutList writes address and length of a list or text.
func PutList(offset uintptr, data unsafe.Pointer, length int) {
	PutWord(offset, address(data))
	PutWord(offset+4, uint32(length))
}

func address(data unsafe.Pointer) uint32 {
	return uint32(uintptr(data))
}
