package sensors

import (
	"strings"
	"time"

	"edgechain.example/lightchain"
)

// newestSenML is the version of RFC 8428.
const newestSenML = 10

// field is one label of a SenML record, numbered as in CBOR (RFC 8428, table 4), plus six, so that the base fields
// have numbers from 0 too.
type field uint8

const (
	fieldBS field = iota
	fieldBV
	fieldBU
	fieldBT
	fieldBN
	fieldBVer
	fieldN
	fieldU
	fieldV
	fieldVS
	fieldVB
	fieldS
	fieldT
	fieldUT
	fieldVD
	fields
)

// numeric is the set of fields that hold a number.
const numeric = 1<<fieldBS | 1<<fieldBV | 1<<fieldBT | 1<<fieldBVer | 1<<fieldV | 1<<fieldS | 1<<fieldT | 1<<fieldUT

// baseFields is the set of fields that hold for the records that follow, too.
const baseFields = 1<<fieldBS | 1<<fieldBV | 1<<fieldBU | 1<<fieldBT | 1<<fieldBN | 1<<fieldBVer

// record is one SenML record as it stands in the pack, from JSON or CBOR.
type record struct {
	has        uint // the set of fields that stand in it
	bn, bu     string
	n, u       string
	bv, bs     lightchain.Value
	v, s       lightchain.Value // v also vs, vb, vd
	bt, t      decimal
	bver       lightchain.Value
	valueCount int
}

// decimal is the text of a number, as JSON writes it.
type decimal string

// put stores a field. A number comes with its text.
func (r *record) put(f field, v lightchain.Value, text decimal) error {
	if r.has&(1<<f) != 0 {
		return refuse(DuplicateKey, "a SenML label is repeated in a record")
	}
	r.has |= 1 << f
	kind, want := v.Kind(), lightchain.KindText
	switch {
	case numeric&(1<<f) != 0:
		if want = kind; kind != lightchain.KindInt && kind != lightchain.KindFloat {
			return refuse(NotSenML, "%.40q, where the SenML label wants a number", v.String())
		}
	case f == fieldVB:
		want = lightchain.KindBool
	case f == fieldVD:
		want = lightchain.KindBytes
	}
	if kind != want {
		return refuse(NotSenML, "%.40q is not of the type that its SenML label wants", v.String())
	}
	switch f {
	case fieldBN:
		r.bn, _ = v.Text()
	case fieldBU:
		r.bu, _ = v.Text()
	case fieldN:
		r.n, _ = v.Text()
	case fieldU:
		r.u, _ = v.Text()
	case fieldBT:
		r.bt = text
	case fieldT:
		r.t = text
	case fieldBV:
		r.bv = v
	case fieldBS:
		r.bs = v
	case fieldBVer:
		r.bver = v
	case fieldS:
		r.s = v
	case fieldV, fieldVS, fieldVB, fieldVD:
		r.v = v
		r.valueCount++
	}
	return nil
}

// pack resolves the records of one SenML pack, in their order, into readings (RFC 8428, sections 4.5 and 4.6).
type pack struct {
	arrival
	d    *Decoder
	out  []lightchain.Reading
	base record // the base fields in force
	size int
}

// add resolves the next record.
func (p *pack) add(r *record) error {
	if err := p.takeBase(r); err != nil {
		return err
	}
	if r.has&^baseFields == 0 && r.has != 0 {
		return nil // a record of base fields alone is common, though the RFC would have a value in it
	}
	// RFC 8428, section 4.2: "Exactly one Value field MUST appear unless there is a Sum field, in which case it is
	// allowed to have no Value field."
	if r.valueCount > 1 || r.valueCount == 0 && r.has&(1<<fieldS) == 0 {
		return refuse(NotSenML, "a record has %d values and no sum", r.valueCount)
	}
	out, err := p.resolve(r)
	if err != nil {
		return err
	}
	if r.valueCount > 0 {
		v := r.v
		if r.has&(1<<fieldV) != 0 && p.base.has&(1<<fieldBV) != 0 {
			if v, err = add(p.base.bv, v); err != nil {
				return err
			}
		}
		out.Value = v
		if err := p.append(out); err != nil {
			return err
		}
	}
	// RFC 8428, section 4.5.4: "If only one Base Sum or Sum value is present, the missing field is considered to have
	// a value of zero."
	if (r.has|p.base.has)&(1<<fieldS|1<<fieldBS) == 0 {
		return nil
	}
	sum := r.s
	switch {
	case r.has&(1<<fieldS) == 0:
		sum = p.base.bs
	case p.base.has&(1<<fieldBS) != 0:
		if sum, err = add(p.base.bs, r.s); err != nil {
			return err
		}
	}
	// SPEC: `s` becomes a reading named with `/sum` appended
	out.Name, out.Unit, out.Value = out.Name+"/sum", sumUnit(out.Unit), sum
	return p.append(out)
}

