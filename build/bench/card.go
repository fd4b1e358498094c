package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"edgechain.example/lightchain"
)

// cardCell is one way to run a gateway, and the plain file that takes the same readings in the same groups.
type cardCell struct {
	rate        int // readings a second
	delay, idle time.Duration

	agent, file       *cardDisk
	gateway           *gateway
	appender          *child
	agentErr, fileErr error
}

// cardDisk is where one writer writes.
type cardDisk struct {
	*device // nil where none could be made
	dir     string
}

// cardCells are the rates, each with delays that commit.max_delay can have: with a short commit.idle, and with one as long,
// since a group also ends when nothing came for that.
func cardCells(short bool) (cells []*cardCell) {
	usual := 25 * time.Millisecond
	for _, rate := range []int{1, 10, 100, 1000} {
		for _, delay := range []time.Duration{usual, 10 * time.Millisecond, 100 * time.Millisecond, time.Second, 5 * time.Second} {
			c := &cardCell{rate: rate, delay: delay, idle: delay}
			if delay == usual {
				c.idle = 2 * time.Millisecond
			}
			if !short || rate == 100 && delay <= usual {
				cells = append(cells, c)
			}
		}
	}
	return cells
}

func (c *cardCell) name() string {
	as := fmt.Sprintf("max_delay and idle %v", c.delay)
	if c.idle != c.delay {
		as = fmt.Sprintf("max_delay %v, idle %v", c.delay, c.idle)
	}
	return fmt.Sprintf("%d/s, %s", c.rate, as)
}

// group returns how long a group stays open after its first reading, when they come evenly spaced.
func (c *cardCell) group() time.Duration {
	if c.every() < c.idle {
		return c.delay
	}
	return c.idle
}

