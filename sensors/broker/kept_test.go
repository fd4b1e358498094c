package broker

import (
	"encoding/binary"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/mqttwire"
	"edgechain.example/sensors/broker/subscriberstore"
)

// board is a broker, a chain and a disk, and what is left of them when the program or the power ends.
type board struct {
	t     *testing.T
	d     *disk
	fs    *vfs.MemFS
	every time.Duration
	now   func() time.Time // nil is the machine's clock
	boot  string
	limit Bounds

	memory bool    // nothing is on disk
	before *Broker // whose place the next one takes
	log    testLog
	b      *Broker
	stop   func()
}

// testLog is what was logged.
type testLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *testLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *testLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newBoard(t *testing.T) *board {
	p := &board{t: t, d: autoDisk(t, 0), fs: vfs.NewCrashableMem(), every: time.Hour}
	p.start()
	return p
}

// where is on the board's disk, and reads the chain that the test's sink is.
func (p *board) where(fs vfs.FS) *Subscribers {
	return &Subscribers{
		Store: subscriberstore.Options{Dir: "subscribers", FS: fs, Every: p.every},
		Boot:  p.boot,
		Chain: "chain",
		Next:  func() uint64 { return uint64(len(p.d.payloads())) },
		Recorded: func(from uint64) iter.Seq2[*Recorded, error] {
			return func(yield func(*Recorded, error) bool) {
				p.d.mu.Lock()
				entries := slices.Clone(p.d.entries)
				p.d.mu.Unlock()
				for i, m := range entries[min(from, uint64(len(entries))):] {
					if !yield(&Recorded{Number: from + uint64(i), Source: m.Source, Flags: m.Flags, Payload: m.Payload}, nil) {
						return
					}
				}
			}
		},
	}
}

func (p *board) start() {
	p.t.Helper()
	fs := p.fs
	p.b, p.stop = nil, nil
	where := p.where(fs)
	if p.memory {
		where = nil
	}
	b, err := New(Config{
		Listeners: []Listener{{Kind: TCP, Address: "127.0.0.1:0", Anonymous: true}}, Decode: undecoded,
		PassOn: func(topic string) (bool, func()) { return strings.HasPrefix(topic, "unrecorded/"), nil },
		Grace:  50 * time.Millisecond, Subscribers: where, Now: p.now, Bounds: p.limit, Log: slog.New(slog.NewTextHandler(&p.log, nil)),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	if p.before != nil {
		b.Inherit(p.before)
	}
	p.b, p.stop = b, run(p.t, b, p.d)
	if b.kept == nil && !p.memory {
		p.t.Fatalf("nothing is kept: %v", b.unkept)
	}
}

// restart ends the broker in order.
func (p *board) restart() {
	p.t.Helper()
	p.stop()
	p.start()
}

// crash ends it without a word: what was given to the disk and not synced is there in part.
func (p *board) crash(unsynced int) {
	p.t.Helper()
	left := p.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: rand.New(rand.NewPCG(1, 2))})
	p.stop()
	p.fs = left
	p.start()
}

// flushed waits until all is routed and synced.
func (p *board) flushed() {
	p.t.Helper()
	p.settled()
	if err := p.b.kept.store.Flush(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

// settled waits until all is routed, and written nowhere.
func (p *board) settled() {
	p.t.Helper()
	await(p.t, func() bool { return p.b.owed.Load() == 0 && p.b.fanout.owed.Load() == 0 })
}

// ways are the ways in which a broker ends, each with what it does to a subscriber's queue.
var ways = []struct {
	name  string
	notes bool // what was noted is there
	end   func(*board)
}{
	{"in order", true, (*board).restart},
	{"killed", true, func(p *board) { p.noted(); p.crash(100) }},
	{"killed, all written", true, func(p *board) { p.flushed(); p.crash(100) }},
	{"power cut", false, func(p *board) { p.crash(0) }},
	{"power cut, half synced", false, func(p *board) { p.crash(50) }},
	{"power cut, all synced", true, func(p *board) { p.flushed(); p.crash(0) }},
}

// noted waits until the notes are in their file.
func (p *board) noted() {
	p.t.Helper()
	await(p.t, func() bool { return len(p.b.kept.store.Unwritten()) == 0 })
}

func each(t *testing.T, test func(t *testing.T, notes bool, end func(*board))) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) { test(t, w.notes, w.end) })
	}
}

