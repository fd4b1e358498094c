package mqttsource

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"edgechain.example/lightchain"
)

// paced is a source whose pump runs over messages that a test puts into its queue.
type paced struct {
	*Source
	disk *disk
	stop func()
	lost []int
}

func newPaced(t *testing.T, change func(*Config)) *paced {
	p := &paced{disk: newDisk(t, everything)}
	cfg := config("tcp://broker", 1)
	cfg.Lost = func(n int, _ string) { p.lost = append(p.lost, n) }
	change(&cfg)
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p.Source = s
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	late := make(chan struct{})
	go func() { ended <- s.pump(ctx, p.disk) }()
	go func() { defer close(late); s.tellLate(ctx) }()
	p.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		<-late
		s.flush(p.disk)
		s.tellExceeded(true)
	}
	return p
}

func (p *paced) arrive(qos byte, topic string, payloads ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, payload := range payloads {
		d := &delivery{topic: topic, source: "mqtt:plant:" + topic, qos: qos, payload: []byte(payload), received: time.Now(), sub: p.subscription(topic), size: 100}
		if qos == 0 {
			d.flags |= lightchain.QoS0
		}
		p.reserved += d.size
		p.queue.push(d)
	}
	notify(p.wake)
}

// What came with QoS 1 is late beyond the rate, and all of it is taken, in its order.
func TestBeyondTheRateAMessageIsLateAndNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPaced(t, func(c *Config) { c.Rate = 10 })
		p.arrive(1, "line/1", numbered(0, 40)...)
		for second, want := range []int{10, 20, 30, 40} {
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if n := len(p.disk.payloads()); n != want {
				t.Errorf("after %d s %d are taken instead of %d", second, n, want)
			}
			time.Sleep(time.Second - time.Millisecond)
		}
		p.stop()
		if st := p.Stats(); !slices.Equal(p.disk.payloads(), numbered(0, 40)) || st.Slowed != 30 || st.Exceeded != 0 || st.QueuedBytes != 0 || len(p.lost) != 0 {
			t.Errorf("taken are %v, %+v, lost %v", p.disk.payloads(), st, p.lost)
		}
	})
}

// What came with QoS 0 is lost beyond it, and that is told at once, and then once a minute.
func TestBeyondTheRateQoS0IsLostAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var topics []string
		p := newPaced(t, func(c *Config) {
			c.Rate = 10
			c.Exceeded = func(topic string) { topics = append(topics, topic) }
		})
		p.arrive(0, "line/1", numbered(0, 25)...)
		time.Sleep(10 * time.Second)
		p.arrive(0, "line/1", numbered(25, 45)...)
		time.Sleep(time.Hour)
		p.arrive(0, "line/1", numbered(45, 57)...)
		synctest.Wait()
		p.stop()
		if st := p.Stats(); st.Exceeded != 27 || len(topics) != 27 || len(p.disk.payloads()) != 30 || st.QueuedBytes != 0 {
			t.Errorf("taken are %d, %+v", len(p.disk.payloads()), st)
		}
		if !slices.Equal(p.lost, []int{1, 24, 1, 1}) {
			t.Errorf("told were %v", p.lost)
		}
	})
}

// A rate that changes holds for what waits, and a stop waits for no rate: what was not taken the broker still has.
func TestARateThatChangesHoldsForWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPaced(t, func(c *Config) { c.Rate = 1 })
		p.arrive(1, "line/1", numbered(0, 100)...)
		time.Sleep(1500 * time.Millisecond)
		p.SetRate(0)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := len(p.disk.payloads()); n != 100 {
			t.Errorf("%d are taken after the rate was lifted", n)
		}
		p.SetRate(1)
		p.arrive(1, "line/1", numbered(100, 120)...)
		time.Sleep(time.Millisecond)
		began := time.Now()
		p.stop()
		if waited := time.Since(began); waited != 0 {
			t.Errorf("the stop took %v", waited)
		}
	})
}

// What nobody wants costs nothing of the rate, is acknowledged, and asked about once.
func TestWhatIsUnwantedIsAcknowledgedAndCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		p := newPaced(t, func(c *Config) {
			c.Rate = 1
			c.Unwanted = func(topic string) bool {
				if topic == "line/noise" {
					asked++
				}
				return topic == "line/noise"
			}
		})
		for i := range 50 {
			p.arrive(byte(i%2), "line/noise", fmt.Sprint(i))
		}
		p.arrive(1, "line/1", "kept")
		synctest.Wait()
		if st := p.Stats(); st.Unwanted != 50 || asked != 50 || st.QueuedBytes != 0 || st.Exceeded != 0 || !slices.Equal(p.disk.payloads(), []string{"kept"}) {
			t.Errorf("%+v, asked %d times, taken %v", st, asked, p.disk.payloads())
		}
		p.stop()
	})
}

// The acknowledgements of what is not recorded go out in their order among the others, to a real broker.
func TestUnwantedMessagesAreNotSentAgain(t *testing.T) {
	b := startBroker(t, durableBroker)
	d := newDisk(t, everything)
	cfg := config(b.url, 1)
	cfg.Unwanted = func(topic string) bool { return topic == "line/noise" }
	s := run(t, cfg, d)
	s.awaitReady()
	dev := publisher(t, b.url)
	for i := range 10 {
		send(t, dev, "line/noise", 1, false, fmt.Sprint(i))
		send(t, dev, "line/1", 1, false, fmt.Sprint(i))
	}
	d.awaitDurable(t, 10)
	s.await("all acknowledgements", func(st Stats) bool { return st.Acknowledged == 20 && st.Unwanted == 10 })
	s.stop()
	again := run(t, cfg, d)
	again.awaitReady()
	send(t, dev, "line/1", 1, false, "last")
	d.awaitDurable(t, 11)
	if st := again.Stats(); st.Received != 1 {
		t.Errorf("sent again: %+v", st)
	}
}
