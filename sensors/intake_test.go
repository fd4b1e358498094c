package sensors

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"edgechain.example/lightchain"
)

func TestIntakeSealsWhatItDoesNotUnderstandAndCountsWhy(t *testing.T) {
	counted := map[Reason]int{}
	in := Intake{Decoder: mustNew(t, Config{}), Refused: func(topic string, err error) {
		if topic != "a/b" {
			t.Errorf("told of %s", topic)
		}
		counted[ReasonOf(err)]++
	}}
	m := in.Message("mqtt:plant:a/b", "a/b", "", lightchain.QoS0, []byte(`{"a":`), received)
	if m.Flags != lightchain.QoS0|lightchain.NotUnderstood || len(m.Readings) != 0 || string(m.Payload) != `{"a":` || !m.Received.Equal(received) {
		t.Errorf("%+v", m)
	}
	if len(counted) != 1 || counted[Syntax] != 1 {
		t.Errorf("counted %v", counted)
	}
	m = in.Message("mqtt:plant:a/b", "a/b", "", 0, []byte(`{"a":1}`), received)
	if m.Flags != 0 || len(m.Readings) != 1 || len(counted) != 1 {
		t.Errorf("%+v, counted %v", m, counted)
	}
}

func TestIntakeKeepsTheHashOfATooLargePayload(t *testing.T) {
	var reasons []Reason
	in := Intake{Decoder: mustNew(t, Config{}), Refused: func(_ string, err error) { reasons = append(reasons, ReasonOf(err)) }}

	numbers := []byte(`{"a":1,"b":2` + strings.Repeat(" ", 10<<20) + `}`)
	m := in.Message("s", "t", "", 0, numbers, received)
	if sum := sha256.Sum256(numbers); m.Flags != lightchain.PayloadHashed || string(m.Payload) != string(sum[:]) || len(m.Readings) != 2 {
		t.Errorf("numbers: flags %b, payload of %d bytes, %d readings", m.Flags, len(m.Payload), len(m.Readings))
	}

	image := []byte(strings.Repeat("\xff\xd8", 5<<20))
	m = in.Message("s", "t", "", 0, image, received)
	if m.Flags != lightchain.PayloadHashed|lightchain.NotUnderstood || len(m.Payload) != 32 || len(m.Readings) != 0 {
		t.Errorf("an image: flags %b, payload of %d bytes, %d readings", m.Flags, len(m.Payload), len(m.Readings))
	}
	if len(reasons) != 1 || reasons[0] != BadUTF8 {
		t.Errorf("counted %v", reasons)
	}

	for _, size := range []int{DefaultPayloadMax, DefaultPayloadMax + 1} {
		m = in.Message("s", "t", "", 0, []byte(`"`+strings.Repeat("x", size-2)+`"`), received)
		if hashed := m.Flags&lightchain.PayloadHashed != 0; hashed != (size > DefaultPayloadMax) {
			t.Errorf("%d bytes: hashed is %v", size, hashed)
		}
	}
}

func TestIntakeMakesMessagesThatFitAnEntry(t *testing.T) {
	long := strings.Repeat("l", 65535)
	in := Intake{Decoder: mustNew(t, Config{Dialect: "raw"}), PayloadMax: 1 << 30}
	for _, size := range []int{maxReadingsSize - 2*len(long), maxReadingsSize, MostPayloadMax, MostPayloadMax + 1, 16 << 20} {
		m := in.Message("broker:-/"+long+":"+long, long, long, 0, make([]byte, size), received)
		if _, err := entryOf(m).Append(nil); err != nil {
			t.Errorf("a payload of %d bytes: %v", size, err)
		}
		if hashed := m.Flags&lightchain.PayloadHashed != 0; hashed != (size > MostPayloadMax) {
			t.Errorf("a payload of %d bytes: hashed is %v", size, hashed)
		}
	}
	m := in.Message("mqtt:\xff", "\xff", "", 0, []byte("x"), received)
	if _, err := entryOf(m).Append(nil); err != nil || m.Flags != lightchain.NotUnderstood {
		t.Errorf("a topic that is not UTF-8: flags %b, %v", m.Flags, err)
	}
}

func entryOf(m *Message) *lightchain.Entry {
	return &lightchain.Entry{Received: m.Received.UnixNano(), Source: m.Source, Flags: m.Flags, Payload: m.Payload, Readings: m.Readings}
}

// Of a payload of which the source has kept its hash alone, nothing is read: a hash of digits would be a number.
func TestAHashIsNotReadAsAPayload(t *testing.T) {
	for _, c := range []Config{{}, {Dialect: "json"}, {Dialect: "raw"}} {
		d, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		refused := Reason("")
		in := &Intake{Decoder: d, Refused: func(_ string, err error) { refused = ReasonOf(err) }}
		hash := []byte("12345678901234567890123456789012")
		m := in.Message("mqtt:x:t", "t", "", lightchain.PayloadHashed, hash, received)
		if len(m.Readings) != 0 || m.Flags != lightchain.PayloadHashed|lightchain.NotUnderstood || string(m.Payload) != string(hash) || refused != TooLarge {
			t.Errorf("%+v: %+v, refused as %q", c, m, refused)
		}
	}
}

