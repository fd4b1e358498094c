package mqttsource

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"edgechain.example/lightchain"
)

func TestWhatComesAgainBeforeItWasAcknowledgedIsRecognised(t *testing.T) {
	t.Parallel()
	for _, qos := range []byte{1, 2} {
		for _, when := range []string{"while apart", "after it came again"} {
			t.Run(fmt.Sprintf("QoS %d, durable %s", qos, when), func(t *testing.T) {
				t.Parallel()
				m := startBroker(t, durableBroker)
				w := newWire(t, m.Addr)
				d := newDisk(t, 0)
				cfg := config(w.url, qos)
				cfg.Lost = func(n int, why string) {
					t.Errorf("what comes again shows that the session is the same, and this is told: %s", why)
				}
				s := run(t, cfg, d)
				s.awaitReady()
				device := publisher(t, m.url)
				// Equal contents: only the packet ids tell them apart.
				send(t, device, "line/1", qos, false, slices.Repeat([]string{"21.5"}, 40)...)
				d.awaitPending(t, 40)
				w.set(false, true)
				w.cut()
				s.await("the cut", func(st Stats) bool { return !st.Connected && st.Failures > 0 })
				if when == "while apart" {
					d.allow(everything)
					d.awaitDurable(t, 40)
				}
				w.set(false, false)
				s.await("all come again", func(st Stats) bool { return st.Recognised >= 40 })
				d.allow(everything)
				s.await("all acknowledged", func(st Stats) bool { return st.Acknowledged >= 40 && st.InFlight == 0 })

				w.cut()
				s.await("a third connection", func(st Stats) bool { return st.Connections >= 3 && st.Subscribed })
				send(t, device, "line/1", qos, false, "22")
				eventually(t, "the next message", func() bool {
					p := d.payloads()
					return p[len(p)-1] == "22"
				})
				for i, e := range d.entries()[:40] {
					if string(e.Payload) != "21.5" || e.Flags != 0 {
						t.Fatalf("entry %d: %s %b", i, e.Payload, e.Flags)
					}
				}
			})
		}
	}
}

func TestWhatComesAgainAfterADoubtfulAcknowledgementIsKeptAndFlagged(t *testing.T) {
	t.Parallel()
	for _, qos := range []byte{1, 2} {
		t.Run(fmt.Sprintf("QoS %d", qos), func(t *testing.T) {
			t.Parallel()
			m := startBroker(t, durableBroker)
			w := newWire(t, m.Addr)
			d := newDisk(t, everything)
			s := run(t, config(w.url, qos), d)
			s.awaitReady()
			w.set(true, false) // acknowledgements are written and do not arrive
			send(t, publisher(t, m.url), "line/1", qos, false, numbered(0, 20)...)
			s.await("acknowledgements written", func(st Stats) bool { return st.Acknowledged == 20 })
			w.set(false, false)
			w.cut()
			d.awaitDurable(t, 40)
			s.await("acknowledgements written", func(st Stats) bool { return st.Acknowledged >= 40 })
			if got, want := d.payloads(), append(numbered(0, 20), numbered(0, 20)...); !slices.Equal(got, want) {
				t.Fatalf("entries %q", got)
			}
			for i, e := range d.entries() {
				if (e.Flags == lightchain.Redelivered) != (i >= 20) {
					t.Errorf("entry %d: flags %b", i, e.Flags)
				}
			}
		})
	}
}

func TestAMessageOfASharedSubscriptionIsNeverRecognised(t *testing.T) {
	t.Parallel()
	m := startBroker(t, durableBroker)
	w := newWire(t, m.Addr)
	d := newDisk(t, 0)
	cfg := config(w.url, 1)
	cfg.Subscriptions[0].Filter = "$share/gateways/line/#"
	s := run(t, cfg, d)
	s.awaitReady()
	send(t, publisher(t, m.url), "line/1", 1, false, "a")
	d.awaitPending(t, 1)
	w.cut()
	d.allow(everything)
	d.awaitDurable(t, 2)
	if e := d.entries(); e[0].Flags != 0 || e[1].Flags != lightchain.Redelivered {
		t.Errorf("flags %b, %b", e[0].Flags, e[1].Flags)
	}
}

// peer is a broker that a test plays packet by packet, for what no real one can be made to do on command.
type peer struct {
	t    *testing.T
	l    net.Listener
	url  string
	conn net.Conn
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, l: l, url: "tcp://" + l.Addr().String()}
	t.Cleanup(p.close)
	return p
}

