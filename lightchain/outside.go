package lightchain

import (
	"errors"
	"fmt"
	"math"
)

// Outside is evidence from outside the chain that came with a file: an entry in a public log, a time stamp, another
// ledger's word. This version knows none of it. It reads the form, checks nothing of the contents, and draws nothing
// from them; so a verifier of today judges a file to which such evidence was added, and says that it is there.
type Outside struct {
	Kind   string // spelled like an aggregator's name: "cose-receipt", "rfc3161", "opentimestamps"
	Height uint64 // of the header that it speaks of, by its hash
	Bytes  []byte
}

const (
	maxOutside      = 16
	maxOutsideBytes = 1 << 20
)

// appendOutside appends an array of evidence from outside.
func appendOutside(b []byte, all []Outside) ([]byte, error) {
	if len(all) > maxOutside {
		return b, fmt.Errorf("%d pieces of outside evidence are above the limit of %d", len(all), maxOutside)
	}
	b = appendArray(b, len(all))
	for _, o := range all {
		if err := o.check(); err != nil {
			return b, err
		}
		b, _ = appendText(appendArray(b, 3), o.Kind) // its characters are ASCII
		b = appendBytes(appendUint(b, o.Height), o.Bytes)
	}
	return b, nil
}

func (o *Outside) check() error {
	switch {
	case CheckAggregatorName(o.Kind) != nil:
		return fmt.Errorf("outside evidence of the kind %s: 1 to 63 of a-z, 0-9, and, but for the first, '.' and '-'", quoted(o.Kind))
	case o.Height > math.MaxInt64:
		return errors.New("outside evidence on a height above 2^63-1")
	case len(o.Bytes) > maxOutsideBytes:
		return fmt.Errorf("outside evidence of %d bytes is above the limit of %d", len(o.Bytes), maxOutsideBytes)
	}
	return nil
}

// outside reads an array of evidence from outside. Its bytes stay those of the reader's input.
//
// SPEC: A reader of version 1 checks the form, and nothing else
func (r *reader) outside() []Outside {
	all := make([]Outside, r.array(1, maxOutside, 4))
	for i := range all {
		r.tuple(3)
		all[i] = Outside{r.kept(r.shortText(maxName)), r.uint(), r.bytes(maxOutsideBytes)}
		if err := all[i].check(); r.err == nil && err != nil {
			r.fail(err)
		}
	}
	return all
}
