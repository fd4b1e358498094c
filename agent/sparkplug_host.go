package agent

import (
	"context"
	"strings"
	"sync"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
	"edgechain.example/sensors/sparkplug"
)

// A gateway may be a host application of Sparkplug's: it then says whether it is online, and asks for births.

const (
	reorderDefault  = 5 * time.Second
	sayOnlineAtMost = time.Second // between two times that a host says again that it is online
)

// HostConfig says whether a source is a host application of Sparkplug's.
type HostConfig struct {
	HostID         string        `toml:"host_id"`         // "": it listens, and says nothing
	ReorderTimeout time.Duration `toml:"reorder_timeout"` // for which missing messages may still come
}

// reader reads messages of Sparkplug, as [sensors.Intake].Stateful does.
type reader func(topic string, flags lightchain.Flags, payload []byte, received time.Time) (sensors.Result, error)

// hostState is the word of a host at the embedded broker, where no will speaks for it: it and its broker end together.
type hostState struct {
	publish func(topic string, payload []byte, qos byte, retained bool)

	mu    sync.Mutex
	id    string    // guarded by mu; "" is no host
	since time.Time // guarded by mu
	runs  bool      // guarded by mu
}

func (s *hostState) name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// become changes the host's id, and says so where the broker runs.
func (s *hostState) become(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != s.id && s.runs {
		s.say(false, time.Now())
	}
	changed := id != s.id
	s.id = id
	if changed && s.runs {
		s.since = time.Now()
		s.say(true, s.since)
	}
}

// set says that the broker runs, or is about to end.
func (s *hostState) set(runs bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs = runs
	if runs {
		s.since = time.Now()
		s.say(true, s.since)
	} else {
		s.say(false, time.Now())
	}
}

// again says once more that the host is online.
func (s *hostState) again() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runs {
		s.say(true, s.since)
	}
}

// say is under s.mu.
func (s *hostState) say(online bool, at time.Time) {
	if s.id != "" {
		s.publish(sparkplug.StateTopic(s.id), sparkplug.StatePayload(online, uint64(at.UnixMilli())), 1, true)
	}
}

// run runs the broker, and says that the host is online while it does.
func (s *hostState) run(ctx context.Context, ready <-chan struct{}, broker func(context.Context) error) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- broker(running) }()
	select {
	case <-ready:
		s.set(true)
	case <-ctx.Done():
	case err := <-ended:
		return err
	}
	select {
	case <-ctx.Done():
		s.set(false)
		stop()
		return <-ended
	case err := <-ended:
		s.set(false)
		return err
	}
}

// contradicted looks at messages of a source for one by which somebody else says that this host is offline, or which puts what no
// node reads in the place of its word, such as the empty message that erases a retained one.
//
// Sparkplug 3.0, tck-id-message-flow-hid-sparkplug-state-message-delivered: then it says at once that it is online.
type contradicted struct {
	id    func() string // of this host; "" is none
	again func()        // says that it is online: at once, and then once a second at most: two that have one id would else never end

	mu   sync.Mutex
	last time.Time // guarded by mu
	due  bool      // guarded by mu
}

func (c *contradicted) hear(topic string, payload []byte) {
	if strings.HasPrefix(topic, sparkplug.StateTopic("")) && !sparkplug.SaysOnline(payload) {
		if id := c.id(); id != "" && topic == sparkplug.StateTopic(id) {
			c.give()
		}
	}
}

func (c *contradicted) give() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.due {
		return
	}
	c.due = true
	time.AfterFunc(time.Until(c.last.Add(sayOnlineAtMost)), func() {
		c.mu.Lock()
		c.due, c.last = false, time.Now()
		c.mu.Unlock()
		c.again()
	})
}
