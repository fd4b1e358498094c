package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// counts is what became of tests, subtests included.
type counts struct {
	passed, failed, skipped int
	broken                  []string // lines for each test, package or check that failed
	computed                time.Duration
}

func (c *counts) add(d counts) {
	c.passed += d.passed
	c.failed += d.failed
	c.skipped += d.skipped
	c.broken = append(c.broken, d.broken...)
	c.computed += d.computed
}

func (c *counts) fail(line string) {
	c.failed++
	c.broken = append(c.broken, line)
}

// String is the closing line, for people and for programs.
func (c counts) String() string {
	s := fmt.Sprintf("%d passed, %d failed", c.passed, c.failed)
	if c.skipped > 0 {
		s += fmt.Sprintf(", %d skipped", c.skipped)
	}
	return s
}

// An event is a line of `go test -json`; see `go doc test2json`.
type event struct {
	Time       time.Time
	Action     string
	ImportPath string // instead of Package, of what does not build
	Package    string
	Test       string
	Output     string
}

// A scope is a test with its subtests, whose output is told together; without a name, what belongs to no test.
type scope struct{ pkg, test string }

// read counts the events of one run. It prints the line of each package as it ends, all of the output of a test that
// failed, and what a skipped test says.
func read(events io.Reader, out io.Writer) (c counts, err error) {
	output := make(map[scope][]event)
	begun := make(map[scope]time.Time) // tests that run
	failures := make(map[string]int)   // by package
	for decoder := json.NewDecoder(events); ; {
		var e event
		if err := decoder.Decode(&e); err == io.EOF {
			return c, nil
		} else if err != nil {
			return c, fmt.Errorf("reading the events of a run: %w", err)
		}
		top, _, isSub := strings.Cut(e.Test, "/")
		key := scope{e.Package, top}
		switch e.Action {
		case "run", "cont":
			if !isSub {
				begun[key] = e.Time
			}
		case "pause": // until those that are not parallel have run
			if !isSub {
				delete(begun, key)
			}
		case "build-output":
			io.WriteString(out, e.Output)
		case "output":
			if e.Test == "" && summary(e.Output) {
				io.WriteString(out, e.Output)
				if strings.HasPrefix(e.Output, "FAIL\t") {
					c.broken = append(c.broken, strings.TrimSpace(e.Output))
				}
				continue
			}
			output[key] = append(output[key], e)
		case "pass":
			if e.Test != "" {
				c.passed++
			}
			if !isSub {
				delete(output, key)
				delete(begun, key)
			}
		case "skip":
			if e.Test != "" { // else a package without tests
				c.skipped++
				fmt.Fprintf(out, "SKIP\t%s %s: %s\n", e.Package, e.Test, reason(output[key], e.Test))
			}
			if !isSub {
				delete(output, key)
				delete(begun, key)
			}
		case "fail":
			if e.Test != "" {
				c.failed++
				failures[e.Package]++
				c.broken = append(c.broken, fmt.Sprintf("FAIL\t%s %s%s", e.Package, e.Test, complaint(output[key], e.Test)))
				if !isSub {
					print(out, output, key)
					delete(begun, key)
				}
				continue
			}
			// Not through a test: it does not build, or it ended in the middle. What ran then has no end of its own.
			if failures[e.Package] == 0 {
				c.failed++
			}
			var stacks strings.Builder
			for unfinished, said := range output {
				if unfinished.pkg != e.Package {
					continue
				}
				for _, e := range said {
					stacks.WriteString(e.Output)
				}
				print(out, output, unfinished)
			}
			for _, unfinished := range slices.SortedFunc(maps.Keys(begun), func(a, b scope) int { return begun[a].Compare(begun[b]) }) {
				if unfinished.pkg == e.Package {
					lasted := e.Time.Sub(begun[unfinished]).Round(time.Second)
					c.broken = append(c.broken, fmt.Sprintf("FAIL\t%s %s still ran, after %v%s", e.Package, unfinished.test, lasted, where(stacks.String(), unfinished.test)))
				}
			}
		}
	}
}

// summary reports whether a line is the one with which the go command sums up a package that has tests.
func summary(line string) bool {
	return strings.HasPrefix(line, "ok  \t") || strings.HasPrefix(line, "FAIL\t")
}

func print(out io.Writer, output map[scope][]event, key scope) {
	for _, e := range output[key] {
		io.WriteString(out, e.Output)
	}
	delete(output, key)
}

// reason finds what a test said when it was skipped: its lines that are not the frame's.
func reason(output []event, test string) string {
	var said []string
	for _, e := range output {
		line := strings.TrimSpace(e.Output)
		if e.Test == test && line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			said = append(said, line)
		}
	}
	return strings.Join(said, " ")
}

// saidAt is a line that a test printed itself, or a helper in its name; what goes on below it stands deeper.
var saidAt = regexp.MustCompile(`^\s+\w+_test\.go:\d+: `)

// complaint is what a test that failed said, shortened: what it ended with comes last, unless its clean-up talks, and the
// first and the last lines of a long one say most.
func complaint(output []event, test string) string {
	const most, deeper = 4, 6
	var said [][]string // each with its lines
	for _, e := range output {
		switch {
		case e.Test != test:
		case saidAt.MatchString(e.Output):
			said = append(said, []string{shortened(e.Output)})
		case len(said) > 0 && strings.HasPrefix(e.Output, "        "):
			said[len(said)-1] = append(said[len(said)-1], "    "+shortened(e.Output))
		}
	}
	said = ends(said, 1, most-1)
	var s strings.Builder
	for _, lines := range said {
		for _, line := range append(lines[:1:1], ends(lines[1:], deeper/2, deeper/2)...) {
			s.WriteString("\n\t" + line)
		}
	}
	return s.String()
}

// ends leaves the first and the last of a list.
func ends[T any](list []T, first, last int) []T {
	if len(list) <= first+last {
		return list
	}
	return append(list[:first:first], list[len(list)-last:]...)
}

func shortened(line string) string {
	const longest = 240
	line = strings.TrimSpace(line)
	if len(line) > longest {
		line = strings.ToValidUTF8(line[:longest], "") + "…"
	}
	return line
}

// sourceLine is that of a stack which names a line of a test.
var sourceLine = regexp.MustCompile(`(?m)^\t(?:.*/)?([^/\n]+_test\.go:\d+)`)

// where finds the lines at which the goroutines of a test stand, among the stacks that its program wrote as it ended.
func where(stacks, test string) string {
	var lines []string
	for goroutine := range strings.SplitSeq(stacks, "\n\n") {
		if !strings.HasPrefix(goroutine, "goroutine ") || !strings.Contains(goroutine, "."+test+"(") && !strings.Contains(goroutine, "."+test+".") {
			continue
		}
		if at := sourceLine.FindStringSubmatch(goroutine); at != nil && !slices.Contains(lines, at[1]) {
			lines = append(lines, at[1])
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return ", at " + strings.Join(lines[:min(len(lines), 4)], ", ")
}
