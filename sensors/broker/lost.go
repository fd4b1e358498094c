package broker

import (
	"log/slog"
	"sync"
	"time"
)

// loss is why a message was not passed on.
type loss byte

const (
	fanoutFull      loss = iota // its publisher is named; of the others the subscriber
	tooLarge                    // likewise
	tooManyRetained             // likewise
	queueFull
	allQueuesFull
	gaveWay
	tooLargeForClient
	noRoomAnyMore // at a start
	unreadable    // likewise
	hashAlone     // likewise; its publisher is named
	lossKinds
)

var lossReasons = [lossKinds]string{
	fanoutFull:        "too many messages wait to be passed on",
	tooLarge:          "it has more than 1 MiB",
	tooManyRetained:   "retained messages have no room left: it is not kept for those who subscribe later",
	queueFull:         "the subscriber takes its messages too slowly, or not at all",
	allQueuesFull:     "too much waits for all subscribers together",
	gaveWay:           "too much waits for all subscribers together, and most of it for this one",
	tooLargeForClient: "it is larger than the subscriber takes",
	noRoomAnyMore:     "it waited before the start, and there is no room any more: the bounds are smaller now",
	unreadable:        "it waited before the start, and cannot be read any more",
	hashAlone:         "after a power cut the chain has its hash alone",
}

// losses counts what was not passed on until the log is told. Whoever loses a message may be the committer or hold a session's
// lock, and must not wait for a log: housekeeping tells it, once a minute for each reason.
type losses struct {
	mu   sync.Mutex
	of   [lossKinds]lost
	told [lossKinds]time.Time
}

// lost is what was lost for one reason and is not told.
type lost struct {
	messages int
	by       map[string]int // by client id, of as many clients as are kept apart
	topic    string         // of the newest
}

const lossClients = 64 // that are kept apart

// lose counts a message that one subscriber does not get, or none.
func (b *Broker) lose(why loss, client string, m *forward) {
	b.stats.undelivered.Add(1)
	b.losses.add(why, client, m.topic)
}

func (l *losses) add(why loss, client, topic string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of[why].add(client, topic)
}

func (of *lost) add(client, topic string) {
	of.messages++
	of.topic = topic
	if _, known := of.by[client]; known || len(of.by) < lossClients {
		if of.by == nil {
			of.by = make(map[string]int)
		}
		of.by[client]++
	}
}

// tell tells the log what was lost, for reasons that it was not told of within a minute; with all, for every reason.
func (l *losses) tell(log *slog.Logger, now time.Time, all bool) {
	for why := range lossKinds {
		l.mu.Lock()
		of := l.of[why]
		due := of.messages > 0 && (all || l.told[why].IsZero() || now.Sub(l.told[why]) >= toldEvery)
		if due {
			l.of[why], l.told[why] = lost{}, now
		}
		l.mu.Unlock()
		if !due {
			continue
		}
		log.Warn("MQTT messages not passed on", "reason", lossReasons[why], "messages", of.messages, "client", of.most(), "clients", len(of.by), "topic", of.topic)
	}
}

// most is the client that lost most.
func (of *lost) most() (client string) {
	for c, n := range of.by {
		if n > of.by[client] {
			client = c
		}
	}
	return client
}

// exceeded gathers messages that came with QoS 0 beyond their client's rate, and are lost to the chain as well.
type exceeded struct {
	mu   sync.Mutex
	of   lost
	told time.Time
}

func (e *exceeded) add(client, topic string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.of.add(client, topic)
}

// tellExceeded tells of them, once a minute, since each telling becomes an entry; with last, of all.
func (b *Broker) tellExceeded(now time.Time, last bool) {
	e := &b.exceeded
	e.mu.Lock()
	of := e.of
	due := of.messages > 0 && (last || e.told.IsZero() || now.Sub(e.told) >= toldEvery)
	if due {
		e.of, e.told = lost{}, now
	}
	e.mu.Unlock()
	if !due {
		return
	}
	b.log.Warn("MQTT messages lost: they came with QoS 0 beyond the rate that a client is allowed", "messages", of.messages, "client", of.most(), "clients", len(of.by), "topic", of.topic)
	if b.cfg.Lost != nil {
		b.cfg.Lost(of.messages, "they came with QoS 0 beyond the rate that the configuration allows a client")
	}
}
