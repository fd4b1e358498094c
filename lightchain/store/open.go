package store

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2"

	"edgechain.example/lightchain/store/salvage"
)

// Open opens the chain in dir for recording. Whatever state a crash or a bad card left it in, it opens if the chain's
// end can be found at all, and says in Info what was lost; the entries that were acknowledged and are not lost are
// there. Without the key in force it does all but seal: see [Store.AddSigner]. Errors a caller branches on:
// [ErrNoChain], [ErrNewer], [ErrOlder], [ErrVolatile], [ErrLocked], [ErrNoSpace], [ErrMoved], [ErrOther].
func Open(dir string, o Options) (*Store, error) {
	s, err := open(dir, o)
	if err != nil {
		return nil, fmt.Errorf("opening the chain in %s: %w", dir, err)
	}
	return s, nil
}

func open(dir string, o Options) (_ *Store, err error) {
	if o, err = o.withDefaults(); err != nil {
		return nil, err
	}
	regainAccess(dir, o)
	if err := clearIrregular(dir, o); err != nil {
		return nil, err
	}
	if _, _, err := current(dir, o); err != nil && !(errors.Is(err, ErrNoChain) && chainLeft(dir, o)) {
		return nil, err
	}
	volatile, err := checkVolatile(dir, o)
	if err != nil {
		return nil, err
	}
	s := &Store{options: o, dir: dir, guard: newGuard(o.Fatal), open: newOpenBlock()}
	s.due = &dueScrub{noted: o.Met}
	s.space = newSpaceCheck(dir, o)
	s.space.volatile = volatile
	if err := s.space.enoughToOpen(); err != nil {
		return nil, err
	}
	if s.lock, err = lockFolder(dir, o, false); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.lock.Close()
		}
	}()
	if err := CheckMoved(dir, o); err != nil {
		return nil, err
	}
	if s.info.Restored, err = ReadRestored(dir, o); err != nil {
		return nil, err
	}
	for _, signer := range o.signers() {
		s.sides.candidates = append(s.sides.candidates, signer.Public())
	}
	if s.decoder, err = newDecoder(); err != nil {
		return nil, err
	}
	if s.compressor, err = newCompressor(); err != nil {
		return nil, err
	}
	s.found = readSlots(dir, o)
	s.durable = readDurable(dir, o, &s.found)
	s.marked = s.found.newest()
	s.beside = readBeside(dir, o, s.marked)
	if path, _, err := current(dir, o); err == nil && s.found.bad() != nil { // a log with another name counts as lost here
		s.sound = soundLogs(path, o, s.durable)
	}
	if err := s.found.foreign(); err != nil {
		return nil, err
	}
	for _, err := range s.found.errs {
		if err != nil && !isDamage(err) {
			return nil, fmt.Errorf("head mark: %w", err) // it may be sound
		}
	}
	if err := s.expectChain(); err != nil {
		return nil, err
	}
	if err := o.Opening("reading the log", 0, 0); err != nil {
		return nil, err
	}
	if err := s.openDatabase(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && s.db != nil {
			s.closeBeside()
			s.db.Close()
		}
	}()
	if s.stop != nil {
		return nil, s.stop
	}
	err = s.migrate()
	if errors.Is(err, ErrDamaged) || errors.Is(err, ErrNoChain) && s.found.newest() != nil {
		if err = s.rebuildOpened(err); err == nil {
			err = s.migrate()
		}
	}
	if err != nil {
		return nil, err
	}
	if err := s.rebuildIfTailDamaged(); err != nil {
		return nil, err
	}
	if err := s.rebuildIfBelowMark(); err != nil {
		return nil, err
	}
	if err := s.rebuildIfLacking(); err != nil {
		return nil, err
	}
	if err := o.Opening("looking for the chain's end", 0, 0); err != nil {
		return nil, err
	}
	if err := s.recover(); err != nil {
		return nil, err
	}
	if got := s.tip.Chain.String(); o.Chain != "" && got != o.Chain { // it could not be told before
		return nil, otherChain(o.Chain, got)
	}
	if err := s.countOpening(); err != nil {
		return nil, err
	}
	if err := s.renewManifest(); err != nil {
		return nil, err
	}
	// Nothing has left yet of this run, and no header before it without its mark: from here on there is one.
	if err := s.startMark(); err != nil {
		return nil, err
	}
	// The chain is whole as far as it can be: what no part of it is in goes.
	if err := s.letGo(); err != nil {
		return nil, err
	}
	if err := s.openNote(); err != nil {
		o.Logger.Warn("failed to note the number of the newest acknowledged entry", "err", err)
	}
	s.checkSides()
	if err := s.space.hold(o.FS, s.dir, s.path); err != nil {
		return nil, err
	}
	s.running = true
	return s, nil
}