func TestIntakeTellsOfATimeThatCannotBeRead(t *testing.T) {
	var told []string
	in := Intake{Decoder: mustNew(t, Config{TimestampPath: "ts"}), Doubted: func(topic, what string) { told = append(told, topic+": "+what) }}
	for _, payload := range []string{`{"ts":"soon","a":1}`, `{"ts":1715000000,"a":1}`, `{"ts":null,"a":1}`, `{"a":1}`} {
		if m := in.Message("mqtt:plant:a/b", "a/b", "", 0, []byte(payload), received); len(m.Readings) != 1 {
			t.Errorf("%s: %d readings", payload, len(m.Readings))
		}
	}
	if want := `a/b: the time "soon" at ts is not one that can be kept, or not in the configured format`; len(told) != 1 || told[0] != want {
		t.Errorf("told %q, want %q", told, want)
	}
}

// Of a payload that is kept by its hash alone nothing is said that it alone could say.
func TestWhatIsKeptByItsHashHasNoReadings(t *testing.T) {
	counted := 0
	in := Intake{Decoder: mustNew(t, Config{}), Refused: func(string, error) { counted++ }}
	payload := []byte(`{"name":"Ada","heart":71}`)
	sum := sha256.Sum256(payload)
	m := in.MessageKeeping(Keeping{Hash: true}, "s", "t", "", lightchain.QoS0, payload, received)
	if m.Flags != lightchain.QoS0|lightchain.PayloadHashed || string(m.Payload) != string(sum[:]) || len(m.Readings) != 0 || m.Decoder != "" || counted != 0 {
		t.Errorf("%+v, counted %d", m, counted)
	}
	// What its source has hashed is not hashed again.
	m = in.MessageKeeping(Keeping{Hash: true}, "s", "t", "", lightchain.PayloadHashed, sum[:], received)
	if m.Flags != lightchain.PayloadHashed || string(m.Payload) != string(sum[:]) {
		t.Errorf("hashed by its source: %+v", m)
	}
}

func TestASmallerLimitKeepsReadingsAndHash(t *testing.T) {
	in := Intake{Decoder: mustNew(t, Config{}), PayloadMax: 100}
	payload := []byte(`{"a":1,"b":2}`)
	for _, x := range []struct {
		most   int
		hashed bool
	}{{0, false}, {len(payload), false}, {len(payload) - 1, true}, {1000, false}} {
		m := in.MessageKeeping(Keeping{Max: x.most}, "s", "t", "", 0, payload, received)
		if m.Hashed() != x.hashed || len(m.Readings) != 2 {
			t.Errorf("%d bytes: %+v", x.most, m)
		}
	}
	if long := []byte(`{"a":1` + strings.Repeat(" ", 100) + `}`); !in.MessageKeeping(Keeping{Max: 1000}, "s", "t", "", 0, long, received).Hashed() {
		t.Error("a larger limit of a filter let more than PayloadMax through")
	}
}

// What takes more than a message to be read goes to what remembers, whatever is kept of it; JSON on its topics stays JSON.
func TestStatefulMessages(t *testing.T) {
	read := 0
	in := &Intake{Decoder: mustNew(t, Config{}), Stateful: func(topic string, flags lightchain.Flags, payload []byte, _ time.Time) (Result, error) {
		read++
		if len(payload) > 0 && payload[0] == '{' {
			return Result{}, NotUnderstood(Syntax, "no protocol buffers")
		}
		return Result{Decoder: SparkplugName(), Readings: []lightchain.Reading{{Device: "G/E", Name: "m", Value: lightchain.Int(1)}}}, nil
	}}
	for _, c := range []struct {
		dialect, topic, payload string
		keep                    Keeping
		flags                   lightchain.Flags
		read                    int
		decoder                 string
	}{
		{"", "spBv1.0/G/NDATA/E", "\x08\x01", Keeping{}, 0, 1, "sparkplug/2"},
		{"", "spBv1.0/G/NDATA/E", `{"a":1}`, Keeping{}, 0, 1, "json/2"},
		{"sparkplug_b", "site/spBv1.0/G/NDATA/E", "\x08\x01", Keeping{}, 0, 1, "sparkplug/2"},
		{"sparkplug_b", "spBv1.0/G/NDATA/E", `{"a":1}`, Keeping{}, 0, 1, ""},
		{"", "spBv1.0/G/NDATA/E", "\x08\x01", Keeping{Hash: true}, 0, 1, ""},
		{"", "spBv1.0/G/NDATA/E", strings.Repeat("h", 32), Keeping{}, lightchain.PayloadHashed, 1, ""},
		{"", "plant/x", `{"a":1}`, Keeping{}, 0, 0, "json/2"},
		{"raw", "spBv1.0/G/NDATA/E", "\x08\x01", Keeping{}, 0, 0, "raw/2"},
	} {
		read, in.Decoder = 0, mustNew(t, Config{Dialect: c.dialect})
		m := in.MessageKeeping(c.keep, "", c.topic, "", c.flags, []byte(c.payload), received)
		if read != c.read || m.Decoder != c.decoder || (len(m.Readings) > 0) != (c.decoder != "") {
			t.Errorf("%q on %s by %q: asked %d times, decoder %q, %v", c.payload, c.topic, c.dialect, read, m.Decoder, m.Readings)
		}
	}
	for _, key := range []Config{{Device: "x"}, {Unit: "V"}, {TimestampPath: "t"}, {Fields: []string{"a"}}} {
		key.Dialect = "sparkplug_b"
		if _, err := New(key); err == nil || !strings.Contains(err.Error(), "has no use with the dialect sparkplug_b") {
			t.Errorf("%+v: %v", key, err)
		}
	}
	if _, known, _ := Again(SparkplugName(), "spBv1.0/G/NDATA/E", "", []byte("x"), received); known {
		t.Error("without its birth a message is read again")
	}
}
