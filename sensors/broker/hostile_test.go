package broker

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
	"edgechain.example/mqttwire"
	"edgechain.example/sensors"
)

// A SUBSCRIBE of MQTT 5 without its options byte ended the program once.
func TestAPacketThatIsNoneEndsItsConnectionAndNothingElse(t *testing.T) {
	b := start(t, newDisk(10), nil)
	other := dial(t, b, login{id: "other", clean: true})
	w := dial(t, b, login{id: "press", v5: true})
	w.send(typeSubscribe<<4|2, []byte{0, 1, 0, 0, 1, 'a'})
	w.closed("DISCONNECT 81")
	dial(t, b, login{id: "press", v5: true}).silent()
	other.silent()
	if s := b.Stats(); s.Panics != 0 || s.Cut != 1 {
		t.Errorf("%d panics and %d cut off, want 0 and 1", s.Panics, s.Cut)
	}
}

func TestAPacketThatPanicsEndsItsConnectionAndNothingElse(t *testing.T) {
	log := &testenv.Log{}
	d := newDisk(10)
	b := start(t, d, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(log, nil))
		c.Decode = func(topic, id, user string, flags lightchain.Flags, payload []byte, at time.Time) *sensors.Message {
			if string(payload) == "crash" {
				panic("as a fault of the decoder's would")
			}
			return undecoded(topic, id, user, flags, payload, at)
		}
	})
	other := dial(t, b, login{id: "other", clean: true})
	for i, qos := range []byte{0, 1, 2} {
		w := dial(t, b, login{id: "press", v5: true, will: "press/state gone"})
		w.publish(1, qos, "press/x", "crash")
		w.closed()
		d.await(1) // its will is an entry: it took no leave
		d.commit(1)
		if got := b.Stats().Panics; got != uint64(i+1) {
			t.Errorf("%d panics are counted, want %d", got, i+1)
		}
	}
	other.publish(1, 1, "t", "on")
	d.await(1)
	d.commit(1)
	other.wants("PUBACK 1")
	again := dial(t, b, login{id: "press", v5: true})
	again.publish(1, 2, "t", "here again")
	d.await(1)
	d.commit(1)
	again.wants("PUBREC 1")
	d.holds(t, "gone", "gone", "gone", "on", "here again")
	if text := log.String(); !strings.Contains(text, "level=ERROR") || !strings.Contains(text, "6372617368") || !strings.Contains(text, "client=press") {
		t.Errorf("the log does not tell of it: %s", text)
	}
}

