package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"edgechain.example/agent/api"
	"edgechain.example/sensors"
)

// A device is late when it has been silent for longer than its own rhythm explains. Its rhythm is the longest silence that
// it has kept lately, nights and weekends among them, so nothing about it has to be configured.
const (
	mostDevices   = 500                 // that are watched; of more, those that are known stay
	rhythmLeast   = 8                   // messages that a rhythm is told from
	rhythmKnown   = 24 * time.Hour      // for which a device must have been known, so that its nights are
	rhythmEpoch   = 8 * 24 * time.Hour  // a silence counts for one to two of these, so that its weekends do
	lateFactor    = 2                   // times its longest silence,
	lateSlack     = time.Minute         // and so much more, make a device late
	deviceGone    = 30 * 24 * time.Hour // after which a silent device counts as taken away
	devicesWrite  = time.Hour           // how often the table is written down
	devicesFile   = "devices.json"
	deviceNameMax = 256 // bytes of a name that is watched: a longer one is no label, nor is one that is no UTF-8
)

// devices is when each device was last heard, and how long it usually is silent. It outlives the program in a file of the
// data folder; the chain is not asked, as a start must not read it through.
type devices struct {
	path string
	log  *slog.Logger
	now  func() time.Time

	mu       sync.Mutex
	known    map[string]*device // guarded by mu; mostDevices at most
	overflow uint64             // messages of devices that are not watched; guarded by mu
	start    time.Time          // when the table was read
	renamed  []api.Renamed      // guarded by mu
}

// device is one that is watched. What it has in the file is in JSON.
type device struct {
	At       time.Time     `json:"at"`      // of its newest message, by the wall clock
	Known    time.Duration `json:"known"`   // how long it was, over all runs of the program, up to its newest message
	Messages uint64        `json:"count"`   // up to rhythmLeast
	Epoch    time.Duration `json:"epoch"`   // of Known, when the present epoch began
	Longest  time.Duration `json:"longest"` // silence in the present epoch,
	Before   time.Duration `json:"before"`  // and in the one before

	heard time.Time // its newest message, or the start if it had none since; by the clock that never jumps
}

// openDevices reads what was written down. Where that cannot be read each device is learned anew.
func openDevices(data string, now func() time.Time, log *slog.Logger) *devices {
	d := &devices{path: filepath.Join(data, devicesFile), now: now, log: log, known: map[string]*device{}}
	text, err := readSmall(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return d
	}
	var read map[string]*device
	if err == nil {
		err = json.Unmarshal(text, &read)
	}
	if err != nil || len(read) > mostDevices {
		log.Warn("failed to read how often each device is heard; that is learned anew", "err", err)
		return d
	}
	d.start = now()
	for name, known := range read {
		if known != nil && utf8.ValidString(name) {
			known.heard = d.start // a silence before is the gateway's, too
			d.known[name] = known
		}
	}
	return d
}

// write writes the table down. A power cut that tears the file has the devices learned anew, so it is not synced.
func (d *devices) write() {
	d.mu.Lock()
	text, err := json.Marshal(d.known)
	d.mu.Unlock()
	if err == nil {
		err = replaceSmall(d.path, append(text, '\n'), 0o640, false, d.log)
	}
	if err != nil {
		d.log.Warn("failed to write how often each device is heard", "err", err)
	}
}

// keep writes the table down now and then, and when ctx ends.
func (d *devices) keep(ctx context.Context) {
	untilEnded(ctx, devicesWrite, d.write)
}

// heard notes a group of messages that is on disk.
func (d *devices) heard(group []*sensors.Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	for _, m := range group {
		var last string
		for i := range m.Readings {
			if name := m.Readings[i].Device; name != last && name != "" {
				if d.known[name] == nil && !d.start.IsZero() {
					d.noteRenamed(m, name)
				}
				d.note(name, now, m.Received)
				last = name
			}
		}
	}
}

