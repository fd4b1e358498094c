// Package agent is the gateway as a running thing: its configuration, its wiring, and every goroutine.
//
// Messages flow one way: a source hands them to the recorder's queue, its committer stages them in groups and seals blocks,
// and each message's Done tells its source that it is on disk, whereupon the source acknowledges it. What a payload
// means, what a chain is, how it lies on disk and when it gets there is owned elsewhere; here it is decided what runs,
// and in which order it starts and stops.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/agent/recorder"
	"edgechain.example/agent/sealgate"
	"edgechain.example/arm"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/localhttp"
	"edgechain.example/sensors"
)

// Options is what the command that runs an agent decides beside its configuration.
type Options struct {
	Version string
	Built   time.Time // of the program's source; no clock stands before it in earnest
	Log     *slog.Logger
	Init    bool // begin a chain where there is none
	// ChainFile is written with the chain's name when a chain is begun, for the operator to find; "" for no file.
	ChainFile string
	Fatal     func(err error)                        // ends the process at once, without another acknowledgement; it must not return
	Ready     func(a *Agent)                         // called once, when the chain is open and all sources are started: those that listen do, or could not yet; may be nil
	Load      func() (*Config, error)                // reads the configuration again for a reload; nil: there is none
	Hangup    <-chan os.Signal                       // asks for a reload
	Reloaded  func(*Config)                          // told what is in force after one; may be nil
	DiskUsage func() (free, total uint64, err error) // of the disk that the chain is on; nil asks the file system
	Board     arm.Board                              // whose supply, heat and cards are watched; its zero value is this machine
}

// Agent is one gateway at work.
type Agent struct {
	lent atomic.Int32 // checkpoints that members of the group read

	options Options
	log     *slog.Logger
	clock   arm.Clock
	metrics *metrics
	started time.Time
	data    string // the data folder

	store     *store.Store
	queue     *recorder.Queue
	committer *recorder.Committer
	losses    losses
	tally     tally
	filtered  filterCounts
	opening   opening
	pulses    *pulses
	standing  atomic.Pointer[func() api.Status] // how the gateway stands, as far as it can be said by now; nil: it cannot
	front     front                             // what answers on the listeners
	tcp       *localhttp.Later                  // of the API; nil where it listens on its socket alone
	failed    chan error                        // a source that ended by itself
	retention retention
	presence  presence
	damaged   chan struct{} // holds a token when the store has noted damage beside a scrub
	board     boardWatch
	devices   *devices
	unread    unread
	sparkplug sparkplugs
	met       chan struct{} // and when it has met damage that none has looked at

	gate      sealgate.Gate
	keys      keys
	strangers strangers
	sessions  *sessions
	endings   endings

	former string // what is left of a chain before, where this start began another; "" if nothing is

	keysTold bool // that the key is not changed by itself any more; the committer's goroutine's

	sourcesCtx context.Context // of the sources, also those that a reload starts
	asides     sync.WaitGroup  // see aside

	reloading  sync.Mutex // one reload at a time
	mu         sync.Mutex
	complaints map[[2]string]string // what an aggregator signed that cannot be, by upstream and name
	config     *Config              // in force; swapped whole
	sources    []*source            // that run; swapped whole
	upstreams  []*upstream          // that run; swapped whole, by the committer's goroutine, which may read it without
}

// New returns an agent. It opens nothing.
func New(c *Config, o Options) *Agent {
	a := &Agent{config: c, options: o, data: c.Gateway.Data, log: o.Log, metrics: newMetrics(), failed: make(chan error, 1), complaints: map[[2]string]string{},
		retention: retention{again: make(chan struct{}, 1)},
		damaged:   make(chan struct{}, 1),
		board:     boardWatch{board: o.Board},
		met:       make(chan struct{}, 1),
		unread:    unread{log: o.Log},
		sparkplug: sparkplugs{folder: filepath.Join(c.Gateway.Data, sparkplugFolder), log: o.Log},
		presence:  presence{wanted: make(chan *Config, 1)}}
	a.metrics.registry.MustRegister(newVerdictCollector(a.verdict))
	return a
}

