package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"edgechain.example/lightchain"
)

const (
	cutDiskSize   = 32 << 20
	cutsOfAFilm   = 200 // before another one is made
	cutsInOneTest = 16
	sector        = 512 // what a disk writes whole
	fillerName    = "filler"
)

// A reel is a disk whose every write is noted, with an ext4 on it that is mounted.
type reel struct {
	disk   *cutDisk
	mount  string
	scenes []scene
}

// A film is the life of a gateway on such a disk, with what the world knew at each moment.
type film struct {
	*reel
	t *torture
	g *gateway // its data lie on the disk

	mu     sync.Mutex
	acked  map[string]int // position by which it was
	hashes map[uint64]lightchain.Hash
	seen   map[uint64]int
	places map[string]place
	chain  string
	held   uint64 // the number of the oldest entry that is
}

// A scene is one thing that a program does, and which of its data folders is to live on if the power is cut there.
type scene struct {
	name     string
	from, to int // positions
	data     string
}

// cut films a gateway and an aggregator in turn, builds what a power cut at some moment could have left on the disk, and
// starts the program from that.
func (t *torture) cut(ctx context.Context) error {
	total := t.n
	switch {
	case t.short:
		total = cutsInOneTest
	case total == 0 && t.duration == 0:
		total = 1000
	case total == 0:
		total = math.MaxInt
	}
	began := time.Now()
	for done := 0; ctx.Err() == nil && done < total && (t.duration == 0 || time.Since(began) < t.duration); done += cutsOfAFilm {
		random, n := rand.New(rand.NewPCG(t.seed, uint64(done))), min(cutsOfAFilm, total-done)
		gateway, err := t.filmed(ctx)
		if err != nil {
			return fmt.Errorf("filming a gateway: %w", err)
		}
		node, err := t.filmedNode(ctx)
		if err != nil {
			return fmt.Errorf("filming an aggregator: %w", err)
		}
		// An aggregator's are fewer: each takes longer, and what it does is of fewer kinds.
		err = t.each(ctx, append(gateway.cuts(random, n-n/4), node.cuts(random, n/4)...))
		node.remove()
		if err != nil {
			return err
		}
	}
	return nil
}

// cuts returns trials of so many cuts, in all scenes.
func (f *film) cuts(random *rand.Rand, n int) (trials []trial) {
	for i := range n {
		s := f.scenes[i%len(f.scenes)]
		c := f.cutIn(s, random, i)
		trials = append(trials, trial{class: "cut", group: c.group("power cut"), name: f.name(s, c),
			run: func(ctx context.Context, o *outcome) { f.live(ctx, s, c, o) }})
	}
	return trials
}

// cutIn returns a cut in a scene. Every fifth is one of a disk that lies.
func (r *reel) cutIn(s scene, random *rand.Rand, i int) cutAt {
	return cutAt{seed: random.Uint64(), at: s.from + random.IntN(max(1, s.to-s.from)), lies: i%5 == 4}
}

func (r *reel) name(s scene, c cutAt) string {
	return fmt.Sprintf("%s, write %d of %d, seed %d", s.name, c.at, len(r.disk.log), c.seed)
}

func (c cutAt) group(honest string) string {
	if c.lies {
		return "disk that lies"
	}
	return honest
}

// filmed films a gateway to its end; the notes are left of it.
func (t *torture) filmed(ctx context.Context) (*film, error) {
	f, err := t.newFilm(ctx)
	if err != nil {
		return nil, err
	}
	defer f.close()
	return f, f.shoot(ctx)
}

func (t *torture) newFilm(ctx context.Context) (f *film, err error) {
	f = &film{t: t, acked: map[string]int{}, hashes: map[uint64]lightchain.Hash{}, seen: map[uint64]int{}, places: map[string]place{}}
	if f.g, err = t.newGateway("[retention]\nmax_size = \"1GiB\"\nmin_age = \"0s\"\ndelete_unreceipted_evidence = true\n"); err != nil {
		return nil, err
	}
	if f.reel, err = t.newReel(ctx); err != nil {
		return nil, err
	}
	f.g.data = filepath.Join(f.mount, "data")
	return f, nil
}

func (t *torture) newReel(ctx context.Context) (r *reel, err error) {
	r = &reel{}
	below, err := t.folder("fuse")
	if err != nil {
		return nil, err
	}
	if r.mount, err = t.folder("ext4"); err != nil {
		return nil, err
	}
	if r.disk, err = mountCutDisk(below, cutDiskSize); err != nil {
		return nil, err
	}
	if err := r.format(ctx); err != nil {
		r.unmount()
		return nil, err
	}
	return r, nil
}

func (r *reel) format(ctx context.Context) error {
	mkfs, err := find("mkfs.ext4")
	if err != nil {
		return err
	}
	if _, stderr, code := output(ctx, exec.Command(mkfs, "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", r.disk.file())); code != 0 {
		return fmt.Errorf("mkfs.ext4: %s", stderr)
	}
	device, err := attach(r.disk.file())
	if err != nil {
		return err
	}
	return device.mount(r.mount)
}