// publishAll publishes and waits for each acknowledgement: from then on nothing may be missing.
func publishAll(w *wire, qos byte, topic string, payloads ...string) {
	w.t.Helper()
	for i, payload := range payloads {
		id := uint16(i + 1)
		w.publish(id, qos, topic, payload)
		if qos == 1 {
			w.wants(fmt.Sprintf("PUBACK %d", id))
			continue
		}
		w.wants(fmt.Sprintf("PUBREC %d", id))
		w.sendID(typePubrel<<4|2, id)
		w.wants(fmt.Sprintf("PUBCOMP %d", id))
	}
}

func TestWhatWasAcknowledgedReachesASubscriberThatWasAway(t *testing.T) {
	each(t, func(t *testing.T, notes bool, end func(*board)) {
		for qos := byte(1); qos <= 2; qos++ {
			p := newBoard(t)
			sub := dial(t, p.b, login{id: "sub"})
			sub.subscribe(1, "x/#", 2)
			sub.wants("SUBACK 1 2")
			sub.drop(p.b, "sub")
			p.flushed()
			publishAll(dial(t, p.b, login{id: "w", clean: true}), qos, "x/y", "1", "2", "3")
			end(p)
			publishAll(dial(t, p.b, login{id: "w", clean: true}), qos, "x/y", "4")
			p.settled()
			sub = dial(t, p.b, login{id: "sub"})
			if !sub.present {
				t.Fatal("the session is gone")
			}
			for i, want := range []string{"1", "2", "3", "4"} {
				least := qos
				if !notes && i < 3 {
					least = 1 // the chain does not say that it was QoS 2
				}
				kind, body := sub.read()
				if got := sub.format(kind, body); got != "PUBLISH x/y "+want || sub.qos < least || sub.qos > qos || sub.flags&8 != 0 {
					t.Errorf("got %s, QoS %d, flags %x; want %s, QoS %d", got, sub.qos, sub.flags, want, qos)
				}
			}
			sub.silent()
		}
	})
}

// What a filter keeps out of the chain cannot be made up from there.
func TestWhatIsNotRecordedReachesASubscriberThatWasAway(t *testing.T) {
	ways := append(slices.Clone(ways), ways[1])
	ways[len(ways)-1].name, ways[len(ways)-1].end = "killed at once", func(p *board) { p.crash(100) } // the PUBACK waited for the note
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			p := newBoard(t)
			sub := dial(t, p.b, login{id: "sub"})
			sub.subscribe(1, "unrecorded/y", 1)
			sub.wants("SUBACK 1 1")
			sub.drop(p.b, "sub")
			p.flushed()
			publisher := dial(t, p.b, login{id: "w", clean: true})
			publishAll(publisher, 1, "unrecorded/y", "1", "2")
			publishAll(publisher, 2, "unrecorded/y", "3")
			retained := mqttwire.Publish{Retain: true, QoS: 1, ID: 9, Topic: []byte("unrecorded/r"), Payload: []byte("4")}
			if _, err := publisher.nc.Write(retained.Append(mqttwire.V311, nil)); err != nil {
				t.Fatal(err)
			}
			publisher.wants("PUBACK 9")
			w.end(p)
			if !w.notes {
				return // the power takes it, or not
			}
			hears := func(all ...string) {
				t.Helper()
				p.settled()
				sub := dial(t, p.b, login{id: "sub"})
				for _, want := range all {
					kind, body := sub.read()
					if got := sub.format(kind, body); got != "PUBLISH unrecorded/"+want || sub.qos != 1 {
						t.Fatalf("got %s, want %s", got, want)
					}
					n := binary.BigEndian.Uint16(body)
					sub.send(typePuback<<4, body[2+n:4+n])
				}
				sub.silent()
				p.flushed()
				sub.drop(p.b, "sub")
			}
			hears("y 1", "y 2", "y 3")
			if all := p.b.retainedFor("unrecorded/#"); len(all) != 1 || string(all[0].payload) != "4" {
				t.Errorf("retained are %+v", all)
			}
			for _, again := range []func(*board){(*board).restart, func(p *board) { p.crash(100) }} {
				again(p) // what came is told once
				publishAll(dial(t, p.b, login{id: "w", clean: true}), 1, "unrecorded/y", "5")
				hears("y 5")
			}
			if n := len(p.d.payloads()); n > 0 {
				t.Errorf("%d were recorded", n)
			}
		})
	}
}