// run starts a source that ends without waiting for the peer, which goes first.
func (p *peer) run(cfg Config, d *disk) *running {
	p.t.Helper()
	r := run(p.t, cfg, d)
	p.t.Cleanup(p.close)
	return r
}

func (p *peer) close() {
	p.l.Close()
	if p.conn != nil {
		p.conn.Close()
	}
}

// accept takes the next connection as far as its SUBACK with the codes.
func (p *peer) accept(present bool, codes ...byte) {
	p.t.Helper()
	p.must(p.tryAccept(present, codes...))
}

func (p *peer) tryAccept(present bool, codes ...byte) (err error) {
	if p.conn, err = p.l.Accept(); err != nil {
		return err
	}
	if err := p.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := p.tryRead(packets.Connect); err != nil {
		return err
	}
	ack := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
	ack.SessionPresent = present
	if err := ack.Write(p.conn); err != nil {
		return err
	}
	return p.trySuback(codes...)
}

func (p *peer) suback(codes ...byte) {
	p.t.Helper()
	p.must(p.trySuback(codes...))
}

func (p *peer) trySuback(codes ...byte) error {
	sub, err := p.tryRead(packets.Subscribe)
	if err != nil {
		return err
	}
	granted := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
	granted.MessageID = sub.(*packets.SubscribePacket).MessageID
	granted.ReturnCodes = codes
	return granted.Write(p.conn)
}

func (p *peer) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("the peer: %v", err)
	}
}

func (p *peer) read(kind byte) packets.ControlPacket {
	p.t.Helper()
	cp, err := p.tryRead(kind)
	p.must(err)
	return cp
}

// tryRead reads a packet of a kind, having answered pings. Another kind is an error like a connection that has ended.
func (p *peer) tryRead(kind byte) (packets.ControlPacket, error) {
	for {
		cp, err := packets.ReadPacket(p.conn)
		if err != nil {
			return nil, err
		}
		if _, ok := cp.(*packets.PingreqPacket); ok {
			if err := packets.NewControlPacket(packets.Pingresp).Write(p.conn); err != nil {
				return nil, err
			}
			continue
		}
		if want := packets.NewControlPacket(kind); fmt.Sprintf("%T", cp) != fmt.Sprintf("%T", want) {
			return nil, fmt.Errorf("got %v", cp)
		}
		return cp, nil
	}
}

func (p *peer) publish(id uint16, dup, retained bool, payload string) {
	p.t.Helper()
	p.must(p.tryPublish(id, dup, retained, payload))
}

func (p *peer) tryPublish(id uint16, dup, retained bool, payload string) error {
	m := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	m.TopicName, m.MessageID, m.Qos, m.Dup, m.Retain, m.Payload = "line/1", id, 1, dup, retained, []byte(payload)
	return m.Write(p.conn)
}

func (p *peer) acked(id uint16) {
	p.t.Helper()
	p.must(p.tryAcked(id))
}

func (p *peer) tryAcked(id uint16) error {
	cp, err := p.tryRead(packets.Puback)
	if err == nil && cp.(*packets.PubackPacket).MessageID != id {
		err = fmt.Errorf("acknowledged %d, not %d", cp.(*packets.PubackPacket).MessageID, id)
	}
	return err
}

func TestABrokerThatUsesOnePacketIDForEverLosesNothing(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	d := newDisk(t, everything)
	p.run(config(p.url, 1), d)
	p.accept(false, 1)
	for range 10 {
		p.publish(1, false, false, "21.5")
		p.acked(1)
	}
	// The eleventh was sent and never arrived; what comes of it now looks just like the tenth come again.
	p.conn.Close()
	p.accept(true, 1)
	p.publish(1, true, false, "21.5")
	p.acked(1)
	d.awaitDurable(t, 11)
}

func TestAnIDThatIsUsedAnewBeforeItsAcknowledgementHidesNoMessage(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	d := newDisk(t, 0)
	s := p.run(config(p.url, 1), d)
	p.accept(false, 1)
	p.publish(1, false, false, "first")
	p.publish(1, false, false, "first") // no DUP: another
	p.publish(2, false, false, "third")
	d.awaitPending(t, 3)
	p.conn.Close()
	p.accept(true, 1)
	p.publish(1, true, false, "first") // the second one come again, surely
	p.publish(2, true, false, "other") // nothing known of it
	p.publish(2, false, false, "other")
	d.awaitPending(t, 5)
	d.allow(everything)
	d.awaitDurable(t, 5)
	p.acked(1)
	p.acked(2)
	p.acked(2)
	if st := s.Stats(); st.Recognised != 1 || st.Redelivered != 1 {
		t.Errorf("%+v", st)
	}
	if got := d.payloads(); !slices.Equal(got, []string{"first", "first", "third", "other", "other"}) {
		t.Errorf("entries %q", got)
	}
}