// 0x84 is what a Mosquitto bridge tries first; it goes on with MQTT 3.1.1 when it hears 0x01 and the connection closes.
func TestAnUnknownVersionHearsWhatItsClientUnderstands(t *testing.T) {
	b := start(t, newDisk(1), nil)
	for _, version := range []string{"84", "83", "06", "00", "ff"} {
		nc, err := net.Dial("tcp", b.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		connect, err := hex.DecodeString("100d00044d515454" + version + "02003c000161")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := nc.Write(connect); err != nil {
			t.Fatal(err)
		}
		_ = nc.SetReadDeadline(time.Now().Add(testenv.Patience))
		answer, err := io.ReadAll(nc)
		if err != nil || !bytes.Equal(answer, []byte{0x20, 2, 0, 1}) {
			t.Errorf("version %s: %x (%v)", version, answer, err)
		}
	}
}

// What begins with $ is passed on by a rule that names it, and by no other; $SYS never.
func TestAReservedTopicIsPassedOnByARuleThatNamesIt(t *testing.T) {
	d := newDisk(10)
	b := start(t, d, func(c *Config) {
		c.Listeners[0].Anonymous = false
		c.Users = usersFile(t, "user cloud "+hashed(t, "secret", bcrypt.MinCost)+"\nallow readwrite $aws/#\nallow readwrite $SYS/#\nuser plain "+hashed(t, "secret", bcrypt.MinCost)+"\nallow readwrite #")
	})
	sub := dial(t, b, login{id: "sub", user: "cloud", password: "secret", clean: true})
	sub.subscribe(1, "$aws/#", 0)
	sub.wants("SUBACK 1 0")
	plain := dial(t, b, login{id: "plain", user: "plain", password: "secret", clean: true})
	plain.publish(1, 1, "$aws/things/x", "kept")
	cloud := dial(t, b, login{id: "cloud", user: "cloud", password: "secret", clean: true})
	d.await(1)
	cloud.publish(1, 1, "$SYS/x", "kept, too")
	d.await(2)
	cloud.publish(2, 1, "$aws/things/x", "passed on")
	d.await(3)
	d.commit(3)
	sub.wants("PUBLISH $aws/things/x passed on")
	plain.wants("PUBACK 1")
	cloud.wants("PUBACK 1", "PUBACK 2")
	d.holds(t, "kept", "kept, too", "passed on")
}

// A password check takes a tenth of a second of CPU: whoever floods the broker with wrong ones must not keep out those whose
// password was right before.
func TestAFloodOfWrongPasswordsKeepsNoKnownDeviceOut(t *testing.T) {
	d := newDisk(10)
	b := start(t, d, func(c *Config) {
		c.Listeners[0].Anonymous = false
		c.Users = usersFile(t, "user press "+hashed(t, "secret", bcrypt.MinCost)+"\nallow publish #")
	})
	known := login{id: "press", user: "press", password: "secret", clean: true}
	dial(t, b, known)
	// Every slot is taken for as long as the test wants, as by checks that go on.
	for range cap(b.bcrypt) {
		b.bcrypt <- struct{}{}
	}
	for i := range 3 * maxChecking {
		nc, err := net.Dial("tcp", b.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		go connectRaw(nc, "stranger", "press", "wrong")
		if i < maxChecking {
			await(t, func() bool { return waiting(b) == i+1 })
		}
	}
	// Beyond that they are refused at once, and counted.
	await(t, func() bool { return b.Stats().Unauthenticated >= 2*maxChecking })
	if n := waiting(b); n != maxChecking {
		t.Errorf("%d wait, want %d", n, maxChecking)
	}
	w := dial(t, b, known)
	w.publish(1, 1, "t", "in")
	d.await(1)
	d.commit(1)
	w.wants("PUBACK 1")
	for range cap(b.bcrypt) {
		<-b.bcrypt
	}
	await(t, func() bool { return waiting(b) == 0 })
}

func waiting(b *Broker) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, of := range b.checking {
		n += of
	}
	return n
}

// connectRaw sends a CONNECT and reads nothing.
func connectRaw(nc net.Conn, id, user, password string) {
	body := append(str(nil, "MQTT"), 4, 0xc2, 0, 0)
	body = str(str(str(body, id), user), password)
	_, _ = nc.Write(append([]byte{0x10, byte(len(body))}, body...))
}

// A device that hears no acknowledgement, since the disk is full, comes again and again.
func TestADeviceThatComesAgainWhileTheDiskIsFullCostsOneConnection(t *testing.T) {
	for _, v5 := range []bool{false, true} {
		d := newDisk(1)
		b := start(t, d, func(c *Config) { c.MaxClients = 2 })
		other := dial(t, b, login{id: "other", clean: true})
		other.publish(1, 1, "x", "fills the disk")
		d.await(1)
		for i := range 3 * reservedClients {
			w := dial(t, b, login{id: "device", v5: v5})
			if w.code != 0 {
				t.Fatalf("it hears %d at its attempt %d", w.code, i+1)
			}
			w.publish(1, byte(i%3), "x", "m")
			await(t, func() bool { return b.Stats().Waiting == 1 && b.Stats().Connected <= 3 })
		}
		await(t, func() bool { return b.Stats().Connected == 2 })
		other.send(typeDisconnect<<4, nil)
		other.closed()
		await(t, func() bool { return b.Stats().Connected == 1 })
		dial(t, b, login{id: "newcomer", clean: true}).silent()
		d.commit(1)
		d.await(1)
		d.commit(1) // the last one's message, which still waited
	}
}

// One that does not come again is noticed by the pings that nobody asked for.
func TestAClientThatHasGoneWaitsForNoDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &testenv.Log{}
		d := newDisk(1)
		b := bubble(t, d)
		b.told.log = slog.New(slog.NewTextHandler(log, nil))
		piped(t, b, login{id: "other", clean: true}).publish(1, 1, "x", "fills the disk")
		d.await(1)
		for _, qos := range []byte{0, 1, 2} {
			w := piped(t, b, login{id: "device", keepAlive: 60})
			w.publish(1, qos, "x", "m")
			synctest.Wait()
			if n := b.Stats().Waiting; n != 1 {
				t.Fatalf("%d clients wait", n)
			}
			w.nc.Close()
			time.Sleep(time.Minute)
			if s := b.Stats(); s.Waiting != 0 || s.Connected != 1 || s.Failed != uint64(qos)+1 {
				t.Errorf("QoS %d: %d clients wait, %d are connected, %d messages not taken", qos, s.Waiting, s.Connected, s.Failed)
			}
		}
		if text := log.String(); !strings.Contains(text, "MQTT message not taken") || !strings.Contains(text, "its client has gone") {
			t.Errorf("the log says\n%s", text)
		}
		d.commit(1)
		w := piped(t, b, login{id: "device"})
		w.publish(1, 1, "x", "m", dup)
		d.await(1)
		d.commit(1)
		w.wants("PUBACK 1")
		d.holds(t, "fills the disk", "~m")
	})
}

