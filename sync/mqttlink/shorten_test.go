package mqttlink

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/eclipse/paho.mqtt.golang/packets"

	headersync "edgechain.example/sync"
)

// wire is a connection on which certain bytes come.
type wire struct {
	net.Conn
	io.Reader
}

func (w wire) Read(p []byte) (int, error) { return w.Reader.Read(p) }

func published(t *testing.T, topic string, id uint16, payload []byte) []byte {
	t.Helper()
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.Qos, p.TopicName, p.MessageID, p.Payload = 1, topic, id, payload
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWhatIsTooLongForTheProtocolIsCutAndNothingElse(t *testing.T) {
	ping := packets.NewControlPacket(packets.Pingresp)
	sizes := []int{0, 1, 127, 128, 20000, headersync.MaxPage, headersync.MaxPage + 1, longest, 8 << 20, 3}
	for name, slowly := range map[string]func(io.Reader) io.Reader{"as it comes": func(r io.Reader) io.Reader { return r }, "in halves": iotest.HalfReader, "byte by byte": iotest.OneByteReader} {
		var sent bytes.Buffer
		topics := []string{"a", strings.Repeat("t", 65535)}
		for i, size := range sizes {
			for j, topic := range topics {
				sent.Write(published(t, topic, uint16(2*i+j+1), bytes.Repeat([]byte{byte(i + 1)}, size)))
				if err := ping.Write(&sent); err != nil {
					t.Fatal(err)
				}
			}
		}
		conn := newShortener(wire{Reader: slowly(&sent)})
		for i, size := range sizes {
			for j, topic := range topics {
				packet, err := packets.ReadPacket(conn)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				p := packet.(*packets.PublishPacket)
				if p.MessageID != uint16(2*i+j+1) || p.TopicName != topic || p.Qos != 1 {
					t.Fatalf("%s: message %d of %d bytes comes as %d at QoS %d", name, 2*i+j+1, size, p.MessageID, p.Qos)
				}
				if n := len(p.Payload); n != size && (n <= headersync.MaxPage || n > longest || n > size) {
					t.Errorf("%s: of %d bytes come %d", name, size, n)
				}
				if len(p.Payload) > 0 && (p.Payload[0] != byte(i+1) || p.Payload[len(p.Payload)-1] != byte(i+1)) {
					t.Errorf("%s: the payload of %d bytes is another", name, size)
				}
				if packet, err := packets.ReadPacket(conn); err != nil {
					t.Fatalf("%s: behind %d bytes: %v", name, size, err)
				} else if _, ok := packet.(*packets.PingrespPacket); !ok {
					t.Fatalf("%s: behind %d bytes comes %v", name, size, packet)
				}
			}
		}
		if _, err := packets.ReadPacket(conn); !errors.Is(err, io.EOF) {
			t.Errorf("%s: the end is %v", name, err)
		}
	}
}

func TestNoBrokerMakesUsAllocateWhatItAnnounces(t *testing.T) {
	for name, head := range map[string][]byte{
		"a SUBACK of 256 MB": {0x90, 0xff, 0xff, 0xff, 0x7f},
		"a length too long":  {0x30, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"half a header":      {0x30, 0xff},
	} {
		if _, err := newShortener(wire{Reader: bytes.NewReader(head)}).Read(make([]byte, 10)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
