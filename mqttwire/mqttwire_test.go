package mqttwire

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// again decodes one packet and encodes it again.
func again(v Version, packet []byte) ([]byte, error) {
	r := bytes.NewReader(packet)
	h, err := ReadHeader(r, MaxLength)
	if err != nil {
		return nil, err
	}
	if r.Len() < h.Length {
		return nil, io.ErrUnexpectedEOF
	}
	body := packet[h.Size() : h.Size()+h.Length]
	switch h.Type {
	case CONNECT:
		p, err := DecodeConnect(h, body)
		return p.Append(nil), err
	case CONNACK:
		p, err := DecodeConnack(v, h, body)
		return p.Append(v, nil), err
	case PUBLISH:
		p, err := DecodePublish(v, h, body)
		return p.Append(v, nil), err
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		p, err := DecodeAck(v, h, body)
		return p.Append(v, h.Type, nil), err
	case SUBSCRIBE:
		p, err := DecodeSubscribe(v, h, body)
		built := Subscribe{ID: p.ID, Properties: p.Properties}
		for s := range p.All() {
			built.Add(string(s.Filter), s.Options)
		}
		return built.Append(v, nil), err
	case UNSUBSCRIBE:
		p, err := DecodeUnsubscribe(v, h, body)
		built := Unsubscribe{ID: p.ID, Properties: p.Properties}
		for f := range p.All() {
			built.Add(string(f))
		}
		return built.Append(v, nil), err
	case SUBACK, UNSUBACK:
		p, err := DecodeSuback(v, h, body)
		return p.Append(v, h.Type, nil), err
	case DISCONNECT, AUTH:
		p, err := DecodeDisconnect(v, h, body)
		return p.Append(v, h.Type, nil), err
	default:
		return AppendHeader(nil, h.First(), 0), DecodePing(v, h, body)
	}
}

// unhex reads bytes in hexadecimal, with text in quotation marks, which gets its length, and blanks between.
func unhex(t testing.TB, s string) (b []byte) {
	t.Helper()
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			b = appendBinary(b, part)
			continue
		}
		raw, err := hex.DecodeString(strings.ReplaceAll(part, " ", ""))
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		b = append(b, raw...)
	}
	return b
}

// packet puts the length behind the first byte.
func packet(t testing.TB, s string) []byte {
	b := unhex(t, s)
	return append(AppendHeader(nil, b[0], len(b)-1), b[1:]...)
}