// A password that could not be checked is not called wrong: clients that hear so stay away.
func TestAPasswordThatWasNotCheckedIsNotCalledWrong(t *testing.T) {
	b := start(t, newDisk(1), func(c *Config) {
		c.Listeners[0].Anonymous = false
		c.Users = usersFile(t, "user press "+hashed(t, "secret", bcrypt.MinCost)+"\nallow publish #")
	})
	for range cap(b.bcrypt) {
		b.bcrypt <- struct{}{}
	}
	for i := range maxChecking {
		nc, err := net.Dial("tcp", b.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		go connectRaw(nc, "other", "press", "secret")
		await(t, func() bool { return waiting(b) == i+1 })
	}
	for v5, want := range map[bool]byte{false: 3, true: byte(mqttwire.ServerBusy)} {
		l := login{id: "device", v5: v5, user: "press", password: "secret", clean: true}
		if w := dial(t, b, l); w.code != want {
			t.Errorf("it hears %#02x, want %#02x", w.code, want)
		}
	}
	for range cap(b.bcrypt) {
		<-b.bcrypt
	}
	await(t, func() bool { return waiting(b) == 0 })
	for v5, codes := range map[bool][3]byte{
		false: {0, 5, 5}, true: {0, byte(mqttwire.BadUserNameOrPassword), byte(mqttwire.NotAuthorized)},
	} {
		for i, l := range []login{{user: "press", password: "secret"}, {user: "press", password: "wrong"}, {}} {
			l.id, l.v5, l.clean = "device", v5, true
			if w := dial(t, b, l); w.code != codes[i] {
				t.Errorf("%q with %q hears %#02x, want %#02x", l.user, l.password, w.code, codes[i])
			}
		}
	}
}

// While it stops, whoever comes is closed and told nothing, as by a port where nothing listens: a code would be taken for the end.
func TestWhoeverComesWhileItStopsHearsNoCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubble(t, newDisk(1))
		close(b.stopping)
		for _, v5 := range []bool{false, true} {
			ours, theirs := net.Pipe()
			go b.serve(theirs, true)
			p := mqttwire.Connect{Version: mqttwire.V311, CleanStart: true, ClientID: []byte("a")}
			if v5 {
				p.Version = mqttwire.V5
			}
			if _, err := ours.Write(p.Append(nil)); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(ours); err != nil || len(got) > 0 {
				t.Errorf("it hears % x (%v)", got, err)
			}
		}
	})
}

