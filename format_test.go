package edgechain_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	spec      = regexp.MustCompile(`^\s*// SPEC: (.*)`)
	continued = regexp.MustCompile(`^\s*// ?(\S.*)`)
	cddlNote  = regexp.MustCompile(`\n\s*;\s*`) // a comment of the CDDL that goes on
	marks     = regexp.MustCompile("[`*]")      // emphasis
	left      = regexp.MustCompile(`\[?…\]?`)   // where a quotation leaves words out
)

// unmarked returns text without line ends and emphasis.
func unmarked(text string) string {
	return strings.Join(strings.Fields(marks.ReplaceAllString(text, "")), " ")
}

// A check quotes the sentence that it enforces; who changes one of the two must see the other.
func TestWhatIsQuotedOfTheFormatStandsInIt(t *testing.T) {
	format := ""
	for _, name := range []string{"docs/format.md", "docs/sync-protocol.md"} {
		page, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		format += unmarked(cddlNote.ReplaceAllString(string(page), " ")) + "\n"
	}
	quotes := 0
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(name) != ".go" {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		lines := strings.Split(string(text), "\n")
		for i := range lines {
			begun := spec.FindStringSubmatch(lines[i])
			if begun == nil {
				continue
			}
			quote := begun[1]
			for _, line := range lines[i+1:] {
				more := continued.FindStringSubmatch(line)
				if more == nil {
					break
				}
				quote += " " + more[1]
			}
			for _, piece := range left.Split(quote, -1) {
				// A quotation may end where the sentence goes on.
				if !strings.Contains(format, strings.TrimSuffix(unmarked(piece), ".")) {
					t.Errorf("%s:%d: %q stands neither in docs/format.md nor in docs/sync-protocol.md", name, i+1, piece)
				}
			}
			quotes++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if quotes < 50 {
		t.Errorf("%d quotations are found", quotes)
	}
}

var (
	// What the agent's code writes, in each of the ways that it has.
	words = regexp.MustCompile(`\brecord(?:With)?\([^,()]+(?:\(\))?, "(\w+)"|Source: "agent:(\w+)", Flags: lightchain\.ByAgent|\b[sS]ource\w+\s*= "agent:(\w+)"`)
	// A row of the page's table: the word, what happened, the members.
	wordRow = regexp.MustCompile("(?m)^\\| `agent:(\\w+)` \\| ([^|]*) \\| ([^|]*) \\|$")
	member  = regexp.MustCompile("`([a-z0-9_]+)`")
)

// Each word of the agent's own entries is described on the page, with the members that its JSON has, and the reverse.
func TestTheFormatDescribesTheAgentsOwnEntries(t *testing.T) {
	written, members := map[string]bool{}, map[string][]string{}
	for _, folder := range []string{"agent", "agent/recorder", "arm", "lightchain"} {
		files, err := filepath.Glob(folder + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files (%v)", folder, len(files), err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range words.FindAllStringSubmatch(string(text), -1) {
				written[m[1]+m[2]+m[3]] = true
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, text, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if s, ok := n.(*ast.TypeSpec); ok {
					members[s.Name.Name] = jsonNames(s)
				}
				return true
			})
		}
	}
	page, err := os.ReadFile("docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string][]string{} // the members in each row of a word
	for _, m := range wordRow.FindAllStringSubmatch(string(page), -1) {
		var names []string
		for _, name := range member.FindAllStringSubmatch(m[3], -1) {
			names = append(names, name[1])
		}
		slices.Sort(names)
		said[m[1]] = append(said[m[1]], strings.Join(slices.Compact(names), " "))
	}
	if len(written) < 10 {
		t.Errorf("only these words are found in the code: %v", written)
	}
	for word := range written {
		if said[word] == nil {
			t.Errorf("docs/format.md says nothing of agent:%s", word)
		}
	}
	types := map[string][][]string{ // what the JSON of each word is made of
		"boot": {{"bootEvent"}}, "config": {{"configEvent"}}, "note": {{"noteEvent"}}, "attach": {{"attachEvent", "noteEvent"}}, "gap": {{"gapEvent"}}, "clock": {{"clockEvent", "ClockStatus"}}, "sparkplug": {{"sparkplugEvent", "nodeEvent"}},
		"damage": {{"damageEvent"}}, "prune": {{"pruneEvent", "damageSaid", "saidEntry"}}, "restore": {{"restoreEvent"}, {"restoredEvent"}},
		"filtered": {{"filteredEvent", "filteredCount"}}, "key": {{"keyEvent"}}, "poll": {{"pollEvent", "pollFailing", "pollRecovered", "pollLate"}}, "power": {{"powerPayload"}}, "card": {{"cardPayload"}},
	}
	for word, rows := range said {
		if !written[word] {
			t.Errorf("docs/format.md describes agent:%s, which nothing writes", word)
		}
		if len(rows) != len(types[word]) {
			t.Errorf("agent:%s has %d rows in docs/format.md, and its JSON %d forms", word, len(rows), len(types[word]))
			continue
		}
		for i, row := range rows {
			var names []string
			for _, name := range types[word][i] {
				names = append(names, members[name]...)
			}
			slices.Sort(names)
			if want := strings.Join(slices.Compact(names), " "); row != want {
				t.Errorf("docs/format.md gives agent:%s the members %q, its JSON has %q", word, row, want)
			}
		}
	}
}

// jsonNames returns the names that a struct's fields have in JSON.
func jsonNames(s *ast.TypeSpec) (names []string) {
	body, ok := s.Type.(*ast.StructType)
	if !ok {
		return nil
	}
	for _, f := range body.Fields.List {
		if f.Tag == nil {
			continue
		}
		tag, _ := strconv.Unquote(f.Tag.Value)
		if name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ","); name != "" {
			names = append(names, name)
		}
	}
	return names
}
