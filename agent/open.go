package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"edgechain.example/arm"
	"edgechain.example/asowner"
	"edgechain.example/backup"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/keyfile"
	"edgechain.example/lightchain/store"
)

// ErrNeedsInit means that there is no chain and nobody said that one may be begun.
var ErrNeedsInit = errors.New("there is no chain yet")

// ErrOtherChain means that the data folder holds another chain than the configuration names.
var ErrOtherChain = errors.New("the data folder holds another chain than the configuration names")

// ErrUnusable means that something that the configuration names is missing, or is not what it has to be: a file of users, a
// certificate.
var ErrUnusable = errors.New("with this configuration the agent cannot start")

// ErrNoFolder means that the data folder is not there and cannot be made.
var ErrNoFolder = errors.New("failed to make the data folder")

// ChainDir returns the folder that holds the chain's store.
func (c *Config) ChainDir() string { return filepath.Join(c.Gateway.Data, "chain") }

// restoringDir returns the folder that is there while a restore is in progress, or was cut off.
func (c *Config) restoringDir() string { return c.ChainDir() + ".restoring" }

// checkRestoring refuses to begin a chain where another is being brought back.
func (c *Config) checkRestoring() error {
	if _, err := os.Lstat(c.restoringDir()); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return fmt.Errorf("%w in %s: a restore is in progress, or was cut off. Call edgeagent restore again; if another chain is to be begun instead, remove %s first", ErrNeedsInit, c.Gateway.Data, c.restoringDir())
}

// asideDir returns the folder of a former chain, by its first 8 characters.
func (c *Config) asideDir(chain string) string { return c.ChainDir() + "-" + chain }

// begin begins a chain where there is none, if that is asked for and allowed.
func (a *Agent) begin() error {
	c := a.config
	backup.RemoveCheckpoints(a.data, time.Time{}, a.log) // their agent is gone; what a reader holds stays
	empty, err := store.Empty(c.ChainDir(), store.Options{})
	if err != nil {
		return err
	}
	if err := store.CheckMoved(c.ChainDir(), store.Options{}); err != nil { // its key is gone too
		return fmt.Errorf("%s: %w", c.Gateway.Data, err)
	}
	remains, err := store.Remains(c.ChainDir(), store.Options{})
	if err != nil {
		return err
	}
	if empty || len(remains) > 0 {
		if err := a.mayBegin(remains); err != nil {
			return err
		}
		if err := c.moveRemains(a.log); err != nil {
			return err
		}
		former := c.former(a.options.ChainFile)
		genesis, err := Init(c, a.log)
		if err != nil {
			return err
		}
		if former != "" {
			a.former = "a chain began in a folder that had held another: " + former
			a.log.Warn("a new chain began, and an agent has run on another one here before, which is gone. If that is only out of sight, stop the agent, move the new one's folder away and bring it back; if it is in a backup, likewise, and edgeagent restore",
				"chain", genesis.ChainID(), "folder", c.ChainDir(), "left", former)
		}
		if file := a.options.ChainFile; file != "" {
			if err := os.WriteFile(file, []byte(genesis.ChainID().String()+"\n"), 0o644); err != nil {
				a.log.Warn("failed to write the chain's name beside the configuration", "err", err)
			}
		}
	}
	return nil
}

// former says what shows that an agent has run on a chain in the data folder before, where none is any more; "" if nothing
// does. A key shows nothing: it may have been put there for the first start, or made by one that was cut off.
func (c *Config) former(chainFile string) string {
	var left []string
	for _, name := range [...]string{sessionsFile, devicesFile, announcedFile, subscribersFolder} {
		if _, err := os.Lstat(filepath.Join(c.Gateway.Data, name)); err == nil {
			left = append(left, name)
		}
	}
	aside, _ := filepath.Glob(c.asideDir("*")) // whoever continues a chain and is cut off begins one that names none
	for _, name := range aside {
		left = append(left, filepath.Base(name))
	}
	if b, err := os.ReadFile(chainFile); err == nil {
		if chain, err := lightchain.ParseChainID(strings.TrimSpace(string(b))); err == nil {
			left = append(left, fmt.Sprintf("%s, which names %s", chainFile, chain))
		}
	}
	return strings.Join(left, ", ")
}