func TestWhatAClientDoesAgainAndAgainIsLoggedOnce(t *testing.T) {
	log := &testenv.Log{}
	d := newDisk(100)
	b := start(t, d, func(c *Config) {
		c.Log, c.MaxClients, c.Users = slog.New(slog.NewTextHandler(log, nil)), 1, usersFile(t, "anonymous\nallow publish ok/#")
	})
	version := []byte("\x10\x0d\x00\x04MQTT\x84\x02\x00\x3c\x00\x01a")
	const n = 30
	for i := range n {
		nc, err := net.Dial("tcp", b.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := nc.Write(version); err != nil {
			t.Fatal(err)
		}
		attach(t, nc).closed("CONNACK 1")
		w := dial(t, b, login{id: "device"})
		w.publish(1, 1, "no/x", "m")
		w.closed()
		await(t, func() bool { return b.connection("device") == nil })
		w = dial(t, b, login{id: fmt.Sprint("session", i)})
		w.send(typeDisconnect<<4, nil)
		w.closed()
		await(t, func() bool { return b.connection(fmt.Sprint("session", i)) == nil })
	}
	for _, line := range []string{"its version of the protocol", "MQTT message refused", "MQTT session ended", "MQTT client disconnected"} {
		if got := strings.Count(log.String(), line); got != 1 {
			t.Errorf("%q stands in the log %d times", line, got)
		}
	}
}

// A clean start may overtake a SUBSCRIBE of the connection that it replaces.
func TestASessionThatHasEndedSubscribesToNothing(t *testing.T) {
	b := start(t, newDisk(1), nil)
	dial(t, b, login{id: "a", clean: true}).silent()
	old := b.connection("a")
	second := dial(t, b, login{id: "a", clean: true})
	var p mqttwire.Subscribe
	p.ID = 1
	for i := range 10 {
		p.Add(fmt.Sprint("x/", i), mqttwire.Options{})
		p.Add(fmt.Sprint("$share/g/x/", i), mqttwire.Options{})
	}
	packet := p.Append(mqttwire.V311, nil)
	h, err := mqttwire.ReadHeader(bytes.NewReader(packet), len(packet))
	if err != nil {
		t.Fatal(err)
	}
	p, err = mqttwire.DecodeSubscribe(mqttwire.V311, h, packet[h.Size():])
	if err != nil {
		t.Fatal(err)
	}
	if err := b.subscribe(old, &p); err == nil {
		t.Error("the connection goes on")
	}
	if n := b.tree.count.Load(); n != 0 {
		t.Errorf("%d subscriptions of a session that has ended", n)
	}
	if n := b.Stats().Refused; n != 0 {
		t.Errorf("%d are counted as refused", n)
	}
	second.subscribe(1, "x/1", 0)
	second.wants("SUBACK 1 0")
}

// What a will took is given back, however it goes: its client is back, its session ends, its delay ends.
func TestWillsThatGoGiveTheirRoomBack(t *testing.T) {
	b := start(t, autoDisk(t, 0), nil)
	held := func() (n, bytes int) {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.wills), b.willBytes
	}
	waits := func(id string) {
		t.Helper()
		dial(t, b, login{id: id, v5: true, will: "state gone", willDelay: 3600}).drop(b, id)
		await(t, func() bool { n, bytes := held(); return n == 1 && bytes > 0 })
	}
	after := func(what string, do func()) {
		t.Helper()
		do()
		await(t, func() bool { n, bytes := held(); return n == 0 && bytes == 0 })
		if b.Stats().Panics > 0 {
			t.Error(what)
		}
	}
	for range 3 {
		waits("resumed")
		after("its client is back", func() { dial(t, b, login{id: "resumed", v5: true}).send(typeDisconnect<<4, nil) })
		waits("renewed")
		after("a new session", func() { dial(t, b, login{id: "renewed", v5: true, clean: true}).send(typeDisconnect<<4, nil) })
		waits("late")
		after("its time is over", func() { b.keepHouse(time.Now().Add(2 * time.Hour)) })
	}
	// Two connections of one client may be dealt with in the wrong order.
	s := &session{id: "twice", expiry: time.Hour}
	b.mu.Lock()
	for range 2 {
		c := &conn{b: b, clientID: "twice", sess: s}
		c.will = &will{conn: c, topic: "state", delay: time.Hour}
		b.lastWill(c, true, false)
	}
	b.lapse("twice")
	if n := b.willBytes; n != 0 {
		t.Errorf("%d bytes stay taken", n)
	}
	b.mu.Unlock()
}

