package aggregator_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgechain.example/aggregator"
	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/headlog"
	"edgechain.example/aggregator/pgstore"
	"edgechain.example/aggregator/registry"
	"edgechain.example/build/testenv"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/collector"
)

// Who keeps a log has each head wait for it that is countersigned, the newest of each chain; who keeps none has none wait.
func TestCountersignedHeadsWaitForTheLog(t *testing.T) {
	for _, keeps := range []bool{true, false} {
		s := openPebble(t)
		l := registry.NewLedger(s, time.Now, nil)
		if keeps {
			l.LogHeads()
		}
		c := newChain(t, "waits")
		approved(t, s, c.id())
		for round := range uint64(2) {
			from := uint64(len(c.headers))
			c.sealMany(3)
			page := &headersync.Pulled{Head: from + 2, Run: c.run(from, from+2)}
			if round == 0 {
				page.Genesis = c.headers[0]
			}
			if v, err := take(l, c.id(), page, true); err != nil || v != collector.Extended {
				t.Fatalf("%v, %v", v, err)
			}
			if waiting, err := s.LogWaiting(t.Context(), 10); err != nil || keeps && len(waiting) > 0 && waiting[0].Height == from+2 {
				t.Errorf("a head waits that is not countersigned: %+v, %v", waiting, err)
			}
			if err := countersign(l, c.id(), chainTime+round); err != nil {
				t.Fatal(err)
			}
		}
		waiting, err := s.LogWaiting(t.Context(), 10)
		if err != nil || (len(waiting) == 1) != keeps {
			t.Fatalf("where a log is kept %t: %+v, %v", keeps, waiting, err)
		}
		if keeps && (waiting[0].Height != 6 || waiting[0].Hash() != c.head().Hash() || !bytes.Equal(waiting[0].Header, c.head().Bytes())) {
			t.Errorf("header %d waits, with the hash %s; want 6 and %s", waiting[0].Height, waiting[0].Hash(), c.head().Hash())
		}
	}
}

// A store that holds less than was published, or other leaves, is not appended to, and nothing of it is shown; the newer one goes on.
func TestALogThatWasSetBackIsNotAppendedTo(t *testing.T) {
	dir := t.TempDir()
	newer, older, other, empty := openPebble(t), openPebble(t), openPebble(t), openPebble(t)
	grow := func(s registry.Store, dir, name string, leaves int) {
		l, _ := newLog(t, s, dir)
		for i := range leaves {
			wait(t, s, headAt(t, name, uint64(i)+1))
			mustTurn(t, l)
		}
	}
	grow(newer, dir, "gateway", 5)
	grow(older, t.TempDir(), "gateway", 3)
	grow(other, t.TempDir(), "another", 7)
	for what, c := range map[string]struct {
		store registry.Store
		says  string
	}{
		"fewer leaves": {older, "a checkpoint of 5 leaves was published, and the store holds 3."},
		"other leaves": {other, "a checkpoint of 5 leaves was published, and the store holds others in their place."},
		"no log":       {empty, "a checkpoint of 5 leaves was published, and the store holds 0."},
	} {
		before, err := c.store.LogHead(t.Context(), testOrigin)
		if err != nil {
			t.Fatal(err)
		}
		wait(t, c.store, headAt(t, "one more", 1))
		l, log := newLog(t, c.store, dir)
		for range 2 {
			err := l.Turn(t.Context(), true)
			if now := l.Standing(); err == nil || !strings.Contains(err.Error(), c.says) || !now.SetBack() || now.Head != nil || now.Backlog != 1 || now.Since.IsZero() {
				t.Errorf("%s: %+v, %v", what, now, err)
			}
		}
		if after, err := c.store.LogHead(t.Context(), testOrigin); err != nil || (after == nil) != (before == nil) || after != nil && after.Size != before.Size {
			t.Errorf("%s: it was appended to: %+v, %v", what, after, err)
		}
		if n := strings.Count(log.String(), "failed to append to the log of heads"); n != 1 {
			t.Errorf("%s: it is told %d times\n%s", what, n, log)
		}
		server := httptest.NewServer(l.Handler(true))
		answer, err := http.Get(server.URL + "/checkpoint")
		if err != nil || answer.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: /checkpoint answers %v, %v", what, answer, err)
		}
		server.Close()
	}
	wait(t, newer, headAt(t, "one more", 1))
	l, _ := newLog(t, newer, dir)
	if at := mustTurn(t, l); at.Size != 6 {
		t.Errorf("the newer one has %d leaves, want 6", at.Size)
	}
}

