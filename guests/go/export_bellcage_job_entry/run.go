// Package export_bellcage_job_entry is the typed job: it scans {"text": "…", "pattern": "…", "max": 10}.
package export_bellcage_job_entry

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	witTypes "go.bytecodealliance.org/pkg/wit/types"

	"wit_component/bellcage_job_logging"
	"wit_component/bellcage_job_types"
	"wit_component/scan"
)

type input struct {
	Text    string `json:"text"`
	Pattern string `json:"pattern"`
	Max     int    `json:"max"`
}

type output struct {
	Lines   int          `json:"lines"`
	Matches []scan.Match `json:"matches"`
}

// Run carries out one attempt.
func Run(context bellcage_job_types.Context, args string) witTypes.Result[string, bellcage_job_types.Failure] {
	result, err := run(context, args)
	if err != nil {
		return witTypes.Err[string](bellcage_job_types.MakeFailurePermanent(err.Error()))
	}
	return witTypes.Ok[string, bellcage_job_types.Failure](result)
}

func run(context bellcage_job_types.Context, args string) (string, error) {
	var in input
	if err := json.Unmarshal([]byte(args), &in); err != nil {
		return "", fmt.Errorf("the job's args do not fit: %w", err)
	}
	if in.Pattern == "" {
		return "", fmt.Errorf("args need a pattern")
	}
	pattern, err := regexp.Compile(in.Pattern)
	if err != nil {
		return "", err
	}
	matches, lines, err := scan.Scan(strings.NewReader(in.Text), pattern, in.Max)
	if err != nil {
		return "", err
	}
	bellcage_job_logging.Log(bellcage_job_logging.Level_Info, "scan", fmt.Sprintf("%s: %d matches in %d lines", context.Job, len(matches), lines))
	result, err := json.Marshal(output{Lines: lines, Matches: matches})
	return string(result), err
}
