package agent

import (
	"slices"
	"sync"
	"time"

	"edgechain.example/agent/sealgate"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/localhttp"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/gateway"
)

// A chain that came back from a backup lacks whatever was sealed after that was made. Nothing is sealed on it before
// an aggregator has told the newest head, whatever the configuration says for ordinary starts; what arrives meanwhile
// is recorded and acknowledged. Where nobody can tell, it takes the operator's word.

// strangers are the aggregators that knew nothing of a restored chain when they were asked first.
type strangers struct {
	mu    sync.Mutex // held while they are noted on disk
	names []string   // guarded by mu
}

// restoredEvent is what the chain says about such a start.
type restoredEvent struct {
	Backup    time.Time       `json:"backup"`             // when it was made
	Height    uint64          `json:"height"`             // of the newest header in it
	NextEntry uint64          `json:"next_entry"`         // the first that is not in it
	Newest    bool            `json:"newest"`             // somebody who must know said that nothing was sealed above it
	Moved     bool            `json:"moved"`              // from another board, which cannot go on
	AskedBy   *localhttp.Peer `json:"asked_by,omitempty"` // who restored it, or gave his word last that it is the newest

	SoFar headersync.Tally `json:"so_far"` // headers taken back since the chain began; this start has taken back none yet
}

// awaitsWord reports whether nothing is sealed before somebody who knows the chain has told its newest head: it is a
// restored one, or it has lost what says where it ended.
func (a *Agent) awaitsWord() bool {
	return a.gate.Has(sealgate.Restored) || a.gate.Has(sealgate.SetBack)
}

// restoredReason is why nothing is sealed on a restored chain of which nobody has said yet that its head is the newest.
func (a *Agent) restoredReason(canAsk bool) sealgate.Reason {
	if doubt := a.store.Info().Restored.Doubt; doubt != "" {
		return doubtReason(doubt, canAsk)
	}
	r := sealgate.Reason{Kind: sealgate.Restored, Why: restoredFrom(a.store.Info().Restored) + ", and what was sealed after it is not here"}
	if canAsk {
		r.Why += ": waiting for an aggregator that knows this chain to tell its newest head"
		r.Do = "if nothing was sealed after the backup, " + giveWord
		return r
	}
	r.Why += ", and no aggregator is configured that could tell"
	r.Do = "if nothing was sealed after the backup, " + giveWord + "; else begin a new chain that names this one: edgeagent init --continue"
	return r
}

// restoredFrom says that a chain was restored, and from what if that is known.
func restoredFrom(r *store.Restored) string {
	if r.Made.IsZero() {
		return "the chain counts as restored from a backup, for the file RESTORED in its folder cannot be read"
	}
	return "the chain was restored from a backup of " + r.Made.UTC().Format(time.RFC3339)
}

// doubtReason is restoredReason for a chain that has lost what says where it ended.
func doubtReason(doubt string, canAsk bool) sealgate.Reason {
	r := sealgate.Reason{Kind: sealgate.SetBack, Why: "blocks may have been sealed that are not here: " + doubt}
	const do = "begin a new chain that names this one, edgeagent init --continue; or, if you know that nothing more was sealed, " + giveWord
	if canAsk {
		r.Why += ". Waiting for an aggregator that knows this chain to tell its newest head"
		r.Do = "if none can be reached, " + do
		return r
	}
	r.Why += ". No aggregator is configured that could tell"
	r.Do = do
	return r
}

const giveWord = "say so: stop the agent, edgeagent restore --newest"

// recordRestored records that this start is on a restored chain, and begins what no aggregator has to be waited for.
// It is called when the committer runs.
func (a *Agent) recordRestored() {
	r := a.store.Info().Restored
	if r == nil {
		return
	}
	if r.Doubt == "" { // else agent:damage says it
		a.record(a.sourcesCtx, "restore", restoredEvent{Backup: r.Made, Height: r.Height, NextEntry: r.Entries, Newest: r.Newest, Moved: r.Moved, AskedBy: (*localhttp.Peer)(r.By)})
	}
	if a.awaitsWord() {
		a.log.Warn("nothing is sealed: " + a.restoredReason(len(a.currentUpstreams()) > 0).String())
	} else if len(a.currentUpstreams()) == 0 {
		a.considerSealing()
	}
}

// withoutStrangers returns how the head stands if an aggregator does not count that knew nothing of this chain when it
// was asked first: it learns the chain from here, and then agrees with what it was told.
func (a *Agent) withoutStrangers(s gateway.Settlement) gateway.Standing {
	known := &a.strangers
	known.mu.Lock()
	defer known.mu.Unlock()
	stranger := func(name string) bool { return slices.Contains(known.names, name) }
	switch {
	case s.Standing == gateway.Agreed && !slices.ContainsFunc(s.By, func(name string) bool { return !stranger(name) }):
		return gateway.Unknown
	case s.Standing == gateway.Unknown:
		mark := *a.store.Info().Restored
		for _, name := range s.By {
			if !stranger(name) {
				known.names = append(known.names, name)
			}
		}
		mark.Strangers = known.names
		if err := store.MarkRestored(a.inForce().ChainDir(), store.Options{}, mark); err != nil {
			a.log.Error("failed to note which aggregators know nothing of this chain", "err", err)
		}
	}
	return s.Standing
}

// finishRestore ends what a restore has left to do. It belongs to the committer's goroutine, after sealing was
// released. What fails is tried again at the next start.
func (a *Agent) finishRestore() {
	r := a.store.Info().Restored
	if r == nil {
		return
	}
	if r.Moved {
		// Copies of the old key may be left: in the backup, in the cells of the old card. From the next header on none
		// of them signs anything that continues this chain.
		key, height, err := a.rotateOnTail()
		if err != nil {
			a.log.Error("failed to change the key that another board knows, from which the chain came", "err", err)
			return
		}
		a.aside(func() { a.record(a.sourcesCtx, "key", keyEvent{Key: lightchain.FormatPublicKey(key), Height: height}) })
	}
	if err := a.store.ForgetRestored(); err != nil {
		a.log.Error("failed to note that the newest head is confirmed: the next start asks for it again", "err", err)
	}
}