// What the standards allow is accepted and comes back as it was.
var good = []struct {
	v      Version
	packet string
}{
	{V31, "10 'MQIsdp' 03 02 003c 'me'"}, {V31, "10 'MQIsdp' 03 03 003c 'me'"},
	{V311, "10 'MQTT' 04 00 0000 ''"},
	{V311, "10 'MQTT' 04 02 003c 'me'"},
	{V311, "10 'MQTT' 04 f6 003c 'me' 'will/topic' 'gone' 'user' 'word'"},
	{V311, "10 'MQTT' 04 06 003c 'me' 'w' ''"}, // [MQTT-3.1.3-7 of 5]: a will's payload may be empty
	{V5, "10 'MQTT' 05 02 003c 00 'me'"},
	{V5, "10 'MQTT' 05 42 003c 00 'me' 'word'"}, // a password without a name
	{V5, "10 'MQTT' 05 02 003c 1a 11 00000e10 21 0014 27 00010000 22 000a 19 01 17 00 26 'k''' ''"},
	{V5, "10 'MQTT' 05 2e 003c 00 '' 13 18 0000000a 01 01 02 00000e10 26 'a''b' 'w' 'gone'"},
	{V5, "10 'MQTT' 05 02 003c 0c 15 'SCRAM' 16 '\x01' ''"},
	{V311, "20 00 00"}, {V311, "20 01 00"}, {V311, "20 00 05"},
	{V5, "20 00 00 00"}, {V5, "20 00 87 00"}, {V5, "20 00 00 09 12 'auto' 24 01"},
	{V311, "30 'a/b' 31"}, {V311, "30 'a/b'"}, {V311, "3b 'a/b' 0001 31"}, {V311, "34 'a/b' ffff 31"}, {V31, "31 'a/b' 31"},
	{V5, "30 'a/b' 00 31"}, {V5, "32 'a/b' 0007 00"}, {V5, "32 '' 0007 03 23 0001"},
	{V5, "30 'a' 20 01 01 02 00000001 03 'x' 08 'r/t' 09 '\xff\x00' 0b 01 0b 8001 26 '''' 78"},
	{V311, "30 'gr\u00fc\u00dfe/\u65e5' 00"}, {V311, "30 'a\x01b' 00"}, {V311, "30 '/' 00"}, {V311, "30 '$SYS/x' 00"},
	{V311, "40 0001"}, {V5, "40 0001"}, {V5, "40 0001 10"}, {V5, "40 0001 87 05 1f 'no'"}, {V5, "50 0001 97"},
	{V311, "62 0001"}, {V5, "62 0001 92"}, {V311, "70 0001"}, {V5, "70 0001 92"}, {V311, "50 0001"},
	{V311, "82 0001 'a/#' 01"}, {V311, "82 0001 '+' 00 '/' 02"}, {V5, "82 0001 00 'a' 2e"}, {V5, "82 0001 02 0b 05 '$share/g/a' 19"},
	{V5, "82 0001 05 0b ffffff7f 'a' 00"},
	{V311, "90 0001 00 80 02"}, {V5, "90 0001 00 02 87 8f"},
	{V311, "a2 0001 'a/#' '+'"}, {V5, "a2 0001 00 'a'"},
	{V311, "b0 0001"}, {V5, "b0 0001 00 00 11"},
	{V311, "c0"}, {V5, "d0"}, {V311, "e0"}, {V5, "e0"}, {V5, "e0 04"}, {V5, "e0 8b 05 1f 'by'"}, {V5, "e0 00 05 11 00000000"},
	{V5, "f0"}, {V5, "f0 18 04 15 'x'"}, {V5, "f0 19 08 15 'x' 16 'y'"},
}

func TestWhatTheStandardsAllowComesBackAsItWas(t *testing.T) {
	for _, c := range good {
		b := packet(t, c.packet)
		got, err := again(c.v, b)
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("version %d, %s:\n got %x (%v)\nwant %x", c.v, c.packet, got, err, b)
		}
	}
}

