package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/agent/sealgate"
	"edgechain.example/build/testenv/program"
)

// soon seals what arrives, a test being impatient.
const (
	soonest = 200 * time.Millisecond
	soon    = "[block]\ninterval = \"200ms\"\n"
)

// newest returns the entry that came last.
func (g *gateway) newest() (e api.Entry) {
	g.t.Helper()
	if err := json.Unmarshal([]byte(g.must("log", "-n", "1", "--output", "json")), &e); err != nil {
		g.t.Fatal(err)
	}
	return e
}

// made is what `edgeagent backup` says of a generation.
type made struct {
	Generation  int
	Height      uint64
	Entries     uint64
	Bytes       int64
	CopiedBytes int64 `json:"copied_bytes"`
	WithKey     bool  `json:"with_key"`
	Moved       bool
	Taken       bool
}

func (g *gateway) backup(folder string, args ...string) (m made) {
	g.t.Helper()
	text := g.must(append([]string{"backup", folder, "--output", "json"}, args...)...)
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		g.t.Fatalf("%v\n%s", err, text)
	}
	return m
}

// fails runs a command of edgeagent that must exit with the given code, and say so.
func (g *gateway) fails(code int, says string, args ...string) {
	g.t.Helper()
	stdout, stderr, got := g.output("edgeagent", append(args, "--config", g.config)...)
	if got != code || !strings.Contains(stderr, says) {
		g.t.Errorf("edgeagent %s exits with %d, want %d and that it says %q\n%s%s", strings.Join(args, " "), got, code, says, stdout, stderr)
	}
}

// seals waits until the running agent has sealed everything.
func (g *gateway) seals() {
	g.t.Helper()
	g.await("sealing", func() bool { return g.status().Open == 0 })
}