// A store that is set back while the program runs is met as well: nothing is shown any more.
func TestALogThatIsSetBackUnderARunningAggregatorStops(t *testing.T) {
	newer, older := openPebble(t), openPebble(t)
	behind := &exchanged{Store: newer}
	l, _ := newLog(t, behind, t.TempDir())
	for i := range 4 {
		wait(t, newer, headAt(t, "gateway", uint64(i)+1))
		mustTurn(t, l)
	}
	behind.Store = older
	if err := l.Turn(t.Context(), true); !errors.As(err, new(*headlog.SetBackError)) {
		t.Errorf("it goes on: %v", err)
	}
	if _, err := l.Newest(t.Context()); !errors.Is(err, headlog.ErrEmpty) {
		t.Errorf("it is shown: %v", err)
	}
	behind.Store = newer
	if at := mustTurn(t, l); at.Size != 4 {
		t.Errorf("with the newer store back it has %d leaves", at.Size)
	}
}

// Two append to one log whose store is set back to what only one of them knows to be too little: that one tells the other.
func TestWhoPublishedMoreTellsTheOthers(t *testing.T) {
	newer, older := openPebble(t), openPebble(t)
	behind := &exchanged{Store: newer}
	told := &shared{}
	both := make([]*headlog.Log, 2)
	for i := range both {
		l, _ := newLog(t, behind, t.TempDir())
		l.Config.Shared = told
		both[i] = l
	}
	for i := range 5 {
		wait(t, newer, headAt(t, "gateway", uint64(i)+1))
		mustTurn(t, both[0])
		if i < 2 {
			mustTurn(t, both[1])
		}
	}
	copied, _ := newLog(t, older, t.TempDir())
	for i := range 3 { // what a standby has
		wait(t, older, headAt(t, "gateway", uint64(i)+1))
		mustTurn(t, copied)
	}
	behind.Store = older
	wait(t, older, headAt(t, "gateway", 9))
	for i, l := range both {
		if err := l.Turn(t.Context(), true); !errors.As(err, new(*headlog.SetBackError)) || !strings.Contains(err.Error(), "a checkpoint of 5 leaves was published") {
			t.Errorf("%d goes on: %v", i, err)
		}
	}
	behind.Store = newer
	for _, l := range both {
		mustTurn(t, l)
		mustCheck(t, l)
	}
}

// shared is a checkpoint in memory.
type shared struct{ signed []byte }

func (s *shared) Told(context.Context) ([]byte, error) { return s.signed, nil }

func (s *shared) Tell(_ context.Context, signed []byte) error {
	s.signed = signed
	return nil
}

type exchanged struct{ headlog.Store }