// Run records until ctx ends, or until something happened after which nothing may be acknowledged any more. It
// returns when everything that it started has stopped, with the last block sealed.
func (a *Agent) Run(ctx context.Context) (err error) {
	a.started = time.Now()
	if err := a.begin(); err != nil {
		return err
	}
	listeners, err := a.listen()
	if err != nil {
		return err
	}
	// The API answers from here to the end: first how far the opening is.
	apiCtx, stopAPI := context.WithCancel(context.WithoutCancel(ctx))
	var served sync.WaitGroup
	a.opening.now = api.Opening{Since: a.started, Step: "starting"}
	a.answerWith(a.openingStatus, api.OpeningHandler(a.openingStatus, a.metrics.registry))
	access := localhttp.Access{Hosts: a.config.API.Hosts, GroupWrites: a.config.API.GroupWrites, Adds: []string{api.NotePath, api.ReadingPath, api.PollPath}}
	served.Go(func() { localhttp.Serve(apiCtx, &a.front, a.log, access, listeners...) })
	defer func() { // before the store is closed, which answers are read from
		stopAPI()
		served.Wait()
		if a.store != nil {
			err = errors.Join(err, a.store.Close())
		}
	}()
	if a.store, err = a.openStore(ctx); errors.Is(err, context.Canceled) {
		return nil
	} else if err != nil {
		return err
	}
	a.retention.giveBack = a.store.Reclaim
	if err := a.prepare(); err != nil {
		return err
	}
	a.sparkplug.recall(ctx, &a.store.Reader)

	sourcesCtx, cancelSources := context.WithCancel(ctx)
	defer cancelSources()
	a.sourcesCtx = sourcesCtx
	committed := make(chan error, 1)
	go func() { committed <- a.committer.Run() }()
	a.recordStart(ctx)
	a.recordRestored()
	a.recallTakenBack()

	// Sources stop first and wait for what they took to become durable; the committer drains after them.
	lossesCtx, lossesTold := context.WithCancel(context.WithoutCancel(ctx)) // a source may tell of some while it stops
	defer lossesTold()
	var watchers, losses sync.WaitGroup
	a.answerWith(a.Status, a.handler())
	a.reloading.Lock() // a reload changes only what runs
	for _, s := range a.sources {
		a.startSource(sourcesCtx, s)
	}
	for _, u := range a.upstreams {
		a.startUpstream(sourcesCtx, u)
	}
	a.reloading.Unlock()
	losses.Go(func() { a.recordLosses(lossesCtx) })
	losses.Go(func() { a.watchSparkplug(lossesCtx) })
	watchers.Go(func() { a.watchClock(sourcesCtx) })
	watchers.Go(func() { a.watchBoard(sourcesCtx) })
	watchers.Go(func() { a.devices.keep(sourcesCtx) })
	watchers.Go(func() { a.tidyDaily(sourcesCtx) })
	watchers.Go(func() { a.retain(sourcesCtx) })
	watchers.Go(func() { a.scrubStore(sourcesCtx) })
	watchers.Go(func() { a.watchKeys(sourcesCtx) })
	watchers.Go(func() { a.reloadOnHangup(sourcesCtx) })
	watchers.Go(func() { a.showPresence(sourcesCtx) })
	watchers.Go(func() { arm.PetWatchdog(sourcesCtx, a.mayPet) })
	watchers.Go(func() { a.signalReady(sourcesCtx) })

	var failure error
	select {
	case <-ctx.Done():
		a.log.Info("stopping: committing what was taken and sealing the last block")
	case failure = <-a.failed:
	case failure = <-committed:
		committed <- failure
	}
	arm.Notify("STOPPING=1")
	cancelSources()
	watchers.Wait()
	a.reloading.Lock() // what a reload has begun it ends first
	stopUpstreams(a.upstreams)
	calm := a.queue.Hurry() // sources stop when what they gave is on disk
	stopSources(a.running())
	calm()
	a.reloading.Unlock()
	lossesTold()
	losses.Wait()
	a.queue.Close()
	failure = errors.Join(failure, dropDuplicate(failure, <-committed))
	a.asides.Wait() // nobody is left who begins another
	return failure
}

// dropDuplicate returns second unless it is what ended the run in the first place.
func dropDuplicate(first, second error) error {
	if first == second {
		return nil
	}
	return second
}

