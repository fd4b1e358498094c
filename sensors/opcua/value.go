//go:build !noopcua

package opcua

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gopcua/opcua/ua"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// mostElements is how many elements of an array become readings, as in the dialects.
const mostElements = 1024

// errStructure is that of a value whose encoding only its server describes, and of which no bytes were kept.
var errStructure = errors.New("its value is a structure of a kind that came for the first time; the next one is recorded")

// structure is the body of one, as it came.
type structure struct{ body []byte }

// Decode implements [ua.BinaryDecoder].
func (s *structure) Decode(b []byte) (int, error) {
	s.body = bytes.Clone(b)
	return len(b), nil
}

// Encode implements [ua.BinaryEncoder].
func (s *structure) Encode() ([]byte, error) { return s.body, nil }

// learn has the library keep the bytes of structures like those in a value from now on, and reports whether there are any.
func learn(v *ua.Variant) (any bool) {
	for _, e := range structures(v) {
		if e != nil && e.Value == nil && e.EncodingMask == ua.ExtensionObjectBinary && e.TypeID != nil && e.TypeID.NodeID != nil {
			ua.RegisterExtensionObject(e.TypeID.NodeID, new(structure)) // whoever is first; it is the same for all
			any = true
		}
	}
	return any
}

// structures returns those that a value holds.
func structures(v *ua.Variant) []*ua.ExtensionObject {
	if v == nil {
		return nil
	}
	switch x := v.Value().(type) {
	case *ua.ExtensionObject:
		return []*ua.ExtensionObject{x}
	case []*ua.ExtensionObject:
		return x
	}
	return nil
}

// errDate is that of a time which may be another one on the wire: the library counts nanoseconds, which 64 bits hold for 585 years, and
// takes the last day of 9999, by which servers mean no end, for one in 1816.
var errDate = errors.New("a time in it is before 1970 or after 2099, and is not known for certain: it is not recorded")

// The times that are believed: no server means one that is 585 years from there.
var firstDate, lastDate = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

// certain reports whether a time is the one on the wire. The zero time is none.
func certain(t time.Time) bool { return t.IsZero() || !t.Before(firstDate) && t.Before(lastDate) }

// datesCertain reports whether all times of a value are those on the wire.
func datesCertain(v *ua.DataValue) bool {
	if !certain(v.SourceTimestamp) || !certain(v.ServerTimestamp) {
		return false
	}
	if v.Value == nil || v.Value.Type() != ua.TypeIDDateTime {
		return true
	}
	return allCertain(reflect.ValueOf(v.Value.Value()))
}

// allCertain looks at a time, or at those in an array of any dimensions.
func allCertain(x reflect.Value) bool {
	if x.Kind() == reflect.Slice {
		for i := range x.Len() {
			if !allCertain(x.Index(i)) {
				return false
			}
		}
		return true
	}
	if !x.IsValid() {
		return true
	}
	t, is := reflect.TypeAssert[time.Time](x)
	return !is || certain(t)
}

// appendPayload appends the payload that a value of a node is in an entry.
//
// SPEC: the NodeId of the node and the DataValue that the server notified, one behind the other, both in OPC UA Binary
func appendPayload(b []byte, node *ua.NodeID, v *ua.DataValue) ([]byte, error) {
	for _, e := range structures(v.Value) {
		if e != nil && e.Value == nil && e.EncodingMask != ua.ExtensionObjectEmpty {
			return nil, errStructure
		}
	}
	if !datesCertain(v) {
		return nil, errDate
	}
	id, err := node.Encode()
	if err != nil {
		return nil, err
	}
	value, err := v.Encode()
	if err != nil {
		return nil, err
	}
	if v.Has(ua.DataValueValue) && v.Value != nil && v.Value.Type() == ua.TypeIDByteString && v.Value.Has(ua.VariantArrayValues) {
		if value, err = withByteStrings(value, v.Value.Value()); err != nil {
			return nil, err
		}
	}
	return append(append(b, id...), value...), nil
}

// withByteStrings puts the elements of an array of byte strings into the encoding of its DataValue, which the library leaves out.
func withByteStrings(value []byte, list any) ([]byte, error) {
	if list == nil {
		return value, nil
	}
	strings, one := list.([][]byte)
	if !one {
		return nil, errors.New("its value is an array of byte strings of more than one dimension, which is not read")
	}
	const at = 1 + 1 + 4 // behind the masks of the DataValue and of its Variant, and the length
	elements := ua.NewBuffer(nil)
	for _, s := range strings {
		elements.WriteByteString(s)
	}
	return slices.Concat(value[:at], elements.Bytes(), value[at:]), elements.Error()
}

// parsePayload reads a payload, and takes none that appendPayload does not give back.
func parsePayload(b []byte) (node *ua.NodeID, v *ua.DataValue, err error) {
	defer func() { // the library's decoder panics over some lengths that no array can have
		if p := recover(); p != nil {
			err = fmt.Errorf("the value: %v", p)
		}
	}()
	node, v = new(ua.NodeID), new(ua.DataValue)
	n, err := node.Decode(b)
	if err != nil {
		return nil, nil, fmt.Errorf("the node's id: %w", err)
	}
	m, err := v.Decode(b[n:])
	if err != nil {
		return nil, nil, fmt.Errorf("the value: %w", err)
	}
	again, err := appendPayload(nil, node, v)
	if err != nil {
		return nil, nil, err
	}
	if n+m != len(b) || !bytes.Equal(again, b) {
		return nil, nil, errors.New("it is not as the encoding has it")
	}
	return node, v, nil
}

