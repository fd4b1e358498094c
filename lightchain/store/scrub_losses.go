package store

import (
	"errors"
	"strings"
)

// What a scrub does about a block that does not verify: it finds out which entries are lost, tells of those that were
// not known to be, once, and forgets what is not damaged any more.

// failed finds out what is lost of a block that does not verify.
func (c *scrub) failed(height uint64, why error) error {
	if !isDamage(why) {
		return why
	}
	r := &c.s.Reader
	if why = c.look(height); c.stopped != nil {
		return c.stopped
	}
	if why == nil { // it was read wrong once, or deleted meanwhile
		return c.tell()
	}
	if !isDamage(why) {
		return why
	}
	h, err := r.HeaderAt(height)
	if errors.Is(err, ErrDamaged) {
		return c.add(&c.headers, Damage{From: height, To: height, Headers: true, Why: reason(err)})
	}
	if err != nil {
		return err
	}
	if _, _, err := r.headerInDatabase(height); h.Count == 0 && errors.Is(err, ErrDamaged) {
		return c.tell() // it stands beside the database, and is put back
	}
	found, salted, lost := false, true, uint64(0)
	var runs []Damage
	scan, err := r.scanBlock(height, h.First, h.First+h.Count)
	if errors.Is(err, ErrPruned) || errors.Is(err, ErrNotHeld) {
		h.Count = 0
	} else if errors.Is(err, errAbsence) {
		return c.add(&c.entries, Damage{From: height, To: height, First: h.First, Count: h.Count, Why: reason(errAbsence)})
	} else if err != nil {
		return err
	} else {
		defer scan.close()
		_, salted = saltOf(scan.seeds, h.First)
		for scan.next() {
			var gone *DamageError
			if errors.As(scan.err, &gone) {
				if !isDamage(gone.Err) {
					return gone.Err
				}
				runs = append(runs, Damage{From: height, To: height, First: gone.First, Count: gone.Count, Why: reason(gone.Err)})
				lost += gone.Count
				found = true
			}
		}
	}
	if !found && !salted { // what they say is there, the salts that their hashes take are not
		return c.add(&c.entries, Damage{From: height, To: height, First: h.First, Unproved: h.Count, Why: reason(why)})
	}
	if !found { // all can be read, and something is not what was sealed
		return c.add(&c.entries, Damage{From: height, To: height, First: h.First, Count: h.Count, Why: reason(why)})
	}
	runs[0].Unproved = h.Count - lost
	for _, d := range runs {
		if err := c.add(&c.entries, d); err != nil {
			return err
		}
	}
	return nil
}

// look checks a height once more, by itself.
func (c *scrub) look(height uint64) error {
	v, err := newVerifier(&c.s.Reader, height, c.pace, nil)
	if err != nil {
		return err
	}
	defer v.close()
	return v.height(height)
}

// reason is an error as it is recorded: without the page that Pebble adds.
func reason(err error) string {
	var table *corruption
	if errors.As(err, &table) {
		err = table
	}
	what, _, _ := strings.Cut(err.Error(), "\n")
	return what
}

// add takes a damage into the one before it where that goes on.
func (c *scrub) add(run **Damage, d Damage) error {
	before := *run
	if before != nil && before.Headers == d.Headers && d.From <= before.To+1 && (d.Headers || d.First == before.First+before.Count) {
		before.To, before.Count, before.Unproved = d.To, before.Count+d.Count, before.Unproved+d.Unproved
		return nil
	}
	if err := c.flush(run); err != nil {
		return err
	}
	*run = &d
	return nil
}

// tell tells of what was found below a height that is sound again.
func (c *scrub) tell() error {
	return errors.Join(c.flush(&c.headers), c.flush(&c.entries))
}

// flush remembers a damage and has it recorded.
func (c *scrub) flush(run **Damage) error {
	d := *run
	if *run = nil; d == nil {
		return nil
	}
	if !d.Headers {
		return c.found(*d)
	}
	parts, err := c.s.withoutHeaders(*d)
	for i := 0; i < len(parts) && err == nil; i++ {
		err = c.found(parts[i])
	}
	return err
}

