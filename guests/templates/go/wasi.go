package main

import (
	"fmt"
	"os"
	"unsafe"
)

// The entry of a command. A Go main would do, but its runtime takes all memory behind its own for its own, also that of
// the adapter between WASI's preview 1, which Go speaks, and components.
//
//go:wasmexport wasi:cli/run@0.2.12#run
func run() int32 {
	if err := job(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// By this, the adapter gets its memory from Go.
//
//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uintptr) unsafe.Pointer {
	if old != nil {
		panic("cabi_realloc: blocks do not grow")
	}
	return sbrk(size)
}

//go:linkname sbrk runtime.sbrk
func sbrk(size uintptr) unsafe.Pointer

func main() {}
