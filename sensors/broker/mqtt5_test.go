package broker

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"edgechain.example/build/testenv"
	"edgechain.example/mqttwire"
)

// message reads a PUBLISH.
func (w *wire) message() mqttwire.Publish {
	w.t.Helper()
	kind, body := w.read()
	if kind != typePublish {
		w.t.Fatalf("got %s, want a PUBLISH", w.format(kind, body))
	}
	version := mqttwire.V311
	if w.v5 {
		version = mqttwire.V5
	}
	p, err := mqttwire.DecodePublish(version, mqttwire.Header{Type: mqttwire.PUBLISH, Flags: w.flags, Length: len(body)}, body)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// sends publishes with MQTT 5's properties.
func (w *wire) sends(p mqttwire.Publish) {
	w.t.Helper()
	if _, err := w.nc.Write(p.Append(mqttwire.V5, nil)); err != nil {
		w.t.Fatal(err)
	}
}

// asks subscribes with MQTT 5's options and an identifier, 0 for none.
func (w *wire) asks(filter string, o mqttwire.Options, identifier uint32) {
	w.t.Helper()
	p := mqttwire.Subscribe{ID: 1}
	if identifier > 0 {
		p.Properties = p.Properties.AddNumber(mqttwire.SubscriptionIdentifier, identifier)
	}
	p.Add(filter, o)
	if _, err := w.nc.Write(p.Append(mqttwire.V5, nil)); err != nil {
		w.t.Fatal(err)
	}
	w.wants(fmt.Sprintf("SUBACK 1 %x", o.QoS))
}

func TestSubscriptionOptions(t *testing.T) {
	b := start(t, autoDisk(t, 0), nil)
	w := dial(t, b, login{id: "w", v5: true, clean: true})
	sub := dial(t, b, login{id: "sub", v5: true, clean: true})
	sub.asks("x/#", mqttwire.Options{QoS: 1, NoLocal: true, RetainAsPublished: true}, 7)
	sub.asks("x/+", mqttwire.Options{QoS: 0}, 300)
	sub.sends(mqttwire.Publish{Topic: []byte("x/own"), Payload: []byte("heard by the filter without no local")})
	own := sub.message()
	w.sends(mqttwire.Publish{Topic: []byte("x/kept"), Payload: []byte("on"), Retain: true, QoS: 1, ID: 1,
		Properties: mqttwire.Properties{}.AddText(mqttwire.ContentType, "text").AddText(mqttwire.ResponseTopic, "r")})
	w.wants("PUBACK 1")
	kept := sub.message()
	if string(own.Topic) != "x/own" || own.Properties.Number(mqttwire.SubscriptionIdentifier, 0) != 300 || own.QoS != 0 {
		t.Errorf("its own comes as %+v", own)
	}
	var ids []uint32
	for p := range kept.Properties.All() {
		if p.ID == mqttwire.SubscriptionIdentifier {
			ids = append(ids, p.Number)
		}
	}
	if content, _ := kept.Properties.Get(mqttwire.ContentType); !kept.Retain || kept.QoS != 1 || len(ids) != 2 || ids[0]+ids[1] != 307 || string(content.Value) != "text" {
		t.Errorf("it comes as %+v with identifiers %v", kept, ids)
	}
	// Retained messages come with a new subscription, unless it does not want them.
	late := dial(t, b, login{id: "late", v5: true, clean: true})
	late.asks("x/kept", mqttwire.Options{RetainHandling: 2}, 0)
	late.silent()
	late.asks("x/kept", mqttwire.Options{RetainHandling: 1}, 0)
	late.silent()
	late.asks("x/kept", mqttwire.Options{}, 0)
	if m := late.message(); !m.Retain || string(m.Payload) != "on" {
		t.Errorf("it comes as %+v", m)
	}
	old := dial(t, b, login{id: "old", clean: true})
	old.subscribe(1, "x/#", 1)
	old.wants("SUBACK 1 1")
	if m := old.message(); !m.Retain {
		t.Error("a retained message comes as a new one")
	}
	w.sends(mqttwire.Publish{Topic: []byte("x/kept"), Retain: true})
	if m := old.message(); m.Retain || len(m.Payload) > 0 {
		t.Errorf("a new message comes as %+v", m)
	}
	await(t, func() bool { n, _ := b.retained.held(); return n == len(b.retainedFor("$SYS/#")) })
}

func TestMessagesAndSessionsExpire(t *testing.T) {
	b := start(t, autoDisk(t, 0), nil)
	w := dial(t, b, login{id: "w", v5: true, clean: true})
	sub := dial(t, b, login{id: "sub", v5: true})
	sub.asks("x", mqttwire.Options{QoS: 1}, 0)
	sub.drop(b, "sub")
	await(t, func() bool { return b.sessionOf("sub").connection() == nil })
	expiring := func(id uint16, seconds uint32, payload string) {
		w.sends(mqttwire.Publish{Topic: []byte("x"), Payload: []byte(payload), QoS: 1, ID: id, Properties: mqttwire.Properties{}.AddNumber(mqttwire.MessageExpiry, seconds)})
		w.wants(fmt.Sprintf("PUBACK %d", id))
	}
	expiring(1, 0, "old")
	expiring(2, 3600, "new")
	sub = dial(t, b, login{id: "sub", v5: true})
	if m := sub.message(); !sub.present || string(m.Payload) != "new" || m.Properties.Number(mqttwire.MessageExpiry, 0) > 3600 || m.Properties.Number(mqttwire.MessageExpiry, 0) < 3000 {
		t.Errorf("got %+v", m)
	}
	// A DISCONNECT may shorten the session's time, and not bring back one that ends with the connection.
	leave := mqttwire.Disconnect{Properties: mqttwire.Properties{}.AddNumber(mqttwire.SessionExpiry, 0)}
	if _, err := sub.nc.Write(leave.Append(mqttwire.V5, mqttwire.DISCONNECT, nil)); err != nil {
		t.Fatal(err)
	}
	sub.closed()
	await(t, func() bool { return b.sessionOf("sub") == nil })
	sub = dial(t, b, login{id: "sub", v5: true, clean: true})
	leave.Properties = mqttwire.Properties{}.AddNumber(mqttwire.SessionExpiry, 10)
	if _, err := sub.nc.Write(leave.Append(mqttwire.V5, mqttwire.DISCONNECT, nil)); err != nil {
		t.Fatal(err)
	}
	sub.closed("DISCONNECT 82")
	// What nobody comes back to ends.
	dial(t, b, login{id: "gone", v5: true}).drop(b, "gone")
	b.mu.Lock()
	s := b.sessions["gone"]
	b.mu.Unlock()
	await(t, func() bool { return s.connection() == nil })
	await(t, func() bool { b.mu.Lock(); defer b.mu.Unlock(); return !s.left.IsZero() })
	b.keepHouse(time.Now().Add(2 * time.Hour))
	if b.sessionOf("gone") != nil {
		t.Error("a session stays beyond its expiry")
	}
}

// sessionOf returns a client's session, or nil.
func (b *Broker) sessionOf(id string) *session {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sessions[id]
}

func TestTopicAliasesBothWays(t *testing.T) {
	d := autoDisk(t, 0)
	b := start(t, d, nil)
	sub := dial(t, b, login{id: "sub", v5: true, clean: true, properties: mqttwire.Properties{}.AddNumber(mqttwire.TopicAliasMaximum, 1)})
	sub.asks("#", mqttwire.Options{}, 0)
	w := dial(t, b, login{id: "w", v5: true, clean: true})
	aliased := func(topic string, alias uint32, payload string) {
		w.sends(mqttwire.Publish{Topic: []byte(topic), Payload: []byte(payload), Properties: mqttwire.Properties{}.AddNumber(mqttwire.TopicAlias, alias)})
	}
	aliased("a/long/topic", 5, "1")
	aliased("", 5, "2")
	aliased("other", 5, "3")
	aliased("", 5, "4")
	for i, want := range []struct {
		topic string
		alias uint32
	}{{"a/long/topic", 1}, {"", 1}, {"other", 0}, {"other", 0}} {
		m := sub.message()
		if string(m.Topic) != want.topic || m.Properties.Number(mqttwire.TopicAlias, 0) != want.alias || string(m.Payload) != fmt.Sprint(i+1) {
			t.Errorf("message %d comes as %+v", i+1, m)
		}
	}
	d.awaitEntries(4)
	if got := d.sources()[1]; got != "broker:-/w:a/long/topic" {
		t.Errorf("the entry's source is %q", got)
	}
	aliased("", 6, "of nothing")
	w.closed("DISCONNECT 94")
	w = dial(t, b, login{id: "w", v5: true, clean: true})
	aliased("x", topicAliasMax+1, "too high")
	w.closed("DISCONNECT 94")
}

func TestAClientGetsNoLargerPacketThanItTakes(t *testing.T) {
	b := start(t, autoDisk(t, 0), nil)
	const most = 60
	sub := dial(t, b, login{id: "sub", v5: true, clean: true, properties: mqttwire.Properties{}.AddNumber(mqttwire.MaximumPacketSize, most).AddNumber(mqttwire.TopicAliasMaximum, 9)})
	sub.asks("x", mqttwire.Options{QoS: 1}, 9)
	w := dial(t, b, login{id: "w", v5: true, clean: true})
	const head = 1 + 1 + 3 + 2 + 3 // header, topic, packet id, properties
	for i, n := range []int{most - head, most - head + 1, 1} {
		w.publish(uint16(i+1), 1, "x", strings.Repeat("y", n))
		w.wants(fmt.Sprintf("PUBACK %d", i+1))
	}
	if m := sub.message(); len(m.Payload) != most-head {
		t.Errorf("a payload of %d bytes comes first", len(m.Payload))
	}
	if m := sub.message(); len(m.Payload) != 1 {
		t.Errorf("a payload of %d bytes comes then", len(m.Payload))
	}
	if n := b.Stats().Undelivered; n != 1 {
		t.Errorf("%d are counted as lost, want 1", n)
	}
}

func TestSharedSubscriptionsShareEvenly(t *testing.T) {
	b := start(t, autoDisk(t, 0), nil)
	const members, each = 3, 20
	var all []*wire
	for i := range members {
		m := dial(t, b, login{id: fmt.Sprint("m", i), v5: i > 0})
		m.subscribe(1, "$share/g/x/#", 1)
		m.wants("SUBACK 1 1")
		all = append(all, m)
	}
	w := dial(t, b, login{id: "w", clean: true})
	id := uint16(0)
	publish := func(n int) {
		for range n {
			id++
			w.publish(id, 1, "x/y", "m")
			w.wants(fmt.Sprintf("PUBACK %d", id))
		}
	}
	publish(members * each)
	for _, m := range all {
		for range each {
			m.message()
		}
		m.silent()
	}
	all[0].drop(b, "m0") // then those that are connected get all
	await(t, func() bool { return b.sessionOf("m0").connection() == nil })
	publish(2 * each)
	for _, m := range all[1:] {
		for range each {
			m.message()
		}
		m.silent()
	}
}

func TestASessionThatIsTakenOverIsTold(t *testing.T) {
	b := start(t, autoDisk(t, 0), nil)
	first := dial(t, b, login{id: "a", v5: true})
	second := dial(t, b, login{id: "a", v5: true})
	first.closed("DISCONNECT 8e")
	if !second.present {
		t.Error("the session is gone")
	}
}

func TestWillsOfEveryForm(t *testing.T) {
	d := newDisk(10)
	b := start(t, d, nil)
	dial(t, b, login{id: "empty", clean: true, will: "state "}).nc.Close()
	d.await(1)
	d.commit(1)
	d.holds(t, "")
	for _, will := range []string{"a/# gone", "a/+/b gone"} {
		nc, err := net.Dial("tcp", b.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		topic, _, _ := strings.Cut(will, " ")
		p := mqttwire.Connect{Version: mqttwire.V5, CleanStart: true, ClientID: []byte("wild"), HasWill: true, Will: mqttwire.Will{Topic: []byte(topic)}}
		if _, err := nc.Write(p.Append(nil)); err != nil {
			t.Fatal(err)
		}
		_ = nc.SetDeadline(time.Now().Add(testenv.Patience))
		answer := make([]byte, 4)
		if _, err := nc.Read(answer); err != nil || answer[3] != byte(mqttwire.TopicNameInvalid) {
			t.Errorf("a will for %s: % x (%v)", topic, answer, err)
		}
		nc.Close()
	}
}

// Its will waits for the disk, and its place among the connections is free.
func TestAWillThatWaitsForTheDiskHoldsNoConnection(t *testing.T) {
	d := newDisk(0)
	b := start(t, d, func(c *Config) { c.MaxClients = 1 })
	for i := range 3 {
		id := fmt.Sprint("c", i)
		w := dial(t, b, login{id: id, clean: true, will: "state gone"})
		if w.code != 0 {
			t.Fatalf("client %d: return code %d", i, w.code)
		}
		w.drop(b, id)
	}
}

func TestWhatSaysNothingKeepsNobodyOut(t *testing.T) {
	b := start(t, autoDisk(t, 0), nil)
	for range 3 * maxHandshaking {
		nc, err := net.Dial("tcp", b.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
	}
	w := dial(t, b, login{id: "device", clean: true})
	w.publish(1, 1, "x", "m")
	w.wants("PUBACK 1")
	await(t, func() bool { return b.Stats().Connected <= maxHandshaking+1 })
}

func TestClientsThatAreKnownHaveRoomKept(t *testing.T) {
	b := start(t, newDisk(1), func(c *Config) { c.MaxClients = 1 })
	known := dial(t, b, login{id: "known"})
	known.drop(b, "known")
	await(t, func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.clients == 0 })
	dial(t, b, login{id: "new", clean: true})
	if w := dial(t, b, login{id: "newer", clean: true}); w.code != 3 {
		t.Errorf("a stranger beyond the limit hears %d", w.code)
	}
	if w := dial(t, b, login{id: "known"}); w.code != 0 || !w.present {
		t.Errorf("a client that has a session hears %d", w.code)
	}
}

func TestWhatOneClientMayCostHasAnEnd(t *testing.T) {
	b := start(t, autoDisk(t, 0), nil)
	w := dial(t, b, login{id: "w", v5: true, clean: true})
	// Retained messages in bytes.
	big := strings.Repeat("x", fanoutLargest)
	maxRetainedBytes := b.cfg.Bounds.Retained
	for i := range 2 * maxRetainedBytes / fanoutLargest {
		w.sends(mqttwire.Publish{Topic: fmt.Append(nil, "r/", i), Payload: []byte(big), Retain: true, QoS: 1, ID: uint16(i + 1)})
		w.wants(fmt.Sprintf("PUBACK %d", i+1))
	}
	await(t, func() bool { return len(b.fanout.queue) == 0 })
	if n, bytes := b.retained.held(); bytes > maxRetainedBytes || n < maxRetainedBytes/fanoutLargest/2 {
		t.Errorf("%d messages of %d bytes are kept", n, bytes)
	}
	if b.Stats().Unretained == 0 {
		t.Error("nothing was counted as not kept")
	}
	// Subscriptions by number and by size.
	p := mqttwire.Subscribe{ID: 1}
	maxSubscriptions := b.cfg.Bounds.Subscriptions
	for i := range maxSubscriptions + 5 {
		p.Add(fmt.Sprint("s/", i), mqttwire.Options{})
	}
	if _, err := w.nc.Write(p.Append(mqttwire.V5, nil)); err != nil {
		t.Fatal(err)
	}
	_, body := w.read()
	if codes := body[3:]; codes[maxSubscriptions-1] != 0 || codes[maxSubscriptions] != byte(mqttwire.QuotaExceeded) {
		t.Errorf("the codes end with % x", codes[maxSubscriptions-2:])
	}
	w.nc.Close()
	await(t, func() bool { return b.tree.count.Load() == 0 })
	b.tree.mu.RLock()
	empty := b.tree.root.empty()
	b.tree.mu.RUnlock()
	if !empty {
		t.Error("the tree keeps what nobody subscribed to")
	}
	// QoS 2 ids that are never released.
	w = dial(t, b, login{id: "q", clean: true})
	for i := range maxUnreleased {
		w.publish(uint16(i+1), 2, "x", "m")
		w.wants(fmt.Sprintf("PUBREC %d", i+1))
	}
	w.publish(maxUnreleased+1, 2, "x", "one more")
	w.closed()
}

func TestDenyTakesAwayWhatAllowGives(t *testing.T) {
	h := hashed(t, "secret", bcrypt.MinCost)
	b := start(t, autoDisk(t, 0), func(c *Config) {
		c.Listeners[0].Anonymous = false
		c.Users = usersFile(t, "user red "+h+"\nallow readwrite #\ndeny publish +/commands/#\ndeny subscribe secret/#\ndeny publish $aws/#\nuser all "+h+"\nallow readwrite #")
	})
	red := dial(t, b, login{id: "red", user: "red", password: "secret", v5: true, clean: true})
	red.publish(1, 1, "press/commands/stop", "no")
	red.publish(2, 1, "press/state", "yes")
	red.publish(3, 1, "$aws/x", "no")
	red.publish(4, 1, "$other/x", "yes")
	red.wants("PUBACK 1 87", "PUBACK 2", "PUBACK 3 87", "PUBACK 4")
	red.subscribe(5, "secret/+", 0)
	red.subscribe(6, "#", 0)
	red.wants("SUBACK 5 87", "SUBACK 6 0")
	other := dial(t, b, login{id: "all", user: "all", password: "secret", clean: true})
	other.publish(1, 1, "secret/x", "not heard")
	other.publish(2, 1, "open/x", "heard")
	other.wants("PUBACK 1", "PUBACK 2")
	red.wants("PUBLISH open/x heard")
}

// MQTT 3.1 has another name for the protocol, and nothing else that matters here.
func TestMQTT31(t *testing.T) {
	b := start(t, autoDisk(t, 0), nil)
	nc, err := net.Dial("tcp", b.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	p := mqttwire.Connect{Version: mqttwire.V31, CleanStart: true, ClientID: []byte("old")}
	if _, err := nc.Write(p.Append(nil)); err != nil {
		t.Fatal(err)
	}
	w := attach(t, nc)
	w.wants("CONNACK 0")
	w.publish(1, 1, "x", "m")
	w.wants("PUBACK 1")
}

// A client that sends on beyond its Receive Maximum hears why it must go, whatever of that was never read.
func TestTheReasonIsHeardByAClientThatSendsOn(t *testing.T) {
	b := start(t, autoDisk(t, 0), func(c *Config) { c.MaxInFlight = 2 })
	w := dial(t, b, login{id: "w", v5: true, clean: true})
	var all []byte
	for id := range uint16(500) {
		p := mqttwire.Publish{Topic: []byte("x"), Payload: make([]byte, 1000), QoS: 2, ID: id + 1}
		all = p.Append(mqttwire.V5, all)
	}
	if _, err := w.nc.Write(all); err != nil {
		t.Fatal(err)
	}
	for {
		kind, body := w.read()
		if kind == typePubrec {
			continue // as many as are on disk by then
		}
		if got := w.format(kind, body); got != "DISCONNECT 93" {
			t.Errorf("got %s, want DISCONNECT 93", got)
		}
		return
	}
}

// Ids that clients do not release are kept for days: all clients together have an end to them, and one that holds few gets them
// whatever the others do. What is released, or ends with its session, counts no more.
func TestUnreleasedIDsOfAllClientsHaveAnEnd(t *testing.T) {
	b := start(t, autoDisk(t, 0), nil)
	others := int64(allUnreleased - ownUnreleased)
	b.held.Store(others)
	w := dial(t, b, login{id: "a", clean: true})
	publish := func(id int) {
		t.Helper()
		w.publish(uint16(id), 2, "x", "m")
		w.wants(fmt.Sprintf("PUBREC %d", id))
	}
	for id := range ownUnreleased {
		publish(id + 1)
	}
	w.sendID(0x62, 1) // PUBREL
	w.wants("PUBCOMP 1")
	publish(1)
	if held := b.held.Load(); held != allUnreleased {
		t.Errorf("%d ids are held", held)
	}
	w.publish(ownUnreleased+1, 2, "x", "one more")
	w.closed()
	await(t, func() bool { return b.held.Load() == others })

	b.held.Store(allUnreleased)
	w = dial(t, b, login{id: "b", clean: true})
	for id := range ownUnreleased {
		publish(id + 1)
	}
	w.nc.Close()
	await(t, func() bool { return b.held.Load() == allUnreleased })
}
