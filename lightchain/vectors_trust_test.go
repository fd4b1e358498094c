package lightchain

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"
)

func writeTrustVectors(t *testing.T, write func(string, vector)) {
	public := func(name string) string { return FormatPublicKey(testSigner(name).Public()) }
	chain := "chain " + ChainID{}.String() + "\n"
	north := "aggregator north " + public("north") + "\n"
	miller := "person a.miller " + public("miller") + "\n"
	device := func(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
	key := testSigner("meter").Public()
	der, err := x509.MarshalPKIXPublicKey(ed25519.PublicKey(key[:]))
	if err != nil {
		t.Fatal(err)
	}
	meter := device(der)
	// ssh returns a key whose bytes are put together here.
	ssh := func(length byte, key []byte) string {
		prefix := sshKeyPrefix()
		prefix[len(prefix)-1] = length
		return "aggregator north ssh-ed25519 " + device(append(prefix, key...)) + "\n"
	}
	cases := map[string]struct{ about, text, expect string }{
		"good":               {"everything that may stand there", "# whom we trust\n\n" + chain + north + "quorum 1\n", "ok"},
		"good-empty":         {"nothing", "\n", "ok"},
		"good-spaces":        {"spaces and tabs wherever they may stand, and lines that end in LF and in CR LF", " \tchain\t " + ChainID{}.String() + " \t\r\n\n \t# a\tcomment # of \u00e9\r in it\n\t\r\n" + north, "ok"},
		"good-byte-order":    {"a byte order mark, and a last line that is not ended", "\ufeff" + chain + "quorum 2147483647", "ok"},
		"good-two-keys":      {"a name with two keys", north + "aggregator north " + public("other"), "ok"},
		"good-two-chains":    {"two chains", chain + "chain " + ChainID{1}.String() + "\n", "ok"},
		"good-devices":       {"keys of devices and a person", "device meter-1 jws " + meter + "\n" + miller, "ok"},
		"good-device-kinds":  {"one key of a device in two kinds, and a person with an aggregator's key and name", "device meter-1 jws " + meter + "\ndevice meter-1 cose " + meter + "\n" + north + "person north " + public("north"), "ok"},
		"good-device-der":    {"a device's key that is no DER, which is not looked at", "device meter-1 ocmf MFkw\n", "ok"},
		"good-device-1024":   {"a device's key of 1,024 bytes", "device meter-1 ocmf " + device(make([]byte, 1024)), "ok"},
		"bad-device":         {"an unknown form of a device's signature", "device meter-1 pgp " + meter + "\n", "fail"},
		"bad-device-name":    {"a capital letter in a device's name", "device Meter-1 jws " + meter + "\n", "fail"},
		"bad-device-base64":  {"a device's key without its padding", "device meter-1 jws " + device([]byte("key"))[:3] + "\n", "fail"},
		"bad-device-bits":    {"unused bits of a device's key that are not zero", "device meter-1 jws QR==\n", "fail"},
		"bad-device-1025":    {"a device's key of 1,025 bytes", "device meter-1 ocmf " + device(make([]byte, 1025)), "fail"},
		"bad-device-twice":   {"a device's key twice, under two names", "device meter-1 jws " + meter + "\ndevice meter-2 jws " + meter + "\n", "fail"},
		"bad-device-keyless": {"a device without a key", "device meter-1 jws\n", "fail"},
		"bad-person":         {"the key of a person twice", strings.Repeat(miller, 2), "fail"},
		"bad-person-name":    {"a capital letter in a person's name", "person A.miller " + public("miller") + "\n", "fail"},
		"bad-prefix":         {"a prefix of a chain", "chain aaaaaaaaaa\n", "fail"},
		"bad-low-bits":       {"a chain whose unused low bits are not zero", chain[:len(chain)-2] + "b\n", "fail"},
		"bad-chain-capitals": {"a chain in capital letters", "chain " + strings.ToUpper(ChainID{1}.String()) + "\n", "fail"},
		"bad-chain-twice":    {"a chain twice", chain + chain, "fail"},
		"bad-two-names":      {"a key with two names", north + "aggregator south " + public("north"), "fail"},
		"bad-line-twice":     {"a line twice", north + north, "fail"},
		"bad-word":           {"an unknown word", "trust everyone\n", "fail"},
		"bad-word-capital":   {"a first word in capital letters", strings.Replace(chain, "chain", "Chain", 1), "fail"},
		"bad-word-missing":   {"a word too few", "chain\n", "fail"},
		"bad-separator":      {"U+00A0 between two words", strings.Replace(chain, " ", "\u00a0", 1), "fail"},
		"bad-byte-orders":    {"two byte order marks", "\ufeff\ufeff" + chain, "fail"},
		"bad-carriage":       {"a CR at the end of the last line, which is not ended", strings.TrimSuffix(chain, "\n") + "\r", "fail"},
		"bad-carriages":      {"two CR at a line's end", strings.Replace(chain, "\n", "\r\r\n", 1), "fail"},
		"bad-quorum":         {"a quorum with a leading zero", "quorum 01\n", "fail"},
		"bad-quorum-sign":    {"a quorum with a sign", "quorum +1\n", "fail"},
		"bad-quorum-word":    {"a quorum that is not a number", "quorum two\n", "fail"},
		"bad-quorum-2^31":    {"a quorum of 2^31", "quorum 2147483648\n", "fail"},
		"bad-two-quorum":     {"two quorums", "quorum 1\nquorum 1\n", "fail"},
		"bad-comment":        {"a comment behind a statement", "quorum 1 # one\n", "fail"},
		"bad-name":           {"an upper-case letter in a name", strings.Replace(north, "north", "North", 1), "fail"},
		"bad-key-type":       {"another type before an Ed25519 key", strings.Replace(north, "ssh-ed25519", "ssh-rsa", 1), "fail"},
		"bad-key-long":       {"a key of 33 bytes", ssh(32, append(key[:], 0)), "fail"},
		"bad-key-prefix":     {"a key that claims 33 bytes", ssh(33, key[:]), "fail"},
		"bad-key-inside":     {"base64 of a key with a line's end inside", strings.Replace(north, "AAAA", "AA\rAA", 1), "fail"},
	}
	for _, weak := range weakKeys {
		cases["bad-weak-key-"+weak.name] = struct{ about, text, expect string }{weak.about, ssh(32, weak.b), "fail"}
	}
	for name, c := range cases {
		write("trust-"+name, vector{About: c.about, Kind: "trust", Text: c.text, Expect: c.expect})
	}
	write("trust-bad-not-utf8", vector{About: "a comment that is not UTF-8", Kind: "trust", Bytes: []byte("# \xff\n"), Expect: "fail"})
}