// openStore opens the chain.
func (a *Agent) openStore(ctx context.Context) (*store.Store, error) {
	c := a.config
	var err error
	o := c.storeOptions(a.log)
	o.DiskUsage = a.options.DiskUsage
	o.Chain = c.Gateway.Chain
	o.Damaged = func() { signal(a.damaged) }
	o.Opening = a.opening.step(ctx)
	o.Met = func() { signal(a.met) }
	o.Fatal = a.options.Fatal
	a.keys.files, a.keys.unreadable = c.readKeys()
	for _, f := range a.keys.files {
		if f.signer != nil {
			o.Signers = append(o.Signers, f.signer)
		}
	}
	if o.BootID, err = a.clock.BootID(); err != nil {
		a.log.Warn("failed to read which boot of the machine this is; every start counts as one", "err", err)
	}
	if why := store.SmallDisk(c.ChainDir(), o); why != "" {
		a.log.Warn("the disk is too small to record on for long", "folder", c.ChainDir(), "why", why)
	}
	st, err := a.openWaiting(ctx, o)
	if errors.Is(err, store.ErrOther) { // nothing was changed there
		return nil, fmt.Errorf("%w: gateway.chain: %w", ErrOtherChain, err)
	}
	if err != nil {
		return nil, err
	}
	return st, nil
}

// awaitsRoom is the step of an opening that a full disk holds up.
const awaitsRoom = "waiting for room on the disk"

// openWaiting opens the chain, and waits for what passes by itself: a disk without room, and a command that has the chain
// open. Another agent on the same socket has ended this one already.
func (a *Agent) openWaiting(ctx context.Context, o store.Options) (*store.Store, error) {
	for tell := range store.Attempts(ctx) {
		st, err := store.Open(a.config.ChainDir(), o)
		locked := errors.Is(err, store.ErrLocked)
		if err == nil || !locked && !errors.Is(err, store.ErrNoSpace) {
			return st, err
		}
		why := awaitsRoom
		if locked {
			why = "waiting for another program that has the chain open"
			if who := store.LockHolder(a.config.ChainDir()); who != "" {
				why += ", " + who
			}
		}
		a.opening.at(why, 0, 0)
		switch {
		case tell && locked:
			a.log.Warn("failed to open the chain: another program has it open; nothing is recorded until it ends", "who", store.LockHolder(a.config.ChainDir()), "err", err)
		case tell:
			a.log.Error("failed to open the chain: the disk has no room; waiting for some", "err", err)
		}
	}
	return nil, ctx.Err() // told to stop while waiting: nothing failed
}

// moveRemains moves what is left of a chain that is gone out of the way of another one, to chain-gone-<number>.
func (c *Config) moveRemains(log *slog.Logger) error {
	remains, err := store.Remains(c.ChainDir(), store.Options{})
	if err != nil || len(remains) == 0 {
		return err
	}
	if err := store.CheckMoved(c.ChainDir(), store.Options{}); err != nil { // it goes on elsewhere
		return fmt.Errorf("%s: %w", c.Gateway.Data, err)
	}
	for n := 1; ; n++ {
		to := c.asideDir(fmt.Sprint("gone-", n))
		if _, err := os.Lstat(to); err == nil {
			continue
		}
		log.Warn("what lay where a chain is to begin tells of none any more, and was moved aside", "left", remains, "folder", to)
		return os.Rename(c.ChainDir(), to)
	}
}

// mayBegin refuses to begin a second history where a first one is only out of sight. remains are what is left of one that is
// gone.
func (a *Agent) mayBegin(remains []string) error {
	c := a.config
	if err := c.checkRestoring(); err != nil {
		return err
	}
	switch {
	case len(remains) > 0 && (c.Gateway.Chain != "" || !a.options.Init):
		return fmt.Errorf("%w: %s is not empty, and nothing in it tells of a chain any more: %s. If there is a backup, move that folder away, and edgeagent restore; else begin another chain: edgeagent init, which moves it aside",
			store.ErrDamaged, c.ChainDir(), strings.Join(remains, ", "))
	case c.Gateway.Chain != "":
		return fmt.Errorf("%w in %s, but gateway.chain names %s: is the card with it mounted?", ErrNeedsInit, c.Gateway.Data, c.Gateway.Chain)
	case !a.options.Init:
		return fmt.Errorf("%w in %s: begin one with `edgeagent init`, or run with --init", ErrNeedsInit, c.Gateway.Data)
	}
	if missing := (arm.Board{}).MissingMount(c.Gateway.Data); missing != "" {
		return fmt.Errorf("%w in %s, and nothing is mounted at %s, where a card should be: mount it, or begin a chain there on purpose with `edgeagent init`", ErrNeedsInit, c.Gateway.Data, missing)
	}
	return nil
}

// storeOptions maps the configuration; what a running agent adds is not in it.
func (c *Config) storeOptions(log *slog.Logger) store.Options {
	return store.Options{
		Logger:          log,
		CacheSize:       int64(c.Store.Cache),
		MemTableSize:    uint64(c.Store.Memtable),
		MaxBlockEntries: lightchain.MaxBlock, // block.max_entries may change while the agent runs: the committer keeps it
		Reserve:         int64(c.Store.Reserve),
		ReservePercent:  c.Store.ReservePercent,
		AllowVolatile:   c.Store.AllowVolatile,
	}
}