// expectChain fails if the folder surely holds another chain than the one expected: a card that was put into the wrong
// gateway is neither repaired nor brought to a newer layout. A chain that cannot be told is looked at when it is open.
func (s *Store) expectChain() error {
	o := s.options
	if o.Chain == "" {
		return nil
	}
	if m := s.found.newest(); m != nil && m.chain().String() == o.Chain {
		return nil // the database may be of another one nevertheless, and is looked at when it is open
	}
	path, _, err := current(s.dir, o)
	if errors.Is(err, ErrNoChain) {
		if m := s.found.newest(); m != nil {
			return otherChain(o.Chain, m.chain().String())
		}
	}
	if err != nil {
		return nil
	}
	o.Logger = slog.New(slog.DiscardHandler) // whatever is found, it is said when it counts
	db, err := openPebbleReadOnly(path, o, s.durable)
	if err != nil {
		return nil
	}
	defer db.Close()
	r := &Reader{db: db, from: db, fs: o.FS, path: path}
	b, err := r.headerBytes(0)
	if err != nil {
		return nil
	}
	if got := lightchain.ChainID(lightchain.LeafHash(b)).String(); got != o.Chain {
		return otherChain(o.Chain, got)
	}
	return nil
}

func otherChain(want, got string) error {
	return fmt.Errorf("%w: it is %s, not %s", ErrOther, got, want)
}

// rebuildIfBelowMark reads everything in the folder once more where the database ends below the head mark: what no
// manifest names may hold the headers that are missing.
func (s *Store) rebuildIfBelowMark() error {
	if s.info.Recovered.Rebuilt != "" || !s.belowMark() {
		return nil
	}
	err := s.rebuildOpened(fmt.Errorf("the newest headers: %w", ErrDamaged))
	if errors.Is(err, ErrNoSpace) {
		s.options.Logger.Error("failed to rebuild the database, which ends below the head mark: there is no room", "err", err)
		return nil
	}
	return err
}

// rebuildIfLacking reads everything in the folder once more where a table that the database does not name holds what the
// database lacks.
func (s *Store) rebuildIfLacking() error {
	if s.info.Recovered.Rebuilt != "" {
		return nil // from all tables in the folder
	}
	err := s.unnamed()
	if !errors.Is(err, ErrDamaged) {
		return err
	}
	if rebuildErr := s.rebuildOpened(err); !errors.Is(rebuildErr, ErrNoSpace) {
		return rebuildErr
	}
	return fmt.Errorf("%w, and nothing may be removed before: make room", err)
}