func (p *pack) takeBase(r *record) error {
	// RFC 8428, section 4.4: "If this value is a version number larger than the version that the system understands,
	// the system MUST NOT use this object."
	if r.has&(1<<fieldBVer) != 0 {
		version, whole := r.bver.Int()
		switch {
		case !whole || version < 1:
			return refuse(NotSenML, "the version %v is not a positive integer", r.bver)
		case version > newestSenML:
			return refuse(NewVersion, "SenML of version %d, above %d", version, newestSenML)
		}
	}
	has := r.has & baseFields
	p.base.has |= has
	if has&(1<<fieldBN) != 0 {
		p.base.bn = r.bn
	}
	if has&(1<<fieldBU) != 0 {
		p.base.bu = r.bu
	}
	if has&(1<<fieldBT) != 0 {
		p.base.bt = r.bt
	}
	if has&(1<<fieldBV) != 0 {
		p.base.bv = r.bv
	}
	if has&(1<<fieldBS) != 0 {
		p.base.bs = r.bs
	}
	return nil
}

// resolve makes the record's reading, but for its value.
func (p *pack) resolve(r *record) (out lightchain.Reading, err error) {
	if err := checkName(p.base.bn, r.n); err != nil {
		return out, err
	}
	// SPEC: device is the base name without a trailing `:`, `/` or `.`, else the topic's; name is `n`, or the base
	// name's last segment where `n` is empty
	out.Device, out.Name = p.place.device, r.n
	if bn := trimSeparator(p.base.bn); bn != "" {
		out.Device = bn
	}
	if out.Name == "" {
		bn := strings.TrimRight(p.base.bn, ":/.")
		out.Name = bn[strings.LastIndexAny(bn, ":/.")+1:]
	}
	switch {
	case r.u != "":
		out.Unit = r.u
	case p.base.bu != "":
		out.Unit = p.base.bu
	case r.has&(1<<fieldV|1<<fieldS) != 0:
		out.Unit = p.place.unit
	}
	if (r.has|p.base.has)&(1<<fieldT|1<<fieldBT) != 0 {
		senmlTime(p.base.bt, r.t, p.received).on(&out, p.received)
	}
	return out, nil
}

func trimSeparator(bn string) string {
	if bn != "" && strings.IndexByte(":/.", bn[len(bn)-1]) >= 0 {
		return bn[:len(bn)-1]
	}
	return bn
}

// checkName enforces RFC 8428, section 4.5.1: the concatenated name "MUST consist only of characters out of sets "A"
// to "Z", "a" to "z", and "0" to "9", as well as "-", ":", ".", "/", and "_"; furthermore, it MUST start with a
// character out of sets "A" to "Z", "a" to "z", or "0" to "9"."
func checkName(bn, n string) error {
	first := true
	for _, part := range [...]string{bn, n} {
		for i := range len(part) {
			c := part[i]
			alphanumeric := isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z'
			if !alphanumeric && (first || strings.IndexByte("-:./_", c) < 0) {
				return refuse(BadName, "SenML name %.80q: byte %#x is not allowed there", bn+n, c)
			}
			first = false
		}
	}
	if first {
		return refuse(BadName, "a SenML record has no name")
	}
	return nil
}

// senmlTime adds base time and time, in seconds; either may be empty.
//
// RFC 8428, section 4.5.3: "Values less than 268,435,456 (2**28) represent time relative to the current time."
func senmlTime(bt, t decimal, received int64) stamp {
	const relative = int64(1<<28) * int64(time.Second)
	var sum int64
	for _, part := range [...]decimal{bt, t} {
		if part == "" {
			continue
		}
		ns, ok := scaledInt(string(part), 9)
		if ok {
			sum, ok = addInt(sum, ns)
		}
		if !ok {
			return beyondBelief
		}
	}
	if sum < relative {
		var ok bool
		if sum, ok = addInt(sum, received); !ok {
			return beyondBelief
		}
	}
	return stamp{ns: sum, timed: true}
}

func addInt(a, b int64) (int64, bool) {
	sum := a + b
	return sum, (sum > a) == (b > 0)
}

// add adds a base to a number: as integers where both are and it fits, else as floats.
func add(base, v lightchain.Value) (lightchain.Value, error) {
	a, whole := base.Int()
	b, alsoWhole := v.Int()
	if sum, ok := addInt(a, b); ok && whole && alsoWhole {
		return lightchain.Int(sum), nil
	}
	x, _ := base.Float()
	y, _ := v.Float()
	return finite(x + y)
}

func (p *pack) append(r lightchain.Reading) error {
	if len(p.out) == maxValues {
		return refuse(TooMany, "more than %d readings", maxValues)
	}
	// The base name stands in every reading, and so grows beyond the payload.
	if p.size += len(r.Device) + len(r.Name); p.size > maxReadingsSize {
		return refuse(TooLarge, "names above %d bytes in all", maxReadingsSize)
	}
	if u, ok := p.d.units[r.Name]; ok && r.Unit == "" {
		r.Unit = u
	}
	p.out = append(p.out, r)
	return nil
}

// end returns the readings. A pack of none is no SenML: "auto" must not take every array for one.
func (p *pack) end() ([]lightchain.Reading, error) {
	if len(p.out) == 0 {
		return nil, refuse(NotSenML, "no record with a value")
	}
	return p.out, nil
}
