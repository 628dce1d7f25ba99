// Package scan finds the lines of a text that match a regular expression.
package scan

import (
	"bufio"
	"io"
	"regexp"
)

// Match is one match: the line's number from 1, what matched, and its groups.
type Match struct {
	Line   int      `json:"line"`
	Text   string   `json:"text"`
	Groups []string `json:"groups,omitempty"`
}

// Scan reads r line by line and returns at most max matches (0: all of them) and how many lines it read.
func Scan(r io.Reader, pattern *regexp.Regexp, max int) ([]Match, int, error) {
	matches := []Match{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	n := 0
	for lines.Scan() {
		n++
		for _, groups := range pattern.FindAllStringSubmatch(lines.Text(), -1) {
			if max > 0 && len(matches) == max {
				return matches, n, nil
			}
			matches = append(matches, Match{Line: n, Text: groups[0], Groups: groups[1:]})
		}
	}
	return matches, n, lines.Err()
}
