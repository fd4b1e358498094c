package tomlconf

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes. In text it is a whole number with a unit, with or without a space between: B; kB, MB, GB,
// TB (powers of 1000); KiB, MiB, GiB, TiB (powers of 1024). Without a unit it is bytes.
type Size int64

// The sizes that a configuration is likely to name.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

// sizeUnits are in the order in which String tries them, largest first.
var sizeUnits = []struct {
	name  string
	bytes Size
}{
	{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Size) UnmarshalText(text []byte) error {
	digits := len(text) - len(strings.TrimLeft(string(text), "0123456789"))
	number, err := strconv.ParseInt(string(text[:digits]), 10, 64)
	unit := strings.TrimPrefix(string(text[digits:]), " ")
	if digits == len(text) {
		unit = "B"
	}
	for _, u := range sizeUnits {
		if unit != u.name || err != nil && !errors.Is(err, strconv.ErrRange) {
			continue
		}
		if err != nil || number > math.MaxInt64/int64(u.bytes) {
			return fmt.Errorf(`%q: too large: the largest size is "%dTiB"`, text, math.MaxInt64/TiB)
		}
		*s = Size(number) * u.bytes
		return nil
	}
	return fmt.Errorf(`%q: expected a size with its unit, such as "64MiB", "256KiB" or "10MB"`, text)
}

// MarshalText implements [encoding.TextMarshaler]; UnmarshalText reads it back.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String returns the size in the largest binary unit that gives a whole number, else a decimal one.
func (s Size) String() string {
	if s == 0 {
		return "0B"
	}
	for _, u := range sizeUnits {
		if s%u.bytes == 0 {
			return strconv.FormatInt(int64(s/u.bytes), 10) + u.name
		}
	}
	return ""
}

// Secret is a text that is used and never shown: no error of this package and no way of printing it repeats it. Its
// plain text is string(s).
type Secret string

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(not shown)"
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalText hides the secret from encoders, those of JSON and of log lines among them.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// ParseDuration reads what [time.ParseDuration] reads, and days ("7d") of 24 hours; none is negative.
func ParseDuration(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		err = errors.New("negative")
	}
	return d, err
}

// formatDuration returns a duration without the zeros that its String has: "1h", not "1h0m0s"; and from two days on,
// where they are whole ones, in days.
func formatDuration(d time.Duration) string {
	if day := 24 * time.Hour; d >= 2*day && d%day == 0 && d/day <= math.MaxUint16 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// written returns a scalar field as a TOML file would have it, but for a secret.
func written(value reflect.Value) string {
	if value.Kind() == reflect.Slice {
		elements := make([]string, value.Len())
		for i := range elements {
			elements[i] = written(value.Index(i))
		}
		return "[" + strings.Join(elements, ", ") + "]"
	}
	if value.Kind() == reflect.Map {
		var pairs []string
		for _, name := range value.MapKeys() {
			pairs = append(pairs, join("", name.String())+" = "+written(value.MapIndex(name)))
		}
		slices.Sort(pairs)
		return "{" + strings.Join(pairs, ", ") + "}"
	}
	text := plain(value)
	if value.Kind() == reflect.String || value.Type() == durationType || isText(value) {
		return strconv.Quote(text)
	}
	return text
}

// plain returns a scalar without quotes, for a sentence.
func plain(value reflect.Value) string {
	if value.Type() == durationType {
		return formatDuration(time.Duration(value.Int()))
	}
	if isText(value) {
		text, err := value.Interface().(encoding.TextMarshaler).MarshalText()
		if err == nil {
			return string(text)
		}
	}
	return fmt.Sprint(value.Interface())
}

func isText(value reflect.Value) bool {
	_, ok := value.Interface().(encoding.TextMarshaler)
	return ok
}

// Format returns every key of the struct that cfg points to, one line "path = value" each, in the order of the fields
// and of the elements of arrays: the configuration in force, whichever way it was written. Secrets are not shown. The
// same configuration gives the same text.
func Format(cfg any) string {
	var b strings.Builder
	format(&b, "", reflect.ValueOf(cfg).Elem())
	return b.String()
}

func format(b *strings.Builder, path string, value reflect.Value) {
	for _, f := range keyFields(value.Type()) {
		path, field := join(path, f.name), value.FieldByIndex(f.index)
		switch {
		case isScalar(field.Type()):
			fmt.Fprintf(b, "%s = %s\n", path, written(field))
		case field.Kind() == reflect.Slice:
			for i := range field.Len() {
				format(b, element(path, i), field.Index(i))
			}
		default:
			format(b, path, field)
		}
	}
}

// Changed returns the keys whose values differ between two configurations of one type, passwords included, in the order
// of the fields. An array of tables is one key.
func Changed(before, after any) []string {
	var keys []string
	changed("", reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem(), &keys)
	return keys
}

func changed(path string, before, after reflect.Value, keys *[]string) {
	for _, f := range keyFields(before.Type()) {
		path, b, a := join(path, f.name), before.FieldByIndex(f.index), after.FieldByIndex(f.index)
		if isScalar(b.Type()) || b.Kind() == reflect.Slice {
			if !reflect.DeepEqual(b.Interface(), a.Interface()) {
				*keys = append(*keys, path)
			}
			continue
		}
		changed(path, b, a, keys)
	}
}
