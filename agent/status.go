package agent

import (
	"errors"
	"fmt"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/asowner"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/lighttime"
	"edgechain.example/lightchain/store"
)

// ChainStatus is what a chain says of itself, whether or not an agent runs.
func ChainStatus(r *store.Reader) api.Status {
	stats := r.Stats() // once: what is said of the chain's end is of one moment
	s := api.Status{
		Chain: stats.Chain, Height: stats.Height, Head: stats.Head, Entries: stats.Entries, Open: stats.Open,
		Bytes: stats.DiskBytes, Key: lightchain.FormatPublicKey(stats.Key),
	}
	if oldest, _, err := r.Oldest(); err == nil {
		s.Held = oldest
	} else if errors.Is(err, store.ErrNotFound) {
		s.Held = s.Entries
	}
	if changes, err := r.KeyChanges(); err == nil && changes >= manyKeyChanges {
		s.KeyChanges = changes
	}
	if b := r.SetBack(); b != nil {
		s.SetBack = b.String()
	}
	s.Lost, s.Scrub = stats.Lost, scrubStatus(r.ScrubState())
	if h, err := r.HeaderAt(stats.Height); err == nil {
		s.Sealed = lighttime.Instant(h.Sealed)
	}
	if g, err := r.HeaderAt(0); err == nil && g.Genesis != nil && g.Genesis.Name != nil {
		s.Gateway = *g.Genesis.Name
	}
	return s
}

// FolderStatus is ChainStatus of a chain on which no agent runs, with what the next start will find beside it.
func FolderStatus(c *Config, r *store.Reader) api.Status {
	s := ChainStatus(r)
	if err := store.CheckMoved(c.ChainDir(), store.Options{}); errors.Is(err, store.ErrMoved) {
		s.Mark = err.Error()
	} else if back, err := store.ReadRestored(c.ChainDir(), store.Options{}); err == nil && back != nil && !back.Newest && back.Doubt != "" {
		s.Mark = doubtReason(back.Doubt, len(c.Upstream) > 0).String()
	} else if err == nil && back != nil && !back.Newest {
		s.Mark = restoredFrom(back) + ": the agent seals nothing until an aggregator has told its newest head"
	}
	_ = asowner.Outside(c.Gateway.Data, c.Key.File, func() error { // where it may not be looked for, nothing is known of it
		s.FormerKeys = c.formerKeyFiles(r)
		return nil
	})
	s.Verdict = judge(&s, time.Now())
	return s
}

// Status says how the gateway stands.
func (a *Agent) Status() api.Status {
	s := ChainStatus(&a.store.Reader)
	stats := a.store.Stats()
	clock := a.clock.Status()
	s.Scrub = scrubStatus(a.store.Scrubbing())
	s.Running, s.Version, s.Volatile = true, a.options.Version, stats.Volatile
	s.Live = &api.Live{
		Started: a.started, Boot: a.store.Info().Boots, Starts: a.store.Info().Opens, After: a.startedAfter(), Unclean: a.tally.condition().Unclean,
		Clock: clock.State.String(), ClockError: clock.MaxError.Seconds(),
		Free: stats.Free, Reserve: stats.Reserve, Full: a.committer.Full(),
		Stuck: a.committer.Stuck().Seconds(), TimeFloor: a.timeFloor(),
	}
	s.Live.WaitingSince, s.Live.Waiting = a.committer.Waiting()
	s.Live.Lost, s.Live.Damaged = a.tally.newest()
	s.Live.InFlight, s.Live.InFlightBytes = a.queue.Pending()
	s.Live.Held, s.Live.HeldBy = a.gate.Worst(), a.gate.Reasons()
	if wrong := a.keys.wrong.Load(); wrong != nil {
		s.Live.KeyWrong = *wrong
	}
	for _, text := range [...]*string{a.keys.wrong.Load(), a.keys.putBack.Load()} {
		if text != nil {
			s.Live.KeyFiles = append(s.Live.KeyFiles, *text)
		}
	}
	if former := a.keys.former.Load(); former != nil {
		s.FormerKeys = *former
	}
	s.Live.Upstreams = a.upstreamStatus()
	s.Live.Late, s.Live.Devices = a.devices.status()
	s.Live.Unread, s.Live.UnreadElsewhere = a.unread.status()
	s.Live.Renamed = a.devices.renamedStatus()
	s.Live.Buffer = a.buffer()
	s.Live.Card = cardStatus(a.committer.Spending(), cardSize(a.board.board, a.data))
	s.Live.HeldBack, s.Live.Kept = a.keptBack()
	if a.tcp != nil {
		if since, err := a.tcp.Failing(); err != nil {
			s.Live.DeafSince = since
			s.Live.Deaf = fmt.Sprintf("api.listen: not since %s: %v", since.UTC().Format(time.RFC3339), err)
		}
	}
	s.Live.Abandoned = a.abandoned(a.inForce())
	for _, source := range a.running() {
		one := source.status()
		a.pulses.show(&one)
		s.Live.Sources = append(s.Live.Sources, one)
	}
	s.Verdict = judge(&s, time.Now())
	return s
}

// The ends of the run before, as a start finds them.
const (
	afterStop     = "stop"      // of the program, in order
	afterShutdown = "shutdown"  // of the machine, in order
	afterCrash    = "crash"     // of the program: it failed, or was killed
	afterPowerCut = "power_cut" // of the machine, or its kernel failed
)

// startedAfter says how the run before this one ended.
func (a *Agent) startedAfter() string { return endBefore(a.store.Info()) }

func endBefore(info store.OpenInfo) string {
	switch {
	case info.Opens <= 1, info.Clean && !info.NewBoot:
		return afterStop
	case info.Clean:
		return afterShutdown
	case info.NewBoot:
		return afterPowerCut
	default:
		return afterCrash
	}
}

// stuckAfter is how long messages may wait without any of them reaching the disk.
const stuckAfter = 2 * time.Minute

// alive returns nil while commits make progress, or while there is nothing to commit.
func (a *Agent) alive() error {
	if since := a.committer.Stuck(); since > stuckAfter {
		return fmt.Errorf("nothing has reached the disk for %s though messages wait", since.Round(time.Second))
	}
	return nil
}

// mayPet lets the service manager's watchdog be: a program that hangs with messages waiting is to be started again.
func (a *Agent) mayPet() bool {
	err := a.alive()
	if err != nil {
		a.log.Error("failed to commit for long: not notifying the watchdog, systemd will restart the agent", "err", err)
	}
	return err == nil
}

// stopped returns why nothing is recorded for now; nil: it is.
func (a *Agent) stopped() error {
	if _, waiting := a.committer.Waiting(); waiting {
		return errors.New("recording has stopped: no room on the disk")
	}
	if a.committer.Full() {
		return fmt.Errorf("recording has stopped: the block is full, and cannot be sealed: %s", a.gate.Worst())
	}
	return nil
}

// verdict says whether all is well, at whatever step the agent is.
func (a *Agent) verdict() api.Verdict {
	if status := a.standing.Load(); status != nil {
		return (*status)().Verdict
	}
	return api.Verdict{}
}

// allWell returns nil while the verdict is OK: what /readyz says.
func (a *Agent) allWell() error {
	v := a.verdict()
	return v.Err()
}
