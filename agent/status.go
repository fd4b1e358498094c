package agent

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"edgechain/agent/api"
	"edgechain/arm"
	"edgechain/lightchain"
	"edgechain/lightchain/store"
)

// ChainStatus is what a chain says of itself, whether or not an agent runs.
func ChainStatus(r *store.Reader) api.Status {
	stats := r.Stats()
	tip := r.Tip()
	s := api.Status{
		Chain: stats.Chain, Height: stats.Height, Head: tip.Hash, Entries: stats.Entries, Open: stats.Open,
		Bytes: stats.DiskBytes, Key: lightchain.FormatPublicKey(tip.Key),
	}
	if oldest, _, err := r.Oldest(); err == nil {
		s.Held = oldest
	} else if errors.Is(err, store.ErrNotFound) {
		s.Held = s.Entries
	}
	s.Lost, s.Scrub = stats.Lost, scrubStatus(r.ScrubState())
	if h, err := r.HeaderAt(tip.Height); err == nil {
		s.Sealed = h.Sealed
	}
	if g, err := r.HeaderAt(0); err == nil && g.Genesis != nil && g.Genesis.Name != nil {
		s.Gateway = *g.Genesis.Name
	}
	return s
}

// FolderStatus is ChainStatus of a chain on which no agent runs, with what the next start will find beside it.
func FolderStatus(c *Config, r *store.Reader) api.Status {
	s := ChainStatus(r)
	if moved, err := store.ReadMoved(c.ChainDir(), store.Options{}); err == nil && moved != nil {
		s.Mark = fmt.Sprintf("the chain was moved to another board, on %s to %s: it can be read here, not recorded", moved.At.UTC().Format(time.RFC3339), moved.To)
	} else if back, err := store.ReadRestored(c.ChainDir(), store.Options{}); err == nil && back != nil && !back.Newest {
		s.Mark = fmt.Sprintf("the chain was restored from a backup of %s: the agent seals nothing until an aggregator has told its newest head", back.Made.UTC().Format(time.RFC3339))
	}
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
		Started: a.started, Boot: a.store.Info().Boots, Clock: clock.State.String(), ClockError: clock.MaxError.Seconds(),
		Free: stats.Free, Reserve: stats.Reserve, Waiting: a.committer.waiting.Load(),
	}
	s.Live.InFlight, s.Live.InFlightBytes = a.queue.pending()
	s.Live.Held = cmp.Or(a.held(), a.stuck())
	s.Live.Upstreams = a.upstreamStatus()
	s.Live.Buffer, s.Live.HeldBack = a.buffer(), a.heldBack()
	for _, source := range a.running() {
		s.Live.Sources = append(s.Live.Sources, source.stats())
	}
	return s
}

// stuckAfter is how long messages may wait without any of them reaching the disk.
const stuckAfter = 2 * time.Minute

// alive returns nil while commits make progress, or while there is nothing to commit. A full disk is not an ailment
// of the program, nor is a full block whose head aggregators have yet to settle: restarting it would help nobody.
func (a *Agent) alive() error {
	begun := a.queue.busySince() // before that there was nothing to make progress with
	if begun.IsZero() || a.committer.waiting.Load() || a.committer.full.Load() {
		return nil
	}
	if last := a.committer.alive.last(); last.After(begun) {
		begun = last
	}
	if since := time.Since(begun); since > stuckAfter {
		return fmt.Errorf("nothing has reached the disk for %s though messages wait", since.Round(time.Second))
	}
	return nil
}

// mayPet lets the service manager's watchdog be: a program that hangs with messages waiting is to be started again.
func (a *Agent) mayPet() bool {
	err := a.alive()
	if err != nil {
		a.log.Error("the watchdog is left alone", "err", err)
	}
	return err == nil
}