// Init makes the gateway's key, if it has none yet, and begins its chain. The key is never made twice: where a chain
// could not be begun after it was, the next try takes it.
func Init(c *Config, log *slog.Logger) (*lightchain.SignedHeader, error) {
	if err := c.checkRestoring(); err != nil {
		return nil, err
	}
	if err := c.moveRemains(log); err != nil {
		return nil, err
	}
	return begin(c, nil, log)
}

// Continue begins a new chain whose genesis names the newest header of the one in the data folder, for a gateway whose
// chain cannot go on: an aggregator knows another end of it. The old chain moves aside, to chain-<its first 8
// characters>, and stays readable there.
func Continue(c *Config, log *slog.Logger) (*lightchain.SignedHeader, error) {
	if err := store.CheckMoved(c.ChainDir(), store.Options{}); err != nil { // whoever has it now continues it
		return nil, fmt.Errorf("%s: %w", c.Gateway.Data, err)
	}
	if err := c.checkRestoring(); err != nil {
		return nil, err
	}
	head, err := newestHead(c.ChainDir())
	if err != nil {
		return nil, err
	}
	aside := c.asideDir(head.Chain.String()[:8])
	if err := os.Rename(c.ChainDir(), aside); err != nil {
		return nil, fmt.Errorf("moving the old chain aside: %w", err)
	}
	log.Info("the old chain has moved aside", "chain", head.Chain, "height", head.Height, "folder", aside)
	// If this is cut off here, there is no chain, and init makes one that names none; the old one is still there.
	return begin(c, &head.Hash, log)
}

// newestHead returns the newest head of the chain in dir that may have left: the database's, or the head mark's where that
// is higher or the database is gone.
func newestHead(dir string) (head store.Head, err error) {
	reader, err := store.OpenReader(dir, store.Options{})
	if err == nil {
		tip := reader.Tip()
		head = store.Head{Chain: tip.Chain, Height: tip.Height, Hash: tip.Hash}
		if err := reader.Close(); err != nil {
			return head, err
		}
	}
	if errors.Is(err, store.ErrLocked) {
		return head, err
	}
	mark, markErr := store.ReadHead(dir, store.Options{})
	if mark != nil && (err != nil || mark.Chain == head.Chain && mark.Height > head.Height) {
		return *mark, nil
	}
	return head, errors.Join(err, markErr)
}

// makeKey reads the key, or its copy, and makes it if there is none: one that is there is never made again. Outside the data
// folder root makes it and gives it away, where root has begun this and acts as the folder's owner.
func (c *Config) makeKey() (signer lightchain.Signer, err error) {
	err = asowner.Outside(c.Gateway.Data, c.Key.File, func() error {
		if signer, err = keyfile.Load(c.Key.File, c.Key.Passphrase); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if signer, err = keyfile.Create(c.Key.File, keyfile.Options{Passphrase: c.Key.Passphrase, Comment: c.name()}); err != nil {
			return err
		}
		return backup.GiveToOwner(c.Gateway.Data, keyfile.Files(c.Key.File)...)
	})
	return signer, err
}

// makeData makes the data folder, where it is not there.
func (c *Config) makeData() error {
	err := os.MkdirAll(c.Gateway.Data, 0o750)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w %s: %w. Make it as root (sudo), or name another one with gateway.data or --data", ErrNoFolder, c.Gateway.Data, err)
	}
	return fmt.Errorf("%w %s: %w. Name another one with gateway.data or --data", ErrNoFolder, c.Gateway.Data, err)
}

// begin makes the key if there is none, and the chain.
func begin(c *Config, continues *lightchain.Hash, log *slog.Logger) (*lightchain.SignedHeader, error) {
	if err := c.makeData(); err != nil {
		return nil, err
	}
	signer, err := c.makeKey()
	if err != nil {
		return nil, fmt.Errorf("the gateway's key: %w", err)
	}
	o := c.storeOptions(log)
	o.Signer = signer
	o.BootID, _ = arm.Clock{}.BootID() // without it the first start counts as a boot of its own
	clock := lightchain.Clock{State: arm.Clock{}.Status().State, Boot: 1}
	if now, err := (arm.Clock{}).Now(); err == nil {
		clock.Uptime = uint64(now.Uptime)
	}
	genesis, err := store.Create(c.ChainDir(), o, store.Genesis{Name: c.name(), Continues: continues, Clock: clock})
	if err != nil {
		return nil, err
	}
	log.Info("a chain begins", "chain", genesis.ChainID(), "name", c.name(), "key", lightchain.FormatPublicKey(signer.Public()))
	return genesis, nil
}

// name returns the gateway's name.
func (c *Config) name() string {
	if c.Gateway.Name != "" {
		return c.Gateway.Name
	}
	host, err := os.Hostname()
	if err != nil || lightchain.CheckGatewayName(host) != nil {
		return ""
	}
	return host
}
