package broker

import (
	"bytes"
	"encoding/hex"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"edgechain/build/testenv"
	"edgechain/lightchain"
	"edgechain/sensors"
)

// logged is a log that goes on being written while a test reads it.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

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
	log := &logged{}
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