// ready returns nil while the gateway records what it was told to.
func (a *Agent) ready() error {
	if a.committer.waiting.Load() {
		return errors.New("recording has stopped: no room on the disk")
	}
	if a.committer.full.Load() {
		return errors.New("recording has stopped: the block is full, and not to be sealed before aggregators have said which head they know")
	}
	for _, s := range a.running() {
		if stats := s.stats(); !stats.Connected {
			return fmt.Errorf("source %s is not connected: %s", s.name, stats.Detail)
		}
	}
	return nil
}

// registerGauges shows what is read when it is asked for.
func (a *Agent) registerGauges() {
	m := a.metrics
	m.gauge("edgeagent_chain_height", "Height of the newest header.", func() float64 { return float64(a.store.Tip().Height) })
	m.gauge("edgeagent_chain_entries", "Entries that the chain numbers, the open block's included.", func() float64 { return float64(a.store.Next()) })
	m.gauge("edgeagent_last_block_timestamp_seconds", "When the newest block was sealed, by the gateway's clock.", func() float64 { return float64(ChainStatus(&a.store.Reader).Sealed) / 1e9 })
	m.gauge("edgeagent_in_flight_bytes", "Bytes of messages taken and not yet on disk.", func() float64 { _, b := a.queue.pending(); return float64(b) })
	m.gauge("edgeagent_in_flight_messages", "Messages taken and not yet on disk.", func() float64 { n, _ := a.queue.pending(); return float64(n) })
	m.gauge("edgeagent_waiting_for_space", "1 while staging has stopped because the disk's reserve is reached, else 0.", func() float64 { return truth(a.committer.waiting.Load()) })
	m.gauge("edgeagent_store_bytes", "Bytes that the chain takes up on disk.", func() float64 { return float64(a.store.Stats().DiskBytes) })
	m.gauge("edgeagent_store_written_bytes", "Bytes written to the disk by the store since the start, its log included.", func() float64 { s := a.store.Stats(); return float64(s.WALBytes + s.TableBytes) })
	m.gauge("edgeagent_free_bytes", "Bytes free for the chain.", func() float64 { return float64(a.store.Stats().Free) })
	m.gauge("edgeagent_reserve_bytes", "Bytes of free space below which nothing is staged.", func() float64 { return float64(a.store.Stats().Reserve) })
	m.gauge("edgeagent_buffer_seconds", "How long recording could go on at the present rate if no receipt came from now on: NaN while the rate is not known, +Inf where retention may delete what is not receipted.", a.bufferSeconds)
	m.gauge("edgeagent_held_back_bytes", "Bytes that retention would delete, were they receipted.", func() float64 {
		if s := a.heldBack(); s != nil {
			return float64(s.Bytes)
		}
		return 0
	})
	m.gauge("edgeagent_store_volatile", "1 if a power cut takes the data folder, else 0.", func() float64 { return truth(a.store.Stats().Volatile != "") })
	m.gauge("edgeagent_clock_synchronised", "1 if the clock is synchronised, else 0.", func() float64 { return truth(a.clock.Status().State == lightchain.ClockSynchronised) })
	m.gauge("edgeagent_clock_error_bound_seconds", "The kernel's bound of the clock's error.", func() float64 { return a.clock.Status().MaxError.Seconds() })
	var board arm.Board
	m.gauge("edgeagent_under_voltage", "1 if the board's supply fell below its limit since it was last asked, else 0.", func() float64 { return truth(board.Power().UnderVoltage) })
	m.gauge("edgeagent_throttled", "1 if the processor is slowed, by low voltage or heat; else 0.", func() float64 { return truth(board.Power().Throttled) })
	if t := board.Temperature(); t.Known {
		m.gauge("edgeagent_temperature_celsius", "Temperature of the processor.", func() float64 { return float64(board.Temperature().MilliCelsius) / 1000 })
	}
	a.registerScrubGauges()
	m.registry.MustRegister(newSourceCollector(a.running), newBoardCollector(board, a.clock))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