// meaning is what the configuration says of a node.
type meaning struct{ device, name, unit string }

// Status codes (OPC UA Part 4, 7.39): the two highest bits are the severity; of a DataValue's the info bits tell of an overflow.
const (
	severity = 0xC0000000
	infoType = 0x00000C00
	ofValue  = 0x00000400
	overflow = 0x00000080
)

// overflowed reports whether the server had no room for all values of a node.
func overflowed(status ua.StatusCode) bool {
	return status&infoType == ofValue && status&overflow != 0
}

// readings returns what a payload says.
//
// SPEC: A scalar is one reading, called as the configuration says, else by the node's id; elements of an array of one dimension are NAME`.`INDEX
func readings(payload []byte, as meaning, received int64) ([]lightchain.Reading, error) {
	_, v, err := parsePayload(payload)
	if err != nil {
		return nil, sensors.NotUnderstood(sensors.Syntax, "%v", err)
	}
	var all []lightchain.Reading
	add := func(name string, value any) {
		r := lightchain.Reading{Device: as.device, Name: name}
		var bad bool
		if r.Value, bad = valueOf(value); bad || v.Status&severity != 0 {
			r.Quality |= lightchain.Bad
		}
		switch r.Value.Kind() {
		case lightchain.KindInt, lightchain.KindFloat:
			r.Unit = as.unit
		}
		if v.Has(ua.DataValueSourceTimestamp) && !v.SourceTimestamp.IsZero() {
			sensors.MeasuredAt(&r, v.SourceTimestamp.UnixNano(), received)
		}
		all = append(all, r)
	}
	if v.Value == nil {
		add(as.name, nil)
		return all, nil
	}
	if len(structures(v.Value)) > 0 {
		return nil, sensors.NotUnderstood(sensors.WrongType, "a structure: name the nodes of its fields")
	}
	value := v.Value.Value()
	list := reflect.ValueOf(value)
	if _, isBytes := value.([]byte); isBytes || value == nil || list.Kind() != reflect.Slice {
		add(as.name, value)
		return all, nil
	}
	if list.Len() > mostElements {
		return nil, sensors.NotUnderstood(sensors.TooMany, "an array of %d elements, above the limit of %d", list.Len(), mostElements)
	}
	for i := range list.Len() {
		if list.Index(i).Kind() == reflect.Slice && list.Index(i).Type() != reflect.TypeFor[[]byte]() {
			return nil, sensors.NotUnderstood(sensors.WrongType, "an array of more than one dimension")
		}
		add(as.name+"."+strconv.Itoa(i), list.Index(i).Interface())
	}
	return all, nil
}

// valueOf returns what a scalar is; bad: of what it was, nothing can be said.
func valueOf(x any) (v lightchain.Value, bad bool) {
	switch x := x.(type) {
	case nil:
		return v, false
	case bool:
		return lightchain.Bool(x), false
	case int8:
		return lightchain.Int(int64(x)), false
	case uint8:
		return lightchain.Int(int64(x)), false
	case int16:
		return lightchain.Int(int64(x)), false
	case uint16:
		return lightchain.Int(int64(x)), false
	case int32:
		return lightchain.Int(int64(x)), false
	case uint32:
		return lightchain.Int(int64(x)), false
	case int64:
		return lightchain.Int(x), false
	case uint64:
		if x > math.MaxInt64 {
			return lightchain.Text(strconv.FormatUint(x, 10)), false
		}
		return lightchain.Int(int64(x)), false
	case float32:
		// The shortest decimal that gives its bits back, as the device would display it.
		f, err := strconv.ParseFloat(strconv.FormatFloat(float64(x), 'g', -1, 32), 64)
		return floatOf(f, err)
	case float64:
		return floatOf(x, nil)
	case string:
		return textOf(x), false
	case time.Time:
		if x.IsZero() {
			return v, false
		}
		return lightchain.Text(x.UTC().Format(time.RFC3339Nano)), false
	case []byte:
		return lightchain.Bytes(x), false
	case *ua.GUID:
		return textOf(x.String()), false
	case ua.XMLElement:
		return textOf(string(x)), false
	case *ua.NodeID:
		return textOf(x.String()), false
	case *ua.ExpandedNodeID:
		return textOf(x.String()), false
	case ua.StatusCode:
		return lightchain.Int(int64(x)), false
	case *ua.LocalizedText:
		return textOf(x.Text), false
	case *ua.QualifiedName:
		return textOf(strconv.Itoa(int(x.NamespaceIndex)) + ":" + x.Name), false
	}
	return v, true
}

// textOf returns a text, or its bytes where they are no UTF-8.
func textOf(s string) lightchain.Value {
	if !utf8.ValidString(s) {
		return lightchain.Bytes([]byte(s))
	}
	return lightchain.Text(s)
}

func floatOf(f float64, err error) (v lightchain.Value, bad bool) {
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return v, true
	}
	return lightchain.Float(f), false
}

// checkNodeID refuses what is no id of a node. The library takes more: what begins as none is a text in namespace 0 to it.
func checkNodeID(text string) error {
	_, err := ua.ParseNodeID(text)
	_, id, namespaced := strings.Cut(text, ";")
	if !namespaced || !strings.HasPrefix(text, "ns=") {
		id = text
	}
	if err == nil && (len(id) < 3 || id[1] != '=' || !strings.ContainsAny(id[:1], "isgb")) {
		err = errors.New("it begins as none")
	}
	if err != nil {
		return fmt.Errorf("expected the id of a node, such as %q or %q: %w", "ns=2;s=Press.Temperature", "ns=3;i=1001", err)
	}
	return nil
}