// openDatabase opens the database that counts, repairing what must be repaired for that.
func (s *Store) openDatabase() error {
	path, _, err := current(s.dir, s.options)
	if errors.Is(err, ErrNoChain) {
		if err = s.beginAgain(1); err == nil {
			path, _, err = current(s.dir, s.options)
		}
	}
	if err != nil {
		return err
	}
	if desc, err := pebble.Peek(path, s.options.FS); err == nil && desc.FormatMajorVersion > formatMajorVersion {
		return fmt.Errorf("%w: Pebble's format %d, this program knows %d", ErrNewer, desc.FormatMajorVersion, formatMajorVersion)
	}
	if err := s.onlyFiles(path); err != nil {
		return err
	}
	if err := s.nameLogs(path); err != nil {
		return err
	}
	reading := newReadingLog(path, &s.options)
	s.options.reading = reading
	defer func() {
		reading.over.Store(true)
		s.options.reading = nil
		if reading.stop != nil { // else another database was opened in this one's place, and may have been stopped
			s.stop = reading.stop
		}
	}()
	repaired, err := repairLogs(s.dir, path, s.options, s.durable)
	if err != nil {
		return err
	}
	s.info.Recovered.LogBytes += repaired.LogBytes
	if repaired.LogFile != "" {
		s.info.Recovered.LogFile = repaired.LogFile
	}
	s.fs, s.path = s.options.FS, path
	rebuild := func(why error) error {
		if reading.stop != nil {
			return reading.stop
		}
		s.options.reading = nil // another database's logs
		return s.rebuild(why)
	}
	if err := s.checkState(path); errors.Is(err, ErrDamaged) {
		return rebuild(err)
	} else if err != nil {
		return err
	}
	if err = s.openForWriting(path); err != nil && s.guard.err() == nil {
		return rebuild(err)
	}
	return err
}

// openForWriting opens the database in path, which is sound as far as it was looked at.
func (s *Store) openForWriting(path string) (err error) {
	names, err := s.options.FS.List(path)
	if err != nil {
		return err
	}
	s.logless = !slices.ContainsFunc(names, salvage.IsLog)
	s.merges = newCompactions()
	s.db, err = openPebble(path, s.options, s.guard, s.hold(), s.durable, s.due, &s.cut, s.merges)
	s.from = s.db
	return err
}

// renewManifest lets Pebble write its record of files, which it does not when it opens a database without a log. Without
// a record of this run a checkpoint would have an empty one, and no reader could open it.
func (s *Store) renewManifest() error {
	if !s.logless {
		return nil
	}
	return s.db.Flush() // there is something to flush: this opening was counted
}

// rebuild puts a new database in the place of a damaged one that is not open, and opens it. Where the system refused
// something, nothing is known to be damaged, and nothing is done.
func (s *Store) rebuild(failed error) error {
	if !isDamage(failed) {
		return failed
	}
	path, n, err := current(s.dir, s.options)
	if err != nil {
		return err
	}
	if took, err := s.takeBetter(path, n, failed); took {
		return err
	}
	if err := s.roomToRebuild(path, failed); err != nil {
		return err
	}
	genesis := knownGenesis(s.dir, s.options, s.found.newest())
	if s.rebuilt, err = rebuild(s.dir, path, n, s.options, s.guard, s.durable, genesis, failed); err != nil {
		return err
	}
	s.info.Recovered.Rebuilt = path
	if path, _, err = current(s.dir, s.options); err != nil {
		return err
	}
	s.path = path
	return s.openForWriting(path)
}

// rebuildIfTailDamaged looks for damage where the chain grows. Pebble would stumble over it for ever, so the database
// is made anew without it. Damage further below stays where it is: it is read past, and never written over.
func (s *Store) rebuildIfTailDamaged() error {
	if s.info.Recovered.Rebuilt != "" {
		return nil // all that can be read was
	}
	err := s.tailDamage()
	if err == nil {
		return nil
	}
	if rebuildErr := s.rebuildOpened(err); !errors.Is(rebuildErr, ErrNoSpace) {
		return rebuildErr
	}
	s.options.Logger.Error("failed to rebuild the database, which is damaged at the end of the chain: there is no room", "err", err)
	return nil
}

// rebuildOpened is rebuild for a database that is open, and stays so if there is no room: its error is [ErrNoSpace].
func (s *Store) rebuildOpened(failed error) error {
	if !isDamage(failed) {
		return failed
	}
	if _, n, err := current(s.dir, s.options); err == nil && s.betterThan(n) == "" {
		if err := s.roomToRebuild(s.path, failed); err != nil {
			return err
		}
	}
	if err := s.db.Close(); err != nil {
		return errors.Join(failed, err)
	}
	s.db = nil
	return s.rebuild(failed)
}

