package broker

import (
	"slices"
	"testing"

	"edgechain.example/mqttwire"
)

// A broker that takes another's place goes on with what subscribers were to find, wherever the two keep it.
func TestABrokerGoesOnWithWhatTheOneBeforeHad(t *testing.T) {
	for _, c := range []struct {
		name     string
		disk     [2]bool
		between  bool // another one could not listen in between
		sessions int  // that the second may have; 0 is any number
	}{
		{name: "in memory"},
		{name: "in memory, at the second attempt", between: true},
		{name: "in memory, with room for one", sessions: 1},
		{name: "from memory to disk", disk: [2]bool{false, true}},
		{name: "from disk to memory", disk: [2]bool{true, false}},
		{name: "on disk", disk: [2]bool{true, true}},
		{name: "on disk, at the second attempt", disk: [2]bool{true, true}, between: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newBoard(t)
			p.stop()
			p.memory = !c.disk[0]
			p.start()
			first := p.b
			away(t, first, "gone", "x") // the one that was away longest
			sub := dial(t, first, login{id: "sub"})
			sub.subscribe(1, "x", 2)
			sub.wants("SUBACK 1 2")
			sub.subscribe(2, "$share/g/y/+", 1)
			sub.wants("SUBACK 2 1")
			w := dial(t, first, login{id: "w", clean: true})
			publishAll(w, 2, "x", "on its way")
			sub.wants("PUBLISH x on its way")
			sub.sendID(typePubrec<<4, 1)
			sub.wants("PUBREL 1")
			sub.drop(first, "sub")
			publishAll(w, 1, "x", "waits")
			publishAll(w, 1, "y/1", "shared")
			pk := mqttwire.Publish{QoS: 1, ID: 1, Retain: true, Topic: []byte("r"), Payload: []byte("retained")}
			_, _ = w.nc.Write(pk.Append(mqttwire.V311, nil))
			w.wants("PUBACK 1")
			long := dial(t, first, login{id: "long", v5: true, clean: true, properties: mqttwire.Properties(nil).AddNumber(mqttwire.SessionExpiry, 3600), will: "status gone", willDelay: 200})
			long.drop(first, "long")
			await(t, func() bool { first.mu.Lock(); defer first.mu.Unlock(); return len(first.wills) == 1 })
			p.settled()

			would := first.EndingWith(&Broker{limits: Limits{MaxClients: 256}, cfg: Config{Bounds: Bounds{Sessions: c.sessions}}})
			p.stop()
			p.memory, p.limit.Sessions = !c.disk[1], c.sessions
			p.before = first
			if c.between {
				between, err := New(Config{Listeners: []Listener{{Kind: TCP, Address: "127.0.0.1:0", Anonymous: true}}, Decode: undecoded})
				if err != nil {
					t.Fatal(err)
				}
				between.Inherit(first)
				p.before = between
			}
			p.start()
			sessions := func() int { p.b.mu.Lock(); defer p.b.mu.Unlock(); return len(p.b.sessions) }
			if c.sessions > 0 {
				if sessions() != c.sessions || would != 4-c.sessions { // w's has ended in any case
					t.Errorf("%d sessions, and %d were to end", sessions(), would)
				}
				return
			}
			check := func() {
				t.Helper()
				if sessions() != 3 || would != 1 {
					t.Errorf("%d sessions, and %d were to end", sessions(), would)
				}
				if got := waits(p.b, "gone"); !slices.Equal(got, []string{"on its way", "waits"}) {
					t.Errorf("for the other one wait %q", got)
				}
				if len(p.b.retainedFor("r")) != 1 || p.b.wills["long"] == nil {
					t.Error("what is retained, or the will, has gone")
				}
			}
			check()
			if c.disk[1] {
				p.flushed()
				p.before = nil
				p.crash(0)
				check()
			}
			sub = dial(t, p.b, login{id: "sub"})
			if !sub.present {
				t.Error("the session is not present")
			}
			sub.wants("PUBREL 1", "PUBLISH x waits", "PUBLISH y/1 shared")
			publishAll(dial(t, p.b, login{id: "w", clean: true}), 1, "x", "new")
			sub.wants("PUBLISH x new")
		})
	}
}
