package tomlconf

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// A node is a value and where it stands. The TOML library decides what is valid and what each value is; its decoder
// forgets positions, so a second pass of its parser over the same, then valid, text collects them.
type node struct {
	at    Position
	value any  // map[string]*node, []*node, string, bool, int64, float64, or one of the library's times
	given bool // a text from outside the files: it stands for a value of any kind, and no ${…} in it is expanded
}

func newTable(at Position) *node { return &node{at: at, value: map[string]*node{}} }

// isTables reports whether the node is an array of tables.
func (n *node) isTables() bool {
	elements, ok := n.value.([]*node)
	if !ok || len(elements) == 0 {
		return false
	}
	_, ok = elements[0].value.(map[string]*node)
	return ok
}

// parse reads one file's text. Both passes see it without the byte order mark that some editors put first.
func parse(file string, text []byte) (*node, *Problem) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	var values map[string]any
	if err := toml.Unmarshal(text, &values); err != nil {
		problem := &Problem{At: Position{File: file}, Text: strings.TrimPrefix(err.Error(), "toml: ")}
		var at *toml.DecodeError
		if errors.As(err, &at) {
			problem.At.Line, problem.At.Column = at.Position()
			if len(at.Key()) == 0 { // it is no key in the wrong place
				problem.Text += unquoted(text, problem.At.Line)
			}
		}
		return nil, problem
	}
	return graft(values, "", Position{File: file}, locate(file, text)), nil
}

var (
	bareKey      = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	unquotedText = regexp.MustCompile(`^\s*([A-Za-z0-9_.-]+)\s*=\s*([^\s"'\[{#][^"'#]*?)\s*(#.*)?$`)
)

