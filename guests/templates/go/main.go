package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// job greets its first argument. What it prints is the run's result; an error ends the run as failed.
func job() error {
	if len(os.Args) < 2 {
		return errors.New("there is nobody to greet")
	}
	fmt.Fprintln(os.Stderr, len(os.Args)-1, "arguments")
	return json.NewEncoder(os.Stdout).Encode(map[string]string{"greeting": "hello " + os.Args[1]})
}
