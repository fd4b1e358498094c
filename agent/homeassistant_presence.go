package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"edgechain.example/agent/homeassistant"
	"edgechain.example/arm"
	"edgechain.example/mqttconn"
	headersync "edgechain.example/sync"
)

// presence is how the gateway shows itself to Home Assistant: one goroutine owns it, and is handed each new
// configuration.
type presence struct {
	wanted chan *Config                   // capacity 1: the newest
	topics atomic.Pointer[presenceTopics] // swapped whole, before the sources that ask start
	mu     sync.Mutex
	report *homeassistant.Report // guarded by mu: that runs; nil: none does
}

// presenceTopics is what sources have to know.
type presenceTopics struct {
	own   []homeassistant.Topics // the gateway's, and those that it had before
	birth string                 // Home Assistant's
}

// owns reports whether the gateway's own presence is published on a topic. What comes back from there is not recorded.
func (t *presenceTopics) owns(topic string) bool {
	return slices.ContainsFunc(t.own, func(own homeassistant.Topics) bool { return own.Own(topic) })
}

// know has the sources know a configuration's topics, or those that a file has from before.
func (p *presence) know(own homeassistant.Topics, birth string) {
	next := &presenceTopics{birth: birth}
	if old := p.topics.Load(); old != nil {
		next.own = slices.Clone(old.own)
	}
	if !slices.Contains(next.own, own) {
		next.own = append(next.own, own)
	}
	p.topics.Store(next)
}

// want hands over a configuration in the place of one that was not looked at yet.
func (p *presence) want(c *Config) {
	select {
	case <-p.wanted:
	default:
	}
	p.wanted <- c
}

// announce has everything published again.
func (p *presence) announce() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.report != nil {
		p.report.Announce()
	}
}

func (p *presence) set(r *homeassistant.Report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report = r
}

// announced is where the gateway has shown itself: it stands in a file of the data folder from before the first message
// until the gateway is withdrawn, which a later start, or a later configuration, may have to do.
type announced struct {
	Broker string               `json:"broker"` // name of an [[mqtt]]; "" is the embedded one
	Topics homeassistant.Topics `json:"topics"`
}

const announcedFile = "homeassistant.json"

// knowPresence has the sources know the gateway's own topics, whether or not anything is published there now: those of
// the configuration, and those under which it was shown before.
func (a *Agent) knowPresence(c *Config) {
	birth := homeassistant.Birth(c.HomeAssistant.Discovery)
	if before, err := readAnnounced(filepath.Join(a.data, announcedFile)); err == nil && before != nil {
		a.presence.know(before.Topics, birth)
	}
	a.presence.know(a.homeAssistantTopics(c), birth)
}

// showPresence shows the gateway to Home Assistant as the configuration in force says, until ctx ends.
func (a *Agent) showPresence(ctx context.Context) {
	c := a.inForce()
	for {
		showing, stop := context.WithCancel(ctx)
		var running sync.WaitGroup
		running.Go(func() { a.show(showing, c) })
		next := c
		for next != nil && reflect.DeepEqual(presenceOf(next), presenceOf(c)) {
			select {
			case next = <-a.presence.wanted:
				a.presence.announce() // a broker that was started anew has forgotten
			case <-ctx.Done():
				next = nil
			}
		}
		stop()
		running.Wait()
		if c = next; c == nil {
			return
		}
	}
}

// presenceOf is what of a configuration decides where and how the gateway shows itself.
func presenceOf(c *Config) any {
	return struct {
		HomeAssistantConfig
		broker *mqttconn.Config
	}{c.HomeAssistant, c.homeAssistantBroker(c.HomeAssistant.Broker)}
}

