package broker

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain"
	"edgechain.example/mqttwire"
)

// away makes a session that waits for what comes to its topics.
func away(t *testing.T, b *Broker, id string, filters ...string) {
	t.Helper()
	w := dial(t, b, login{id: id})
	for _, f := range filters {
		w.subscribe(1, f, 1)
		w.wants("SUBACK 1 1")
	}
	w.drop(b, id)
}

// waits are the payloads that wait for a session, cut to what tells them apart.
func waits(b *Broker, id string) (all []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.sessions[id]; s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, m := range slices.Concat(s.out.flight, s.out.waiting) {
			all = append(all, strings.TrimRight(string(m.payload), "."))
		}
	}
	return all
}

// What was kept under larger bounds is taken over as far as there is room: in equal parts, the newest of each, none of it in
// memory that has no room, and what is lost is told.
func TestWhatIsTakenOverKeepsTheBoundsThatHoldNow(t *testing.T) {
	const size = 10_000
	large := func(i int) string { return fmt.Sprint(i) + strings.Repeat(".", size) }
	p := newBoard(t)
	for _, id := range []string{"a-big", "b-big", "c-small", "d-shares"} {
		away(t, p.b, id, id+"/#", "all")
	}
	w := dial(t, p.b, login{id: "w", clean: true})
	for i := range 40 {
		publishAll(w, 1, "a-big/x", large(i))
		publishAll(w, 1, "b-big/x", large(i))
		pk := mqttwire.Publish{QoS: 1, ID: 1, Retain: true, Topic: fmt.Appendf(nil, "r/%02d", i), Payload: []byte(large(i))}
		_, _ = w.nc.Write(pk.Append(mqttwire.V311, nil))
		w.wants("PUBACK 1")
	}
	publishAll(w, 1, "all", "for all")
	publishAll(w, 1, "c-small/x", "little")
	p.flushed()
	p.limit = Bounds{Queued: 20*(size+200) + 4*400, Retained: 10 * (size + 400), Subscriptions: 1}
	p.log.text.Reset()
	p.restart()
	b := p.b
	if got := waits(b, "c-small"); !slices.Equal(got, []string{"for all", "little"}) {
		t.Errorf("for a small one wait %q", got)
	}
	if got := waits(b, "d-shares"); !slices.Equal(got, []string{"for all"}) {
		t.Errorf("for another wait %q", got)
	}
	lost := 0
	for _, id := range []string{"a-big", "b-big"} {
		got := waits(b, id)
		want := []string{"for all"}
		for i := 39; len(want) < len(got); i-- {
			want = slices.Insert(want, 0, fmt.Sprint(i))
		}
		lost += 41 - len(got)
		if len(got) < 9 || len(got) > 11 || !slices.Equal(got, want) {
			t.Errorf("for %s wait %q", id, got)
		}
	}
	if n := b.tree.count.Load(); n != 8 {
		t.Errorf("%d subscriptions", n)
	}
	s, retained := b.Stats(), len(b.retainedFor("r/#"))
	if s.QueuedBytes > p.limit.Queued || s.RetainedBytes > p.limit.Retained || retained < 9 || retained > 10 {
		t.Errorf("%d retained, %+v", retained, s)
	}
	if int(s.Undelivered) != lost || int(s.Unretained) < 40-retained {
		t.Errorf("undelivered %d, want %d; unretained %d of %d", s.Undelivered, lost, s.Unretained, retained)
	}
	p.flushed()
	p.restart() // as it is now
	for _, want := range []string{fmt.Sprintf("reason=%q messages=%d", lossReasons[noRoomAnyMore], lost), lossReasons[tooManyRetained]} {
		if log := p.log.String(); !strings.Contains(log, want) {
			t.Errorf("%s is not in\n%s", want, log)
		}
	}
	if again := p.b.Stats(); again.Undelivered != 0 || again.QueuedBytes != s.QueuedBytes || len(p.b.retainedFor("r/#")) != retained {
		t.Errorf("%+v, and before %+v", again, s)
	}
}

