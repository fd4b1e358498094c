package sensors

import (
	"crypto/sha256"
	"strings"
	"time"
	"unicode/utf8"

	"edgechain.example/lightchain"
)

// DefaultPayloadMax is the size in bytes up to which payloads are kept, where nothing else is configured.
const DefaultPayloadMax = 256 << 10

// entryMargin is what source, salt, flags and lengths of an entry may take beside payload and readings: an MQTT topic
// and a client id have at most 65,535 bytes each.
const entryMargin = 256 << 10

// MostPayloadMax is the largest size that [Intake].PayloadMax may have, in bytes: what an entry has room for beside
// the readings of one message.
const MostPayloadMax = lightchain.MaxEntry - maxReadingsSize - entryMargin

// Intake makes messages of what one subscription, or one listener, hears. It is safe for concurrent use.
type Intake struct {
	Decoder *Decoder

	// Stateful reads what takes more than the message itself: see [Decoder.Stateful]. It is asked once for each message, in the
	// order in which they came from one sender. nil: nothing does.
	Stateful func(topic string, flags lightchain.Flags, payload []byte, received time.Time) (Result, error)

	// PayloadMax is the size in bytes above which a payload's SHA-256 is kept instead of it; 0 means
	// [DefaultPayloadMax], and more than [MostPayloadMax] means that.
	PayloadMax int

	// Refused is called for each message that the decoder did not understand, with a [*NotUnderstoodError]; Doubted for one
	// whose readings lack something that the payload should say, with what that is. Both count and tell. They may be nil, and
	// must be safe for concurrent use.
	Refused func(topic string, err error)
	Doubted func(topic, what string)
}

// Look reads one message as Message does, and returns what came of it instead of telling it.
func (in Intake) Look(topic string, flags lightchain.Flags, payload []byte, received time.Time) (got Result, err error) {
	in.Refused = func(_ string, why error) { err = why }
	in.Doubted = func(_, what string) { got.Doubt = what }
	m := in.Message("", topic, "", flags, payload, received)
	got.Readings, got.Decoder = m.Readings, m.Decoder
	return got, err
}

// Message makes the message that arrived with a payload, which belongs to the message from now on. source is the
// entry's source, topic and clientID are as in [Decoder.Decode]. The caller sets Done.
//
// A payload too large to keep is read all the same, since its readings are what the gateway understood of what
// arrived, whoever keeps the bytes. But they must not smuggle the payload in: texts and bytes that together outgrow
// PayloadMax, as the whole payload in the raw dialect does, count as not understood, with the reason [TooLarge].
func (in *Intake) Message(source, topic, clientID string, flags lightchain.Flags, payload []byte, received time.Time) *Message {
	return in.MessageKeeping(Keeping{}, source, topic, clientID, flags, payload, received)
}

// Keeping is how much of a payload is kept where that is another question than for the rest of its source. The zero value keeps
// what [Intake] does.
type Keeping struct {
	Max  int  // bytes above which the hash is kept, if that is less than PayloadMax; 0: PayloadMax
	Hash bool // of each payload its hash alone is kept
}

// MessageKeeping is [Intake.Message] where some payloads are kept otherwise. Of one whose hash alone is to be kept nothing is read:
// readings would be what was not to be kept, and nobody could derive them again.
func (in *Intake) MessageKeeping(keep Keeping, source, topic, clientID string, flags lightchain.Flags, payload []byte, received time.Time) *Message {
	limit := in.PayloadMax
	if limit <= 0 {
		limit = DefaultPayloadMax
	}
	limit = min(limit, MostPayloadMax)
	if keep.Max > 0 {
		limit = min(limit, keep.Max)
	}
	m := &Message{Source: source, Received: received, Flags: flags, Payload: payload}
	if !utf8.ValidString(source) {
		m.Source = strings.ToValidUTF8(source, "\uFFFD") // an entry's text is UTF-8, and nothing is dropped for being ugly
	}
	stateful := in.Stateful != nil && in.Decoder.Stateful(topic)
	if stateful && (keep.Hash || flags&lightchain.PayloadHashed != 0) {
		_, _ = in.Stateful(topic, flags, payload, received) // what it says of later messages counts, if only that it came
	}
	if keep.Hash {
		if flags&lightchain.PayloadHashed == 0 {
			m.hashPayload()
		}
		return m
	}
	var got Result
	var err error
	if flags&lightchain.PayloadHashed != 0 {
		// The source has kept a hash alone. Read as a payload it would give values that nobody measured.
		err = refuse(TooLarge, "of the payload its hash alone was kept")
	} else if stateful {
		got, err = in.readStateful(topic, clientID, flags, payload, received)
	} else {
		got, err = in.Decoder.Read(topic, clientID, payload, received)
	}
	if len(payload) > limit && flags&lightchain.PayloadHashed == 0 {
		m.hashPayload()
		if size := textSize(got.Readings); size > limit {
			err = refuse(TooLarge, "%d bytes of text in readings of a payload too large to keep", size)
		}
	}
	if err != nil {
		m.Flags |= lightchain.NotUnderstood
		if in.Refused != nil {
			in.Refused(topic, err)
		}
		return m
	}
	if got.Doubt != "" && in.Doubted != nil {
		in.Doubted(topic, got.Doubt)
	}
	m.Readings, m.Decoder = got.Readings, got.Decoder
	return m
}

// readStateful reads a message of Sparkplug. Where nobody says that it is one but its topic, JSON is read as JSON.
func (in *Intake) readStateful(topic, clientID string, flags lightchain.Flags, payload []byte, received time.Time) (Result, error) {
	got, err := in.Stateful(topic, flags, payload, received)
	if ReasonOf(err) == Syntax && in.Decoder.dialect == auto && len(payload) > 0 && (payload[0] == '{' || payload[0] == '[') {
		if as, err := in.Decoder.Read(topic, clientID, payload, received); err == nil {
			return as, nil
		}
	}
	return got, err
}

// Hashed reports whether the message has its payload's hash alone.
func (m *Message) Hashed() bool { return m.Flags&lightchain.PayloadHashed != 0 }

// hashPayload puts the payload's hash in its place.
func (m *Message) hashPayload() {
	sum := sha256.Sum256(m.Payload)
	m.Payload = sum[:]
	m.Flags |= lightchain.PayloadHashed
}

// textSize is how many bytes the texts and byte strings among the values have.
func textSize(rs []lightchain.Reading) (n int) {
	for i := range rs {
		text, _ := rs[i].Value.Text()
		n += len(text)
	}
	return n
}
