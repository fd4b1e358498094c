package broker

import (
	"slices"
	"strings"
	"testing"
)

// A QoS 2 message is stored once as long as its session lasts, over restarts of the program.
func TestAQoS2MessageIsStoredOnceWhateverBecomesOfTheProgram(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			p := newBoard(t)
			p.boot = "boot"
			p.restart()
			w := dial(t, p.b, login{id: "w"})
			p.flushed() // the session is written
			publishAll(w, 2, "x", "released")
			w.publish(2, 2, "x", "held")
			w.wants("PUBREC 2")
			w.drop(p.b, "w")
			sure := way.name == "in order" || strings.HasPrefix(way.name, "killed")
			if !sure {
				p.boot = "after the power cut"
			}
			way.end(p)

			w = dial(t, p.b, login{id: "w"})
			if !w.present {
				t.Fatal("the session is gone")
			}
			w.publish(2, 2, "x", "held", dup) // the PUBREC was lost
			w.wants("PUBREC 2")
			w.sendID(typePubrel<<4|2, 2)
			w.wants("PUBCOMP 2")
			// From now on the id may be another message's, be it of the same content.
			w.publish(2, 2, "x", "held", dup)
			w.wants("PUBREC 2")
			// And one that was released before is none that is held.
			w.publish(1, 2, "x", "released", dup)
			w.wants("PUBREC 1")
			want := []string{"released", "held", "~held", "~released"}
			if !sure {
				want = []string{"released", "held", "~held", "~held", "~released"}
			}
			if got := p.d.payloads(); !slices.Equal(got, want) {
				t.Errorf("entries are %q, want %q", got, want)
			}
		})
	}
}

// That the session is too young to be in the database changes nothing.
func TestAQoS2MessageOfAYoungSessionIsStoredOnceOverAKill(t *testing.T) {
	for _, v5 := range []bool{false, true} {
		p := newBoard(t)
		p.boot = "boot"
		p.restart()
		hello := login{id: "w", v5: v5}
		w := dial(t, p.b, hello)
		for kills := range 2 {
			w.publish(2, 2, "x", "held", []bool{dup}[:kills]...)
			w.wants("PUBREC 2")
			w.drop(p.b, "w")
			p.crash(100)
			w = dial(t, p.b, hello)
			if !w.present {
				t.Fatalf("MQTT 5 %v: the session is gone after %d kills", v5, kills+1)
			}
		}
		w.publish(2, 2, "x", "held", dup)
		w.wants("PUBREC 2")
		if got := p.d.payloads(); !slices.Equal(got, []string{"held"}) {
			t.Errorf("MQTT 5 %v: entries are %q", v5, got)
		}
		// One that was begun anew is that one.
		w.drop(p.b, "w")
		clean := hello
		clean.clean = true
		dial(t, p.b, clean).drop(p.b, "w")
		p.crash(100)
		w = dial(t, p.b, hello)
		w.publish(2, 2, "x", "held", dup)
		w.wants("PUBREC 2")
		if got := p.d.payloads(); !slices.Equal(got, []string{"held", "~held"}) {
			t.Errorf("MQTT 5 %v: entries are %q", v5, got)
		}
	}
}

// What has the same id and another content is another message.
func TestAHeldIDStandsForItsMessageAlone(t *testing.T) {
	p := newBoard(t)
	p.boot = "boot"
	p.restart()
	w := dial(t, p.b, login{id: "w"})
	p.flushed()
	w.publish(1, 2, "x", "1")
	w.wants("PUBREC 1")
	w.drop(p.b, "w")
	p.crash(100)
	w = dial(t, p.b, login{id: "w"})
	w.publish(1, 2, "x", "2", dup)
	w.wants("PUBREC 1")
	w.drop(p.b, "w")
	p.crash(100)
	w = dial(t, p.b, login{id: "w"})
	w.publish(1, 2, "x", "2", dup)
	w.wants("PUBREC 1")
	if got, want := p.d.payloads(), []string{"1", "~2"}; !slices.Equal(got, want) {
		t.Errorf("entries are %q, want %q", got, want)
	}
}

// A session that was begun anew holds nothing of the one before, also where its end was not written yet.
func TestANewSessionHoldsNoIDOfTheOneBefore(t *testing.T) {
	p := newBoard(t)
	p.boot = "boot"
	p.restart()
	w := dial(t, p.b, login{id: "w"})
	p.flushed()
	w.publish(1, 2, "x", "1")
	w.wants("PUBREC 1")
	w.drop(p.b, "w")
	dial(t, p.b, login{id: "w", clean: true})
	p.crash(100) // the database has the session of before
	w = dial(t, p.b, login{id: "w"})
	w.publish(1, 2, "x", "1", dup)
	w.wants("PUBREC 1")
	if got, want := p.d.payloads(), []string{"1", "~1"}; !slices.Equal(got, want) {
		t.Errorf("entries are %q, want %q", got, want)
	}
}

// Without a name for the boot a kill cannot be told from a power cut.
func TestWithoutABootNoIDIsKept(t *testing.T) {
	p := newBoard(t)
	w := dial(t, p.b, login{id: "w"})
	p.flushed()
	w.publish(1, 2, "x", "1")
	w.wants("PUBREC 1")
	w.drop(p.b, "w")
	p.crash(100)
	w = dial(t, p.b, login{id: "w"})
	w.publish(1, 2, "x", "1", dup)
	w.wants("PUBREC 1")
	if got, want := p.d.payloads(), []string{"1", "~1"}; !slices.Equal(got, want) {
		t.Errorf("entries are %q, want %q", got, want)
	}
}
