package tomlconf

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	durationType    = reflect.TypeFor[time.Duration]()
	secretType      = reflect.TypeFor[Secret]()
)

// isScalar reports whether values of the type are written as one TOML value; one that is a map is an inline table.
func isScalar(t reflect.Type) bool {
	if reflect.PointerTo(t).Implements(textUnmarshaler) {
		return true
	}
	switch t.Kind() {
	case reflect.Struct:
		return false
	case reflect.Slice:
		return isScalar(t.Elem())
	}
	return true
}

// A keyField is a field of a struct that is a key.
type keyField struct {
	name  string
	index []int
}

// keyFields returns the keys of a struct in the order of its fields, those of embedded structs in their place.
func keyFields(t reflect.Type) []keyField {
	var fields []keyField
	for i := range t.NumField() {
		f := t.Field(i)
		name, tagged := f.Tag.Lookup("toml")
		switch {
		case tagged:
			fields = append(fields, keyField{name, f.Index})
		case f.Anonymous:
			for _, inner := range keyFields(f.Type) {
				fields = append(fields, keyField{inner.name, append(slices.Clone(f.Index), inner.index...)})
			}
		}
	}
	return fields
}

// eachKey visits the keys that one path names for good: not those inside an array of tables, which is visited as one.
func eachKey(path string, t reflect.Type, visit func(path string, tables bool)) {
	for _, f := range keyFields(t) {
		path, t := join(path, f.name), t.FieldByIndex(f.index).Type
		switch {
		case isScalar(t):
			visit(path, false)
		case t.Kind() == reflect.Slice:
			visit(path, true)
		default:
			eachKey(path, t, visit)
		}
	}
}

func (d *Document) problem(at Position, path, format string, args ...any) {
	d.problems = append(d.problems, Problem{At: at, Text: key(path) + ": " + fmt.Sprintf(format, args...)})
}

// bindTable puts a table into a struct. Fields that no key sets are visited too, so that [Document.Refuse] knows
// every field.
func (d *Document) bindTable(path string, n *node, into reflect.Value) {
	table := n.value.(map[string]*node)
	var known []string
	for _, f := range keyFields(into.Type()) {
		known = append(known, f.name)
		path, field := join(path, f.name), into.FieldByIndex(f.index)
		d.paths[field.Addr().Interface()] = path
		child := table[f.name]
		if child != nil && d.reads(path) {
			d.set[path] = child.at
			d.bind(path, child, field)
		} else if !isScalar(field.Type()) && field.Kind() == reflect.Struct {
			d.bindTable(path, newTable(Position{}), field)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if !slices.Contains(known, name) {
			hint := DidYouMean(name, known)
			if hint == "" {
				hint = "; expected " + alternatives(known)
			}
			d.problems = append(d.problems, Problem{At: table[name].at, Text: "unknown key " + key(join(path, name)) + hint})
		}
	}
}

// reads reports whether what is written at a path is read.
func (d *Document) reads(path string) bool {
	name := key(path)
	return len(d.only) == 0 || slices.ContainsFunc(d.only, func(only string) bool {
		return name == only || strings.HasPrefix(name, only+".") || strings.HasPrefix(only, name+".")
	})
}

// bind puts one value into a field.
func (d *Document) bind(path string, n *node, into reflect.Value) {
	_, isTable := n.value.(map[string]*node)
	switch {
	case into.Kind() == reflect.Map:
		d.bindMap(path, n, into)
	case isScalar(into.Type()):
		if isTable {
			d.problem(n.at, path, "it is a key, not a table: expected %s = %s", lastName(path), example(into))
		} else if into.Kind() == reflect.Slice {
			d.bindList(path, n, into)
		} else {
			d.bindScalar(path, n, into)
		}
	case into.Kind() == reflect.Slice:
		d.bindTables(path, n, into)
	case isTable:
		d.bindTable(path, n, into)
	case n.isTables():
		d.problem(n.at, path, "there is only one such table: expected [%s]", key(path))
	default:
		d.problem(n.at, path, "expected a table: [%s] and its keys on the lines below", key(path))
	}
}

// bindMap reads a table whose keys are the operator's own words.
func (d *Document) bindMap(path string, n *node, into reflect.Value) {
	table, ok := n.value.(map[string]*node)
	if !ok {
		d.problem(n.at, path, "expected a table, such as %s = { name = %s }", lastName(path), example(reflect.New(into.Type().Elem()).Elem()))
		return
	}
	into.Set(reflect.MakeMap(into.Type()))
	for _, name := range slices.Sorted(maps.Keys(table)) {
		path, value := join(path, name), reflect.New(into.Type().Elem()).Elem()
		d.set[path] = table[name].at
		if _, isTable := table[name].value.(map[string]*node); isTable {
			d.problem(table[name].at, path, "it is a key, not a table: expected %s = %s", lastName(path), example(value))
			continue
		}
		d.bindScalar(path, table[name], value)
		into.SetMapIndex(reflect.ValueOf(name), value)
	}
}

func (d *Document) bindTables(path string, n *node, into reflect.Value) {
	elements, ok := n.value.([]*node)
	if !ok || (len(elements) > 0 && !n.isTables()) {
		d.problem(n.at, path, "there may be several such tables: expected [[%s]]", key(path))
		return
	}
	// The slice gets its final size before a pointer to an element is noted.
	into.Set(reflect.MakeSlice(into.Type(), len(elements), len(elements)))
	for i, e := range elements {
		path, field := element(path, i), into.Index(i)
		d.paths[field.Addr().Interface()] = path
		d.set[path] = e.at
		if defaulter, ok := field.Addr().Interface().(interface{ SetDefaults() }); ok {
			defaulter.SetDefaults()
		}
		d.bind(path, e, field)
	}
}

// bindList reads an array of scalars. In a text from the environment or the command line commas part the elements.
func (d *Document) bindList(path string, n *node, into reflect.Value) {
	elements, ok := n.value.([]*node)
	if text, isText := n.value.(string); isText && n.given {
		ok = true
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				elements = append(elements, &node{at: n.at, value: part, given: true})
			}
		}
	}
	if !ok {
		d.problem(n.at, path, "expected a list in brackets, such as [%s]", example(reflect.New(into.Type().Elem()).Elem()))
		return
	}
	into.Set(reflect.MakeSlice(into.Type(), len(elements), len(elements)))
	for i, e := range elements {
		path, field := element(path, i), into.Index(i)
		d.paths[field.Addr().Interface()] = path
		d.set[path] = e.at
		d.bindScalar(path, e, field)
	}
}