// What they forbid is refused with the reason code that they name.
func TestWhatTheStandardsForbidIsRefused(t *testing.T) {
	const m, p = MalformedPacket, ProtocolError
	for _, c := range []struct {
		v      Version
		packet string
		code   Reason
	}{
		{V311, "00", p}, {V311, "01", p}, {V311, "11 'MQTT' 04 02 003c ''", m}, // 2.1.2, 2.1.3
		{V311, "c1", m}, {V311, "60 0001", m}, {V311, "80 0001 'a' 00", m}, {V311, "a0 0001 'a'", m}, {V311, "42 0001", m}, {V5, "f1", m},
		{V311, "c0 00", m}, {V311, "d0 00", m}, {V311, "e0 00", m},
		// CONNECT
		{V311, "10 'MQTX' 04 02 003c ''", m}, {V311, "10 'mqtt' 04 02 003c ''", m}, {V311, "10 '' 04 02 003c ''", m},
		{V311, "10 'MQTT' 04 03 003c ''", m}, {V5, "10 'MQTT' 05 03 003c 00 'me'", m}, {V311, "10 'MQTT' 04 0a 003c ''", m}, {V311, "10 'MQTT' 04 22 003c ''", m},
		{V311, "10 'MQTT' 04 1e 003c '' 'w' ''", m}, {V311, "10 'MQTT' 04 42 003c '' 'word'", m},
		{V311, "10 'MQTT' 04 06 003c '' 'a/#' ''", TopicNameInvalid}, {V311, "10 'MQTT' 04 06 003c '' '' ''", TopicNameInvalid},
		{V5, "10 'MQTT' 05 06 003c 00 '' 00 'a/+' ''", TopicNameInvalid},
		{V311, "10 'MQTT' 04 02 003c '' 00", m}, {V311, "10 'MQTT' 04 02 003c", m}, {V311, "10 'MQTT' 04 82 003c ''", m},
		{V311, "10 'MQTT' 04 02 003c '\xff'", m}, {V311, "10 'MQTT' 04 82 003c '' 'a\x00'", m}, {V311, "10 'MQTT' 04 02 003c '\xed\xa0\x80'", m},
		{V5, "10 'MQTT' 05 02 003c 05 18 00000001 ''", p}, {V5, "10 'MQTT' 05 06 003c 00 '' 05 11 00000001 'w' ''", p},
		{V5, "10 'MQTT' 05 02 003c 06 21 0001 21 0001 ''", p}, {V5, "10 'MQTT' 05 02 003c 03 21 0000 ''", p}, {V5, "10 'MQTT' 05 02 003c 05 27 00000000 ''", p},
		{V5, "10 'MQTT' 05 02 003c 02 17 02 ''", p}, {V5, "10 'MQTT' 05 02 003c 04 16 'x' ''", p},
		{V5, "10 'MQTT' 05 02 003c 8000 ''", m}, {V5, "10 'MQTT' 05 02 003c 02 7f 00 ''", m}, {V5, "10 'MQTT' 05 02 003c 01 00 ''", m}, {V5, "10 'MQTT' 05 02 003c ff", m},
		{V5, "10 'MQTT' 05 02 003c 03 21 00", m},
		// CONNACK
		{V311, "20 02 00", m}, {V311, "20 01 05", p}, {V311, "20 00 06", m}, {V5, "20 00 91 00", m}, {V311, "20 00", m}, {V5, "20 00 00 02 24 02", p},
		// PUBLISH
		{V311, "36 'a' 0001", m}, {V311, "38 'a'", m}, {V311, "32 'a' 0000", p}, {V311, "32 'a' 00", m}, {V311, "30 0002 61", m},
		{V311, "30 ''", TopicNameInvalid}, {V311, "30 'a/#'", TopicNameInvalid}, {V5, "30 'a/+/b' 00", TopicNameInvalid}, {V5, "30 '' 00", p},
		{V311, "30 'a\x00'", m}, {V311, "30 'a\xc0\x80'", m}, {V5, "30 'a' 03 23 0000", TopicAliasInvalid}, {V5, "30 'a' 06 23 0001 23 0002", p},
		{V5, "30 'a' 02 01 02", p}, {V5, "30 'a' 06 08 'a/#'", p}, {V5, "30 'a' 05 11 00000001", p}, {V5, "30 'a' 02 0b 00", p}, {V5, "30 'a' 05 02 0001", m},
		{V5, "30 'a' 04 01 01 01 01", p}, {V5, "30 'a' 03 03 0005", m}, {V5, "30 'a'", m},
		// acknowledgements
		{V311, "40 0000", p}, {V311, "40 00", m}, {V311, "40 0001 00", m}, {V5, "40 0001 92", p}, {V5, "62 0001 10", p}, {V5, "70 0001 10", p},
		{V5, "40 0001 00 02 01 01", p}, {V5, "40 0001 00 00 00", m},
		// SUBSCRIBE, UNSUBSCRIBE
		{V311, "82 0001", p}, {V5, "82 0001 00", p}, {V5, "82 0001 00 'a'", m}, {V311, "82 0000 'a' 00", p}, {V311, "82 0001 'a' 03", m}, {V311, "82 0001 'a' 04", m},
		{V5, "82 0001 00 'a' 03", m}, {V5, "82 0001 00 'a' 40", m}, {V5, "82 0001 00 'a' 30", p}, {V5, "82 0001 00 '$share/g/a' 04", p},
		{V311, "82 0001 'a/#/b' 00", m}, {V311, "82 0001 'a+' 00", m}, {V311, "82 0001 '' 00", m}, {V5, "82 0001 00 '$share/g' 00", m}, {V5, "82 0001 00 '$share/+/a' 00", m},
		{V5, "82 0001 02 0b 00 'a' 00", p}, {V5, "82 0001 04 0b 01 0b 02 'a' 00", p}, {V311, "82 0001 'a\x00' 00", m},
		{V311, "a2 0001", p}, {V311, "a2 0001 '#a'", m}, {V5, "a2 0001 02 0b 01 'a'", m}, {V311, "a2 0000 'a'", p},
		{V311, "90 0001", m}, {V311, "90 0001 03", m}, {V5, "90 0001 00 11", m}, {V311, "b0 0001 00", m}, {V5, "b0 0001 00", m}, {V5, "b0 0001 00 01", m},
		// DISCONNECT, AUTH
		{V5, "e0 01", p}, {V5, "e0 00 03 21 0001", p}, {V311, "f0", p}, {V5, "f0 01", p}, {V5, "f0 00 03 16 'x'", m}, {V5, "f0 00 04 16 'x'", p},
	} {
		b := packet(t, c.packet)
		_, err := again(c.v, b)
		var why *Error
		if !errors.As(err, &why) || why.Code != c.code {
			t.Errorf("version %d, %s: %v, want %s", c.v, c.packet, err, c.code)
		}
	}
}

