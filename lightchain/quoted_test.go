package lightchain

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// What a file, a trust file or a caller gives where a word belongs is repeated in an error as far as a person reads it, and no
// further: megabytes of it would be held several times, and printed.
func TestNoErrorRepeatsALongText(t *testing.T) {
	for _, long := range []string{strings.Repeat("a", 1<<20), strings.Repeat("\x01", 1<<20), strings.Repeat("€", 1<<20), strings.Repeat("\xff", 1<<20)} {
		text := func(head string) []byte {
			return append(appendHead([]byte(head), majorText, uint64(len(long))), long...)
		}
		trust := func(lines string) error {
			_, err := ParseTrust([]byte(strings.ReplaceAll(lines, "LONG", long)))
			return err
		}
		_, errEntry := DecodeEntry(text("\x87\x50" + string(make([]byte, 16)) + "\x00\x60\x00\x40"))
		kind := reader{b: append(text("\x81\x83"), 0, 0x40)}
		kind.outside()
		name := reader{b: text("\xa3\x01\x27\x04\x48" + string(make([]byte, 8)) + "\x0f\xa2\x01")}
		receipt := reader{b: append(appendBytes([]byte{0x83}, name.b), append([]byte{0xa0, 0x58, 0x40}, make([]byte, 64)...)...)}
		receipt.receipt()
		_, errHeader := DecodeHeader(text("\xab\x01\x01\x03\x00\x0d"))
		_, errSource := (&Entry{Source: long, Flags: 1 << 60}).Append(nil)
		_, errText := appendText(nil, long+"\xff")
		_, errChain := ParseChainID(long)
		_, errKey := ParsePublicKey(long)
		_, errSpans := ParseSpans(long)
		_, _, errStatement := ParseStatement([]byte("edgechain attachment 1\nchain " + long))
		for what, err := range map[string]error{
			"a decoder in an entry": errEntry, "a decoder": CheckDecoder(long), "a kind of evidence": kind.err, "evidence": (&Outside{Kind: long}).check(),
			"an aggregator's name": CheckAggregatorName(long), "a receipt's": receipt.err, "a gateway's name": CheckGatewayName(long), "one in a header": errHeader,
			"a source": errSource, "no text": errText, "a chain": errChain, "a key": errKey, "numbers": errSpans, "a statement": errStatement,
			"a trust file's word": trust("LONG x\n"), "its chain": trust("chain LONG\n"), "its aggregator": trust("aggregator LONG ssh-ed25519 AAAA\n"),
			"its key": trust("aggregator a LONG AAAA\n"), "its base64": trust("aggregator a ssh-ed25519 LONG\n"), "its quorum": trust("quorum LONG\n"),
			"its device": trust("device LONG cose AAAA\n"), "its kind": trust("device a LONG AAAA\n"), "its person": trust("person LONG ssh-ed25519 AAAA\n"),
		} {
			if err == nil || len(err.Error()) > 1200 {
				t.Errorf("%s of %.10q: %.700v", what, long, err)
			}
		}
	}
}

func TestAQuotedTextIsCutBetweenCharacters(t *testing.T) {
	for text, want := range map[string]string{
		"":                            `""`,
		strings.Repeat("a", 120):      `"` + strings.Repeat("a", 120) + `"`,
		strings.Repeat("a", 121):      `"` + strings.Repeat("a", 120) + `" and 1 bytes more`,
		"a" + strings.Repeat("€", 50): `"a` + strings.Repeat("€", 39) + `" and 33 bytes more`,
	} {
		if got := quoted(text); got != want || !utf8.ValidString(got) {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
