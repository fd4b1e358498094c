package modbus

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// Table says what the bits or registers of one unit mean.
type Table struct {
	Unit     byte
	Function Function
	Device   string
	Fields   []TableField // in the order of the readings
	hash     lightchain.Hash
}

// TableField is one value.
type TableField struct {
	Address   uint16
	Type      string // [Types], or BOOL of a bit
	Length    int    // registers, or bits
	Bit       int    // of BIT: 0 is the lowest
	ByteOrder string
	Scale     float64
	Offset    float64
	Name      string
	Unit      string

	scale, offset *big.Rat // nil: neither is needed
	read          decodeFunc
}

// boolType is the type of a coil, or of a discrete input.
const boolType = "BOOL"

// newTable compiles what an operator says, which was checked.
func newTable(bus string, r *Request) *Table {
	t := &Table{Unit: byte(r.SlaveID), Function: functionNames[r.Register], Device: r.device(bus)}
	for i := range r.Fields {
		c := &r.Fields[i]
		f := TableField{Address: uint16(c.Address), Type: c.Type, Length: 1, Bit: c.Bit, ByteOrder: r.ByteOrder, Scale: c.Scale, Offset: c.Offset,
			Name: c.Name, Unit: sensors.UnitSymbol(c.Unit)}
		if t.Function.Bits() {
			f.Type = boolType
		} else {
			f.Length = c.length()
		}
		t.Fields = append(t.Fields, f)
	}
	t.compile()
	return t
}

func (t *Table) compile() {
	for i := range t.Fields {
		f := &t.Fields[i]
		f.read = types[f.Type].decode
		if f.Scale != 1 || f.Offset != 0 {
			f.scale, f.offset = decimal(f.Scale), decimal(f.Offset)
		}
	}
	t.hash = sha256.Sum256([]byte(t.Text()))
}

// decimal returns the number that a person wrote: the shortest decimal that gives the float.
func decimal(f float64) *big.Rat {
	r, _ := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
	return r
}

// Text returns the table as its hash covers it.
//
// SPEC: edgechain modbus table 1 …
func (t *Table) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "edgechain modbus table 1\nunit %d\nfunction %d\ndevice %s\n", t.Unit, t.Function, quoted(t.Device))
	for i := range t.Fields {
		f := &t.Fields[i]
		fmt.Fprintf(&b, "%d %s %d %d %s %s %s %s %s\n", f.Address, f.Type, f.Length, f.Bit, f.ByteOrder, plainNumber(f.Scale), plainNumber(f.Offset), quoted(f.Name), quoted(f.Unit))
	}
	return b.String()
}

// Hash returns the SHA-256 of the table's text, which readings have as their meaning.
func (t *Table) Hash() lightchain.Hash { return t.hash }

var quoting = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func quoted(s string) string { return `"` + quoting.Replace(s) + `"` }

func plainNumber(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// Span is what one question asks for.
type Span struct {
	Address  uint16
	Quantity uint16
}

// Spans returns the questions by which the table is read, in the order of their addresses. What stands side by side is asked
// for at once, as far as one question can; fill is how many that no field names may stand between, and are then asked for, too.
func (t *Table) Spans(fill int) (spans []Span) {
	type stretch struct{ from, to int }
	var all []stretch
	for i := range t.Fields {
		f := &t.Fields[i]
		all = append(all, stretch{int(f.Address), int(f.Address) + f.Length})
	}
	slices.SortFunc(all, func(a, b stretch) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	var now stretch
	add := func() {
		if now.to > now.from {
			spans = append(spans, Span{uint16(now.from), uint16(now.to - now.from)})
		}
	}
	for _, s := range all {
		if now.to > now.from && s.from <= now.to+fill && max(s.to, now.to)-now.from <= t.Function.most() {
			now.to = max(s.to, now.to)
			continue
		}
		add()
		now = s
	}
	add()
	return spans
}
