package lightchain

import (
	"bytes"
	"errors"
	"fmt"
)

// The keys of an encoded run.
//
//	run = {
//	  1: 1,                          ; format version
//	  2: uint,                       ; height of the first header, at least 1
//	  3: 1..4096,                    ; how many headers
//	  4: bstr,                       ; seven columns: count, sealed, clock state, boot, uptime, beacon, cadence
//	  5: bstr,                       ; the roots of the blocks that have entries, one after the other
//	  ? 6: bstr,                     ; the beacons that the beacon column calls new, one after the other
//	  ? 7: [+ [index: uint, key]],   ; keys that are set, index counted from 0 in the run, ascending
//	  ? 8: [+ [index: uint, { + uint => any }]],  ; header fields that this version does not know
//	  9: [+ bstr .size 64]           ; signatures: one for each header in 7, and one for the last if it is not in 7
//	}
const (
	runFirst = 2 + iota
	runCount
	runColumns
	runRoots
	runBeacons
	runKeys
	runExtras
	runSignatures
)

const (
	runColumnCount   = 7
	maxRunKeys       = 1024
	maxRunExtras     = 1024
	beaconSame       = 0 // as in the header before, in the run's first header: none
	beaconNew        = 1
	beaconNone       = 2 // there was one, and here is none
	maxRunSignatures = maxRunKeys + 1
)

// MaxRunBytes is more than any encoded run that can be read: whoever makes one stays far below, to fit a page.
const MaxRunBytes = 1 << 20

// columns returns the run's numbers column by column. All arithmetic is modulo 2^64, so any numbers come back.
//
// Each column is what is nearly constant from header to header: the count itself, the time from seal to seal, the
// clock's state, boots since the header before, and by how much the uptime moved otherwise than the clock.
func (r *Run) columns(to [][]uint64) {
	var sealed, boot, uptime uint64
	var beacon *Hash
	for i := range r.Headers {
		h := &r.Headers[i]
		step := uint64(h.Sealed) - sealed
		to[0][i], to[1][i], to[2][i] = h.Count, step, uint64(h.Clock.State)
		to[3][i], to[4][i] = h.Clock.Boot-boot, h.Clock.Uptime-uptime-step
		to[5][i], to[6][i] = beaconStep(beacon, h.Beacon), h.Cadence
		sealed, boot, uptime, beacon = uint64(h.Sealed), h.Clock.Boot, h.Clock.Uptime, h.Beacon
	}
}

func beaconStep(before, now *Hash) uint64 {
	switch {
	case now == nil && before == nil, now != nil && before != nil && *now == *before:
		return beaconSame
	case now == nil:
		return beaconNone
	}
	return beaconNew
}

func makeColumns(n int) [][]uint64 {
	all := make([]uint64, runColumnCount*n)
	columns := make([][]uint64, runColumnCount)
	for i := range columns {
		columns[i] = all[i*n : (i+1)*n]
	}
	return columns
}

// Append appends the run's encoding to b.
func (r *Run) Append(b []byte) ([]byte, error) {
	start := len(b)
	b, err := r.append(b)
	if err != nil {
		return b[:start], fmt.Errorf("run: %w", err)
	}
	return b, nil
}

func (r *Run) append(b []byte) (_ []byte, err error) {
	if err := r.check(); err != nil {
		return b, err
	}
	n := len(r.Headers)
	columns, scratch := makeColumns(n), make([]uint64, n)
	r.columns(columns)
	var numbers, beacons []byte
	for _, values := range columns {
		numbers = appendColumn(numbers, values, scratch)
	}
	roots := make([]byte, 0, n*len(Hash{}))
	keys, extras := 0, 0
	for i := range r.Headers {
		h := &r.Headers[i]
		if h.Count > 0 {
			roots = append(roots, h.Root[:]...)
		}
		if columns[5][i] == beaconNew {
			beacons = append(beacons, h.Beacon[:]...)
		}
		keys += count(h.NextKey != nil)
		extras += count(len(h.Extra) > 0)
	}
	if keys > maxRunKeys || extras > maxRunExtras {
		return b, fmt.Errorf("%d keys and %d headers with unknown fields in a run, at most %d and %d", keys, extras, maxRunKeys, maxRunExtras)
	}

	b = appendMap(b, 6+count(len(beacons) > 0)+count(keys > 0)+count(extras > 0))
	b = appendUint(append(append(b, 1, Version), runFirst), r.First)
	b = appendUint(append(b, runCount), uint64(n))
	b = appendBytes(append(b, runColumns), numbers)
	b = appendBytes(append(b, runRoots), roots)
	if len(beacons) > 0 {
		b = appendBytes(append(b, runBeacons), beacons)
	}
	if keys > 0 {
		b = appendArray(append(b, runKeys), keys)
		for i := range r.Headers {
			if key := r.Headers[i].NextKey; key != nil {
				b = appendBytes(appendUint(appendArray(b, 2), uint64(i)), key[:])
			}
		}
	}
	if extras > 0 {
		b = appendArray(append(b, runExtras), extras)
		for i := range r.Headers {
			if fields := r.Headers[i].Extra; len(fields) > 0 {
				b = appendMap(appendUint(appendArray(b, 2), uint64(i)), len(fields))
				for _, f := range fields {
					b = append(appendUint(b, f.Key), f.Raw...)
				}
			}
		}
	}
	b = appendArray(append(b, runSignatures), keys+count(r.Headers[n-1].NextKey == nil))
	for i := range r.Headers {
		if sig := r.Headers[i].Signature; sig != nil {
			b = appendBytes(b, sig[:])
		}
	}
	return b, nil
}