// Whatever a client asked for, it gets no packet that is larger than it takes.
func TestNoPacketIsLargerThanItsClientTakes(t *testing.T) {
	b := start(t, newDisk(1), func(c *Config) { c.MaxClients = 200 })
	for most := uint32(1); most < 70; most++ {
		for _, wrong := range []string{"client id", "topic", "filters", "unsubscribe", "none"} {
			nc, err := net.Dial("tcp", b.Addrs()[0].String())
			if err != nil {
				t.Fatal(err)
			}
			w := attach(t, nc)
			p := mqttwire.Connect{Version: mqttwire.V5, CleanStart: true, ClientID: []byte("a"), Properties: mqttwire.Properties{}.AddNumber(mqttwire.MaximumPacketSize, most)}
			if wrong == "client id" {
				p.ClientID = []byte("a\nb")
			}
			packets := p.Append(nil)
			switch wrong {
			case "topic":
				packets = append(packets, typePublish<<4, 6, 0, 3, 'a', '/', '+', 0)
			case "filters":
				s := mqttwire.Subscribe{ID: 1}
				for i := range 50 {
					s.Add(fmt.Sprint(i), mqttwire.Options{})
				}
				packets = s.Append(mqttwire.V5, packets)
			case "unsubscribe":
				s := mqttwire.Unsubscribe{ID: 1}
				for i := range 50 {
					s.Add(fmt.Sprint(i))
				}
				packets = s.Append(mqttwire.V5, packets)
			}
			packets = append(packets, typeDisconnect<<4, 0)
			if _, err := nc.Write(packets); err != nil {
				t.Fatal(err)
			}
			for {
				kind, body, err := w.tryRead()
				if err != nil {
					break
				}
				if n := len(body) + 2; n > int(most) {
					t.Errorf("%s: a %s of %d bytes, where it takes %d", wrong, mqttwire.Type(kind), n, most)
				}
			}
		}
	}
	if n := b.tree.count.Load(); n != 0 {
		t.Errorf("%d subscriptions stay", n)
	}
}

func TestTopicAliasesAreBounded(t *testing.T) {
	b := start(t, autoDisk(t, 0), nil)
	w := dial(t, b, login{id: "a", v5: true, clean: true})
	topic := strings.Repeat("t", maxAliasBytes/4)
	alias := func(id uint16, n uint32) {
		t.Helper()
		w.sends(mqttwire.Publish{Topic: []byte(topic[:len(topic)-1]), QoS: 1, ID: id, Properties: mqttwire.Properties{}.AddNumber(mqttwire.TopicAlias, n)})
	}
	for i := range 20 { // what is replaced does not count
		alias(uint16(i+1), uint32(i%4+1))
		w.wants(fmt.Sprintf("PUBACK %d", i+1))
	}
	alias(100, 5)
	w.closed("DISCONNECT 97")
}

// crowd is a listener on which as many as are asked for are waiting, one after the other.
type crowd struct {
	net.Listener
	left, taken atomic.Int64
}

func (c *crowd) Accept() (net.Conn, error) {
	if c.left.Add(-1) < 0 {
		return nil, net.ErrClosed
	}
	c.taken.Add(1)
	ours, theirs := net.Pipe()
	go func() {
		defer ours.Close()
		_, _ = io.Copy(io.Discard, ours)
	}()
	return theirs, nil
}

// Whoever connects faster than connections are admitted waits with the system: what was taken from there costs memory, and
// nothing would bound how many.
func TestNoConnectionIsTakenBeforeTheOneBeforeItIsAdmitted(t *testing.T) {
	b, err := New(Config{Listeners: []Listener{{Kind: TCP, Anonymous: true}}, Decode: undecoded})
	if err != nil {
		t.Fatal(err)
	}
	b.sink, b.run = newDisk(1), t.Context()
	many := &crowd{}
	many.left.Store(1000)
	l := &listener{Listener: b.cfg.Listeners[0], b: b, ln: many}
	ended := make(chan struct{})
	b.mu.Lock()
	go func() {
		defer close(ended)
		l.serve()
	}()
	await(t, func() bool { return many.taken.Load() > 0 })
	time.Sleep(50 * time.Millisecond) // in which it could take all of them
	if n := many.taken.Load(); n > 1 {
		t.Errorf("%d connections were taken while none could be admitted", n)
	}
	b.mu.Unlock()
	<-ended
	await(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.conns) <= maxHandshaking
	})
}