// roomToRebuild fails with an [ErrNoSpace] if a new database does not fit beside the one in path.
func (s *Store) roomToRebuild(path string, failed error) error {
	names, err := s.options.FS.List(path)
	if err != nil {
		return err
	}
	size := uint64(0)
	for _, name := range names {
		if info, err := s.options.FS.Stat(s.options.FS.PathJoin(path, name)); err == nil && !info.IsDir() {
			size += uint64(info.Size())
		}
	}
	if free, reserve, known := s.space.state(); known && free < size+reserve/4 {
		return fmt.Errorf("%w: rebuilding the database takes %d MiB, %d MiB are free, after: %w", ErrNoSpace, size>>20, free>>20, failed)
	}
	return nil
}

// tailDamage returns what cannot be read of the newest header and of what is staged above it.
func (s *Store) tailDamage() error {
	tip, sure, err := s.findTip()
	if err != nil {
		return err
	}
	if !sure {
		return fmt.Errorf("the newest header: %w", ErrDamaged)
	}
	s.now.Store(&view{tip: tip, next: tip.Next})
	open := newOpenBlock()
	recovered, err := s.recoverOpen(&open, s.telling("checking the chain's end", tip))
	if err != nil {
		return err
	}
	for _, gap := range recovered.Gaps {
		if err := readError(gap.Err); errors.Is(err, ErrDamaged) {
			return err
		}
	}
	return nil
}

// isDamage tells whether a file that cannot be read may be damaged: not if the system refused something.
func isDamage(err error) bool {
	return !errors.Is(err, ErrLocked) && !errors.Is(err, ErrNewer) && !errors.Is(err, ErrOlder) && !errors.Is(err, ErrNoSpace) &&
		!salvage.Refused(err)
}

// recover finds the tail, and stages again what stands behind a gap.
func (s *Store) recover() error {
	tip, sure, err := s.findTip()
	if err != nil {
		return err
	}
	s.tip = tip
	s.now.Store(&view{tip: tip.Clone(), next: tip.Next})
	s.noted = readNote(s.dir, s.options, tip.Chain)
	if err := s.forgetMove(); err != nil {
		return err
	}
	above, err := s.compareMark(sure)
	if err == nil && above != nil {
		err = s.goOnAbove(above)
	}
	if err != nil {
		return err
	}
	if err := s.noteHoles(); err != nil {
		return err
	}
	tip = s.tip
	for _, signer := range s.options.signers() {
		s.AddSigner(signer)
	}
	recovered, err := s.recoverOpen(&s.open, s.telling("looking for the chain's end", tip))
	if err != nil {
		return err
	}
	before, doubted := s.info.Recovered, s.doubted()
	why := s.doubt(s.dir, s.options, &s.found, s.sound, s.noted, recovered.end)
	if s.unsure = s.unsure || why != ""; s.unsure && !doubted {
		if why == "" {
			why = "headers cannot be read at the end of the database, and no head mark says that none has left above it"
		}
		if err := s.noteDoubt(why); err != nil {
			return fmt.Errorf("noting that headers may be missing: %w", err)
		}
	}
	strays := uint64(0)
	for _, below := range s.straysBelow() {
		n, err := s.countStrays(below.from, below.to+1)
		if err != nil {
			return err
		}
		strays += n
	}
	s.acknowledgedLost(&recovered)
	recovered.LogBytes, recovered.LogFile, recovered.Rebuilt = before.LogBytes, before.LogFile, before.Rebuilt
	recovered.Mark, recovered.SetBack = before.Mark, before.SetBack
	recovered.Restaged += strays
	recovered.Unsure = s.unsure && !doubted // else it was told of
	s.show(tip.Next + s.open.count)
	s.info.Recovered = recovered
	err = s.stageAgain()
	s.unsure = s.unsure || s.info.Restored != nil
	return err
}

