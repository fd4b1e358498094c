package mqttconn

import (
	"bufio"
	"bytes"
	"io"
	"testing"
	"testing/iotest"

	"edgechain.example/mqttwire"
)

// A message that nobody wants to hold costs no memory, and what comes behind it is as it was sent.
func TestLargeMessagesAreTakenOutOfWhatABrokerSends(t *testing.T) {
	packet := func(first byte, length int) []byte {
		return append(mqttwire.AppendHeader(nil, first, length), bytes.Repeat([]byte{7}, length)...)
	}
	const publish, suback = byte(mqttwire.PUBLISH) << 4, byte(mqttwire.SUBACK) << 4
	small, large, answer := packet(publish, 100), packet(publish|1, 101), packet(suback, 300)
	sent := bytes.Join([][]byte{answer, small, large, large, packet(byte(mqttwire.PINGRESP)<<4, 0), small}, nil)
	want := bytes.Join([][]byte{answer, small, packet(byte(mqttwire.PINGRESP)<<4, 0), small}, nil)
	passed := 0
	for _, from := range []io.Reader{bytes.NewReader(sent), iotest.OneByteReader(bytes.NewReader(sent))} {
		s := &sieve{in: bufio.NewReader(from), most: 100, passed: func() { passed++ }}
		got, err := io.ReadAll(s)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes come through, want %d, %v", len(got), len(want), err)
		}
	}
	if passed != 4 {
		t.Errorf("%d messages were taken out, want 4", passed)
	}
}