func TestBackupOfRecordingGatewayHoldsAllThatWasAcknowledged(t *testing.T) {
	t.Parallel()
	const few = soon + "max_entries = 100\n"
	g := newGateway(t, few)
	usb := filepath.Join(t.TempDir(), "usb")
	payloads := spectra(4000)
	g.start()
	p := publishInBackground(t, fmt.Sprintf("127.0.0.1:%d", g.port), payloads)
	p.allow(3000)
	g.acknowledged(p, 2000)
	before, _ := p.promised()
	first := g.backup(usb) // while messages arrive
	g.acknowledged(p, 3000)
	second := g.backup(usb)
	if second.Generation != 2 || second.Entries <= first.Entries {
		t.Errorf("generation %d has %d entries, after %d in the first", second.Generation, second.Entries, first.Entries)
	}
	p.allow(3010)
	g.acknowledged(p, 3010)
	g.seals()
	third := g.backup(usb, "--keep", "2", "--with-key")
	// Of ten more readings come at most a table or two, and the write-ahead log.
	if third.CopiedBytes > third.Bytes/2 || third.CopiedBytes > 3<<20 {
		t.Errorf("the third backup copies %d of %d bytes, for ten more readings", third.CopiedBytes, third.Bytes)
	}
	t.Logf("first %d of %d bytes, second %d of %d, third %d of %d", first.CopiedBytes, first.Bytes, second.CopiedBytes, second.Bytes, third.CopiedBytes, third.Bytes)
	g.must("backup", "--verify", usb)
	var list []made
	if err := json.Unmarshal([]byte(g.must("backup", "--list", usb, "--output", "json")), &list); err != nil || len(list) != 2 || list[0].WithKey || !list[1].WithKey {
		t.Errorf("the list of generations: %+v, %v", list, err)
	}
	if left, err := filepath.Glob(filepath.Join(g.data(), "checkpoint-*")); err != nil || len(left) > 0 {
		t.Errorf("checkpoints are left: %v %v", left, err)
	}
	chain := g.status().Chain.String()
	g.stop()

	// The first two generations have no key, so that one is put there by hand.
	elsewhere := prepareGateway(t, t.TempDir(), few)
	elsewhere.must("restore", usb, "--generation", "2")
	elsewhere.start() // it records all the same
	elsewhere.await("missing the key", func() bool {
		return slices.ContainsFunc(elsewhere.status().Live.HeldBy, func(r sealgate.Reason) bool { return r.Kind == sealgate.Key })
	})
	elsewhere.stop()
	key, err := os.ReadFile(filepath.Join(g.data(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(elsewhere.data(), "key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := elsewhere.verify(); got != chain {
		t.Errorf("restored is chain %s, want %s", got, chain)
	}
	checkRows(elsewhere, payloads, before, len(payloads))
	if config, err := os.ReadFile(filepath.Join(elsewhere.data(), "restored", g.config)); err != nil || !strings.Contains(string(config), "press-hall") {
		t.Errorf("the configuration as it was: %v", err)
	}
	elsewhere.fails(2, "never overwritten", "restore", usb)

	// Nobody can tell whether this is the newest head, so nothing is sealed on it.
	height := elsewhere.status().Height
	elsewhere.start()
	publish(t, elsewhere, "press/state", `{"temperature":73.9}`) // taken and acknowledged all the same
	elsewhere.await("on hold", func() bool { return strings.Contains(elsewhere.status().Live.Held, "restored from a backup") })
	// More than block.interval after that, by the agent's own clock, it has sealed nothing.
	opened := elsewhere.newest().Received
	elsewhere.await("recording for longer than an interval", func() bool {
		publish(t, elsewhere, "press/state", `{"temperature":73.9}`)
		return elsewhere.newest().Received.Sub(opened) > soonest
	})
	if s := elsewhere.status(); s.Height != height || s.Open == 0 {
		t.Errorf("on a restored chain, height %d became %d with %d entries not sealed", height, s.Height, s.Open)
	}
	elsewhere.fails(5, "", "restore", "--newest") // while the agent runs
	elsewhere.stop()
	elsewhere.must("restore", "--newest")
	elsewhere.start()
	elsewhere.seals()
	if s := elsewhere.status(); s.Height <= height || s.Live.Held != "" {
		t.Errorf("with the operator's word, height %d became %d: %s", height, s.Height, s.Live.Held)
	}
	elsewhere.stop()
	if told := elsewhere.events("restore"); len(told) != 3 || told[1]["newest"] != false || told[2]["newest"] != true {
		t.Errorf("of three starts on a restored chain it records %v", told)
	}
	elsewhere.verify()
}

func TestRestoredChainContinuesAsNewOne(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	publish(t, g, "press/state", `{"temperature":73.9}`)
	g.stop()
	old := g.status()
	usb := filepath.Join(t.TempDir(), "usb")
	g.backup(usb) // of an agent that does not run
	elsewhere := prepareGateway(t, t.TempDir(), "")
	elsewhere.must("restore", usb)
	elsewhere.must("init", "--continue") // without the old key
	elsewhere.start()
	elsewhere.stop()
	if s := elsewhere.status(); s.Chain == old.Chain || s.Height == 0 {
		t.Errorf("chain %s at height %d, want another than %s", s.Chain, s.Height, old.Chain)
	}

	// The old one is still there to be read, also from a backup of the new one.
	elsewhere.fails(2, "holds backups of something else", "backup", usb)
	second := filepath.Join(t.TempDir(), "usb")
	elsewhere.backup(second)
	third := prepareGateway(t, t.TempDir(), "")
	third.must("restore", second)
	aside := filepath.Join(third.dir, "aside")
	if err := os.Mkdir(aside, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(third.data(), "chain-"+old.Chain.String()[:8]), filepath.Join(aside, "chain")); err != nil {
		t.Fatal(err)
	}
	if says, stderr, code := third.output("edgeagent", "--data", aside, "verify"); code != 0 || !strings.Contains(says, old.Chain.String()) {
		t.Errorf("the old chain from the new one's backup: %d\n%s%s", code, says, stderr)
	}
}

func TestKilledBackupLeavesFormerGenerationsWhole(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	usb := filepath.Join(t.TempDir(), "usb")
	payloads := spectra(12_000)
	g.start()
	p := publishInBackground(t, fmt.Sprintf("127.0.0.1:%d", g.port), payloads)
	published := 0
	more := func(n int) {
		published += n
		p.allow(published)
		g.acknowledged(p, published)
	}
	more(100)
	g.backup(usb)
	pooled := func() (n int) {
		_ = filepath.WalkDir(filepath.Join(usb, "pool"), func(_ string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				n++
			}
			return nil
		})
		return n
	}
	// One that is done before this test sees it begin is followed by another, which has new readings to copy.
	killed := 0
	for killed < 3 && published+1000 <= len(payloads) {
		more(1000)
		before := pooled()
		b := program.Start(t, g.command("edgeagent", "backup", usb, "--keep", "1", "--config", g.config), filepath.Join(t.TempDir(), "log"))
		for done := false; !done && pooled() == before; {
			select {
			case <-b.Gone():
				done = true
			default:
			}
		}
		b.Kill()
		if b.State().ExitCode() != 0 {
			killed++
		}
		g.must("backup", "--verify", usb)
		if killed > 0 && len(g.must("backup", "--list", usb)) == 0 {
			t.Error("no generation is left")
		}
	}
	if killed == 0 {
		t.Error("no backup was killed in the middle")
	}
	last := g.backup(usb, "--keep", "1")
	g.stop()
	elsewhere := prepareGateway(t, t.TempDir(), "")
	elsewhere.must("restore", usb, "--generation", fmt.Sprint(last.Generation))
	checkRows(elsewhere, payloads, nil, published)
	elsewhere.verify()
}

func TestDamagedBackupIsNotRestored(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	for _, payload := range spectra(20) {
		publish(t, g, "press/state", payload)
	}
	g.stop()
	usb := filepath.Join(t.TempDir(), "usb")
	g.backup(usb)
	largest, size := "", int64(0)
	err := filepath.WalkDir(filepath.Join(usb, "pool"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Size() > size {
			largest, size = path, info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(largest)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(largest, b, 0o600); err != nil {
		t.Fatal(err)
	}
	g.fails(3, filepath.Base(largest), "backup", "--verify", usb)
	elsewhere := prepareGateway(t, t.TempDir(), "")
	elsewhere.fails(3, "damaged", "restore", usb)
	elsewhere.fails(4, "no chain", "verify")
}

// A card goes bad before it is replaced: what is left of its chain is handed over, and an older generation, which may
// hold what is lost, is not dropped for the newest.
func TestDamagedChainIsBackedUpAndMovedAsItIs(t *testing.T) {
	t.Parallel()
	g := newGateway(t, soon+"max_entries = 300\n")
	usb := filepath.Join(t.TempDir(), "usb")
	g.start()
	p := publishInBackground(t, fmt.Sprintf("127.0.0.1:%d", g.port), spectra(3000))
	p.allow(3000)
	g.acknowledged(p, 3000)
	g.stop()
	g.start() // puts into tables what stood in the log
	g.stop()
	whole := g.backup(usb)
	damage(t, g.data())
	g.start("--set", "store.scrub_every=1s", "--set", "store.scrub_rate=1GiB")
	g.await("telling of what is lost", func() bool { return g.metric(`edgeagent_damaged{what="entries"}`) > 0 })
	g.seals()
	g.stop()
	lost := g.status().Lost
	if says := g.must("backup", usb, "--keep", "1"); !strings.Contains(says, fmt.Sprintf("DAMAGE is in it: %d entries", lost.Entries)) {
		t.Errorf("a backup of a damaged chain says\n%s", says)
	}
	g.backup(usb, "--move", "--keep", "1")

	older := prepareGateway(t, t.TempDir(), "")
	older.must("restore", usb, "--generation", fmt.Sprint(whole.Generation))
	older.verify()
	board := prepareGateway(t, t.TempDir(), "")
	board.fails(3, "--damaged", "restore", usb)
	if says := board.must("restore", usb, "--damaged"); !strings.Contains(says, "DAMAGE  block") {
		t.Errorf("a restore of a damaged chain says\n%s", says)
	}
	before := board.status()
	board.start()
	publish(t, board, "press/state", `{"temperature":74.1}`)
	board.await("under a key of its own", func() bool { return board.status().Key != before.Key })
	board.stop()
	if after := board.status(); after.Entries <= before.Entries || after.Lost != lost {
		t.Errorf("after %d entries, %+v lost, there are %d on the new board, %+v lost", before.Entries, lost, after.Entries, after.Lost)
	}
}

func TestMovedChainGoesOnInOnePlaceOnly(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	usb := filepath.Join(t.TempDir(), "usb")
	g.start()
	publish(t, g, "press/state", `{"temperature":73.9}`)
	g.fails(5, "stop it first", "backup", "--move", usb)
	g.stop()
	if m := g.backup(usb, "--move"); !m.Moved || !m.WithKey {
		t.Errorf("the move says %+v", m)
	}
	old := g.status()
	g.fails(78, "moved to another board", "run")
	g.fails(78, "moved to another board", "run", "--init")
	g.fails(2, "moved to another board", "init", "--continue")
	g.fails(2, "already", "backup", "--move", usb)
	key := filepath.Join(g.data(), "key")
	if _, err := os.Stat(key); !os.IsNotExist(err) {
		t.Errorf("the key is left: %v", err)
	}
	// As a power cut leaves it between overwriting the key and removing it.
	if err := os.WriteFile(key, make([]byte, 400), 0o600); err != nil {
		t.Fatal(err)
	}
	g.fails(2, "already", "backup", "--move", usb)
	if _, err := os.Stat(key); !os.IsNotExist(err) {
		t.Errorf("the overwritten key is left: %v", err)
	}
	g.verify() // it can still be read
	if old.Mark == "" {
		t.Error("the old board's status says nothing of the move")
	}

	board := prepareGateway(t, t.TempDir(), "")
	board.must("restore", usb)
	board.start()
	board.await("under a key of its own", func() bool { return board.status().Key != old.Key })
	publish(t, board, "press/state", `{"temperature":74.1}`)
	board.stop()
	if s := board.status(); s.Chain != old.Chain || s.Height <= old.Height {
		t.Errorf("on the new board it is chain %s at %d, was %s at %d", s.Chain, s.Height, old.Chain, old.Height)
	}
	board.verify()

	// Taken from the same stick a second time, it is an old image like any other.
	second := prepareGateway(t, t.TempDir(), "")
	if says := second.must("restore", usb); !strings.Contains(says, "taken over already") {
		t.Errorf("a second restore of what was moved says\n%s", says)
	}
	second.start()
	second.await("on hold", func() bool { return second.status().Live.Held != "" })
	second.stop()
	if s := second.status(); s.Height != old.Height {
		t.Errorf("it sealed up to %d on the head %d", s.Height, old.Height)
	}
}

// Either the agent has the chain or the backup takes it along: at whatever point of its start an agent is when a move begins,
// what is sealed here is in the backup, or the move is refused.
func TestAMoveBesideAnAgentThatStartsLeavesOneOfThem(t *testing.T) {
	t.Parallel()
	g := newGateway(t, soon)
	usb := t.TempDir()
	var refused, moved int
	for try := range 8 {
		var stdout, stderr bytes.Buffer
		move := g.command("edgeagent", "backup", filepath.Join(usb, fmt.Sprint(try)), "--move", "--output", "json", "--config", g.config)
		move.Stdout, move.Stderr = &stdout, &stderr
		if err := move.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(try) * 15 * time.Millisecond) // whichever comes first, what follows holds
		g.launch()
		_ = move.Wait() // its code is judged
		code := move.ProcessState.ExitCode()
		if code != 0 {
			refused++
			if code != 5 {
				t.Errorf("the move exits with %d\n%s%s", code, &stdout, &stderr)
			}
			g.await("recording", g.records)
			publish(t, g, "press/state", `{"temperature":73.9}`)
			g.stop()
			g.verify()
			continue
		}
		moved++
		if code := g.ended(); code != 78 {
			t.Errorf("the agent ends with %d beside a chain that was moved", code)
		}
		var m made
		if err := json.Unmarshal(stdout.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		if here := g.status(); here.Height != m.Height || here.Entries != m.Entries {
			t.Errorf("here the chain has %d entries below header %d, in the backup %d below %d", here.Entries, here.Height, m.Entries, m.Height)
		}
		before := g.status()
		g = prepareGateway(t, t.TempDir(), soon)
		g.must("restore", filepath.Join(usb, fmt.Sprint(try)))
		g.start() // once alone, for its key is changed then
		g.await("under a key of its own", func() bool { return g.status().Key != before.Key })
		g.stop()
	}
	t.Logf("refused %d, moved %d", refused, moved)
}

func TestUnfinishedMoveIsFinishedByTheNextOne(t *testing.T) {
	t.Parallel()
	g := newGateway(t, soon)
	g.start()
	g.stop()
	// As a power cut leaves it after the place was barred and before the generation counted.
	mark := `{"at":"2026-01-02T03:04:05Z","to":"/media/broken"}`
	if err := os.WriteFile(filepath.Join(g.data(), "chain", "MOVED"), []byte(mark), 0o600); err != nil {
		t.Fatal(err)
	}
	g.fails(78, "/media/broken", "run")
	usb := filepath.Join(t.TempDir(), "usb")
	if m := g.backup(usb, "--move"); !m.Moved {
		t.Errorf("the move says %+v", m)
	}
	board := prepareGateway(t, t.TempDir(), soon)
	board.must("restore", usb)
	board.start()
	board.seals()
	board.stop()
	board.verify()
}

func TestEncryptedKeyIsBackedUpWithoutItsPassphrase(t *testing.T) {
	t.Parallel()
	passphrase := filepath.Join(t.TempDir(), "passphrase")
	if err := os.WriteFile(passphrase, []byte("correct horse"), 0o600); err != nil {
		t.Fatal(err)
	}
	encrypted := soon + fmt.Sprintf("[key]\npassphrase = %q\n", "file:"+passphrase)
	g := newGateway(t, encrypted)
	g.start()
	usb := filepath.Join(t.TempDir(), "usb")
	aside := passphrase + ".aside"
	if err := os.Rename(passphrase, aside); err != nil {
		t.Fatal(err)
	}
	g.backup(usb, "--with-key")
	if err := os.Rename(aside, passphrase); err != nil {
		t.Fatal(err)
	}
	g.stop()
	elsewhere := prepareGateway(t, t.TempDir(), encrypted)
	elsewhere.must("restore", usb, "--newest")
	elsewhere.start()
	elsewhere.seals()
	elsewhere.stop()
	elsewhere.verify()
}
