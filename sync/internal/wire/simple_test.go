package wire

import (
	"encoding/hex"
	"testing"
)

// SPEC: They hold what the common rules allow: no tags, NaN, infinities, or simple values but false, true and null.
func TestNothingThatIsReadHoldsNumbersThatAreNoneOrOtherSimpleValues(t *testing.T) {
	for value, ok := range map[string]bool{
		"f4": true, "f5": true, "f6": true, "f93c00": true, "00": true,
		"f97e00": false, "f97c00": false, "f9fc00": false, "f7": false, "e0": false, "f0": false, "f820": false, "f8ff": false, "c000": false,
	} {
		b, err := hex.DecodeString(value)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := Decode(b, 1<<10, &v); (err == nil) != ok {
			t.Errorf("%s reads as %v: %v", value, v, err)
		}
	}
}