// However much was kept, what is read of it has room.
func TestNoMoreIsReadThanThereIsRoomFor(t *testing.T) {
	b, err := New(Config{Listeners: []Listener{{Kind: TCP, Anonymous: true}}, Decode: undecoded, Bounds: Bounds{Queued: 100_000, Retained: 100_000}})
	if err != nil {
		t.Fatal(err)
	}
	l := &found{b: b, now: time.Now(), wall: time.Now()}
	l.Reset()
	for i := range 1000 {
		f := &forward{topic: fmt.Sprint(i), payload: make([]byte, 30_000), properties: mqttwire.Properties(nil).AddNumber(mqttwire.PayloadFormat, 1)}
		for _, key := range []string{numbered(keyMessage, uint64(i)), keyRetained + f.topic} {
			if err := l.Load([]byte(key), f.Append(nil)); err != nil {
				t.Fatal(err)
			}
		}
	}
	held := 0
	for _, m := range l.bodies {
		held += m.forward.size()
	}
	for _, m := range l.retained {
		held += m.forward.size()
	}
	if held < 150_000 || held > 210_000 || len(l.bodies) != 1000 || len(l.retained) != 1000 {
		t.Errorf("%d bytes of %d messages and %d retained ones", held, len(l.bodies), len(l.retained))
	}
}

func TestSessionsThatHaveNoRoomAnyMoreEnd(t *testing.T) {
	p := newBoard(t)
	for i := range 6 {
		away(t, p.b, fmt.Sprintf("s%d", i), "x")
	}
	p.limit.Sessions = 3
	p.restart()
	for i := range 6 {
		p.b.mu.Lock()
		_, there := p.b.sessions[fmt.Sprintf("s%d", i)]
		p.b.mu.Unlock()
		if there != (i >= 3) {
			t.Errorf("session %d is there: %v", i, there)
		}
	}
	if !strings.Contains(p.log.String(), "there are too many") {
		t.Errorf("it is not told: %s", p.log.String())
	}
}

// What a power cut took of a message that the chain has the hash of is told.
func TestAMessageOfWhichTheChainHasTheHashAloneIsTold(t *testing.T) {
	b, err := New(Config{Listeners: []Listener{{Kind: TCP, Anonymous: true}}, Decode: undecoded})
	if err != nil {
		t.Fatal(err)
	}
	l := &found{b: b, now: time.Now(), wall: time.Now()}
	l.Reset()
	if f := b.again(l, &Recorded{Source: "broker:-/w:x", Flags: lightchain.PayloadHashed, Payload: make([]byte, 32)}); f != nil {
		t.Errorf("it is %+v", f)
	}
	if of := b.losses.of[hashAlone]; of.messages != 1 || of.by["w"] != 1 || of.topic != "x" || b.Stats().Undelivered != 1 {
		t.Errorf("told is %+v", of)
	}
}