// prepare makes everything that runs, and starts none of it.
func (a *Agent) prepare() error {
	c := a.config
	if a.takeKeys(a.keys.files, a.keys.unreadable) {
		a.settle(a.keys.files, a.store.Tip().Key)
		a.keepKeyFiles()
	}
	a.queue = recorder.NewQueue(int(c.Ingest.MaxBytes), c.Commit.MaxEntries)
	a.committer = recorder.New(recorder.Config{
		Store: a.store, Queue: a.queue, Gate: &a.gate, Commit: c.Commit, Block: c.Block, PerDay: uint64(c.Card.BytesPerDay), Clock: a.chainClock, Now: time.Now, Log: a.log,
		Unrecorded: &a.filtered,
		Full:       func() { signal(a.retention.again) },
		Sealed: func(height uint64) {
			a.metrics.blocks.Inc()
			a.rotateWhenDue(height)
			for _, u := range a.upstreams {
				u.gateway.Sealed()
			}
		},
		Durable: func(group []*sensors.Message, took time.Duration) {
			a.metrics.committed(group, took)
			a.devices.heard(group)
			a.pulses.heard(group)
		},
	})
	a.sessions = openSessions(a.data, a.log)
	a.knowPresence(c)
	a.tellAbandoned(c)
	var err error
	if a.sources, _, err = a.wantedSources(c, nil); err != nil {
		return fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	if r := a.store.Info().Restored; r != nil {
		a.strangers.names = r.Strangers
		if !r.Newest {
			a.gate.Add(a.restoredReason(len(c.Upstream) > 0))
		}
	}
	a.gate.Add(sealgate.Reason{Kind: sealgate.Unsettled, Why: "it is not known yet how the chain's head stands to what the aggregators know"})
	a.tally.recall(&a.store.Reader)
	plan, err := a.planUpstreams(c)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	a.upstreams = plan.wanted
	if a.store.Info().Restored == nil && len(a.upstreams) == 0 && a.store.Signer() != nil {
		// Nobody could say more about the newest header than the disk does.
		if err := a.store.ConfirmHead(); err != nil {
			return err
		}
		a.gate.Release(a.store.Tip().Height)
	}
	a.filtered.know(c)
	a.devices = openDevices(a.data, time.Now, a.log)
	a.pulses = newPulses(a.started, time.Now)
	a.registerGauges()
	return nil
}

// answerWith has the listeners answer with a handler, and the verdict be of a status.
func (a *Agent) answerWith(status func() api.Status, handler http.Handler) {
	a.standing.Store(&status)
	a.front.show(handler)
}

// handler is the interface of an agent that records.
func (a *Agent) handler() http.Handler {
	s := api.Server{
		Chain: &a.store.Reader, Status: a.Status, Alive: a.alive, Ready: a.allWell, Checkpoint: a.checkpoint, Reading: a.lend,
		Reload: a.reload, Rotate: a.RotateKey, Retention: a.dryRun, Prune: a.pruneNow, Note: a.Note, Poll: a.pollOnce, Metrics: a.metrics.registry,
	}
	return s.Handler()
}

// Chain returns the identity of the agent's chain. It may be called once Ready was.
func (a *Agent) Chain() lightchain.ChainID { return a.store.Chain() }

// chainClock is the state of the clock as a header carries it.
func (a *Agent) chainClock() lightchain.Clock {
	c := lightchain.Clock{State: a.clock.Status().State, Boot: a.store.Info().Boots}
	if now, err := a.clock.Now(); err == nil {
		c.Uptime = uint64(now.Uptime)
	}
	return c
}

// aside does on a goroutine of its own what its caller must not wait for: the tail not for room in the queue, an
// upstream not for the tail. Whatever it waits for itself ends with sourcesCtx.
func (a *Agent) aside(f func()) { a.asides.Go(f) }

// signalReady tells the caller and the service manager once all sources are started. A broker that is down, and a filter
// that it refuses, are nothing that whoever waits for the gateway should wait for: of each source status and /readyz tell.
func (a *Agent) signalReady(ctx context.Context) {
	for _, s := range a.running() {
		s.tried(ctx)
	}
	if ctx.Err() != nil {
		return
	}
	// What opening the chain took is given back: of a board with 512 MB, the idle agent keeps 24 MB instead of 33.
	debug.FreeOSMemory()
	arm.Notify("READY=1\nSTATUS=recording chain " + a.Chain().String())
	if a.options.Ready != nil {
		a.options.Ready(a)
	}
}

// tidyDaily lets the store merge the small tables that quiet days leave.
func (a *Agent) tidyDaily(ctx context.Context) {
	tick := time.NewTicker(24 * time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := a.store.Tidy(ctx); err != nil && ctx.Err() == nil {
				a.log.Warn("failed to tidy the store", "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// listen opens the API's listeners.
func (a *Agent) listen() ([]net.Listener, error) {
	socket, err := localhttp.Listen(a.config.API.Socket)
	if errors.Is(err, localhttp.ErrTaken) {
		return nil, fmt.Errorf("api.socket: an agent answers on %s already: %w", a.config.API.Socket, store.ErrLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("api.socket: %w", err)
	}
	listeners := []net.Listener{socket}
	if address := a.config.API.Listen; address != "" {
		a.tcp = localhttp.ListenLater(address, a.log) // recording waits for nobody's port
		listeners = append(listeners, a.tcp)
	}
	return listeners, nil
}

// signal leaves a token in a channel that holds one, if there is none.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
