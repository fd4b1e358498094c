package mqttlink

import (
	"bufio"
	"fmt"
	"net"

	"edgechain.example/mqttwire"
	headersync "edgechain.example/sync"
)

// shortener stands between paho and the network. paho allocates what the header of a packet announces, up to 256 MB, so
// that anybody who may publish where a gateway listens could take its memory, and again after each start, since a
// message that was not acknowledged comes again. What is longer than anything of the protocol's is cut here: the decoders
// refuse it for its length all the same, and it is acknowledged like any other.
type shortener struct {
	net.Conn
	in   *bufio.Reader
	head []byte // of the packet that begins, not given to paho yet
	pass int    // bytes of the packet that paho gets
	drop int    // bytes after those that it does not
}

const (
	// longest is what is left of a PUBLISH: a topic of any length, and more than the largest page.
	longest = 2 + 65535 + 2 + headersync.MaxPage + 1024
	// longestControl is more than any other packet takes that a broker sends: a SUBACK has a byte for each filter.
	longestControl = 64 << 10
)

func newShortener(conn net.Conn) net.Conn {
	return &shortener{Conn: conn, in: bufio.NewReader(conn)}
}

// Read implements [net.Conn]. It is called by one goroutine.
func (s *shortener) Read(p []byte) (int, error) {
	for {
		switch {
		case len(p) == 0:
			return 0, nil
		case len(s.head) > 0:
			n := copy(p, s.head)
			s.head = s.head[n:]
			return n, nil
		case s.pass > 0:
			n, err := s.in.Read(p[:min(len(p), s.pass)])
			s.pass -= n
			return n, err
		case s.drop > 0:
			n, err := s.in.Discard(min(s.drop, s.in.Size()))
			s.drop -= n
			if err != nil {
				return 0, err
			}
		default:
			if err := s.begin(); err != nil {
				return 0, err
			}
		}
	}
}

// begin reads the header of the next packet.
func (s *shortener) begin() error {
	h, err := mqttwire.ReadHeader(s.in, mqttwire.MaxLength)
	if err != nil {
		return err
	}
	most := longest
	if h.Type != mqttwire.PUBLISH {
		most = longestControl
		if h.Length > most {
			return fmt.Errorf("a %s of %d bytes is no broker's", h.Type, h.Length)
		}
	}
	s.pass = min(h.Length, most)
	s.drop = h.Length - s.pass
	s.head = mqttwire.AppendHeader(s.head[:0], h.First(), s.pass)
	return nil
}
