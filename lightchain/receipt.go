package lightchain

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Receipt is an aggregator's word that it durably stored a head: a COSE_Countersignature (RFC 9338, version 2) on the
// head's COSE_Sign1. It means: at that time this was the longest history of this chain known to me, and it extends
// every one I countersigned.
type Receipt struct {
	KeyID     KeyID  // of the aggregator's public key
	Name      string // the aggregator's; see [CheckAggregatorName]
	Time      uint64 // whole seconds since the Unix epoch, rounded down
	Signature Signature
}

const (
	maxReceipts = 16
	maxBeacon   = 8
)

// CheckAggregatorName refuses what cannot be an aggregator's name.
//
// SPEC: a name matches [a-z0-9][a-z0-9.-]{0,62}
func CheckAggregatorName(name string) error {
	if !isName(name) {
		return fmt.Errorf("aggregator name %s: 1 to 63 of a-z, 0-9, and, but for the first, '.' and '-'", quoted(name))
	}
	return nil
}

// maxName is the most bytes of an aggregator's name, and of all that is named like one.
const maxName = 63

func isName[T string | []byte](name T) bool {
	ok := len(name) >= 1 && len(name) <= maxName
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || i > 0 && (c == '.' || c == '-')
	}
	return ok
}

// protected is the receipt's protected header.
//
// SPEC: protected {1: -8, 4: kid, 15: {1: name, 6: time}}
func (r *Receipt) protected() []byte {
	b := appendInt(append(appendMap(make([]byte, 0, 96), 3), labelAlg), algEdDSA)
	b = appendBytes(append(b, labelKeyID), r.KeyID[:])
	b = append(appendMap(append(b, labelClaims), 2), claimIssuer)
	b, _ = appendText(b, r.Name) // its characters are ASCII: [CheckAggregatorName]
	return appendUint(append(b, claimIssuedAt), r.Time)
}

// Append appends the COSE_Countersignature to b.
func (r *Receipt) Append(b []byte) ([]byte, error) {
	if err := CheckAggregatorName(r.Name); err != nil {
		return b, fmt.Errorf("receipt: %w", err)
	}
	if r.Time > math.MaxInt64 {
		return b, fmt.Errorf("receipt: time %d is above 2^63-1", r.Time)
	}
	b = appendBytes(appendArray(b, 3), r.protected())
	return appendBytes(appendMap(b, 0), r.Signature[:]), nil
}

// DecodeReceipt reads one COSE_Countersignature. It checks no signature.
func DecodeReceipt(b []byte) (Receipt, error) {
	r, err := decodeReceipt(b)
	if err != nil {
		return Receipt{}, fmt.Errorf("receipt: %w", err)
	}
	return r, nil
}

func decodeReceipt(b []byte) (Receipt, error) {
	r := reader{b: b}
	receipt := r.receipt()
	return receipt, r.end()
}

// receipt reads one countersignature.
func (r *reader) receipt() (receipt Receipt) {
	r.tuple(3)
	inner := reader{b: r.bytes(maxSignedHeader)}
	r.pairs(0)
	r.fixed(receipt.Signature[:])
	if r.err != nil {
		return receipt
	}
	// SPEC: protected {1: -8, 4: kid, 15: {1: name, 6: time}}
	inner.pairs(3)
	inner.label(labelAlg)
	if alg := inner.int(); inner.err == nil && alg != algEdDSA {
		inner.fail(fmt.Errorf("algorithm %d, not %d", alg, algEdDSA))
	}
	inner.label(labelKeyID)
	inner.fixed(receipt.KeyID[:])
	inner.label(labelClaims)
	inner.pairs(2)
	inner.label(claimIssuer)
	receipt.Name = inner.text()
	inner.label(claimIssuedAt)
	receipt.Time = inner.uint()
	if err := inner.end(); err != nil {
		r.fail(err)
	} else if err := CheckAggregatorName(receipt.Name); err != nil {
		r.fail(err)
	}
	return receipt
}