// unquoted returns a hint if the line holds a text without quotes, the commonest of all mistakes.
func unquoted(text []byte, line int) string {
	lines := strings.Split(string(text), "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	match := unquotedText.FindStringSubmatch(lines[line-1])
	if match == nil {
		return ""
	}
	return fmt.Sprintf("; texts, durations and sizes stand in quotes: %s = %q", match[1], match[2])
}

// graft joins the values with their positions. What has none of its own stands where its surroundings stand.
func graft(value any, path string, around Position, positions map[string]Position) *node {
	n := &node{at: around, value: value}
	if at, ok := positions[path]; ok {
		n.at = at
	}
	switch value := value.(type) {
	case map[string]any:
		table := make(map[string]*node, len(value))
		for name, v := range value {
			table[name] = graft(v, join(path, name), n.at, positions)
		}
		n.value = table
	case []any:
		elements := make([]*node, len(value))
		for i, v := range value {
			elements[i] = graft(v, element(path, i), n.at, positions)
		}
		n.value = elements
	}
	return n
}

// A locator finds where keys, tables and elements of arrays stand.
type locator struct {
	file   string
	parser unstable.Parser
	at     map[string]Position
	tables map[string]int // how many elements an array of tables has so far
}

func locate(file string, text []byte) map[string]Position {
	l := locator{file: file, at: map[string]Position{}, tables: map[string]int{}}
	l.parser.Reset(text)
	table := ""
	for l.parser.NextExpression() {
		switch e := l.parser.Expression(); e.Kind {
		case unstable.Table:
			table = l.walk("", e.Key(), false)
		case unstable.ArrayTable:
			table = l.walk("", e.Key(), true)
		case unstable.KeyValue:
			l.keyValue(table, e)
		}
	}
	return l.at
}

// walk follows a dotted key from the table at path, through the newest element of each array of tables on its way,
// and returns where it leads. If its last part names an array of tables, it begins a new element.
func (l *locator) walk(path string, keys unstable.Iterator, grows bool) string {
	for keys.Next() {
		k := keys.Node()
		path = join(path, string(k.Data))
		l.mark(path, k)
		if grows && keys.IsLast() {
			l.tables[path]++
		}
		if n := l.tables[path]; n > 0 {
			path = element(path, n-1)
			l.mark(path, k)
		}
	}
	return path
}

func (l *locator) keyValue(table string, n *unstable.Node) {
	l.value(l.walk(table, n.Key(), false), n.Value())
}

func (l *locator) value(path string, n *unstable.Node) {
	children := n.Children()
	switch n.Kind {
	case unstable.InlineTable:
		for children.Next() {
			l.keyValue(path, children.Node())
		}
	case unstable.Array:
		for i := 0; children.Next(); i++ {
			l.mark(element(path, i), children.Node())
			l.value(element(path, i), children.Node())
		}
	}
}

// mark notes where path was first named. Nodes that the parser gives no range stand where their surroundings stand.
func (l *locator) mark(path string, n *unstable.Node) {
	if _, ok := l.at[path]; ok || n.Raw.Length == 0 {
		return
	}
	start := l.parser.Shape(n.Raw).Start
	l.at[path] = Position{l.file, start.Line, start.Column}
}

// merge adds what stands in table "from", of a later file, to the table "into".
func (d *Document) merge(path string, into, from *node) {
	to := into.value.(map[string]*node)
	for name, n := range from.value.(map[string]*node) {
		old, ok := to[name]
		if !ok {
			to[name] = n
			continue
		}
		path := join(path, name)
		_, wasTable := old.value.(map[string]*node)
		_, isTable := n.value.(map[string]*node)
		switch {
		case wasTable && isTable:
			d.merge(path, old, n)
		case old.isTables() && n.isTables():
			old.value = slices.Concat(old.value.([]*node), n.value.([]*node))
		default:
			d.problem(n.at, path, "it is already set at %v", old.at)
		}
	}
}

// overlayEnv puts on the tree what the environment sets, and notes which variables look as if they should.
func (d *Document) overlayEnv(root *node, target reflect.Type) {
	if d.prefix == "" {
		return
	}
	keys := map[string]string{} // paths by the variable that sets them
	var arrays []string         // variables of arrays of tables
	eachKey("", target, func(path string, tables bool) {
		if tables {
			arrays = append(arrays, d.variable(path))
		} else {
			keys[d.variable(path)] = path
		}
	})
	for _, name := range slices.Sorted(maps.Keys(d.env)) {
		if !strings.HasPrefix(name, d.prefix+"_") {
			continue
		}
		if path, ok := keys[name]; ok {
			d.overlay(root, path, &node{at: Position{File: environment(name)}, value: d.env[name], given: true})
			continue
		}
		d.ignored[name] = "it sets no key" + DidYouMean(name, slices.Collect(maps.Keys(keys)))
		for _, array := range arrays {
			if name == array || strings.HasPrefix(name, array+"_") {
				path := strings.ToLower(strings.TrimPrefix(array, d.prefix+"_"))
				d.ignored[name] = fmt.Sprintf("it sets no key: [[%s]] can be set in the file only, where ${%s} would be its value",
					path, name)
			}
		}
	}
}

// overlay sets one key. Where the file has something else in place of a table on the way, that is what binding will
// complain about.
func (d *Document) overlay(root *node, path string, n *node) {
	parts := strings.Split(path, ".")
	for _, part := range parts[:len(parts)-1] {
		table := root.value.(map[string]*node)
		if table[part] == nil {
			table[part] = newTable(n.at)
		}
		root = table[part]
		if _, ok := root.value.(map[string]*node); !ok {
			return
		}
	}
	root.value.(map[string]*node)[parts[len(parts)-1]] = n
}

// variable returns the name of the variable that sets the key at path.
func (d *Document) variable(path string) string {
	return d.prefix + "_" + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

func environment(name string) string { return "environment variable " + name }

func join(path, name string) string {
	if !bareKey.MatchString(name) {
		name = strconv.Quote(name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

func element(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// parent returns the path around path: of the array for an element, else of the table; "" for the root.
func parent(path string) string { return path[:max(0, strings.LastIndexAny(path, ".["))] }

var indices = regexp.MustCompile(`\[[0-9]+\]`)

// key returns how an error names a path: the line says which element of an array is meant.
func key(path string) string { return indices.ReplaceAllString(path, "") }