// A restored log whose newest checkpoint nobody knows is shown as it is, and waits for somebody's word.
func TestAHeldLogIsNotAppendedTo(t *testing.T) {
	s, dir := openPebble(t), t.TempDir()
	l, _ := newLog(t, s, dir)
	wait(t, s, headAt(t, "gateway", 1))
	mustTurn(t, l)
	hold := filepath.Join(dir, "hold")
	if err := os.WriteFile(hold, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wait(t, s, headAt(t, "gateway", 2))
	if err := l.Turn(t.Context(), true); err == nil || !strings.Contains(err.Error(), "remove "+hold) {
		t.Errorf("it goes on: %v", err)
	}
	if now := l.Standing(); now.Head.Size != 1 || now.Backlog != 1 || now.SetBack() {
		t.Errorf("%+v", now)
	}
	if err := os.Remove(hold); err != nil {
		t.Fatal(err)
	}
	if at := mustTurn(t, l); at.Size != 2 {
		t.Errorf("released it has %d leaves", at.Size)
	}
}

// A log is its key's: another one signs nothing in its place. A mark that is damaged is no reason to forget what was published.
func TestALogIsNotAppendedToUnderAnotherKeyOrADamagedMark(t *testing.T) {
	s, dir := openPebble(t), t.TempDir()
	l, _ := newLog(t, s, dir)
	mustTurn(t, l)
	wait(t, s, headAt(t, "gateway", 1))
	stranger, err := headlog.NewKey(testOrigin, testSigner("another"))
	if err != nil {
		t.Fatal(err)
	}
	config := l.Config
	config.Key, config.Mark = stranger, filepath.Join(t.TempDir(), "mark")
	if err := headlog.New(config).Turn(t.Context(), true); !errors.Is(err, headlog.ErrKey) || !strings.Contains(err.Error(), "transparency.key_file") {
		t.Errorf("under another key: %v", err)
	}
	config.Mark = l.Config.Mark
	if err := headlog.New(config).Turn(t.Context(), true); !errors.Is(err, headlog.ErrKey) || !strings.Contains(err.Error(), "transparency.key_file") || strings.Contains(err.Error(), "remove") {
		t.Errorf("under another key than the mark's: %v", err)
	}
	mark := filepath.Join(dir, "mark")
	whole, err := os.ReadFile(mark)
	if err != nil {
		t.Fatal(err)
	}
	for what, damaged := range map[string][]byte{"cut short": whole[:len(whole)/2], "empty": nil, "zeros": make([]byte, 200)} {
		if err := os.WriteFile(mark, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		l, _ := newLog(t, s, dir)
		if err := l.Turn(t.Context(), true); err == nil || !strings.Contains(err.Error(), mark) {
			t.Errorf("with a mark that is %s: %v", what, err)
		}
	}
	if err := os.WriteFile(mark, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	l, _ = newLog(t, s, dir)
	if at := mustTurn(t, l); at.Size != 1 {
		t.Errorf("it has %d leaves", at.Size)
	}
}

// A standby takes over that lacks what the log has published. The replica that published it appends nothing, and tells one that
// knows nothing of that, which does not either; both go on countersigning.
func TestALogIsNotForkedAtAFailover(t *testing.T) {
	broker := testenv.Mosquitto(t, "")
	primary := testenv.NewPostgres(t)
	standby := primary.Standby("s1")
	replica := func(name string) (*node, *api.Client) {
		store, err := pgstore.Open(t.Context(), primary.DSN(standby), pgstore.Options{Patience: testenv.Patience})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		n := startNode(t, broker.Addr, store, func(c *aggregator.Config, o *aggregator.Options) {
			c.Trust.Gateways, c.Store.URL, c.Aggregator.Replica = registry.TrustAll, "postgres://", name
			c.Transparency.Origin, c.Transparency.Interval = "agg-1.example", time.Second
			c.Transparency.KeyFile = filepath.Join(c.Aggregator.Data, "key-log")
			o.LogKey = logKey(t, testOrigin)
		})
		return n, api.Local(n.Server())
	}
	heads := func(asked *api.Client) api.Heads {
		h, err := asked.Heads(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	n, asked := replica("first")
	c := newChain(t, "press-1")
	c.sealMany(3)
	g := newGateway(t, broker.Addr, c, "", n.self)
	g.awaitReceipt(n.self)
	eventually(t, "the head to be in the log", func() bool { return heads(asked).Size == 1 })
	awaitStandby(t, primary, "s1")
	standby.Stop()
	g.seal(1)
	g.awaitReceipt(n.self)
	eventually(t, "the next one to be in the log", func() bool { return heads(asked).Size == 2 })
	primary.Stop()
	standby.Start()
	standby.Promote()
	eventually(t, "the log to be found set back", func() bool { return heads(asked).Live.Finding == api.LogSetBack })
	g.seal(1)
	g.awaitReceipt(n.self)
	// Nobody but the first has published the second leaf, and the first goes.
	n.stop()
	second, asked := replica("second")
	eventually(t, "the second to be told", func() bool { return heads(asked).Live.Finding == api.LogSetBack })
	g.seal(1)
	g.awaitReceipt(second.self)
	if head, err := second.store.LogHead(t.Context(), testOrigin); err != nil || head.Size != 1 {
		t.Errorf("the log stands at %+v, %v; the standby had 1 leaf", head, err)
	}
}

// What became durable and was not published, since a crash came between, is not shown at rest either: no mark would say so, and
// a store that was set back behind it would be gone on from.
func TestAtRestNothingIsShownThatWasNotPublished(t *testing.T) {
	s, older, dir, elsewhere := openPebble(t), openPebble(t), t.TempDir(), t.TempDir()
	for i := range uint64(3) {
		for s, dir := range map[registry.Store]string{s: dir, older: elsewhere} {
			wait(t, s, headAt(t, "gateway", i+1))
			l, _ := newLog(t, s, dir)
			mustTurn(t, l)
		}
	}
	mark := filepath.Join(dir, "mark")
	wait(t, s, headAt(t, "gateway", 4))
	marked, err := os.ReadFile(mark)
	if err != nil {
		t.Fatal(err)
	}
	l, _ := newLog(t, s, dir)
	mustTurn(t, l)
	if err := os.WriteFile(mark, marked, 0o600); err != nil { // as if the crash had come before the new one
		t.Fatal(err)
	}
	rest := headlog.AtRest(s, logKey(t, testOrigin).PublicKey, mark)
	head, err := rest.Newest(t.Context())
	if err != nil || head.Size != 3 || !bytes.Equal(head.Checkpoint, marked) || head.Time == 0 {
		t.Fatalf("it shows %+v, %v; want the checkpoint of 3 leaves", head, err)
	}
	if c, err := rest.Check(t.Context()); err != nil || c.Size != 3 {
		t.Errorf("%+v, %v", c, err)
	}
	three := uint64(3)
	for _, height := range []*uint64{&three, nil} { // the newest is not published
		if p, _, err := rest.Prove(t.Context(), headAt(t, "gateway", 3).Chain, height); err != nil || p.Index != 2 || !bytes.Equal(p.Checkpoint, marked) {
			t.Errorf("%+v, %v", p, err)
		}
	}
	four := uint64(4)
	if _, _, err := rest.Prove(t.Context(), headAt(t, "gateway", 3).Chain, &four); !errors.Is(err, headlog.ErrNotFound) {
		t.Errorf("%v", err)
	}
	// The store of before is put back, and other heads come: no root that was shown has a rival.
	wait(t, older, headAt(t, "another", 1))
	l, _ = newLog(t, older, dir)
	if forked := mustTurn(t, l); forked.Size != 4 {
		t.Errorf("%d leaves, want 4", forked.Size)
	}
}

// Where it cannot be told whether a restored log is held, it is not appended to.
func TestALogThatMayBeHeldIsNotAppendedTo(t *testing.T) {
	s, dir := openPebble(t), t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wait(t, s, headAt(t, "gateway", 1))
	l, _ := newLog(t, s, dir)
	l.Config.Hold = filepath.Join(file, "hold") // below a file
	if err := l.Turn(t.Context(), true); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is appended to: %v", err)
	}
	l.Config.Hold = filepath.Join(dir, "hold")
	if at := mustTurn(t, l); at.Size != 1 {
		t.Errorf("%d leaves, want 1", at.Size)
	}
}

// Where something was published no key is made, whatever became of the store: its log would be another's, of the same name.
func TestNoKeyIsMadeForALogThatWasPublished(t *testing.T) {
	dir := t.TempDir()
	c := &aggregator.Config{}
	c.Aggregator.Data, c.Transparency.Origin, c.Transparency.KeyFile = dir, "agg-1.example", filepath.Join(dir, "key-log")
	mark := filepath.Join(dir, "log-agg-1.example.checkpoint")
	if err := os.WriteFile(mark, []byte("a checkpoint"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.LogKey(t.Context(), openPebble(t)); err == nil || !strings.Contains(err.Error(), "its key "+c.Transparency.KeyFile+" is not here") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(c.Transparency.KeyFile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a key: %v", err)
	}
	if err := os.Remove(mark); err != nil {
		t.Fatal(err)
	}
	if _, err := c.LogKey(t.Context(), openPebble(t)); err != nil {
		t.Error(err)
	}
	// Nor is one used that signs receipts, under whichever name.
	c.Key.File = filepath.Join(dir, "key")
	for _, suffix := range []string{"", ".pub"} {
		b, err := os.ReadFile(c.Transparency.KeyFile + suffix)
		if err == nil {
			err = os.WriteFile(c.Key.File+suffix, b, 0o600)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if _, err := c.LogKey(t.Context(), openPebble(t)); err == nil || !strings.Contains(err.Error(), "is that of the receipts") {
		t.Errorf("%v", err)
	}
}

// Where the log's key is damaged, or lost behind what was published, a command says that, and not that no log is configured.
func TestALogWithoutItsKeyIsNotCalledNone(t *testing.T) {
	dir := t.TempDir()
	c := &aggregator.Config{}
	c.Aggregator.Data, c.Transparency.Origin, c.Transparency.KeyFile = dir, "agg-1.example", filepath.Join(dir, "key-log")
	says := func() string {
		_, err := api.Local(aggregator.NewServer(c, aggregator.Options{Store: openPebble(t)})).Heads(t.Context())
		return fmt.Sprint(err)
	}
	if s := says(); !strings.Contains(s, "there is no log of heads") {
		t.Error(s)
	}
	if err := os.WriteFile(filepath.Join(dir, "log-agg-1.example.checkpoint"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s := says(); !strings.Contains(s, c.Transparency.KeyFile) {
		t.Error(s)
	}
	if err := os.WriteFile(c.Transparency.KeyFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s := says(); !strings.Contains(s, c.Transparency.KeyFile) {
		t.Error(s)
	}
}
