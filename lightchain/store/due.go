package store

import (
	"errors"
	"strings"
	"sync"
)

// Damage is met wherever the store is read: while it opens, seals, proves, merges tables, or answers a question. What is
// met is rarely all that is lost, and is not told by number: that takes a scrub, which is due from then on.

// dueScrub is what was met of damage, and no scrub has looked at. Its zero value has met nothing.
type dueScrub struct {
	mu    sync.Mutex
	met   map[string]bool      // each once, as long as the program runs: what is damaged is met again and again
	due   map[string]metDamage // those that no scrub has read past since
	read  map[string]bool      // files of tables that could not be read: the owner of the tail has not looked which they are
	noted func()               // told of each one that is new; nil: nobody is
}

// metDamage is one place that could not be read, or was not what it should have been.
type metDamage struct {
	why    string
	height uint64 // of the block, where block is set
	block  bool
}

func (d *dueScrub) meet(m metDamage, key string) {
	d.mu.Lock()
	news := !d.met[key]
	if news {
		if d.met == nil {
			d.met, d.due = map[string]bool{}, map[string]metDamage{}
		}
		d.met[key], d.due[key] = true, m
	}
	noted := d.noted
	d.mu.Unlock()
	if news && noted != nil {
		noted()
	}
}

// meetTable notes that a read of a table has failed.
func (d *dueScrub) meetTable(name, why string) {
	d.mu.Lock()
	if d.read == nil {
		d.read = map[string]bool{}
	}
	d.read[name] = true
	d.mu.Unlock()
	d.meet(metDamage{why: why}, name+": "+why)
}

// takeTables returns which tables could not be read since it was called last; nil: none.
func (d *dueScrub) takeTables() map[string]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	read := d.read
	d.read = nil
	return read
}

// meets notes damage that a reader is told of.
func (r *Reader) meets(err error) {
	if r.due == nil || !errors.Is(err, ErrDamaged) {
		return
	}
	m := metDamage{why: reason(err)}
	if damaged, ok := errors.AsType[*DamageError](err); ok {
		m.height, m.block = damaged.Height, true
	}
	r.due.meet(m, m.why)
}

// ScrubDue reports whether damage was met, since the store is opened or was, that is not known to be there and that no
// scrub has looked at since.
func (s *Store) ScrubDue() bool {
	known, err := s.allDamages()
	if err != nil {
		return true // a scrub says what of
	}
	s.due.mu.Lock()
	defer s.due.mu.Unlock()
	for key, m := range s.due.due {
		if m.isAmong(known) {
			delete(s.due.due, key)
		}
	}
	return len(s.due.due) > 0
}

func (m *metDamage) isAmong(known []Damage) bool {
	for i := range known {
		k := &known[i]
		if strings.Contains(k.Why, m.why) || m.block && k.Table == "" && !k.Gone && k.From <= m.height && m.height <= k.To {
			return true
		}
	}
	return false
}

// pending returns what is due.
func (d *dueScrub) pending() (keys []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key := range d.due {
		keys = append(keys, key)
	}
	return keys
}

// done ends what was due when a scrub began that has read everything since.
func (d *dueScrub) done(keys []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, key := range keys {
		delete(d.due, key)
	}
}
