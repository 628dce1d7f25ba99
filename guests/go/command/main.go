// Command scan prints what matches its first argument, a regular expression, in the text on standard input.
//
// It is built as a library that exports wasi:cli/run, not as a program with a main: a Go program's runtime takes the
// memory in which the adapter that makes a component of it keeps its state. The imported runtime exports cabi_realloc, by
// which the adapter asks for memory instead.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"

	_ "go.bytecodealliance.org/pkg/wit/runtime"

	"wit_component/scan"
)

func main() {}

// 0 is WASI's ok, 1 its err.
//
//go:wasmexport wasi:cli/run@0.2.12#run
func run() int32 {
	if err := printMatches(); err != nil {
		fmt.Fprintln(os.Stderr, "scan:", err)
		return 1
	}
	return 0
}

func printMatches() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("one argument is needed, a regular expression; there are %d", len(os.Args)-1)
	}
	pattern, err := regexp.Compile(os.Args[1])
	if err != nil {
		return err
	}
	matches, lines, err := scan.Scan(os.Stdin, pattern, 0)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "scan: %d matches in %d lines\n", len(matches), lines)
	return json.NewEncoder(os.Stdout).Encode(matches)
}
