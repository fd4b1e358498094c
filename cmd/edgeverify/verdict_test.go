package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"edgechain.example/lightchain"
)

// The gravest of several codes wins, in whichever order they come, and each code of a file has its place.
func TestTheGravestCodeWins(t *testing.T) {
	for i, a := range gravity {
		for j, b := range gravity {
			if got, want := graver(a, b), gravity[min(i, j)]; got != want {
				t.Errorf("of %d and %d: %d, want %d", a, b, got, want)
			}
		}
	}
	for _, v := range verdicts {
		if !slices.Contains(gravity, v.exitCode()) {
			t.Errorf("%s ends with %d, which has no place", v, v.exitCode())
		}
	}
}

// Text is shown as text, its lines too, and no line of it passes for one of the report; what is none is hexadecimal.
func TestPayloadsThatAreTextAreShownAsText(t *testing.T) {
	for payload, want := range map[string]string{
		"23.5":                      "  payload   23.5\n",
		"23.5\n":                    "  payload   | 23.5\n",
		"a,b\r\n1,2\r\n":            "  payload   | a,b\n            | 1,2\n",
		"{\n\t\"a\": 1\n}":          "  payload   | {\n            | \t\"a\": 1\n            | }\n",
		"x\n\nVERIFIED":             "  payload   | x\n            | \n            | VERIFIED\n",
		"a\tb":                      "  payload   a\tb\n",
		"":                          "  payload   \n",
		"a\x1b[2J\n":                "  payload   611b5b324a0a\n",
		"a\rb":                      "  payload   610d62\n",
		"\xff\n":                    "  payload   ff0a\n",
		"a\u202eb":                  "  payload   61e280ae62\n",
		strings.Repeat("ä", 1500):   "  payload   " + strings.Repeat("ä", 1000) + " … (3000 bytes)\n",
		strings.Repeat("a\n", 1500): "  payload   | a\n" + strings.Repeat("            | a\n", 999) + "            … (3000 bytes)\n",
	} {
		var b strings.Builder
		payloadLines(&b, []byte(payload))
		if b.String() != want {
			t.Errorf("%.40q is shown as\n%.200s\nwant\n%.200s", payload, &b, want)
		}
	}
}

// Of a bundle that has no room the last entries are left out, counted and told, in text as in JSON.
func TestEntriesThatHaveNoRoomAreCounted(t *testing.T) {
	const n, kept = 30, 25
	e := lightchain.Entry{Source: "broker:-/x:t", Payload: []byte("1"), Readings: []lightchain.Reading{{Name: "a", Value: lightchain.Int(1)}}}
	encoded, err := e.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	k := &bundleEntries{room: kept * (len(encoded) + 128)}
	item := lightchain.AppendBundleEntry(nil, encoded)
	start, end, err := lightchain.BundleItem(item)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		k.add(item[start:end])
	}
	for all, want := range map[bool][]string{
		false: {"reading   entry 19: ", "note      5 readings more; --readings shows them all", "note      of 5 entries more the readings are not shown"},
		true:  {"reading   entry 24: ", "note      of 5 entries more the readings are not shown"},
	} {
		var b strings.Builder
		if err := k.readingLines(&b, &b, all); err != nil {
			t.Fatal(err)
		}
		for _, words := range want {
			if !strings.Contains(b.String(), words) {
				t.Errorf("all: %t: %q is not said\n%s", all, words, &b)
			}
		}
	}
	var out bytes.Buffer
	if err := k.writeJSON(&out, reportJSON{Bundle: &bundleJSON{Count: n}}); err != nil {
		t.Fatal(err)
	}
	var left struct {
		Bundle struct {
			Left uint64 `json:"entries_left_out"`
		}
	}
	if err := json.Unmarshal(out.Bytes(), &left); err != nil || left.Bundle.Left != n-kept {
		t.Errorf("left out: %d (%v)", left.Bundle.Left, err)
	}
	if entries := strings.Count(out.String(), `"received":`); entries != kept {
		t.Errorf("%d entries in JSON, want %d", entries, kept)
	}
}

// Whatever a file is, its report is one object of JSON with names in snake_case, no list in it is null, and
// times are text: as numbers they have more digits than a double holds.
func TestTheShapeOfJSON(t *testing.T) {
	snake := regexp.MustCompile(`^[a-z0-9]+(_[a-z0-9]+)*$`)
	for _, v := range vectorFiles(t, "proof", "bundle", "fork") {
		trust := writeTemp(t, []byte(v.Trust))
		var out, stderr bytes.Buffer
		if code := run([]string{writeTemp(t, v.Bytes), "--trust", trust, "--output", "json"}, nil, &out, &stderr); code == exitUsage {
			continue // the trust file is what is wrong
		}
		var report map[string]any
		if err := json.Unmarshal(out.Bytes(), &report); err != nil || bytes.Count(out.Bytes(), []byte("\n")) != 1 {
			t.Fatalf("%s: %v in %s", v.name, err, &out)
		}
		for _, key := range []string{"file", "verified", "verdict", "exit_code", "message", "undone", "receipts_asked", "aggregators_trusted"} {
			if _, there := report[key]; !there {
				t.Errorf("%s: no %q in %s", v.name, key, &out)
			}
		}
		if report["message"] == "" || report["verified"] != (report["verdict"] == string(verified)) {
			t.Errorf("%s: %s", v.name, &out)
		}
		walk(report, func(key string, value any) {
			if !snake.MatchString(key) {
				t.Errorf("%s: the name %q", v.name, key)
			}
			if _, isNumber := value.(float64); isNumber && slices.Contains([]string{"sealed", "received", "time", "not_before", "not_after"}, key) {
				t.Errorf("%s: %q is a number", v.name, key)
			}
			if value == nil && key != "not_before" && key != "not_after" && key != "time" && key != "value" {
				t.Errorf("%s: %q is null", v.name, key)
			}
		})
	}
}

func walk(v any, do func(key string, value any)) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			do(key, value)
			walk(value, do)
		}
	case []any:
		for _, value := range v {
			walk(value, do)
		}
	}
}

// The pages have each verdict with its words and its code, the order of gravity, and each member of the JSON.
func TestThePagesSayWhatIsSo(t *testing.T) {
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile("../../docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	page := read("operate/check.md") + read("reference/exit-codes.md")
	for _, v := range verdicts {
		if row := fmt.Sprintf("| `%s` | `%s` |", v.words(), v); !regexp.MustCompile(regexp.QuoteMeta(row) + fmt.Sprintf(".* %d \\|\n", v.exitCode())).MatchString(page) {
			t.Errorf("no row %s with the code %d", row, v.exitCode())
		}
	}
	var order []string
	for _, code := range gravity {
		order = append(order, fmt.Sprint(code))
	}
	if words := "the gravest code: " + strings.Replace(strings.Join(order, ", "), ", ", ", then ", 1); !strings.Contains(page, words) {
		t.Errorf("%q is not said", words)
	}
	_, section, _ := strings.Cut(read("reference/json.md"), "\n## edgeverify\n")
	for _, v := range []any{reportJSON{}, togetherJSON{}, failedJSON{}, summaryJSON{}, row{}, bundleJSON{}, bundleEntryJSON{}, readingJSON{}, noteJSON{}, forkJSON{}, sideJSON{}, receiptJSON{}, reversalJSON{}, silenceJSON{}, outsideJSON{}} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "" && !strings.Contains(section, "`"+name+"`") && !strings.Contains(section, `"`+name+`"`) {
				t.Errorf("%T: %q is not on the page", v, name)
			}
		}
	}
}
