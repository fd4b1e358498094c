package lightchain

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
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

// rawRun is a run as the CBOR library reads it.
type rawRun struct {
	Version uint64 `cbor:"1,keyasint"`
	First   uint64 `cbor:"2,keyasint"`
	Count   uint64 `cbor:"3,keyasint"`
	Columns []byte `cbor:"4,keyasint"`
	Roots   []byte `cbor:"5,keyasint"`
	Beacons []byte `cbor:"6,keyasint"`
	Keys    []struct {
		_     struct{} `cbor:",toarray"`
		Index uint64
		Key   []byte
	} `cbor:"7,keyasint"`
	Extras []struct {
		_      struct{} `cbor:",toarray"`
		Index  uint64
		Fields map[int64]cbor.RawMessage
	} `cbor:"8,keyasint"`
	Signatures [][]byte `cbor:"9,keyasint"`
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
	var raw rawRun
	if err := decode(b, &raw); err != nil {
		return nil, err
	}
	switch {
	case raw.Version != Version:
		return nil, fmt.Errorf("format version %d, this program knows %d", raw.Version, Version)
	case raw.Count == 0 || raw.Count > MaxRun:
		return nil, fmt.Errorf("a run of %d headers, not 1 to %d", raw.Count, MaxRun)
	case len(raw.Keys) > maxRunKeys || len(raw.Extras) > maxRunExtras || len(raw.Signatures) > maxRunSignatures:
		return nil, errors.New("more keys, unknown fields or signatures than a run may have")
	}
	r := &Run{First: raw.First, Headers: make([]RunHeader, raw.Count)}
	if err := r.setColumns(&raw); err != nil {
		return nil, err
	}
	if err := r.setRare(&raw); err != nil {
		return nil, err
	}
	again, err := r.append(make([]byte, 0, len(b)))
	return r, same(b, again, err)
}

var errRunHashes = errors.New("not as many hashes as the columns ask for")

// setColumns fills in what each header has.
func (r *Run) setColumns(raw *rawRun) (err error) {
	columns := makeColumns(len(r.Headers))
	numbers := raw.Columns
	for _, values := range columns {
		if numbers, err = readColumn(numbers, values); err != nil {
			return err
		}
	}
	if len(numbers) != 0 {
		return errColumn
	}
	roots, beacons := raw.Roots, raw.Beacons
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
	for _, k := range raw.Keys {
		if k.Index >= raw.Count || len(k.Key) != len(PublicKey{}) {
			return errors.New("a key that is none, or of a header beyond the run")
		}
		key := new(PublicKey)
		copy(key[:], k.Key)
		r.Headers[k.Index].NextKey = key
	}
	for _, e := range raw.Extras {
		if e.Index >= raw.Count {
			return errors.New("unknown fields of a header beyond the run")
		}
		var h Header
		for key, value := range e.Fields {
			if key <= keyCadence {
				return fmt.Errorf("key %d is not one that is unknown", key)
			}
			if err := h.setField(key, value); err != nil {
				return fmt.Errorf("key %d: %w", key, err)
			}
		}
		h.sortExtra()
		r.Headers[e.Index].Extra = h.Extra
	}
	signatures := raw.Signatures
	for i := range r.Headers {
		h := &r.Headers[i]
		if h.NextKey == nil && i < len(r.Headers)-1 {
			continue
		}
		if len(signatures) == 0 || len(signatures[0]) != len(Signature{}) {
			return errors.New("signatures do not fit the headers")
		}
		h.Signature = new(Signature)
		copy(h.Signature[:], signatures[0])
		signatures = signatures[1:]
	}
	if len(signatures) != 0 {
		return errors.New("more signatures than headers that need one")
	}
	return nil
}
