// Package tomlconf reads a program's configuration: TOML files, the environment and the command line, into a Go
// struct, strictly. An operator's mistake comes back with the file, the line, the column, the key and the form that
// was expected; all mistakes at once, those that the program finds later in a value's meaning included.
//
// It owns how configuration is written. What the keys are, and which values make sense together, belongs to the
// program: its struct gives the keys (tag `toml`) and, by what it holds before reading, the defaults.
//
// # Precedence
//
// What stands on the command line wins over the environment, that over the files, those over the default. The key
// interval of the table [block] is PREFIX_BLOCK_INTERVAL in the environment. A list of texts is written there with
// commas. Arrays of tables ([[mqtt]]) can be set in files only, for a variable's name could not say which is meant.
//
// # Variables
//
// In a text of a file, ${NAME} is the variable's value and ${NAME:-text} is text where the variable is unset or empty.
// $$ is a dollar; a $ before anything else is itself. This happens after parsing, and its result is not read again:
// whatever a variable holds, it is part of that one text.
package tomlconf

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// maxFile bounds a file in bytes; a larger one is no configuration.
const maxFile = 1 << 20

// Source says where configuration comes from. The zero value gives the defaults.
type Source struct {
	// Files are read in this order and merged: tables together, arrays of tables one after the other. A key that is
	// set in two files is an error, so that their order never decides what a program does.
	Files []string

	// EnvPrefix begins the names of the variables that set keys, without the underscore: "EDGEAGENT". Where it is
	// empty the environment sets none.
	EnvPrefix string

	// Env is the environment, as os.Environ gives it.
	Env []string

	// Flags is what the command line sets: a key's path ("block.interval") and the text given.
	Flags map[string]string

	// Folder is where paths begin that files name without a slash in front: see [Document.Whole].
	Folder string

	// Only names the keys and tables ("store", "mqtt.tls_ca") that are read, for a program that needs no more. What is written
	// of others is neither looked at nor expanded, and they keep their defaults. Where it is empty all are read.
	Only []string
}

// Position is where something was written: a place in a file, or, where Line is 0, the file as a whole or the name of
// a source that is not a file. The zero value is nowhere.
type Position struct {
	File         string
	Line, Column int // from 1; a column counts bytes
}

func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Problem is one thing wrong with a configuration, or, as a warning, worth a look.
type Problem struct {
	At    Position
	Text  string
	Unset string // the variable that the environment does not have, where that is what is wrong: elsewhere it may be right
}

func (p Problem) Error() string {
	if p.At.File == "" {
		return p.Text
	}
	return p.At.String() + ": " + p.Text
}

// Problems are all things found wrong with a configuration, in the order of the files and lines; never empty.
type Problems []Problem

// Error returns one line for each.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Document is a configuration that was read. It knows where each value came from, so that a program that finds fault
// with one can say where it stands.
type Document struct {
	files    []string
	folder   string
	prefix   string
	env      map[string]string
	ignored  map[string]string   // variables that begin with prefix and set nothing: why
	relative map[string]string   // as they are written, paths that were made whole, by path of the field
	used     map[string]bool     // variables that are some use: expanded, or said to be by UsesVariable
	set      map[string]Position // what is written somewhere, by path
	only     []string            // keys and tables that are read; none: all
	paths    map[any]string      // path of each field of the target, by the pointer to it
	problems []Problem
	warnings []Problem
}

// Read reads the configuration into the struct that target points to, which holds the defaults. A key that is not
// written keeps its default, and so does one whose value is refused, so that the program can go on to look at what
// the rest means; it then asks [Document.Err].
//
// A struct of the target is a table, a slice of structs an array of tables; before an element of that is read, its
// method SetDefaults is called if its pointer has one. Fields without a `toml` tag are not keys; an embedded struct's
// fields are keys of the table around it. Other fields are texts, booleans, numbers, durations ([time.Duration]:
// "250ms", "1h30m", "7d"), whatever reads itself with UnmarshalText, as [Size] does, or slices of one of these, or maps
// from a text to one, which are tables with any keys.
//
// The error is about a file that cannot be read, or is not TOML: target is then as it was.
func Read(target any, source Source) (*Document, error) {
	d := &Document{
		files:    source.Files,
		folder:   source.Folder,
		prefix:   source.EnvPrefix,
		only:     source.Only,
		env:      map[string]string{},
		ignored:  map[string]string{},
		used:     map[string]bool{},
		relative: map[string]string{},
		set:      map[string]Position{},
		paths:    map[any]string{},
	}
	for _, variable := range source.Env {
		if name, value, ok := strings.Cut(variable, "="); ok {
			d.env[name] = value
		}
	}
	root := newTable(Position{})
	for _, name := range source.Files {
		text, err := readConfiguration(name)
		if err != nil {
			return nil, err
		}
		table, problem := parse(name, text)
		if problem != nil {
			return nil, Problems{*problem}
		}
		d.merge("", root, table)
	}
	into := reflect.ValueOf(target).Elem()
	d.overlayEnv(root, into.Type())
	for _, path := range slices.Sorted(maps.Keys(source.Flags)) {
		d.overlay(root, path, &node{at: Position{File: "command line"}, value: source.Flags[path], given: true})
	}
	d.bindTable("", root, into)
	return d, nil
}