func TestLengths(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 16383, 16384, 2097151, 2097152, MaxLength} { // 2.1.4's table
		b := AppendHeader(nil, 0xd0, n)
		h, err := ReadHeader(bytes.NewReader(b), MaxLength)
		if err != nil || h.Length != n || h.Size() != len(b) || h.First() != 0xd0 {
			t.Errorf("%d comes back as %+v (%v)", n, h, err)
		}
		if _, err := ReadHeader(bytes.NewReader(b), n-1); n > 0 && (!errors.As(err, new(*Error)) || err.(*Error).Code != PacketTooLarge) {
			t.Errorf("%d, where %d are the most: %v", n, n-1, err)
		}
		for i := range b {
			if _, err := ReadHeader(bytes.NewReader(b[:i]), MaxLength); i == 0 && err != io.EOF || i > 0 && err != io.ErrUnexpectedEOF {
				t.Errorf("%x cut to %d: %v", b, i, err)
			}
		}
	}
	if _, err := ReadHeader(bytes.NewReader([]byte{0x30, 0xff, 0xff, 0xff, 0xff, 0x01}), MaxLength); !errors.As(err, new(*Error)) {
		t.Errorf("five bytes: %v", err)
	}
	if _, err := ReadHeader(bufio.NewReader(iotest.ErrReader(errors.ErrUnsupported)), 1); err != errors.ErrUnsupported {
		t.Errorf("the reader's error is %v", err)
	}
	// MQTT 3.1.1 does not forbid a length that is longer than need be; MQTT 5 does [MQTT-1.5.5-1].
	long := unhex(t, "30 8400 'a' 31")
	if got, err := again(V311, long); err != nil || !bytes.Equal(got, unhex(t, "30 04 'a' 31")) {
		t.Errorf("a long length: %x (%v)", got, err)
	}
	if _, err := again(V5, unhex(t, "30 8500 'a' 00 31")); err == nil {
		t.Error("a long length passes in MQTT 5")
	}
}

func TestAVersionThatIsNoneIsToldApart(t *testing.T) {
	for _, c := range []string{"10 'MQTT' 84 02 003c ''", "10 'MQTT' 03 02 003c ''", "10 'MQTT' 06 02 003c ''", "10 'MQIsdp' 83 02 003c ''", "10 'MQIsdp' 04", "10 'MQTT' 00"} {
		var version *VersionError
		if _, err := again(V311, packet(t, c)); !errors.As(err, &version) {
			t.Errorf("%s: %v", c, err)
		}
	}
}