// rawRun is a run before its columns are read.
type rawRun struct {
	first, count            uint64
	columns, roots, beacons []byte
	keys                    []runKey
	extras                  []runExtra
	signatures              []Signature
}

type runKey struct {
	index uint64
	key   PublicKey
}

type runExtra struct {
	index  uint64
	fields []Field
}

// DecodeRun reads a run. It checks the encoding alone; see [Tip.Follow].
func DecodeRun(b []byte) (*Run, error) {
	r, err := decodeRun(b)
	if err != nil {
		return nil, fmt.Errorf("run: %w", err)
	}
	return r, nil
}

func decodeRun(b []byte) (*Run, error) {
	if len(b) > MaxRunBytes {
		return nil, fmt.Errorf("%d bytes are above the limit of %d", len(b), MaxRunBytes)
	}
	raw, err := readRun(b)
	if err != nil {
		return nil, err
	}
	if raw.count == 0 || raw.count > MaxRun {
		return nil, fmt.Errorf("a run of %d headers, not 1 to %d", raw.count, MaxRun)
	}
	r := &Run{First: raw.first, Headers: make([]RunHeader, raw.count)}
	if err := r.setColumns(raw); err != nil {
		return nil, err
	}
	if err := r.setRare(raw); err != nil {
		return nil, err
	}
	// A column has more than one spelling that unfolds to the same values: the one of the format is the one that encodes.
	again, err := r.append(make([]byte, 0, len(b)))
	if err == nil && !bytes.Equal(b, again) {
		err = errNotDeterministic
	}
	return r, err
}

func readRun(b []byte) (*rawRun, error) {
	raw, r := new(rawRun), reader{b: b}
	set := r.fields(func(key uint64) {
		switch key {
		case 1:
			r.version()
		case 2:
			raw.first = r.uint()
		case 3:
			raw.count = r.uint()
		case 4:
			raw.columns = r.bytes(MaxRunBytes)
		case 5:
			raw.roots = r.bytes(MaxRunBytes)
		case 6:
			raw.beacons = r.bytes(MaxRunBytes)
		case 7:
			raw.keys = make([]runKey, r.array(0, maxRunKeys, 3))
			for i := range raw.keys {
				r.tuple(2)
				raw.keys[i].index = r.uint()
				r.fixed(raw.keys[i].key[:])
			}
		case 8:
			raw.extras = make([]runExtra, r.array(0, maxRunExtras, 3))
			for i := range raw.extras {
				r.tuple(2)
				e := &raw.extras[i]
				e.index = r.uint()
				r.keys(func(key uint64) {
					if key <= keyCadence {
						r.fail(fmt.Errorf("key %d is not one that is unknown", key))
						return
					}
					e.fields = append(e.fields, r.extra(key))
				})
			}
		case 9:
			raw.signatures = make([]Signature, r.array(0, maxRunSignatures, 2))
			for i := range raw.signatures {
				r.fixed(raw.signatures[i][:])
			}
		default:
			r.unknown(key)
		}
	})
	if err := r.end(); err != nil {
		return nil, err
	}
	if needed := uint64(1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<9); set&needed != needed {
		return nil, errors.New("a field is missing")
	}
	return raw, nil
}

var errRunHashes = errors.New("not as many hashes as the columns ask for")

// setColumns fills in what each header has.
func (r *Run) setColumns(raw *rawRun) (err error) {
	columns := makeColumns(len(r.Headers))
	numbers := raw.columns
	for _, values := range columns {
		if numbers, err = readColumn(numbers, values); err != nil {
			return err
		}
	}
	if len(numbers) != 0 {
		return errColumn
	}
	roots, beacons := raw.roots, raw.beacons
	var sealed, boot, uptime uint64
	var beacon *Hash
	for i := range r.Headers {
		h := &r.Headers[i]
		sealed += columns[1][i]
		boot += columns[3][i]
		uptime += columns[4][i] + columns[1][i]
		h.Count, h.Sealed = columns[0][i], int64(sealed)
		h.Clock = Clock{ClockState(columns[2][i]), boot, uptime}
		h.Root, h.Cadence = emptyRoot, columns[6][i]
		if h.Count > 0 {
			if len(roots) < len(h.Root) {
				return errRunHashes
			}
			roots = roots[copy(h.Root[:], roots):]
		}
		switch columns[5][i] {
		case beaconSame:
		case beaconNone:
			beacon = nil
		case beaconNew:
			if len(beacons) < len(Hash{}) {
				return errRunHashes
			}
			beacon = new(Hash)
			beacons = beacons[copy(beacon[:], beacons):]
		default:
			return errColumn
		}
		h.Beacon = beacon
	}
	if len(roots) != 0 || len(beacons) != 0 {
		return errRunHashes
	}
	return nil
}

// setRare fills in keys, unknown fields and signatures.
func (r *Run) setRare(raw *rawRun) error {
	for i := range raw.keys {
		k := &raw.keys[i]
		if k.index >= raw.count {
			return errors.New("a key of a header beyond the run")
		}
		r.Headers[k.index].NextKey = &k.key
	}
	for _, e := range raw.extras {
		if e.index >= raw.count {
			return errors.New("unknown fields of a header beyond the run")
		}
		r.Headers[e.index].Extra = e.fields
	}
	signatures := raw.signatures
	for i := range r.Headers {
		h := &r.Headers[i]
		if h.NextKey == nil && i < len(r.Headers)-1 {
			continue
		}
		if len(signatures) == 0 {
			return errors.New("signatures do not fit the headers")
		}
		h.Signature = &signatures[0]
		signatures = signatures[1:]
	}
	if len(signatures) != 0 {
		return errors.New("more signatures than headers that need one")
	}
	return nil
}