// show withdraws the gateway from where it is not to be shown any more, and shows it where it is, until ctx ends.
func (a *Agent) show(ctx context.Context, c *Config) {
	log := a.log.With("part", "homeassistant")
	var wanted *announced
	if c.HomeAssistant.Enabled {
		wanted = &announced{c.HomeAssistant.Broker, a.homeAssistantTopics(c)}
	}
	file := filepath.Join(a.data, announcedFile)
	before, err := readAnnounced(file)
	if err != nil {
		log.Warn("failed to read where this gateway was shown before", "err", err)
	}
	if before != nil && (wanted == nil || *before != *wanted) {
		if err := a.withdraw(ctx, c, *before, wanted != nil); ctx.Err() != nil {
			return // the next start does it
		} else if err != nil {
			log.Warn("failed to withdraw this gateway from Home Assistant; empty retained messages there would take it away", "topics", before.Topics, "err", err)
		} else {
			log.Info("this gateway was taken out of Home Assistant")
		}
		if err := os.Remove(file); err != nil {
			log.Warn("failed to note that this gateway was withdrawn from Home Assistant: it is withdrawn again at the next start", "err", err)
		}
	}
	if wanted == nil {
		return
	}
	if err := errors.Join(clearFor(file, log), wanted.write(file)); err != nil {
		log.Error("failed to note that this gateway is shown to Home Assistant: it is not, since it could not be withdrawn again", "err", err)
		return
	}
	link, err := a.homeAssistantLink(c, wanted.Broker, &mqttconn.Will{Topic: wanted.Topics.Availability, Payload: []byte(homeassistant.Offline)})
	if err != nil {
		log.Error("failed to show this gateway to Home Assistant", "err", err)
		return
	}
	var conn homeassistant.Conn = embeddedConn{a}
	var running sync.WaitGroup
	defer running.Wait()
	if link != nil {
		conn = link
	}
	name := a.Status().Gateway
	if name == "" {
		name = c.name()
	}
	report := homeassistant.New(homeassistant.Config{
		Conn: conn, Topics: wanted.Topics, Interval: c.HomeAssistant.Interval, State: a.homeAssistantState, Log: log,
		Device: homeassistant.Device{
			ID: a.store.Chain().String()[:12], Name: name, Chain: a.store.Chain().String(), Model: arm.Board{}.Model(), Version: a.options.Version,
		},
	})
	a.presence.set(report)
	defer a.presence.set(nil)
	if link != nil {
		err := link.Subscribe([]string{homeassistant.Birth(c.HomeAssistant.Discovery)}, func(m headersync.Message) {
			if string(m.Payload) == homeassistant.Online {
				report.Announce()
			}
			m.Done()
		})
		if err != nil {
			log.Warn("failed to watch for Home Assistant's start", "err", err)
		}
		running.Go(func() { _ = link.Run(ctx) })
	}
	report.Run(ctx)
}

// withdraw takes the gateway away from where it was shown. It waits for the broker as long as ctx lasts, or a while only
// where the gateway is to be shown elsewhere.
func (a *Agent) withdraw(ctx context.Context, c *Config, from announced, elsewhere bool) error {
	if elsewhere {
		const patience = 30 * time.Second
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, patience)
		defer stop()
	}
	link, err := a.homeAssistantLink(c, from.Broker, nil)
	if err != nil {
		return err
	}
	if link == nil {
		return homeassistant.Withdraw(embeddedConn{a}, from.Topics)
	}
	if err := homeassistant.Withdraw(link, from.Topics); err != nil {
		return err
	}
	connected, hangUp := context.WithCancel(ctx)
	defer hangUp()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = link.Run(connected)
	}()
	defer func() { <-ended }()
	defer hangUp()
	const messages = 3
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for link.Status().Sent < messages {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// readAnnounced returns nil where there is no such file.
func readAnnounced(file string) (*announced, error) {
	b, err := readSmall(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var read announced
	if err == nil {
		err = json.Unmarshal(b, &read)
	}
	if err != nil {
		return nil, err
	}
	return &read, nil
}

func (n announced) write(file string) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if old, err := readSmall(file); err == nil && string(old) == string(b) {
		return nil
	}
	// Torn by a power cut it is read as none, and written again at the next start.
	return os.WriteFile(file, b, 0o640)
}
