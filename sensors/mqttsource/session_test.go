package mqttsource

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"edgechain.example/mqttconn"
)

// A connection that the broker has taken and that ends before it shows what the session holds may have begun that session.
func TestASessionThatMayBeAnotherIsALossThatIsTold(t *testing.T) {
	t.Parallel()
	const lost, doubtful = "knows no session of this client any more", "nobody knows whether the broker still has the session"
	connack, nothing := 4, 0
	for name, x := range map[string]struct {
		behind int // bytes that the broker's answers get through after it forgot all
		stops  bool
		want   []string
	}{
		"no answer to CONNECT":                          {nothing, false, []string{doubtful}},
		"no answer to CONNECT, then a stop":             {nothing, true, []string{doubtful}},
		"an answer to CONNECT alone":                    {connack, false, []string{lost, doubtful}},
		"an answer to CONNECT alone, and then the stop": {connack, true, []string{lost, doubtful}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := startBroker(t, "")
			w := newWire(t, m.Addr)
			losses := make(chan string, 16)
			var noted atomic.Int32
			cfg := config(w.url, 1)
			cfg.Lost = func(n int, why string) { losses <- why }
			cfg.NoteSession = func(s Session) { noted.Store(int32(s)) }
			s := run(t, cfg, newDisk(t, everything))
			s.awaitReady()
			w.set(false, true)
			w.cut()
			m.Restart()
			w.hush(x.behind)
			w.set(false, false)
			eventually(t, "the broker to take a connection", func() bool { return m.Connections("edgechain-gw-1-plant") == 2 })
			if x.behind > 0 {
				s.await("the broker's answer", func(st Stats) bool { return st.Connected })
			}
			w.set(false, true)
			w.cut()
			eventually(t, "the doubt to be noted", func() bool { return Session(noted.Load()) == SessionDoubtful })
			if x.stops {
				s.stop()
				cfg.Session = func() Session { return Session(noted.Load()) }
				w.mend()
				s = run(t, cfg, newDisk(t, everything))
			}
			w.mend()
			s.await("the subscription", func(st Stats) bool { return st.Subscribed })
			for _, want := range x.want {
				select {
				case got := <-losses:
					if !strings.Contains(got, want) {
						t.Errorf("told is %q, not %q", got, want)
					}
				default:
					t.Errorf("it is not told: %s", want)
				}
			}
			if Session(noted.Load()) != SessionKept {
				t.Error("the doubt stays")
			}
			w.cut()
			s.await("another connection", func(st Stats) bool { return st.Connections >= 2 && st.Subscribed })
			select {
			case got := <-losses:
				t.Errorf("told once more: %q", got)
			default:
			}
		})
	}
}

// A broker that comes back without its memory has lost what it kept for us, and cannot say how much.
func TestASessionThatTheBrokerForgotIsALoss(t *testing.T) {
	t.Parallel()
	forgetful := startBroker(t, "")
	type loss struct {
		n   int
		why string
	}
	start := func(url string, had Session) (s *running, losses chan loss, noted chan Session) {
		losses, noted = make(chan loss, 16), make(chan Session, 16)
		cfg := config(url, 1)
		cfg.Session = func() Session { return had }
		cfg.Lost = func(n int, why string) { losses <- loss{n, why} }
		cfg.NoteSession = func(s Session) { noted <- s }
		s = run(t, cfg, newDisk(t, everything))
		s.awaitReady()
		return s, losses, noted
	}
	told := func(losses chan loss) {
		t.Helper()
		select {
		case l := <-losses:
			if l.n != 0 || !strings.Contains(l.why, "knows no session of this client any more") {
				t.Errorf("%+v", l)
			}
		default:
			t.Error("nothing is said to be lost")
		}
	}
	notes := func(noted chan Session, want ...Session) {
		t.Helper()
		for _, w := range want {
			if got := <-noted; got != w {
				t.Errorf("noted is %d, not %d", got, w)
			}
		}
	}
	silent := func(losses chan loss) {
		t.Helper()
		select {
		case l := <-losses:
			t.Errorf("%+v", l)
		default:
		}
	}

	s, losses, noted := start(forgetful.url, SessionNone)
	silent(losses) // at first contact nothing can be
	notes(noted, SessionKept)
	forgetful.Restart()
	s.await("another connection", func(st Stats) bool { return st.Connections >= 2 && st.Subscribed })
	told(losses)
	notes(noted, SessionDoubtful, SessionKept)
	s.stop()
	silent(losses)

	s, losses, _ = start(forgetful.url, SessionKept) // which kept it while we were away
	silent(losses)
	s.stop()
	forgetful.Restart()
	s, losses, noted = start(forgetful.url, SessionKept)
	told(losses)
	notes(noted, SessionDoubtful, SessionKept)
	s.stop()

	durable := startBroker(t, durableBroker)
	s, losses, _ = start(durable.url, SessionNone)
	durable.Restart()
	s.await("another connection", func(st Stats) bool { return st.Connections >= 2 && st.Subscribed })
	silent(losses)
}