// A clock that is wrong, when something is written or when it is read, ends nothing before its time.
func TestAWrongClockEndsNothing(t *testing.T) {
	var ahead atomic.Int64 // of the machine's clock
	set := func(d time.Duration) { ahead.Store(int64(d)) }
	unset := -time.Until(time.Unix(1000, 0)) // comes up in 1970
	for _, c := range []struct {
		name               string
		written, step, now time.Duration
		sessions, messages int
	}{
		{"right", 0, 0, 0, 2, 1},
		{"right, and the board was off", 0, 0, 61 * time.Second, 1, 1},
		{"1970, and then right", -unset, 0, 0, 2, 1},
		{"1970 both times", -unset, 0, -unset, 2, 1},
		{"right, and then 1970", 0, 0, -unset, 2, 1},
		{"set back by a day", 0, 0, -24 * time.Hour, 2, 1},
		{"1970, and set right while it ran", -unset, unset, 0, 2, 1},
		{"1970, set right, and off", -unset, unset, 61 * time.Second, 1, 1},
		{"ahead, set back, and off", time.Hour, -time.Hour, 61 * time.Second, 1, 1},
		{"behind, set right, and off for long", -time.Hour, time.Hour, 100 * time.Second, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			set(c.written)
			p := &board{t: t, d: autoDisk(t, 0), fs: vfs.NewCrashableMem(), every: time.Hour, now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }}
			p.start()
			expires := func(n uint32) mqttwire.Properties {
				return mqttwire.Properties(nil).AddNumber(mqttwire.SessionExpiry, n)
			}
			short := dial(t, p.b, login{id: "short", v5: true, clean: true, properties: expires(60)})
			short.drop(p.b, "short")
			long := dial(t, p.b, login{id: "long", v5: true, clean: true, properties: expires(3600), will: "status gone", willDelay: 200})
			long.subscribe(1, "x", 1)
			long.wants("SUBACK 1 1")
			long.drop(p.b, "long")
			w := dial(t, p.b, login{id: "w", v5: true, clean: true})
			pk := mqttwire.Publish{QoS: 1, ID: 1, Retain: true, Topic: []byte("x"), Payload: []byte("soon stale"), Properties: mqttwire.Properties(nil).AddNumber(mqttwire.MessageExpiry, 90)}
			_, _ = w.nc.Write(pk.Append(mqttwire.V5, nil))
			w.wants("PUBACK 1")
			await(t, func() bool { p.b.mu.Lock(); defer p.b.mu.Unlock(); return len(p.b.wills) == 1 })
			p.flushed()
			if c.step != 0 {
				before := p.b.kept.store.Stats().Syncs
				set(c.written + c.step)
				// Housekeeping notices within a second; that is not waited for with Every an hour, but flushed.
				await(t, func() bool {
					_ = p.b.kept.store.Flush(t.Context())
					return p.b.kept.store.Stats().Syncs > before
				})
			}
			p.stop()
			set(c.now)
			p.start()
			b := p.b
			messages := waits(b, "long")
			retained := len(b.retainedFor("x"))
			b.mu.Lock()
			defer b.mu.Unlock()
			if len(b.sessions) != c.sessions || len(messages) != c.messages || retained != c.messages {
				t.Errorf("%d sessions, messages %q, %d retained; want %d, %d", len(b.sessions), messages, retained, c.sessions, c.messages)
			}
			if will := b.wills["long"]; will == nil || time.Until(will.due) > 200*time.Second {
				t.Errorf("the will is %+v", will)
			}
			for _, f := range b.retained.byTopic {
				if left := time.Until(f.expires); left > 90*time.Second {
					t.Errorf("a message expires in %v", left)
				}
			}
		})
	}
}

// Who wants little is let in beyond what all may have together. At a restart that counts too, in another order, and takes from
// nobody what was granted.
func TestARestartTakesNoSubscriptionAway(t *testing.T) {
	b := bare()
	device := &session{id: "device"} // had its session first, and subscribes when all is taken
	sessions := []*session{device}
	for i := range 4 {
		sessions = append(sessions, &session{id: fmt.Sprint("large ", i)})
	}
	fill := func(s *session, most int, filter func(i int) string) {
		for i := 0; i < most; i++ {
			if _, ok := b.tree.add(&subscription{s: s, filter: filter(i)}); !ok {
				return
			}
		}
	}
	deep := strings.Repeat("/a", 120)
	for _, s := range sessions[1:] {
		fill(s, math.MaxInt, func(i int) string { return fmt.Sprint(s.id, "/", i, deep) })
		fill(s, math.MaxInt, func(i int) string { return fmt.Sprint(s.id, " ", i) })
	}
	fill(device, 20, func(i int) string { return fmt.Sprint("mine/", i) })
	if n := len(device.subscriptions); n != 20 {
		t.Fatalf("who wants little has %d subscriptions", n)
	}
	again := bare()
	l := &found{b: again}
	l.Reset()
	for _, s := range sessions {
		heir := &session{id: s.id}
		l.order = append(l.order, heir)
		for filter := range s.subscriptions {
			l.subs = append(l.subs, &subscription{s: heir, filter: filter})
		}
	}
	again.takeSessions(l)
	for i, heir := range l.order {
		if was := len(sessions[i].subscriptions); len(heir.subscriptions) != was {
			t.Errorf("%s had %d subscriptions, and has %d after the restart", heir.id, was, len(heir.subscriptions))
		}
	}
	if again.tree.weight != b.tree.weight || again.tree.bytes != b.tree.bytes {
		t.Errorf("the filters weigh %+v and have %d bytes, before %+v and %d", again.tree.weight, again.tree.bytes, b.tree.weight, b.tree.bytes)
	}
	if _, ok := again.tree.add(&subscription{s: l.order[1], filter: "one/more" + deep}); ok {
		t.Error("the bounds do not hold for what comes")
	}
}
