package store

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
)

// Damage is one thing that a scrub found lost, and that the store remembers, so that it is told of once: entries, and
// what of their blocks went with them, or a table of what stands beside the blocks.
type Damage struct {
	From     uint64 `json:"from"` // heights of the blocks, both included
	To       uint64 `json:"to"`
	First    uint64 `json:"first"`              // number of the first entry that is lost
	Count    uint64 `json:"count"`              // how many are; 0: none
	Unproved uint64 `json:"unproved,omitempty"` // other entries of these blocks, which can be read and not be proved
	Headers  bool   `json:"headers,omitempty"`  // the blocks' headers are lost, and with them all entries of these blocks

	Table string `json:"table,omitempty"` // instead of all that: the file's name
	Holds string `json:"holds,omitempty"` // what that file holds

	Why      string `json:"why"`
	Since    uint64 `json:"since"`              // number of the next entry when it was found
	Recorded bool   `json:"recorded,omitempty"` // an entry tells of it
	Gone     bool   `json:"gone,omitempty"`     // it was not there any more when it was looked at again
	SetBack  bool   `json:"set_back,omitempty"` // a start found it by the head mark: no scrub meets it, and none forgets it
}

// Error says what is lost, in the words of [DamageError].
func (d *Damage) Error() string {
	if d.Table != "" {
		return fmt.Sprintf("table %s (%s): %s", d.Table, d.Holds, d.Why)
	}
	what := fmt.Sprintf("blocks %d to %d", d.From, d.To)
	if d.Headers {
		what = "headers of " + what
	}
	if d.Count > 0 {
		what = fmt.Sprintf("entries %d to %d, %s", d.First, d.First+d.Count-1, what)
	}
	return what + ": " + d.Why
}

// Is makes every Damage an [ErrDamaged].
func (d *Damage) Is(target error) bool { return target == ErrDamaged }

func (d *Damage) key() []byte {
	if d.Table != "" {
		return append([]byte{spaceTables}, d.Table...)
	}
	return binary.BigEndian.AppendUint64(key(spaceLost, d.From), d.First)
}

// Damages returns all that scrubs have found and that is still there, recorded or not, in the order of heights.
func (r *Reader) Damages() (damages []Damage, err error) {
	all, err := r.allDamages()
	return slices.DeleteFunc(all, func(d Damage) bool { return d.Gone }), err
}

func (r *Reader) allDamages() (damages []Damage, err error) {
	scan, err := r.scanSide([]byte{spaceLost}, []byte{spaceTables + 1})
	if err != nil {
		return nil, err
	}
	defer scan.close()
	for ok := scan.first(); ok; ok = scan.next() {
		var d Damage
		if err := json.Unmarshal(scan.value(), &d); err != nil {
			r.meet(scan.key()) // a scrub finds again what is still damaged
			continue
		}
		damages = append(damages, d)
	}
	return damages, scan.err
}

// record returns the damage's key and value.
func (d *Damage) record() (k, v []byte, err error) {
	v, err = json.Marshal(d)
	return d.key(), v, err
}

func (s *Store) putDamage(d *Damage) error {
	k, v, err := d.record()
	if err != nil {
		return err
	}
	return s.putSynced(k, v)
}

// noteDamage is putDamage for who does not own the tail.
func (s *Store) noteDamage(d *Damage) error {
	s.besides.Lock()
	defer s.besides.Unlock()
	return s.putDamage(d)
}

// news returns what of a damage just found was not known: parts of it, where some of its entries were known to be lost.
// Those known that it touches are marked as met.
func (d Damage) news(known []Damage, met map[string]bool) (parts []Damage) {
	parts = []Damage{d}
	for i := range known {
		k := &known[i]
		if !d.touches(k) {
			continue
		}
		met[string(k.key())] = true
		var rest []Damage
		for _, p := range parts {
			rest = append(rest, p.without(k)...)
		}
		parts = rest
	}
	return parts
}

func (d *Damage) touches(k *Damage) bool {
	if d.Table != "" || k.Table != "" {
		return d.Table == k.Table
	}
	return d.From <= k.To && k.From <= d.To
}

// without returns what is left of a damage beside one that is known, which touches it.
func (d Damage) without(k *Damage) (parts []Damage) {
	within := k.From <= d.From && d.To <= k.To
	if d.Table != "" || d.Count == 0 && within && (k.Headers || !d.Headers) {
		return nil
	}
	if d.Count == 0 || d.Headers && !k.Headers { // that the header is lost, too, is news
		return []Damage{d}
	}
	end, kEnd := d.First+d.Count, k.First+k.Count
	if kEnd <= d.First || end <= k.First {
		return []Damage{d}
	}
	if d.First < k.First {
		before := d
		before.Count = k.First - d.First
		parts = append(parts, before)
	}
	if kEnd < end {
		after := d
		after.First, after.Count = kEnd, end-kEnd
		parts = append(parts, after)
	}
	return parts
}

// Lost adds up what [Reader.Damages] returns.
type Lost struct {
	Entries  uint64 `json:"entries"`  // that cannot be read, or are not what was sealed
	Unproved uint64 `json:"unproved"` // that can be read and not be proved, since others of their blocks are lost
	Headers  uint64 `json:"headers"`
	Tables   uint64 `json:"tables"` // of what stands beside the blocks
}

// lost adds up what is known to be lost.
func (r *Reader) lost() (l Lost) {
	damages, _ := r.Damages() // an error is met, and told of, by the next scrub
	for _, d := range damages {
		l.Entries += d.Count
		l.Unproved += d.Unproved
		if d.Headers {
			l.Headers += d.To - d.From + 1
		}
		if d.Table != "" {
			l.Tables++
		}
	}
	return l
}