// withoutHeaders returns what is lost with the headers of a run of blocks. Nothing of a block counts without its header;
// its neighbours, and the notes of what is absent, tell which numbers were in it. Where entries had been deleted, or never
// were held, none is lost with the headers.
func (s *Store) withoutHeaders(d Damage) (parts []Damage, err error) {
	first, end, err := s.between(d.From, d.To)
	if err != nil {
		return nil, err
	}
	for from := d.From; from <= d.To; {
		part := d
		part.From, part.First, part.Count = from, first, 0
		next := end
		switch a, absent, err := s.runFrom(from, d.To); {
		case err != nil || a == nil: // where the notes cannot be read, all counts as lost
			part.Count = end - first
		case absent:
			part.To = min(a.to, d.To)
			next = min(a.next, end)
		default:
			part.To, next = a.from-1, a.first
			part.Count = next - first
		}
		parts = append(parts, part)
		from, first = part.To+1, next
	}
	return parts, nil
}

// runFrom returns the run of absent blocks that a height lies in, or else the next one up to another height, or nil.
func (s *Store) runFrom(from, to uint64) (a *run, within bool, err error) {
	if a, within, err := s.absentAt(from); err != nil || within {
		return &a, within, err
	}
	a, err = s.nextRun(from, to, func(run) bool { return true })
	return a, false, err
}

// between returns the numbers of the entries in a run of blocks whose headers are lost.
func (s *Store) between(from, to uint64) (first, next uint64, err error) {
	tip := s.view().tip
	next = tip.Next
	for height := to + 1; height <= tip.Height; height++ {
		if h, err := s.HeaderAt(height); err == nil {
			next = h.First
			break
		} else if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotHeld) {
			return 0, 0, err
		}
		if a, absent, err := s.absentAt(height); err == nil && absent && a.from > to {
			next = a.first
			break
		}
	}
	for height := from; height > 0; height-- {
		if h, err := s.HeaderAt(height - 1); err == nil {
			return h.First + h.Count, next, nil
		} else if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotHeld) {
			return 0, 0, err
		}
		if a, absent, err := s.absentAt(height - 1); err == nil && absent && a.to < from {
			return a.next, next, nil
		}
	}
	return 0, next, nil
}

// table takes a damaged table. One of blocks that loses entries was told of by their numbers.
func (c *scrub) table(d Damage) error {
	if d.Holds == contents(spaceBlocks) {
		known, err := c.s.Damages()
		if err != nil {
			return err
		}
		for i := range known {
			if k := &known[i]; k.Table == "" && k.From <= d.To && d.From <= k.To {
				return nil
			}
		}
	}
	return c.found(d)
}

// found remembers what of a damage is news, and has it recorded.
func (c *scrub) found(d Damage) error {
	known, err := c.s.allDamages()
	if err != nil {
		return err
	}
	d.Since = c.s.Next()
	for _, part := range d.news(known, c.met) {
		c.s.options.Logger.Error("failed to read old data, which is damaged", "first", part.First, "count", part.Count, "from_block", part.From, "to_block", part.To, "table", part.Table, "err", part.Why)
		if err := c.s.noteDamage(&part); err != nil {
			return err
		}
		c.met[string(part.key())] = true
		c.round.Lost += part.Count
	}
	for i := range known { // it had gone, and is back: that was recorded
		if k := &known[i]; k.Gone && c.met[string(k.key())] {
			k.Gone = false
			if err := c.s.noteDamage(k); err != nil {
				return err
			}
		}
	}
	// Remembered and not recorded: if the power fails here, the next start records it.
	return c.recordPending()
}

func (c *scrub) recordPending() error { return c.s.RecordPending(c.o.Record) }

// RecordPending has each damage recorded that is remembered and not recorded yet: what a start found by the head mark,
// and what a scrub found that was cut off. It may run beside everything else but a scrub.
func (s *Store) RecordPending(record func(Damage) error) error {
	damages, err := s.Damages()
	if err != nil {
		return err
	}
	for i := range damages {
		d := &damages[i]
		if d.Recorded {
			continue
		}
		if err := record(*d); err != nil {
			return err
		}
		d.Recorded = true
		if err := s.noteDamage(d); err != nil {
			return err
		}
	}
	return nil
}

// forget marks damages as gone that this round has looked for and not found.
func (c *scrub) forget() error {
	if !c.whole {
		return nil
	}
	damages, err := c.s.Damages()
	if err != nil {
		return err
	}
	for i := range damages {
		if d := &damages[i]; !d.SetBack && !c.met[string(d.key())] {
			c.s.options.Logger.Info("what was damaged is not any more", "first", d.First, "count", d.Count, "from_block", d.From, "to_block", d.To, "table", d.Table)
			d.Gone = true
			if err := c.s.noteDamage(d); err != nil {
				return err
			}
		}
	}
	return nil
}