// What nobody finds again is not noted: messages are kept out of the chain to spare the card, too.
func TestWhatIsNotRecordedIsNotedForThoseAloneWhoFindItAgain(t *testing.T) {
	p := newBoard(t)
	dial(t, p.b, login{id: "now", clean: true}).subscribe(1, "unrecorded/#", 1)
	kept := dial(t, p.b, login{id: "kept"})
	kept.subscribe(1, "unrecorded/a", 1)
	kept.wants("SUBACK 1 1")
	notes := func(topic string) int {
		before := p.b.kept.store.Notes()
		publishAll(dial(t, p.b, login{id: "w", clean: true}), 1, topic, "1")
		p.settled()
		return p.b.kept.store.Notes() - before
	}
	if n := notes("unrecorded/b"); n != 0 {
		t.Errorf("%d notes of what is nobody's", n)
	}
	if n := notes("unrecorded/a"); n != 1 {
		t.Errorf("%d notes of what somebody finds again", n)
	}
}

func TestWhatWasNotAcknowledgedComesAgainWithDUP(t *testing.T) {
	each(t, func(t *testing.T, _ bool, end func(*board)) {
		p := newBoard(t)
		sub := dial(t, p.b, login{id: "sub"})
		sub.subscribe(1, "x", 1)
		sub.wants("SUBACK 1 1")
		p.flushed()
		publishAll(dial(t, p.b, login{id: "w", clean: true}), 1, "x", "1", "2")
		sub.wants("PUBLISH x 1", "PUBLISH x 2")
		p.settled()
		end(p)
		sub = dial(t, p.b, login{id: "sub"})
		for _, want := range []string{"1", "2"} {
			kind, body := sub.read()
			if got := sub.format(kind, body); got != "PUBLISH x "+want || sub.flags&8 == 0 {
				t.Errorf("got %s, flags %x; want %s again", got, sub.flags, want)
			}
		}
		sub.silent()
	})
}

func TestWhatASubscriberAcknowledgedAndIsWrittenComesNoMore(t *testing.T) {
	for _, unsynced := range []int{0, 100} {
		p := newBoard(t)
		sub := dial(t, p.b, login{id: "sub"})
		sub.subscribe(1, "x", 1)
		sub.wants("SUBACK 1 1")
		publishAll(dial(t, p.b, login{id: "w", clean: true}), 1, "x", "1", "2")
		for range 2 {
			_, body := sub.read()
			sub.send(typePuback<<4, body[3:5])
		}
		sub.silent()
		p.flushed()
		p.crash(unsynced)
		sub = dial(t, p.b, login{id: "sub"})
		sub.silent()
		if len(p.b.kept.bodies) != 0 {
			t.Errorf("%d messages are kept for nobody", len(p.b.kept.bodies))
		}
	}
}

// While a subscriber keeps up, nothing of its messages is written at all.
func TestWhatIsAcknowledgedAtOnceIsNotWritten(t *testing.T) {
	p := newBoard(t)
	sub := dial(t, p.b, login{id: "sub"})
	sub.subscribe(1, "x", 1)
	sub.wants("SUBACK 1 1")
	p.flushed()
	before := p.b.kept.store.Stats()
	w := dial(t, p.b, login{id: "w", clean: true})
	for range 100 {
		publishAll(w, 1, "x", strings.Repeat("y", 1000))
		_, body := sub.read()
		sub.send(typePuback<<4, body[3:5])
	}
	sub.silent()
	p.flushed()
	if n := p.b.kept.store.Stats().Written - before.Written; n > 1000 {
		t.Errorf("%d bytes were written", n)
	}
}