// remembered is what a source was told to be lost, and what it noted.
type remembered struct {
	mu     sync.Mutex
	losses []string
	noted  []Session
}

func (r *remembered) watch(c *Config, had Session) {
	c.Session = func() Session { return had }
	c.Lost = func(_ int, why string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.losses = append(r.losses, why)
	}
	c.NoteSession = func(s Session) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.noted = append(r.noted, s)
	}
}

// check compares what was told, and what was noted last.
func (r *remembered) check(t *testing.T, last Session, losses ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.losses, losses) {
		t.Errorf("told is %q, not %q", r.losses, losses)
	}
	if len(r.noted) == 0 || r.noted[len(r.noted)-1] != last {
		t.Errorf("noted is %d, and not %d at last", r.noted, last)
	}
}

// connect takes a connection, and its CONNECT, and answers that or closes.
func (p *peer) connect(answer, present bool) {
	p.t.Helper()
	var err error
	p.conn, err = p.l.Accept()
	p.must(err)
	p.must(p.conn.SetDeadline(time.Now().Add(patience)))
	p.read(packets.Connect)
	if !answer {
		p.conn.Close()
		return
	}
	ack := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
	ack.SessionPresent = present
	p.must(ack.Write(p.conn))
}

func (p *peer) grant(sub packets.ControlPacket, codes ...byte) {
	p.t.Helper()
	granted := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
	granted.MessageID = sub.(*packets.SubscribePacket).MessageID
	granted.ReturnCodes = codes
	p.must(granted.Write(p.conn))
}

// Brokers that repeat what is not acknowledged for long do so on the connection that stands, in a new session too, and the answer to
// SUBSCRIBE may come behind it.
func TestARepetitionOnOneConnectionDoesNotShowWhichSessionItIs(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	cfg, d := config(p.url, 1), newDisk(t, 0)
	var r remembered
	r.watch(&cfg, SessionNone)
	s := p.run(cfg, d)
	p.accept(false, 1)
	p.publish(2, false, false, "21.5")
	d.awaitPending(t, 1)
	p.conn.Close()
	p.connect(false, false) // it forgot the session, and this begins another
	p.connect(true, true)
	sub := p.read(packets.Subscribe)
	p.publish(1, false, false, "20")
	p.publish(1, true, false, "20")
	p.grant(sub, 1)
	s.await("the subscription", func(st Stats) bool { return st.Subscribed && st.Received >= 3 })
	r.check(t, SessionKept, sessionDoubtful)
	p.conn.Close() // and with it goes a message of the new session, which has an id and a content of the old one
	p.accept(true, 1)
	p.publish(1, true, false, "20")
	p.publish(2, true, false, "21.5")
	s.await("both", func(st Stats) bool { return st.Received >= 5 })
	if n := s.Stats().Recognised; n != 2 {
		t.Errorf("%d are taken for repetitions, not the two with the id 1", n)
	}
}

func TestWhatIsCertainOfASessionIsNotedBeforeItsFiltersAreGranted(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	cfg := config(p.url, 1)
	var r remembered
	r.watch(&cfg, SessionKept)
	s := p.run(cfg, newDisk(t, everything))
	p.connect(false, false)
	p.connect(true, true)
	p.publish(7, true, false, "21.5")
	s.await("it came again", func(st Stats) bool { return st.Redelivered == 1 })
	p.close()
	s.stop()
	r.check(t, SessionKept)
}

// A broker that keeps no session may answer and close again and again.
func TestALostSessionIsToldOnceAndOnceWhenThereIsAnother(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	cfg := config(p.url, 1)
	cfg.ConnectTimeout = 15 * time.Second // which a connection that ends at once may take to show
	var r remembered
	r.watch(&cfg, SessionKept)
	s := p.run(cfg, newDisk(t, everything))
	for range 4 {
		p.connect(true, false)
		p.conn.Close()
	}
	p.accept(true, 1)
	s.awaitReady()
	s.await("what is told", func(Stats) bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.losses) == 2 })
	r.check(t, SessionKept, sessionLost, sessionDoubtful)
}

// Of two servers with sessions of their own, one that delivers again does not show that the other one did not lose its session.
func TestAServerShowsNothingOfTheSessionOfAnother(t *testing.T) {
	t.Parallel()
	p, q := newPeer(t), newPeer(t)
	cfg := config(p.url, 1)
	cfg.Servers = append(cfg.Servers, mqttconn.Server(q.url))
	var r remembered
	r.watch(&cfg, SessionKept)
	s := p.run(cfg, newDisk(t, 0))
	t.Cleanup(q.close)
	p.connect(false, false)
	q.connect(true, true)
	q.publish(7, true, false, "21.5")
	q.suback(1)
	s.awaitReady()
	r.check(t, SessionKept, sessionDoubtful)
}
