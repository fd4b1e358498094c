package headersync

import (
	"fmt"

	"edgechain.example/lightchain"
)

// LeastBytes is the least that a header takes in a run; what it takes beyond is seen when the run is encoded.
func LeastBytes(h *lightchain.Header) uint64 {
	least := uint64(1)
	if h.Count > 0 {
		least += 32
	}
	if h.NextKey != nil {
		least += 100
	}
	return least
}

// FitRun returns the longest run of headers, as they are with whatever signatures there are, that takes at most most
// bytes and ends with a signature; an error that wraps [ErrUnavailable] if there is none.
func FitRun(first uint64, headers []lightchain.RunHeader, most uint64) (*lightchain.Run, error) {
	for n := len(headers); ; {
		for n > 0 && headers[n-1].Signature == nil {
			n--
		}
		if n == 0 {
			return nil, fmt.Errorf("a run with a signature at its end, within %d bytes: %w", most, ErrUnavailable)
		}
		r := &lightchain.Run{First: first, Headers: append([]lightchain.RunHeader(nil), headers[:n]...)}
		for i := range r.Headers[:n-1] {
			if h := &r.Headers[i]; h.NextKey == nil {
				h.Signature = nil
			}
		}
		b, err := r.Append(nil)
		if err != nil {
			return nil, err
		}
		if uint64(len(b)) <= most {
			return r, nil
		}
		n = min(n-1, int(uint64(n)*most/uint64(len(b))))
	}
}
