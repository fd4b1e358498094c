package broker

import (
	"fmt"
	"testing"
	"time"

	"edgechain.example/mqttwire"
)

// visit is a stranger of an address.
type visit struct {
	host   string
	closed chan struct{}
}

func (v *visit) from() string { return v.host }

func (v *visit) Close() error {
	close(v.closed)
	return nil
}

// crowded returns a broker all of whose places are taken, each by one of the hosts, that came at the time and the same
// again later than the one before.
func crowded(t *testing.T, host func(int) string, came time.Time, later time.Duration) *Broker {
	t.Helper()
	b, err := New(Config{Listeners: []Listener{{Kind: TCP, Anonymous: true}}, Decode: undecoded})
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxHandshaking {
		b.strangers = append(b.strangers, place{stranger: &visit{host(i), make(chan struct{})}, since: came.Add(time.Duration(i) * later)})
	}
	return b
}

func oneOf(hosts int) func(int) string { return func(i int) string { return fmt.Sprint(i % hosts) } }

// Who came a moment ago is not sent away because others come: they wait, for as long as the rule says.
func TestAPlaceIsKeptForAWhile(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		claim string
		hosts int
		heard bool
		age   time.Duration
		wait  time.Duration
	}{
		{"one address, a moment ago", 1, false, 10 * time.Millisecond, silentPlace - 10*time.Millisecond},
		{"one address, and silent for long enough", 1, false, silentPlace, 0},
		{"one address, and its CONNECTs are being looked at", 1, true, silentPlace, keptPlace - silentPlace},
		{"one address, and its CONNECTs take too long", 1, true, keptPlace, 0},
		{"few of each address", maxHandshaking / fewPlaces, false, silentPlace, keptPlace - silentPlace},
		{"few of each address, and silent for long enough", maxHandshaking / fewPlaces, false, keptPlace, 0},
		{"one of each address", maxHandshaking, false, keptPlace - time.Millisecond, time.Millisecond},
	} {
		b := crowded(t, oneOf(c.hosts), now.Add(-c.age), time.Nanosecond)
		for i := range b.strangers {
			b.strangers[i].heard = c.heard
		}
		first, second := b.strangers[0].stranger.(*visit), b.strangers[1].stranger
		if wait := b.makePlace(now); wait.Round(time.Microsecond) != c.wait {
			t.Errorf("%s: the next one waits %s, want %s", c.claim, wait, c.wait)
		}
		switch left := len(b.strangers); {
		case c.wait > 0 && left != maxHandshaking:
			t.Errorf("%s: %d are left", c.claim, left)
		case c.wait == 0:
			<-first.closed
			if left != maxHandshaking-1 || b.strangers[0].stranger != second {
				t.Errorf("%s: %d are left, and not all but the first", c.claim, left)
			}
		}
	}
}

// Of those that have had their time, the address with the most loses one, not the one that has waited longest.
func TestTheAddressWithTheMostGivesAPlace(t *testing.T) {
	now := time.Now()
	b := crowded(t, func(i int) string { return fmt.Sprint(max(i, 40)) }, now.Add(-time.Minute), time.Nanosecond)
	many := b.strangers[0].stranger.(*visit)
	b.strangers[0], b.strangers[63] = b.strangers[63], b.strangers[0] // a single one came first
	b.strangers[0].since, b.strangers[63].since = b.strangers[63].since, b.strangers[0].since
	single := b.strangers[0].stranger
	if wait := b.makePlace(now); wait != 0 {
		t.Fatalf("the next one waits %s", wait)
	}
	if b.placeOf(single) < 0 || len(b.strangers) != maxHandshaking-1 {
		t.Errorf("of %d that are left the one that came first is not one", len(b.strangers))
	}
	if b.placeOf(many) < 0 {
		t.Error("the last of those with the most had to go, not the first")
	}
}

// Who finds no place gets the first that becomes free, and none from a broker that stops.
func TestWhoFindsNoPlaceWaitsForOne(t *testing.T) {
	long := time.Now().Add(time.Hour) // nobody has had his for long enough
	b := crowded(t, oneOf(1), long, 0)
	first := b.strangers[0].stranger
	entered := make(chan bool)
	next := &visit{"next", make(chan struct{})}
	go func() { entered <- b.enter(next) }()
	select {
	case <-entered:
		t.Fatal("there was a place")
	case <-time.After(20 * time.Millisecond): // in which it could take one
	}
	b.mu.Lock()
	b.shakenHands(first)
	b.mu.Unlock()
	if !<-entered || b.placeOf(next) < 0 || len(b.strangers) != maxHandshaking {
		t.Error("it has no place")
	}
	go func() { entered <- b.enter(&visit{"late", make(chan struct{})}) }()
	close(b.stopping)
	if <-entered {
		t.Error("a broker that stops gave it a place")
	}
}

// A client that lost its place while its CONNECT was looked at takes no session over.
func TestWhoLostItsPlaceIsNotLetIn(t *testing.T) {
	b := start(t, autoDisk(t, 0), nil)
	held := dial(t, b, login{id: "device"})
	b.mu.Lock()
	before := b.sessions["device"].connection()
	b.mu.Unlock()
	c := &conn{Conn: before.Conn, b: b, host: "elsewhere", clientID: "device", gone: make(chan struct{})}
	if err := b.establish(c, &mqttwire.Connect{ClientID: []byte("device")}); err != errGone {
		t.Errorf("%v", err)
	}
	held.publish(1, 1, "x", "m")
	held.wants("PUBACK 1")
}