func TestRetainedMessagesSurvive(t *testing.T) {
	each(t, func(t *testing.T, notes bool, end func(*board)) {
		p := newBoard(t)
		w := dial(t, p.b, login{id: "w", v5: true, clean: true})
		retain := func(id uint16, topic, payload string, properties mqttwire.Properties) {
			pk := mqttwire.Publish{Retain: true, QoS: 1, ID: id, Topic: []byte(topic), Payload: []byte(payload), Properties: properties}
			if _, err := w.nc.Write(pk.Append(mqttwire.V5, nil)); err != nil {
				t.Fatal(err)
			}
			w.wants(fmt.Sprintf("PUBACK %d", id))
		}
		content := mqttwire.Properties(nil).AddText(mqttwire.ContentType, "text/plain")
		retain(1, "state/a", "old", nil)
		retain(2, "state/b", "gone", nil)
		retain(3, "state/c", "kept", content)
		p.flushed()
		retain(4, "state/a", "new", nil)
		retain(5, "state/b", "", nil)
		retain(6, "state/d", "first", content)
		p.settled()
		end(p)
		got := make(map[string]string)
		for _, f := range p.b.retainedFor("state/#") {
			got[f.topic] = string(f.payload) + " " + string(f.properties)
		}
		want := map[string]string{"state/a": "new ", "state/c": "kept " + string(content), "state/d": "first " + string(content)}
		if !notes { // an entry does not say that it was retained; what was synced is there
			if got["state/c"] != want["state/c"] {
				t.Errorf("retained are %q", got)
			}
			return
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("retained are %q, want %q", got, want)
		}
	})
}

func TestSubscriptionsAreAnsweredOnceTheyAreOnDisk(t *testing.T) {
	p := newBoard(t)
	sub := dial(t, p.b, login{id: "sub", v5: true})
	sub.subscribe(1, "x", 1)
	sub.wants("SUBACK 1 1")
	p.crash(0)
	publishAll(dial(t, p.b, login{id: "w", clean: true}), 1, "x", "1")
	sub = dial(t, p.b, login{id: "sub", v5: true})
	sub.wants("PUBLISH x 1")
	sub.send(typeUnsubscribe<<4|2, append([]byte{0, 2, 0}, str(nil, "x")...))
	sub.wants("UNSUBACK 2 0")
	p.restart()
	if n := p.b.tree.count.Load(); n != 0 {
		t.Errorf("%d subscriptions are back", n)
	}
}