// readConfiguration reads a file of at most maxFile bytes. Unlike one that a configuration names, it may be a pipe: whoever names it
// on the command line waits for it.
func readConfiguration(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("reading the configuration: %s is larger than %v", name, Size(maxFile))
	}
	return text, nil
}

// Err returns everything found wrong so far as [Problems], or nil.
func (d *Document) Err() error {
	if len(d.problems) == 0 {
		return nil
	}
	return Problems(d.sorted(d.problems))
}

// Warnings returns what is not wrong but most likely not meant either: what [Document.Warn] was told, and variables
// that begin with the prefix and set no key.
func (d *Document) Warnings() []Problem {
	warnings := d.sorted(d.warnings)
	for _, name := range slices.Sorted(maps.Keys(d.ignored)) {
		if !d.used[name] {
			warnings = append(warnings, Problem{At: Position{File: environment(name)}, Text: d.ignored[name]})
		}
	}
	return warnings
}

func (d *Document) sorted(problems []Problem) []Problem {
	problems = slices.Clone(problems)
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(slices.Index(d.files, a.At.File), slices.Index(d.files, b.At.File)),
			cmp.Compare(a.At.Line, b.At.Line),
			cmp.Compare(a.At.Column, b.At.Column))
	})
	return problems
}

// Whole makes the path whole that a field names, as a program needs it that is started in any folder, and as a message
// about it needs to name it. Written in a file, a path without a slash in front begins in [Source.Folder]; the environment
// and the command line are of who starts the program, and theirs begin where that is done.
func (d *Document) Whole(fields ...*string) {
	for _, field := range fields {
		at, written := d.set[d.paths[field]]
		if *field == "" || filepath.IsAbs(*field) || !written {
			continue
		}
		d.relative[d.paths[field]] = *field
		if at.Line > 0 {
			*field = filepath.Join(d.folder, *field)
		} else if whole, err := filepath.Abs(*field); err == nil {
			*field = whole
		}
	}
}

// UsesVariable says that the program itself reads the variable, so that no warning calls it useless.
func (d *Document) UsesVariable(name string) { d.used[name] = true }

// Refuse records that the value of a field is wrong, and at which line it stands. The field is a pointer to a field
// of the target, or to a whole table or element of an array, when something is missing there. The text says what was
// expected, and how that is written.
func (d *Document) Refuse(field any, format string, args ...any) {
	at, text := d.describe(field)
	d.problems = append(d.problems, Problem{At: at, Text: text + ": " + fmt.Sprintf(format, args...)})
}

// RefuseKey is [Document.Refuse] for a checker that knows keys by their names: of the key called name in the table,
// a pointer to a struct of the target; if it has no such key, of the table.
func (d *Document) RefuseKey(table any, name, format string, args ...any) {
	into := reflect.ValueOf(table).Elem()
	for _, f := range keyFields(into.Type()) {
		if f.name == name {
			d.Refuse(into.FieldByIndex(f.index).Addr().Interface(), format, args...)
			return
		}
	}
	d.Refuse(table, "%s: %s", name, fmt.Sprintf(format, args...))
}

// Warn records something about a field that is allowed but should be seen.
func (d *Document) Warn(field any, format string, args ...any) {
	at, text := d.describe(field)
	d.warnings = append(d.warnings, Problem{At: at, Text: text + ": " + fmt.Sprintf(format, args...)})
}

// Between refuses a field whose value is not in low .. high.
func Between[T cmp.Ordered](d *Document, field *T, low, high T) {
	if *field < low || *field > high {
		d.Refuse(field, "expected %s to %s", plain(reflect.ValueOf(low)), plain(reflect.ValueOf(high)))
	}
}

// OneOf refuses a field whose value is none of those allowed.
func OneOf[T ~string](d *Document, field *T, allowed ...T) {
	if slices.Contains(allowed, *field) {
		return
	}
	words := make([]string, len(allowed))
	for i, word := range allowed {
		words[i] = fmt.Sprintf("%q", string(word))
	}
	d.Refuse(field, "expected %s", alternatives(words))
}

// IsSet reports whether the key at path ("block.interval", "mqtt[0].name") is written anywhere.
func (d *Document) IsSet(path string) bool {
	_, ok := d.set[path]
	return ok
}

// describe returns where a field was set, or the table around it, and how an error names it, with its value unless
// that is secret, a table, or nowhere written.
func (d *Document) describe(field any) (Position, string) {
	path, ok := d.paths[field]
	if !ok {
		panic(fmt.Sprintf("tomlconf: %T is not a field of what was read", field))
	}
	text := key(path)
	value := reflect.ValueOf(field).Elem()
	if d.IsSet(path) && isScalar(value.Type()) && value.Type() != secretType {
		if relative, ok := d.relative[path]; ok {
			value = reflect.ValueOf(relative)
		}
		text += " = " + written(value)
	}
	for at := path; at != ""; at = parent(at) {
		if position, ok := d.set[at]; ok {
			return position, text
		}
	}
	if len(d.files) == 0 {
		return Position{}, text
	}
	return Position{File: d.files[0]}, text
}