// note notes one message. Under d.mu.
func (d *devices) note(name string, now, received time.Time) {
	known := d.known[name]
	if known == nil {
		if len(name) > deviceNameMax || !utf8.ValidString(name) || !d.room(now) {
			d.overflow++
			return
		}
		d.known[name] = &device{At: received, Messages: 1, heard: now}
		return
	}
	silence := now.Sub(known.heard)
	known.heard, known.At = now, received
	known.Known += silence
	if known.Messages < rhythmLeast {
		known.Messages++
	}
	if known.Known-known.Epoch >= rhythmEpoch {
		known.Epoch, known.Before, known.Longest = known.Known, known.Longest, 0
	}
	known.Longest = max(known.Longest, silence)
}

// room makes room for another device, where the table is full and one of those that are known is of no use: one that has
// no rhythm yet, or is gone. Under d.mu.
func (d *devices) room(now time.Time) bool {
	if len(d.known) < mostDevices {
		return true
	}
	var oldest string
	for name, known := range d.known {
		if known.limit() > 0 && now.Sub(known.heard) < deviceGone {
			continue
		}
		if oldest == "" || known.heard.Before(d.known[oldest].heard) {
			oldest = name
		}
	}
	// One that was heard a moment ago may be about to be known: a flood of names must not push it out.
	if oldest == "" || now.Sub(d.known[oldest].heard) < lateSlack {
		return false
	}
	delete(d.known, oldest)
	return true
}

// limit is how long the device may be silent, 0 while its rhythm is not known.
func (k *device) limit() time.Duration {
	if k.Messages < rhythmLeast || k.Known < rhythmKnown {
		return 0
	}
	return lateFactor*max(k.Longest, k.Before) + lateSlack
}

// late reports whether the device has been silent for too long.
func (k *device) late(now time.Time) bool {
	limit := k.limit()
	return limit > 0 && now.Sub(k.heard) > limit
}

// status returns the devices that are late, in the order of their names, and how many are watched. Those that are gone
// it forgets.
func (d *devices) status() (late []api.LateDevice, watched int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	for name, known := range d.known {
		switch {
		case now.Sub(known.heard) >= deviceGone:
			d.log.Info("a device was silent for thirty days and is not watched any more", "device", name, "last", known.At)
			delete(d.known, name)
		case known.late(now):
			late = append(late, api.LateDevice{Name: name, Last: known.At, Silent: now.Sub(known.heard).Seconds(), Usual: max(known.Longest, known.Before).Seconds()})
		}
	}
	slices.SortFunc(late, func(a, b api.LateDevice) int { return cmp.Compare(a.Name, b.Name) })
	return late, len(d.known)
}

// devicesCollector shows when each device was last heard.
type devicesCollector struct {
	devices                       *devices
	last, late, watched, overflow *prometheus.Desc
}

func newDevicesCollector(d *devices) *devicesCollector {
	return &devicesCollector{d,
		prometheus.NewDesc("edgeagent_device_last_message_timestamp_seconds", "When a device was last heard, by the gateway's clock.", []string{"device"}, nil),
		prometheus.NewDesc("edgeagent_device_late", "1 if a device has been silent for longer than its own rhythm explains, else 0.", []string{"device"}, nil),
		prometheus.NewDesc("edgeagent_devices", "Devices that are watched, 500 at most.", nil, nil),
		prometheus.NewDesc("edgeagent_devices_unwatched_messages_total", "Messages of devices that are not watched, since there are too many.", nil, nil)}
}

// Describe implements [prometheus.Collector].
func (c *devicesCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.last, c.late, c.watched, c.overflow} {
		out <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *devicesCollector) Collect(out chan<- prometheus.Metric) {
	c.devices.status() // forgets those that are gone
	d := c.devices
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	for name, known := range d.known {
		out <- prometheus.MustNewConstMetric(c.last, prometheus.GaugeValue, float64(known.At.UnixMilli())/1e3, name)
		out <- prometheus.MustNewConstMetric(c.late, prometheus.GaugeValue, truth(known.late(now)), name)
	}
	out <- prometheus.MustNewConstMetric(c.watched, prometheus.GaugeValue, float64(len(d.known)))
	out <- prometheus.MustNewConstMetric(c.overflow, prometheus.CounterValue, float64(d.overflow))
}