// OpenReader opens the chain in dir for reading only, beside other readers and nobody who writes to it: it fails with
// [ErrLocked] while the agent runs, which makes a checkpoint for those who must read meanwhile, and while it is read no agent
// opens it: [CopyAtRest] makes a copy that keeps nobody out. It works on read-only media, on a
// volatile folder and without any key; nothing in the folder changes.
func OpenReader(dir string, o Options) (*Reader, error) {
	r, err := openReader(dir, o)
	if err != nil {
		return nil, fmt.Errorf("reading the chain in %s: %w", dir, err)
	}
	return r, nil
}

// readable returns the path of the database that counts. A folder that has lost it, and holds the head mark of its chain,
// is damaged, and not without a chain.
func readable(dir string, o Options) (path string, err error) {
	if err := checkRegular(dir, o); err != nil {
		return "", err
	}
	path, _, err = current(dir, o)
	if !errors.Is(err, ErrNoChain) || !chainLeft(dir, o) {
		return path, err
	}
	err = errors.New("the database is gone")
	found := readSlots(dir, o)
	if m := found.newest(); m != nil {
		err = fmt.Errorf("%w, and header %d has left: %d headers and %d entries are not here", err, m.head.Height, m.head.Height+1, m.head.First+m.head.Count)
	}
	return "", &damagedDatabase{err}
}

// damagedDatabase is why a database that was to be read does not open as it is. It is an [ErrDamaged], and nothing else:
// a file of it that is not there is no command's that was not found.
type damagedDatabase struct{ err error }

func (d *damagedDatabase) Error() string {
	said := "%v (opened for recording, it is rebuilt from what can be read)"
	if !errors.Is(d.err, ErrDamaged) {
		said = ErrDamaged.Error() + ": " + said
	}
	return fmt.Sprintf(said, d.err)
}

func (d *damagedDatabase) Is(target error) bool { return target == ErrDamaged }

func openReader(dir string, o Options) (_ *Reader, err error) {
	if o, err = o.withDefaults(); err != nil {
		return nil, err
	}
	path, err := readable(dir, o)
	if err != nil {
		return nil, err
	}
	lock, err := lockFolder(dir, o, true)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	r := &Reader{lock: lock, fs: o.FS, path: path}
	found := readSlots(dir, o)
	if r.db, err = openPebbleReadOnly(path, o, readDurable(dir, o, &found)); err != nil {
		if isDamage(err) {
			err = &damagedDatabase{err}
		}
		return nil, err
	}
	r.from = r.db
	defer func() {
		if err != nil {
			r.db.Close()
		}
	}()
	if r.decoder, err = newDecoder(); err != nil {
		return nil, err
	}
	if err := r.checkLayout(o.migrations); err != nil {
		return nil, err
	}
	r.marked = found.newest()
	r.beside = readBeside(dir, o, r.marked)
	tip, sure, err := r.findTip()
	if err != nil {
		return nil, err
	}
	r.endUnsure = !sure
	r.now.Store(&view{tip: tip, next: tip.Next})
	r.behind = r.setBack(&found)
	if m := found.newest(); m != nil && found.bad() == nil && m.hash() == tip.Hash {
		r.endUnsure = false // nothing above it has ever left
	}
	open := newOpenBlock()
	recovered, err := r.recoverOpen(&open, nil)
	if err != nil {
		return nil, err
	}
	if restored, err := ReadRestored(dir, o); err == nil && restored != nil && restored.Doubt != "" && !restored.Newest {
		r.endUnsure = true
	}
	if found.bad() != nil {
		sound := soundLogs(path, o, readDurable(dir, o, &found))
		r.endUnsure = r.endUnsure || r.doubt(dir, o, &found, sound, readNote(dir, o, tip.Chain), recovered.end) != ""
	}
	r.gaps = recovered.Gaps
	r.now.Store(&view{tip: tip, next: tip.Next + open.count})
	return r, nil
}