func TestANewSessionRecognisesNothing(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	d := newDisk(t, 0)
	s := p.run(config(p.url, 1), d)
	p.accept(false, 1)
	p.publish(1, false, false, "a")
	d.awaitPending(t, 1)
	p.conn.Close()
	p.accept(false, 1)
	p.publish(1, true, false, "a")
	d.awaitPending(t, 2)
	d.allow(everything)
	p.acked(1)
	if st := s.Stats(); st.Recognised != 0 {
		t.Errorf("%+v", st)
	}
}

func TestAMessageSentAgainOnTheSameConnectionIsAcknowledgedOnce(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	d := newDisk(t, 0)
	s := p.run(config(p.url, 1), d)
	p.accept(false, 1)
	p.publish(1, false, false, "a")
	d.awaitPending(t, 1)
	p.publish(1, true, false, "a") // a broker with a retry interval
	s.await("it is recognised", func(st Stats) bool { return st.Recognised == 1 })
	d.allow(everything)
	p.acked(1)
	p.publish(1, false, false, "b")
	p.acked(1)
	p.publish(2, false, false, "c")
	p.acked(2)
	if got := d.payloads(); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("entries %q", got)
	}
}

func TestAcknowledgementsGoInTheOrderOfTheMessages(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	d := newDisk(t, 1)
	s := p.run(config(p.url, 1), d)
	p.accept(false, 1)
	p.publish(1, false, true, "state")
	p.acked(1)
	p.publish(2, false, false, "a")
	p.publish(3, false, true, "state") // a replay: durable already
	p.publish(4, false, false, "b")
	d.awaitPending(t, 2)
	s.await("the replay", func(st Stats) bool { return st.Replays == 1 })
	d.allow(everything)
	p.acked(2)
	p.acked(3)
	p.acked(4)
}

func TestARefusedSubscriptionIsNamedAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	cfg := config(p.url, 1)
	cfg.Subscriptions = append(cfg.Subscriptions, Subscription{Filter: "line/1", QoS: 2})
	// The order of filters in a packet is paho's: refuse all, then grant the one that is asked for again and again.
	log := logged(&cfg)
	d := newDisk(t, everything)
	s := p.run(cfg, d)
	p.accept(false, 0x80, 0x80)
	eventually(t, "both refusals are named", func() bool {
		text := log.String()
		return contains(text, `the broker refuses a subscription`, `filter=line/#`, `filter=line/1`)
	})
	s.await("the refusals in the status", func(st Stats) bool { return len(st.Refused) == 2 && !st.RefusedSince.IsZero() })
	if st := s.Stats(); st.Subscribed || !st.Connected {
		t.Errorf("%+v", st)
	}
	p.publish(1, false, false, "a")
	p.read(packets.Puback)
	p.suback(0, 0)
	s.awaitReady()
	if st := s.Stats(); len(st.Refused) > 0 || !st.RefusedSince.IsZero() {
		t.Errorf("%+v", st)
	}
	eventually(t, "a lower grant is named", func() bool { return contains(log.String(), "grants a lower QoS") })
}

func TestAMalformedSubackEndsTheConnectionAndNotTheProgram(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	s := p.run(config(p.url, 1), newDisk(t, everything))
	p.accept(false, 1, 1, 1, 1)
	p.accept(false, 1)
	s.awaitReady()
}

// A broker reads the last acknowledgements when it comes to it, and may have much on its way itself.
func TestAnOrderlyEndReadsOnUntilTheBrokerCloses(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	cfg := config(p.url, 1)
	cfg.DrainTimeout = patience
	s := p.run(cfg, newDisk(t, everything))
	p.accept(false, 1)
	p.publish(1, false, false, "a")
	p.acked(1)
	stopped := make(chan struct{})
	go func() { defer close(stopped); s.stop() }()
	p.read(packets.Disconnect)
	// Far more than the sockets hold, and nothing that paho takes any more.
	if _, err := p.conn.Write(bytes.Repeat([]byte{0x62, 2, 0, 1}, 2<<20)); err != nil {
		t.Errorf("the connection ended before the broker had read all: %v", err)
	}
	p.conn.Close()
	<-stopped
}