// bindScalar reads one value. A type that reads itself, and a duration, is given the text of whatever stands there:
// what is wrong with a bare 60 is best said by who knows what 60 lacks.
func (d *Document) bindScalar(path string, n *node, into reflect.Value) {
	value := n.value
	if text, ok := value.(string); ok && !n.given {
		var err error
		if value, err = d.expand(text); err != nil {
			d.problem(n.at, path, "%v", err)
			if unset := (unsetError{}); errors.As(err, &unset) {
				d.problems[len(d.problems)-1].Unset = unset.name
			}
			return
		}
	}
	_, isList := value.([]*node)
	if reader, ok := into.Addr().Interface().(encoding.TextUnmarshaler); ok && !isList {
		before := reflect.New(into.Type()).Elem()
		before.Set(into)
		if err := reader.UnmarshalText([]byte(fmt.Sprint(value))); err != nil {
			into.Set(before)
			d.problem(n.at, path, "%v", err)
		}
		return
	}
	if !setScalar(into, value, n.given) {
		name := key(path)
		if into.Type() != secretType {
			name += " = " + shown(value)
		}
		d.problems = append(d.problems, Problem{At: n.at, Text: fmt.Sprintf("%s: expected %s", name, expected(into))})
	}
}

// setScalar sets a field to a value of the right kind. A given text stands for a value of any kind.
func setScalar(into reflect.Value, value any, given bool) bool {
	text, isText := value.(string)
	if into.Type() == durationType {
		duration, err := ParseDuration(text)
		if !isText || err != nil {
			return false
		}
		into.SetInt(int64(duration))
		return true
	}
	var err error
	switch into.Kind() {
	case reflect.String:
		if isText {
			into.SetString(text)
		}
		return isText
	case reflect.Bool:
		truth, ok := value.(bool)
		if given {
			truth, ok = text == "true", text == "true" || text == "false"
		}
		if ok {
			into.SetBool(truth)
		}
		return ok
	case reflect.Int, reflect.Int64:
		number, ok := value.(int64)
		if given {
			number, err = strconv.ParseInt(text, 10, 64)
			ok = err == nil
		}
		if ok = ok && !into.OverflowInt(number); ok {
			into.SetInt(number)
		}
		return ok
	case reflect.Float64:
		number, ok := value.(float64)
		if whole, isWhole := value.(int64); isWhole {
			number, ok = float64(whole), true
		}
		if given {
			number, err = strconv.ParseFloat(text, 64)
			ok = err == nil
		}
		if ok = ok && !math.IsNaN(number) && !math.IsInf(number, 0); ok {
			into.SetFloat(number)
		}
		return ok
	}
	panic("tomlconf: no way to read a " + into.Type().String())
}

// expected says what form a field wants.
func expected(field reflect.Value) string {
	if field.Type() == durationType {
		return "a duration with its unit, such as " + example(field)
	}
	switch field.Kind() {
	case reflect.String:
		return "a text in quotes, such as " + example(field)
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "a number, such as " + example(field)
	}
	return "a whole number, such as " + example(field)
}

// example returns how a value of the field may be written: its default, if that tells something.
func example(field reflect.Value) string {
	switch {
	case field.Kind() == reflect.Slice:
		return "[" + example(reflect.New(field.Type().Elem()).Elem()) + "]"
	case field.Type() == secretType, field.Kind() == reflect.String && field.Len() == 0:
		return `"text"`
	case field.Type() == durationType && field.Int() == 0:
		return `"90s" or "1h"`
	}
	return written(field)
}

// shown returns a value as it stands in the file.
func shown(value any) string {
	switch value := value.(type) {
	case string:
		return strconv.Quote(value)
	case []*node:
		return "[…]"
	}
	return fmt.Sprint(value)
}

// lastName returns the key's own name, without the tables around it.
func lastName(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }
