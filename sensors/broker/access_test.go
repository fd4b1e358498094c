package broker

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

func hashed(t testing.TB, password string, cost int) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

func usersFile(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestUsersFileErrorsNameTheLine(t *testing.T) {
	h := hashed(t, "secret", bcrypt.MinCost)
	for text, want := range map[string]string{
		"# none\n\nusr a b": "f:3: unknown word \"usr\": expected `user NAME BCRYPT-HASH`",
		"user a":            "f:1: expected `user NAME BCRYPT-HASH`",
		"user a secret":     "f:1: password of user a",
		"user a " + h + "x": "f:1: password of user a: 61 characters, expected the 60",
		"user a " + hashed(t, "x", maxBcryptCost+1):        "f:1: password of user a: bcrypt cost 11, expected 10 at most",
		"user a " + h + "\nuser a " + h:                    "f:2: user a stands here twice",
		"user - " + h:                                      "f:1: user name \"-\"",
		"user a/b " + h:                                    "f:1: user name \"a/b\"",
		"allow publish #":                                  "f:1: `allow` before the first `user`",
		"anonymous\nallow publish a/#/b":                   "f:2: topic filter \"a/#/b\"",
		"anonymous\nallow publish a+":                      "f:2: topic filter \"a+\"",
		"anonymous\nallow publish a/x%u":                   "f:2: topic filter \"a/x%u\"",
		"anonymous\nallow publish":                         "f:2: expected a topic filter",
		"anonymous\nallow write a":                         "f:2: cannot allow \"write\": expected `allow publish|subscribe|readwrite FILTER`",
		"anonymous\nanonymous":                             "f:2: expected `anonymous` alone on its line, once",
		"user a " + h + "\n  allow publish a\xff/b":        "f:2: not UTF-8",
		"anonymous\n" + strings.Repeat("x", 70_000) + "\n": "reading f: ",
	} {
		if _, err := ParseUsers(strings.NewReader(text), "f"); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.60q: got error %v, want %s…", text, err, want)
		}
	}
}

func TestRulesCover(t *testing.T) {
	for _, c := range []struct {
		rule, topic string
		want        bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a", false}, {"a/b", "a/b/c", false}, {"a/b", "a/B", false},
		{"a/+", "a/b", true}, {"a/+", "a/", true}, {"a/+", "a", false}, {"a/+", "a/b/c", false},
		{"a/#", "a/b/c", true}, {"a/#", "a", true}, {"a/#", "b", false}, {"#", "a/b", true},
		{"#", "$SYS/x", false}, {"+/x", "$SYS/x", false}, {"$SYS/#", "$SYS/x", true},
		// A rule covers a filter if it covers every topic of it.
		{"a/#", "a/+/b", true}, {"a/#", "a/#", true}, {"a/+", "a/+", true}, {"a/+", "a/#", false},
		{"a/b", "a/+", false}, {"a/#", "#", false}, {"a/#", "+/b", false}, {"+", "#", false},
		{"x/%u", "x/press", true}, {"x/%u", "x/other", false}, {"%c/x", "dev 7/x", true}, {"x/%u", "x/+", false},
	} {
		r, err := parseRule("allow", "publish "+c.rule)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.covers(c.topic, "press", "dev 7"); got != c.want {
			t.Errorf("%s covers %s: %t, want %t", c.rule, c.topic, got, c.want)
		}
	}
	for _, wild := range []string{"+", "#"} {
		r, _ := parseRule("allow", "subscribe x/%c")
		if r.covers("x/"+wild, "", wild) {
			t.Errorf("a client that calls itself %s may subscribe to everything", wild)
		}
	}
}

func TestUsersMayDoWhatTheirRulesAllow(t *testing.T) {
	users := usersFile(t, "user press "+hashed(t, "secret", bcrypt.MinCost)+`
		allow publish   factory/%u/#
		allow subscribe to/%u`)
	d := newDisk(10)
	b := start(t, d, func(c *Config) {
		c.Listeners[0].Anonymous = false
		c.Users = users
	})
	who := login{id: "p", user: "press", password: "secret", clean: true}
	w := dial(t, b, who)
	w.publish(1, 1, "factory/press/t", "1")
	d.await(1)
	w.subscribe(2, "to/press", 1)
	w.subscribe(3, "to/+", 1)
	w.subscribe(4, "$share/all/#", 1)
	w.wants("SUBACK 2 1", "SUBACK 3 80", "SUBACK 4 80")
	w.publish(0, 0, "factory/other/t", "2")
	w.silent()
	w.publish(5, 1, "factory/other/t", "3")
	w.closed()
	d.commit(1)

	who.v5, who.id = true, "q"
	w = dial(t, b, who)
	w.publish(1, 1, "factory/press/t", "4")
	w.publish(2, 1, "factory/other/t", "5")
	w.publish(3, 2, "$SYS/x", "6") // no rule names it: recorded all the same, as it is for whoever may publish at all
	d.await(2)
	w.silent() // in their turn
	d.commit(2)
	w.wants("PUBACK 1", "PUBACK 2 87", "PUBREC 3")
	w.publish(4, 1, "factory/press/t", "7")
	d.await(1)
	d.commit(1)
	w.wants("PUBACK 4")
	d.holds(t, "1", "4", "6", "7")
	if got, want := d.sources()[0], "broker:press/p:factory/press/t"; got != want {
		t.Errorf("source is %q, want %q", got, want)
	}
	if n := b.Stats().Refused; n != 5 {
		t.Errorf("%d were refused, want 5", n)
	}
}

func TestWrongPasswordNeverBecomesRight(t *testing.T) {
	users := usersFile(t, "user a "+hashed(t, "secret", bcrypt.MinCost)+"\nallow publish #\nuser b "+hashed(t, "other", bcrypt.MinCost)+
		"\nuser c "+hashed(t, strings.Repeat("x", 72), bcrypt.MinCost))
	b := start(t, newDisk(10), func(c *Config) { c.Users, c.Listeners[0].Anonymous = users, false })
	try := func(id, user, password string, want byte) {
		t.Helper()
		if w := dial(t, b, login{id: id, user: user, password: password, clean: true}); w.code != want {
			t.Errorf("%q with %q: return code %d, want %d", user, password, w.code, want)
		}
	}
	long := strings.Repeat("x", 72)
	for range 2 { // the second time from the cache
		try("1", "a", "secret", 0)
		try("2", "a", "wrong", 5)
		try("3", "a", "other", 5)
		try("4", "b", "other", 0)
		try("5", "nobody", "secret", 5)
		try("6", "", "", 5)
		try("7", "a", "", 5)
		try("8", "a", long+"y", 5)
		try("9", "c", long, 0)
		try("9", "c", long+"y", 5) // bcrypt alone would take it
	}
	if n := b.Stats().Unauthenticated; n != 14 {
		t.Errorf("%d were not let in, want 14", n)
	}
}

func TestReloadKeepsSessions(t *testing.T) {
	a := "user a " + hashed(t, "secret", bcrypt.MinCost) + "\n"
	users := usersFile(t, a+"allow publish x")
	d := newDisk(10)
	b := start(t, d, func(c *Config) { c.Users, c.Listeners[0].Anonymous = users, false })
	w := dial(t, b, login{id: "a", user: "a", password: "secret", v5: true})
	rewrite := func(text string) error {
		if err := os.WriteFile(users, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return b.Reload()
	}
	if err := rewrite(a + "allow publish y"); err != nil {
		t.Fatal(err)
	}
	w.publish(1, 1, "x", "1")
	w.publish(2, 1, "y", "2")
	d.await(1)
	d.commit(1)
	w.wants("PUBACK 1 87", "PUBACK 2")
	if err := rewrite("nonsense"); err == nil {
		t.Error("a file with an error was accepted")
	}
	w.publish(3, 1, "y", "3")
	d.await(1)
	d.commit(1)
	w.wants("PUBACK 3")
	if err := rewrite(""); err != nil {
		t.Fatal(err)
	}
	w.publish(4, 1, "y", "4")
	w.wants("PUBACK 4 87")
}

func TestAnonymousIsRefusedOffLoopback(t *testing.T) {
	for _, l := range []Listener{
		{Kind: TCP, Address: "0.0.0.0:1883", Anonymous: true},
		{Kind: TCP, Address: ":1883", Anonymous: true},
		{Kind: WS, Address: "192.0.2.1:80", Anonymous: true},
		{Kind: TCP, Address: "gateway.example:1883", Anonymous: true},
		{Kind: TCP}, // no anonymous clients and no users: nobody could come in
		{Kind: TLS, Anonymous: true},
		{Kind: "udp", Anonymous: true},
	} {
		if _, err := New(Config{Listeners: []Listener{l}, Decode: undecoded}); err == nil {
			t.Errorf("%+v was accepted", l)
		}
	}
	for _, address := range []string{"", "127.0.0.1:1883", "[::1]:0", "localhost:1", "127.8.8.8:2"} {
		if _, err := New(Config{Listeners: []Listener{{Kind: TCP, Address: address, Anonymous: true}}, Decode: undecoded}); err != nil {
			t.Error(err)
		}
	}
}

// A rule file with users in it lets anonymous clients do only what it says of them.
func TestAnonymousHaveRulesToo(t *testing.T) {
	d := newDisk(10)
	b := start(t, d, func(c *Config) { c.Users = usersFile(t, "anonymous\nallow publish local/%c") })
	w := dial(t, b, login{id: "me", v5: true, clean: true})
	w.publish(1, 1, "local/me", "1")
	w.publish(2, 1, "local/you", "2")
	d.await(1)
	d.commit(1)
	w.wants("PUBACK 1", "PUBACK 2 87")
	if got := d.sources(); !slices.Equal(got, []string{"broker:-/me:local/me"}) {
		t.Errorf("sources are %q", got)
	}
}

func TestClientIDsThatNoEntryCouldCarry(t *testing.T) {
	b := start(t, newDisk(1), nil)
	for _, id := range []string{"a\nb", "\x7f", strings.Repeat("x", maxClientID+1), "a\u0085"} {
		if w := dial(t, b, login{id: id, clean: true}); w.code != 2 {
			t.Errorf("client id %.20q: return code %d, want 2", id, w.code)
		}
	}
}

func TestOneUserNeverGetsTheSessionOfAnother(t *testing.T) {
	users := usersFile(t, "user a "+hashed(t, "secret", bcrypt.MinCost)+"\nallow readwrite #\nuser b "+hashed(t, "secret", bcrypt.MinCost))
	b := start(t, newDisk(10), func(c *Config) { c.Users, c.Listeners[0].Anonymous = users, false })
	w := dial(t, b, login{id: "x", user: "a", password: "secret"})
	w.subscribe(1, "#", 1)
	w.wants("SUBACK 1 1")
	if thief := dial(t, b, login{id: "x", user: "b", password: "secret"}); thief.code != 5 {
		t.Errorf("took over a connected client: return code %d, want 5", thief.code)
	}
	w.silent()
	w.drop(b, "x")
	if thief := dial(t, b, login{id: "x", user: "b", password: "secret"}); thief.code != 0 || thief.present {
		t.Errorf("return code %d, session present %t", thief.code, thief.present)
	}
	if n := b.tree.count.Load(); n != 0 {
		t.Errorf("%d subscriptions are left of the old session", n)
	}
}

func TestTooManyClients(t *testing.T) {
	b := start(t, newDisk(1), func(c *Config) { c.MaxClients = 2 })
	for i := range 3 {
		w := dial(t, b, login{id: fmt.Sprint(i), clean: true})
		if want := byte(i / 2 * 3); w.code != want { // 3: server unavailable
			t.Errorf("client %d: return code %d, want %d", i, w.code, want)
		}
	}
}

func TestSessionsAreBounded(t *testing.T) {
	b := start(t, newDisk(1), func(c *Config) { c.MaxClients = 2 })
	const perSlot = 4
	for i := range 3 * perSlot {
		id := fmt.Sprint(i)
		w := dial(t, b, login{id: id})
		if w.code != 0 {
			t.Fatalf("client %d: return code %d", i, w.code)
		}
		w.subscribe(1, "x", 1)
		w.wants("SUBACK 1 1")
		w.drop(b, id)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if n, subs := len(b.sessions), b.tree.count.Load(); n != 2*perSlot || subs != 2*perSlot {
		t.Errorf("%d sessions and %d subscriptions are remembered, want %d", n, subs, 2*perSlot)
	}
}

// Nobody may make the broker allocate before he has shown who he is.
func TestFirstPacketIsAShortConnect(t *testing.T) {
	b := start(t, newDisk(1), nil)
	for _, first := range []string{"\x10\xff\xff\xff\x07", "\x30\x05", "\x10\xff\xff\xff\xff\x01", "GET / HTTP/1.1\r\n"} {
		nc, err := net.Dial("tcp", b.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := nc.Write([]byte(first)); err != nil {
			t.Fatal(err)
		}
		if _, err := nc.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("%q was not refused: %v", first, err)
		}
		nc.Close()
	}
}

// Neither a user's name nor a client's can look like another source.
func TestSourcesPartWhereTheirNamesEnd(t *testing.T) {
	d := newDisk(10)
	b := start(t, d, nil)
	for id, want := range map[string]string{"a:b/c": "broker:-/a%3Ab%2Fc:t:/x", "100%": "broker:-/100%25:t:/x"} {
		w := dial(t, b, login{id: id, v5: true, clean: true})
		w.publish(1, 1, "t:/x", "1")
		d.await(1)
		d.commit(1)
		w.wants("PUBACK 1")
		if got := d.sources(); got[len(got)-1] != want {
			t.Errorf("sources are %q, want %q", got, want)
		}
	}
}

// Clients of one address are so many at most; one that has a session finds its place.
func TestClientsOfOneAddressAreBounded(t *testing.T) {
	b := start(t, newDisk(10), func(c *Config) { c.Bounds.PerAddress = 2 })
	known := dial(t, b, login{id: "known"})
	known.drop(b, "known")
	first := dial(t, b, login{id: "a", clean: true})
	dial(t, b, login{id: "b", clean: true})
	if w := dial(t, b, login{id: "c", clean: true}); w.code == 0 {
		t.Error("a third client was let in")
	}
	if w := dial(t, b, login{id: "known"}); w.code != 0 || !w.present {
		t.Errorf("a client with a session got the code %d", w.code)
	}
	first.drop(b, "a")
	await(t, func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.addresses["127.0.0.1"] == 2 })
}

// Each bound of the configuration holds, and what is used of it is told.
func TestBoundsAreTheConfigurations(t *testing.T) {
	d := autoDisk(t, 0)
	b := start(t, d, func(c *Config) {
		c.Bounds = Bounds{Retained: 4 << 10, Queue: 4 << 10, Queued: 6 << 10, Sessions: 3, Subscriptions: 2}
	})
	for _, id := range []string{"s1", "s2"} {
		w := dial(t, b, login{id: id})
		for n, want := range []string{"SUBACK 1 1", "SUBACK 1 1", "SUBACK 1 80"} {
			w.subscribe(1, fmt.Sprint("x", n), 1)
			w.wants(want)
		}
		w.drop(b, id)
	}
	w := dial(t, b, login{id: "w", clean: true})
	for i := range 20 {
		w.publish(uint16(i+1), 1, "x0", strings.Repeat("y", 900))
		w.wants(fmt.Sprintf("PUBACK %d", i+1))
		w.send(typePublish<<4|1, append(str(nil, fmt.Sprint("r", i)), strings.Repeat("y", 900)...))
	}
	w.silent()
	await(t, func() bool { return b.fanout.owed.Load() == 0 && b.owed.Load() == 0 })
	s := b.Stats()
	if s.RetainedBytes > 4<<10 || s.Retained == 0 || s.QueuedBytes > 6<<10 || s.QueuedBytes < 4<<10 || s.Subscriptions != 4 || s.Sessions != 3 || s.Unretained == 0 || s.Undelivered == 0 {
		t.Errorf("it tells %+v", s)
	}
}