// receipts reads an unprotected header, which has receipts or is empty.
//
// SPEC: one countersignature, or an array of 2 to 16 in strictly ascending order of their bytes
func (r *reader) receipts() (all []Receipt) {
	switch n := r.expect(majorMap); {
	case r.err != nil || n == 0:
		return nil
	case n > 1:
		r.fail(fmt.Errorf("%d unprotected labels", n))
		return nil
	}
	r.label(labelCountersignature)
	// SPEC: The first element of one is a byte string, of several an array.
	if len(r.b) > 1 && r.b[1]&0xe0 == majorBytes {
		return []Receipt{r.receipt()}
	}
	all = make([]Receipt, r.array(2, maxReceipts, 1))
	encoded := make([][]byte, len(all))
	for i := range all {
		from := r.b
		all[i] = r.receipt()
		encoded[i] = from[:len(from)-len(r.b)]
	}
	if err := checkAscending(encoded, maxReceipts); r.err == nil && err != nil {
		r.fail(fmt.Errorf("receipts: %w", err))
	}
	return all
}

func checkAscending(items [][]byte, most int) error {
	if len(items) > most {
		return fmt.Errorf("%d are above the limit of %d", len(items), most)
	}
	for i := 1; i < len(items); i++ {
		if bytes.Compare(items[i-1], items[i]) >= 0 {
			return errors.New("not in strictly ascending order of their bytes")
		}
	}
	return nil
}

// SortReceipts orders receipts as they must stand on a header or in a beacon: ascending by their bytes.
func SortReceipts(receipts []Receipt) {
	slices.SortFunc(receipts, func(a, b Receipt) int { return bytes.Compare(a.mustEncode(), b.mustEncode()) })
}

// mustEncode encodes a receipt whose name and time are known to be sound.
func (r *Receipt) mustEncode() []byte {
	b, err := r.Append(nil)
	if err != nil {
		panic(err)
	}
	return b
}

// Countersign issues the receipt of the aggregator called name, at time (whole seconds since the Unix epoch), for a
// header that it has stored durably.
func (s *SignedHeader) Countersign(signer Signer, name string, time uint64) (Receipt, error) {
	r := Receipt{KeyID: signer.Public().KeyID(), Name: name, Time: time}
	if _, err := r.Append(nil); err != nil {
		return Receipt{}, err
	}
	var err error
	if r.Signature, err = signer.Sign(s.countersignatureInput(&r)); err != nil {
		return Receipt{}, fmt.Errorf("countersigning header %d: %w", s.Header.Height, err)
	}
	return r, nil
}

// CheckReceipt checks that r is the receipt of the aggregator that holds key on this header.
func (s *SignedHeader) CheckReceipt(r *Receipt, key PublicKey) error {
	if r.KeyID != key.KeyID() || !key.verify(s.countersignatureInput(r), r.Signature) {
		return fmt.Errorf("receipt of %s on header %d does not check under key %s", r.Name, s.Header.Height, key)
	}
	return nil
}

// countersignatureInput is the Countersign_structure of RFC 9338, section 3.3.
func (s *SignedHeader) countersignatureInput(r *Receipt) []byte {
	b := make([]byte, 0, len(s.payload)+416)
	b, _ = appendText(appendArray(b, 6), "CounterSignatureV2")
	b = appendBytes(b, s.protected())
	b = appendBytes(b, r.protected())
	b = appendBytes(b, "")
	b = appendBytes(b, s.payload)
	return appendBytes(appendArray(b, 1), s.Signature[:])
}

// Beacon returns what key 11 of a header holds for these receipts, the newest of each aggregator: at most 8, in the
// order that [SortReceipts] gives.
//
// SPEC: A beacon (key 11) is the SHA-256 of the encoded array (1 to 8, ascending by bytes)
func Beacon(receipts []Receipt) (Hash, error) {
	if len(receipts) == 0 {
		return Hash{}, errors.New("a beacon of no receipts")
	}
	encoded := make([][]byte, len(receipts))
	for i := range receipts {
		var err error
		if encoded[i], err = receipts[i].Append(nil); err != nil {
			return Hash{}, err
		}
	}
	if err := checkAscending(encoded, maxBeacon); err != nil {
		return Hash{}, fmt.Errorf("receipts of a beacon: %w", err)
	}
	return sha256.Sum256(bytes.Join(append([][]byte{appendArray(nil, len(encoded))}, encoded...), nil)), nil
}