// What may be left away and was not: the packet comes back without it.
func TestAcknowledgementsComeBackAsShortAsTheyMayBe(t *testing.T) {
	for long, short := range map[string]string{"40 0001 00": "40 0001", "40 0001 00 00": "40 0001", "50 0001 87 00": "50 0001 87", "e0 00": "e0", "e0 00 00": "e0", "e0 81 00": "e0 81"} {
		if got, err := again(V5, packet(t, long)); err != nil || !bytes.Equal(got, packet(t, short)) {
			t.Errorf("%s: %x (%v), want %s", long, got, err, short)
		}
	}
}

func TestPropertiesAreReadAndChanged(t *testing.T) {
	var ps Properties
	ps = ps.AddNumber(PayloadFormat, 1).AddNumber(MessageExpiry, 7).AddText(ContentType, "x").AddNumber(TopicAlias, 3).AddNumber(SubscriptionIdentifier, 200).AddNumber(SubscriptionIdentifier, 1)
	p := Publish{Topic: []byte("a"), Properties: ps}
	if got, err := again(V5, p.Append(V5, nil)); err != nil || len(got) != p.Size(V5) {
		t.Fatalf("%x: %v", got, err)
	}
	if n := ps.Number(TopicAlias, 0); n != 3 {
		t.Errorf("the alias is %d", n)
	}
	if n := ps.Number(ReceiveMaximum, 65535); n != 65535 {
		t.Errorf("what is absent is %d", n)
	}
	rest := ps.Without(TopicAlias, MessageExpiry, SubscriptionIdentifier)
	if want := (Properties{}).AddNumber(PayloadFormat, 1).AddText(ContentType, "x"); !bytes.Equal(rest, want) {
		t.Errorf("%x, want %x", rest, want)
	}
	if rest := ps.Without(PayloadFormat, MessageExpiry, ContentType, TopicAlias, SubscriptionIdentifier); rest != nil {
		t.Errorf("%x is left", rest)
	}
}

func TestEveryReasonCodeHasItsReturnCode(t *testing.T) {
	for r := range reasons {
		if code := r.Return(); r.belongs(CONNACK) && code > 5 && code != 0xff {
			t.Errorf("%s: return code %d", r, code)
		}
		if r.String() == "" {
			t.Errorf("%#x has no name", byte(r))
		}
	}
	if got := Reason(0x7f).String(); got != "reason code 0x7f" {
		t.Error(got)
	}
}

func TestDecodingAPublishAllocatesNothing(t *testing.T) {
	b := packet(t, "32 'factory/gr\u00fcn/temperature' 0007 03 23 0001 31323334")
	r := bytes.NewReader(nil)
	if n := testing.AllocsPerRun(100, func() {
		r.Reset(b)
		h, err := ReadHeader(r, MaxLength)
		if err != nil {
			t.Fatal(err)
		}
		p, err := DecodePublish(V5, h, b[h.Size():])
		if err != nil || p.Properties.Number(TopicAlias, 0) != 1 {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzDecode: no bytes make a decoder panic, and what it accepts encodes to the same bytes, or to fewer that stay the same.
func FuzzDecode(f *testing.F) {
	for _, c := range good {
		f.Add(byte(c.v), packet(f, c.packet))
	}
	f.Fuzz(func(t *testing.T, version byte, b []byte) {
		v := Version(3 + version%3)
		if len(b) > 0 && b[0]>>4 == byte(CONNECT) && len(b) > 8 {
			v = V5 // its own says it; this one must not matter
		}
		got, err := again(v, b)
		if err != nil {
			return
		}
		h, _ := ReadHeader(bytes.NewReader(b), MaxLength)
		b = b[:h.Size()+h.Length]
		if bytes.Equal(got, b) {
			return
		}
		if len(got) >= len(b) {
			t.Fatalf("%x became %x", b, got)
		}
		if more, err := again(v, got); err != nil || !bytes.Equal(more, got) {
			t.Fatalf("%x became %x, and that %x (%v)", b, got, more, err)
		}
	})
}