// unmount ends the notes, which stay.
func (r *reel) unmount() {
	_ = syscall.Unmount(r.mount, syscall.MNT_DETACH)
	r.disk.unmount()
}

// close ends the film; the notes stay.
func (f *film) close() {
	f.g.kill()
	f.unmount()
}

// shoot lets the gateway do all that changes its disk.
func (f *film) shoot(ctx context.Context) error {
	g := f.g
	watching, stop := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer stop()
	watcher.Go(func() { f.watch(watching) })
	f.disk.note()
	stick, filler := filepath.Join(f.mount, "stick"), filepath.Join(f.mount, fillerName)
	command := func(words ...string) func() error {
		return func() error {
			_, err := g.must(ctx, words...)
			return err
		}
	}
	both := func(do func() error) func() error { // with messages coming in
		return func() error {
			failed := make(chan error, 1)
			go func() { failed <- f.publish(ctx, 40) }()
			return errors.Join(do(), <-failed)
		}
	}
	for _, s := range []struct {
		name string
		do   func() error
	}{
		{"begin", func() error { return g.start(ctx, "--init") }},
		{"record", func() error { return f.publish(ctx, 60) }},
		{"rotate", both(command("key", "rotate"))},
		{"reload", both(command("reload"))},
		{"crash", func() error { g.kill(); return g.start(ctx) }},
		{"rotate again", both(command("key", "rotate"))},
		{"prune", both(func() error { return f.prune(ctx, filler) })},
		{"backup", both(command("backup", stick, "--with-key"))},
		{"stop and start", func() error { return errors.Join(g.stop(), g.start(ctx), f.publish(ctx, 20)) }},
		{"backup again", func() error { return errors.Join(g.stop(), command("backup", stick, "--with-key")()) }},
		{"restore", func() error {
			old := g.data
			g.data = filepath.Join(f.mount, "restored")
			err := errors.Join(command("restore", stick)(), command("restore", "--newest")())
			if err == nil {
				syscall.Sync()
			}
			f.scene("restore", old)
			return err
		}},
		{"go on", func() error { return errors.Join(g.start(ctx), f.publish(ctx, 40)) }},
	} {
		if err := s.do(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if g.process != nil {
			now, err := g.look(ctx, 0, 0)
			if err != nil {
				return err
			}
			if err := f.note(now); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		if s.name != "restore" {
			f.scene(s.name, g.data)
		}
	}
	return nil
}

// scene ends a scene: it lasts from the end of the one before until now.
func (r *reel) scene(name, data string) {
	from := 0
	if n := len(r.scenes); n > 0 {
		from = r.scenes[n-1].to
	}
	r.scenes = append(r.scenes, scene{name, from, r.disk.position(), filepath.Base(data)})
}

func (f *film) publish(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p := newPublisher(f.g.address(), "line", 1, func(payload string) {
		at := f.disk.position() // the acknowledgement is here, so what it stands on is noted by now
		f.mu.Lock()
		defer f.mu.Unlock()
		f.acked[payload] = at
	})
	p.clean = true
	p.run(ctx, n)
	return ctx.Err()
}

// prune has the oldest payloads deleted, for want of room.
func (f *film) prune(ctx context.Context, filler string) error {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(f.mount, &disk); err != nil {
		return err
	}
	file, err := os.Create(filler)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := syscall.Fallocate(int(file.Fd()), 0, 0, int64(disk.Bavail)*disk.Bsize-1500<<10); err != nil {
		return err
	}
	for range 3 {
		if _, err := f.g.must(ctx, "prune"); err != nil {
			return err
		}
	}
	return os.Remove(filler)
}

// watch notes the headers that leave, until ctx ends.
func (f *film) watch(ctx context.Context) {
	for sleep(ctx, 10*time.Millisecond) {
		status, err := f.g.status(ctx)
		if err != nil {
			continue
		}
		at := f.disk.position()
		f.mu.Lock()
		if _, known := f.seen[status.Height]; !known {
			f.hashes[status.Height], f.seen[status.Height] = status.Head, at
		}
		f.mu.Unlock()
	}
}

// note notes where entries are. What was acknowledged since the last time and is not there was deleted by retention in
// between, if that has deleted anything; its number nobody has seen.
func (f *film) note(now *found) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.chain = now.chain
	for _, e := range now.entries {
		f.places[string(e.Payload)] = place{e.Number, e.Sealed}
	}
	for payload := range f.acked {
		if _, known := f.places[payload]; known {
			continue
		}
		if now.status.Held <= f.held {
			return errors.New("what was acknowledged is not shown")
		}
		delete(f.acked, payload)
	}
	f.held = now.status.Held
	return nil
}

// ledgerAt is what the world knew at a position.
func (f *film) ledgerAt(at int) *ledger {
	l := newLedger()
	for payload, from := range f.acked {
		if from <= at {
			l.acked[payload] = true
		}
	}
	for height, from := range f.seen {
		if from <= at {
			l.hashes[height], l.chain = f.hashes[height], f.chain
		}
	}
	if len(l.acked) > 0 {
		l.chain = f.chain
	}
	for payload, p := range f.places {
		l.places[payload] = place{number: p.number} // whether it was sealed by then is not known
	}
	return l
}

// cutAt is a power cut: which writes it takes of those that were not synced.
type cutAt struct {
	seed uint64
	at   int
	lies bool // the disk forgets writes that it said were on it, too
}

// image builds what the cut leaves.
func (r *reel) image(c cutAt) []byte {
	random := rand.New(rand.NewPCG(c.seed, 0))
	disk := bytes.Clone(r.disk.base)
	sure := 0
	for i, op := range r.disk.log[:c.at] {
		if op.data == nil {
			sure = i
		}
	}
	if c.lies {
		sure = max(0, sure-1-random.IntN(200))
	}
	how := random.IntN(4)
	for i, op := range r.disk.log[:c.at] {
		switch {
		case i < sure || how == 1: // all kept
			copy(disk[op.at:], op.data)
		case how == 0: // all lost
		case random.IntN(2) == 0: // some kept
			copy(disk[op.at:], op.data)
		case how == 3: // and some torn
			for from := 0; from < len(op.data); from += sector {
				if random.IntN(2) == 0 {
					copy(disk[op.at+int64(from):], op.data[from:min(from+sector, len(op.data))])
				}
			}
		}
	}
	return disk
}

// live starts the gateway on what a cut left, and judges it.
func (f *film) live(ctx context.Context, s scene, c cutAt, o *outcome) {
	g, unmount, err := f.gatewayOn(s, c)
	if err != nil {
		o.stuck = "the harness: " + err.Error()
		return
	}
	defer unmount()
	defer g.kill()
	began := time.Now()
	err = g.comeBack(ctx, payload(0), "--init")
	var now *found
	if err == nil {
		o.back = time.Since(began)
		now, err = g.settle(ctx)
	}
	// Where the disk forgot a restore that it had said was there, no other chain is begun in its place.
	if c.lies && now == nil && err != nil && strings.Contains(err.Error(), "a restore is in progress, or was cut off") {
		o.said, o.unknown = true, len(g.ledger.acked)
		return
	}
	if err != nil {
		o.stuck = err.Error()
	}
	if now == nil {
		return
	}
	if g.ledger.chain == "" {
		g.ledger.chain = now.chain // nothing had left
	}
	g.ledger.forget(now.status.Held)
	judge(g.ledger, now, o)
	if c.lies { // together with what was lost went all that could tell of it
		o.unknown, o.untold = o.untold, 0
		if len(o.forks) > 0 {
			o.notes = append(o.notes, fmt.Sprintf("%d forks", len(o.forks)))
			o.unknown, o.forks = o.unknown+len(o.forks), nil
		}
	}
}

// develop mounts in a folder what a cut left.
func (r *reel) develop(c cutAt, dir string) (mount string, err error) {
	image, mount := filepath.Join(dir, "image"), filepath.Join(dir, "mount")
	if err = os.WriteFile(image, r.image(c), 0o600); err == nil {
		err = os.Mkdir(mount, 0o755)
	}
	if err != nil {
		return "", err
	}
	if !c.lies {
		if err = mountImage(image, mount); err == nil {
			return mount, nil
		}
	}
	// What a disk forgot may break the file system, too, and so may a superblock that was torn: it has to be mended first, as
	// at a boot.
	fsck, err := find("e2fsck")
	if err != nil {
		return "", err
	}
	_, _, _ = output(context.Background(), exec.Command(fsck, "-f", "-y", image))
	return mount, mountImage(image, mount)
}

func mountImage(image, mount string) error {
	device, err := attach(image)
	if err != nil {
		return err
	}
	return device.mount(mount)
}

// gatewayOn mounts what a cut left, and returns the gateway on it with a ledger of that moment.
func (f *film) gatewayOn(s scene, c cutAt) (g *gateway, unmount func(), err error) {
	g, err = f.t.emptyGateway()
	if err != nil {
		return nil, nil, err
	}
	if err := copyFile(f.g.config(), g.config()); err != nil {
		return nil, nil, err
	}
	mount, err := f.develop(c, g.dir)
	if err != nil {
		return nil, nil, err
	}
	_ = os.Remove(filepath.Join(mount, fillerName)) // the disk is not to be full for ever
	g.data, g.ledger = filepath.Join(mount, s.data), f.ledgerAt(c.at)
	return g, func() {
		g.kill()
		_ = syscall.Unmount(mount, syscall.MNT_DETACH)
		os.RemoveAll(g.dir)
	}, nil
}
