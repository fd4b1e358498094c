package sensors

import (
	"errors"
	"fmt"
)

// Reason says in one word why a payload was not understood. The set is closed, so that it can label a metric.
type Reason string

// The reasons that a [Decoder] gives.
const (
	Empty        Reason = "empty"           // no payload where the dialect needs one
	Syntax       Reason = "syntax"          // not JSON, not CBOR, or cut short
	BadUTF8      Reason = "utf8"            // text that is not UTF-8, a lone surrogate among it
	DuplicateKey Reason = "duplicate_key"   // an object names a member twice
	TooDeep      Reason = "depth"           // objects and arrays nested deeper than 32
	TooMany      Reason = "too_many_values" // more than 1,024 values
	TooLarge     Reason = "too_large"       // the readings would weigh more than an entry may
	Overflow     Reason = "overflow"        // a number beyond the range of a 64-bit float
	NotFinite    Reason = "not_finite"      // NaN or an infinity
	NotText      Reason = "not_text"        // bytes that nobody could read, where a bare value was expected
	NotSenML     Reason = "not_senml"       // JSON or CBOR, but not a SenML pack
	BadName      Reason = "name"            // a SenML name with characters that RFC 8428 forbids
	UnknownLabel Reason = "unknown_label"   // a SenML label that ends in "_" must be understood, and is not
	NewVersion   Reason = "version"         // SenML of a version above 10
	WrongColumns Reason = "columns"         // a line of CSV has more or fewer values than columns are named
	WrongType    Reason = "wrong_type"      // a field that names something is not text, or a CBOR value is of no kind that a reading has
	BadChecksum  Reason = "checksum"        // a telegram that is not what its checksum says: a character of it was misread
	NoBirth      Reason = "no_birth"        // a Sparkplug message whose metrics nothing names: their birth is not known
)

// Reasons returns all reasons, so that a metric can show each from the start.
func Reasons() []Reason {
	return []Reason{Empty, Syntax, BadUTF8, DuplicateKey, TooDeep, TooMany, TooLarge, Overflow, NotFinite, NotText,
		NotSenML, BadName, UnknownLabel, NewVersion, WrongColumns, WrongType, BadChecksum, NoBirth}
}

// NotUnderstoodError says why a payload was not understood.
type NotUnderstoodError struct {
	Reason Reason
	detail string
}

func (e *NotUnderstoodError) Error() string { return string(e.Reason) + ": " + e.detail }

// NotUnderstood makes one, for what reads payloads beside this package. What comes from the payload belongs into it as %.40q:
// it ends up in logs.
func NotUnderstood(r Reason, format string, args ...any) error { return refuse(r, format, args...) }

// ReasonOf returns why [Decoder.Decode] failed, or "" if err did not come from it.
func ReasonOf(err error) Reason {
	if err == nil {
		return ""
	}
	var e *NotUnderstoodError
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}

// refuse makes the error. What comes from the payload belongs into it as %.40q: it ends up in logs.
func refuse(r Reason, format string, args ...any) error {
	return &NotUnderstoodError{Reason: r, detail: fmt.Sprintf(format, args...)}
}
