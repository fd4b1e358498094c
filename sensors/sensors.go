// Package sensors says what a message is, and turns its payload into readings: one file per dialect.
//
// It is pure: the folders below it each hold one kind of source (an MQTT connection, the embedded broker, the
// machine's own sensors) and do the I/O; what they all do the same way stands here.
package sensors

import (
	"context"
	"strings"
	"time"

	"edgechain.example/lightchain"
)

// Message is one message as it arrived, with what a decoder understood of it. A source fills it and gives it to a
// [Sink]; nobody changes it afterwards.
type Message struct {
	Source   string    // as an entry's source: "mqtt:<name>:<topic>", "broker:<user>/<client id>:<topic>", "hwmon:<chip>/<sensor>"
	Received time.Time // the gateway's clock when it arrived
	Flags    lightchain.Flags
	Payload  []byte // the bytes exactly as they arrived
	Decoder  string // what read them, as in an entry; "" where nothing did
	Readings []lightchain.Reading
	Beside   int // bytes of memory that the message keeps, through Payload or Done, beside what stands above

	Entry uint64 // its number in the chain; the Sink sets it before Done(nil)

	// Done is called exactly once for a message that a Sink took: with nil when the entry is durable, in the order
	// in which the sink took the messages; with an error when it will never be, and then no acknowledgement may go
	// out, now or later. It must not block: it runs on the committer's goroutine. It may be nil.
	Done func(error)
}

// SourceName returns a name as it stands before the last part of an entry's source, which alone may hold any character.
//
// SPEC: with `%` written as `%25`, `:` as `%3A` and `/` as `%2F`
func SourceName(name string) string { return sourceEscape.Replace(name) }

// NameInSource is its inverse.
func NameInSource(escaped string) string { return sourceUnescape.Replace(escaped) }

var (
	sourceEscape   = strings.NewReplacer("%", "%25", ":", "%3A", "/", "%2F")
	sourceUnescape = strings.NewReplacer("%25", "%", "%3A", ":", "%2F", "/")
)

// Size is what the message counts against the budget of messages in flight, in bytes.
func (m *Message) Size() int {
	return len(m.Payload) + len(m.Source) + 96*len(m.Readings) + textSize(m.Readings) + m.Beside + 256
}

// Sink takes messages and makes them durable. It is safe for concurrent use; messages of one goroutine keep their
// order.
type Sink interface {
	// Put hands m over. It blocks while the messages in flight, over all sources, have used up their budget, and
	// fails only when ctx ends or the sink has closed; then Done is not called.
	Put(ctx context.Context, m *Message) error

	// TryPut is Put for a caller that must not block: it reports whether m was taken.
	TryPut(m *Message) bool
}