func TestSessionsWillsAndMessagesEndByTheClockOverARestart(t *testing.T) {
	p := newBoard(t)
	expires := func(n uint32) mqttwire.Properties {
		return mqttwire.Properties(nil).AddNumber(mqttwire.SessionExpiry, n)
	}
	short := dial(t, p.b, login{id: "short", v5: true, clean: true, properties: expires(60)})
	short.drop(p.b, "short")
	long := dial(t, p.b, login{id: "long", v5: true, clean: true, properties: expires(3600), will: "status gone", willDelay: 120})
	long.subscribe(1, "x", 1)
	long.wants("SUBACK 1 1")
	long.drop(p.b, "long")
	never := dial(t, p.b, login{id: "never", v5: true, clean: true})
	never.subscribe(1, "x", 1)
	never.wants("SUBACK 1 1")
	w := dial(t, p.b, login{id: "w", v5: true, clean: true})
	pk := mqttwire.Publish{QoS: 1, ID: 1, Topic: []byte("x"), Payload: []byte("soon stale"), Properties: mqttwire.Properties(nil).AddNumber(mqttwire.MessageExpiry, 90)}
	_, _ = w.nc.Write(pk.Append(mqttwire.V5, nil))
	w.wants("PUBACK 1")
	await(t, func() bool { p.b.mu.Lock(); defer p.b.mu.Unlock(); return len(p.b.wills) == 1 })
	p.flushed()

	// As it is read at other times.
	p.stop()
	for _, c := range []struct {
		after                     time.Duration
		sessions, messages, wills int
	}{{0, 2, 1, 1}, {61 * time.Second, 1, 1, 1}, {100 * time.Second, 1, 0, 1}, {2 * time.Hour, 0, 0, 0}, {-time.Hour, 2, 1, 1}} {
		b, err := New(Config{Listeners: []Listener{{Kind: TCP, Anonymous: true}}, Decode: undecoded})
		if err != nil {
			t.Fatal(err)
		}
		l := &found{b: b, now: time.Now(), wall: time.Now().Add(c.after)}
		l.Reset()
		s, err := subscriberstore.Open(subscriberstore.Options{Dir: "subscribers", FS: p.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))})}, l)
		if err != nil {
			t.Fatal(err)
		}
		b.run = t.Context()
		b.kept = &kept{b: b, store: s, where: p.where(nil), bodies: make(map[*forward]*body)}
		b.takeOver(l)
		messages := 0
		for _, s := range b.sessions {
			messages += len(s.out.waiting)
		}
		if len(b.sessions) != c.sessions || messages != c.messages || len(b.wills) != c.wills {
			t.Errorf("after %s: %d sessions, %d messages, %d wills; want %d, %d, %d", c.after, len(b.sessions), messages, len(b.wills), c.sessions, c.messages, c.wills)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A QoS 2 message goes on where it was: the subscriber takes none twice, and no other for it.
func TestQoS2ToASubscriberGoesOnWhereItWas(t *testing.T) {
	for _, unsynced := range []int{0, 100} {
		p := newBoard(t)
		sub := dial(t, p.b, login{id: "sub"})
		sub.subscribe(1, "x", 2)
		sub.wants("SUBACK 1 2")
		w := dial(t, p.b, login{id: "w", clean: true})
		publishAll(w, 2, "x", "1", "2", "3")
		sub.wants("PUBLISH x 1", "PUBLISH x 2", "PUBLISH x 3")
		sub.sendID(typePubrec<<4, 1)
		sub.wants("PUBREL 1")
		sub.sendID(typePubrec<<4, 2)
		sub.wants("PUBREL 2")
		sub.sendID(typePubcomp<<4, 2)
		sub.silent()
		p.flushed()
		p.crash(unsynced)
		sub = dial(t, p.b, login{id: "sub"})
		sub.wants("PUBREL 1", "PUBLISH x 3")
		if sub.flags&8 == 0 {
			t.Error("the repetition has no DUP")
		}
		publishAll(dial(t, p.b, login{id: "w", clean: true}), 2, "x", "4")
		if _, body := sub.read(); body[4] <= 3 && body[3] == 0 {
			t.Errorf("a new message has packet id %d, which the client may know", body[4])
		}
	}
}

// Whatever is in the folder, the broker starts, and what cannot be read is put aside.
func TestDamageIsPutAsideAndDelaysNothing(t *testing.T) {
	p := newBoard(t)
	sub := dial(t, p.b, login{id: "sub"})
	sub.subscribe(1, "x", 1)
	sub.wants("SUBACK 1 1")
	p.flushed()
	p.stop()
	names, err := p.fs.List("subscribers")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		for _, damage := range []string{"", "gone", "zeros", "noise"} {
			if info, err := p.fs.Stat("subscribers/" + name); err != nil || info.IsDir() || name == "LOCK" {
				continue
			}
			t.Run(name+" "+damage, func(t *testing.T) {
				fs := p.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))})
				spoil(t, fs, "subscribers/"+name, damage)
				again := &board{t: t, d: autoDisk(t, 0), fs: fs, every: time.Hour}
				again.start()
				sub := dial(t, again.b, login{id: "sub"})
				sub.subscribe(1, "x", 1)
				sub.wants("SUBACK 1 1")
				publishAll(dial(t, again.b, login{id: "w", clean: true}), 1, "x", "1")
				sub.wants("PUBLISH x 1")
				again.stop()
			})
		}
	}
}

func spoil(t *testing.T, fs vfs.FS, path, how string) {
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, info.Size())
	_, _ = f.ReadAt(b, 0)
	f.Close()
	switch how {
	case "gone":
		if err := fs.Remove(path); err != nil {
			t.Fatal(err)
		}
		return
	case "":
		b = nil
	case "zeros":
		clear(b)
	case "noise":
		r := rand.New(rand.NewPCG(3, 4))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
	}
	w, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// A folder that cannot be used costs what is kept, and nothing else.
func TestAFolderThatCannotBeUsedCostsNoClient(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d := autoDisk(t, 0)
	p := &board{t: t, d: d}
	b := start(t, d, func(c *Config) {
		c.Subscribers = p.where(vfs.Default)
		c.Subscribers.Store.Dir = file + "/below"
	})
	sub := dial(t, b, login{id: "sub"})
	sub.subscribe(1, "x", 1)
	sub.wants("SUBACK 1 1")
	publishAll(dial(t, b, login{id: "w", clean: true}), 1, "x", "1")
	sub.wants("PUBLISH x 1")
	if b.unkept == nil {
		t.Error("it is not told")
	}
}