// card measures what reaches the device for each reading: log, tables, seals and the file system's own journal. All cells
// run side by side in real time, since a file system writes some of it by the clock; each has a device of its own. The
// gateways have run a while before they are measured, but for one figure, and what waits in memory is written out before either end.
func (b *bench) card(ctx context.Context) (err error) {
	cells := cardCells(b.short)
	dir := filepath.Join(b.dir, "card")
	defer func() {
		for _, c := range cells {
			err = errors.Join(err, c.close())
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	unit := "bytes/reading at the device"
	for i, c := range cells {
		if err := b.startCell(ctx, c, filepath.Join(dir, strconv.Itoa(i))); err != nil {
			return fmt.Errorf("%s: %w", c.name(), err)
		}
		if c.agent.device == nil {
			unit = "bytes/reading by the process"
		}
	}
	if cells[0].agent.device == nil {
		b.leftOut("what the file system's journal writes to a card, which is the larger part at few readings a second; only the pages that each process made dirty are counted", errNoDevice)
	}
	lasts := b.cardTime
	if b.short {
		lasts = 2 * time.Second
	}
	young, err := b.measureCells(ctx, cells, lasts/10)
	if err != nil {
		return err
	}
	for _, c := range cells {
		if err := b.warmCell(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.name(), err)
		}
	}
	old, err := b.measureCells(ctx, cells, lasts)
	if err != nil {
		return err
	}
	for i, c := range cells {
		b.compare("card", c.name(), unit, []float64{old[i].agent}, "plain file, same groups", []float64{old[i].file}, none())
		b.report("card", c.name(), "MB/day", []float64{old[i].agent * float64(c.rate) * 86400 / 1e6}, none())
		if c.idle != c.delay {
			b.compare("card", c.name()+", first hours after a start", unit, []float64{young[i].agent}, "plain file, same groups", []float64{young[i].file}, none())
		}
	}
	return nil
}

// cardFigure is what a reading took, in bytes.
type cardFigure struct{ agent, file float64 }

// measureCells lets all cells run for as long, and returns what each reading took.
func (b *bench) measureCells(ctx context.Context, cells []*cardCell, lasts time.Duration) ([]cardFigure, error) {
	fmt.Fprintf(b.log, "   %d gateways and as many plain files for %v\n", len(cells), lasts)
	figures := make([]cardFigure, len(cells))
	look := func(toward float64) error {
		for i, c := range cells {
			agent, err := c.agent.written(c.gateway.pid())
			if err != nil {
				return err
			}
			file, err := c.file.written(strconv.Itoa(c.appender.cmd.Process.Pid))
			if err != nil {
				return err
			}
			figures[i].agent += toward * float64(agent)
			figures[i].file += toward * float64(file)
		}
		return nil
	}
	if err := look(-1); err != nil {
		return nil, err
	}
	if err := b.runCells(ctx, cells, lasts); err != nil {
		return nil, err
	}
	if err := look(1); err != nil {
		return nil, err
	}
	for i, c := range cells {
		n := float64(c.readings(lasts))
		figures[i].agent /= n
		figures[i].file /= n
		fmt.Fprintf(b.log, "   %s: %.0f readings, %s bytes each; plain file %s\n", c.name(), n, plain(figures[i].agent), plain(figures[i].file))
	}
	return figures, nil
}

func (b *bench) newCardDisk(ctx context.Context, dir string) (*cardDisk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	d, err := newDevice(ctx, dir)
	if errors.Is(err, errNoDevice) {
		return &cardDisk{dir: dir}, nil
	}
	if err != nil {
		return nil, err
	}
	return &cardDisk{device: d, dir: d.mount}, nil
}

// written returns what was written so far: to the device, or where there is none, by the process.
func (d *cardDisk) written(process string) (uint64, error) {
	if d.device == nil {
		return bytesWritten(process), nil
	}
	return d.device.written()
}

const cardConfig = `
[commit]
max_delay = %q
idle = %q
`

func (b *bench) startCell(ctx context.Context, c *cardCell, dir string) (err error) {
	if c.agent, err = b.newCardDisk(ctx, filepath.Join(dir, "agent")); err != nil {
		return err
	}
	if c.file, err = b.newCardDisk(ctx, filepath.Join(dir, "file")); err != nil {
		return err
	}
	config := fmt.Sprintf(cardConfig, c.delay, c.idle) + brokerConfig
	if c.gateway, err = b.startGatewayIn(ctx, c.agent.dir, config); err != nil {
		return err
	}
	c.appender, err = b.startChild(ctx, "groups", groupsTask{c.file.dir, c.every(), c.group()})
	return err
}

// warmCell brings a cell into the state in which it spends its life. A gateway writes its log into the blocks of older
// logs once it has some, which takes hours at a few readings a second: until then each sync changes the length of a
// file, which the file system notes in its journal.
func (b *bench) warmCell(ctx context.Context, c *cardCell) error {
	const readings = 300_000 // a dozen logs
	f := flood{Address: c.gateway.broker, Conns: 4, QoS: 1, Messages: readings, Window: floodWindow}
	if _, err := f.run(ctx); err != nil {
		return err
	}
	const tidied = 2 * time.Second // no more tables are moved after that
	if !b.short {
		time.Sleep(tidied)
	}
	return nil
}

// runCells lets all writers write for as long.
func (b *bench) runCells(ctx context.Context, cells []*cardCell, lasts time.Duration) error {
	var all sync.WaitGroup
	for _, c := range cells {
		all.Go(func() {
			f := flood{Address: c.gateway.broker, Conns: 1, QoS: 1, Messages: c.readings(lasts), Window: 60_000, Every: c.every()}
			_, c.agentErr = f.run(ctx)
		})
		all.Go(func() {
			if c.fileErr = c.appender.tell(c.readings(lasts)); c.fileErr == nil {
				var taken int
				c.fileErr = c.appender.hear(&taken)
			}
		})
	}
	all.Wait()
	for _, c := range cells {
		if err := errors.Join(c.agentErr, c.fileErr); err != nil {
			return fmt.Errorf("%s: %w", c.name(), err)
		}
	}
	return nil
}

// every returns the time between two readings.
func (c *cardCell) every() time.Duration { return time.Second / time.Duration(c.rate) }

// readings returns how many come in a time.
func (c *cardCell) readings(lasts time.Duration) int {
	return max(1, int(lasts.Seconds()*float64(c.rate)))
}

func (c *cardCell) close() (err error) {
	if c.gateway != nil {
		c.gateway.stop()
	}
	if c.appender != nil {
		err = c.appender.end()
	}
	for _, d := range []*cardDisk{c.agent, c.file} {
		if d != nil && d.device != nil {
			err = errors.Join(err, d.close())
		}
	}
	return err
}

// groupsTask is the plain file that takes readings one by one, in groups.
type groupsTask struct {
	Dir   string
	Every time.Duration
	Group time.Duration // from its first reading to its write
}

// appendGroups takes as many readings as each value of its input says, then answers with it.
func appendGroups(in *json.Decoder, out *json.Encoder) error {
	var t groupsTask
	if err := in.Decode(&t); err != nil {
		return err
	}
	entries, err := machineEntries(stagingPool)
	if err != nil {
		return err
	}
	a, err := newFileAppender(t.Dir, false)
	if err != nil {
		return err
	}
	const most = 1000 // commit.max_entries
	for n := 0; in.Decode(&n) == nil; {
		begin, done := time.Now(), 0
		due := func(i int) time.Time { return begin.Add(time.Duration(i) * t.Every) }
		for done < n {
			first := done
			closes := due(first).Add(t.Group)
			for done++; done < n && done-first < most && !due(done).After(closes); done++ {
			}
			if done-first == most {
				closes = due(done - 1)
			}
			time.Sleep(time.Until(closes))
			var group []lightchain.Entry
			for i := first; i < done; i++ {
				group = append(group, entries[i%len(entries)])
			}
			if _, err := a.stage(group); err != nil {
				return err
			}
		}
		if err := out.Encode(done); err != nil {
			return err
		}
	}
	return a.close()
}
