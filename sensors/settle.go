package sensors

import (
	"cmp"
	"slices"
	"strings"

	"edgechain.example/lightchain"
)

// What holds for many readings may stand behind them in a payload; so they get names, devices, times and qualities once all of
// it has been read.

// settle gives the readings what is said about all of them, once all of it has been read: it may stand behind them.
func (w *walk) settle() ([]lightchain.Reading, error) {
	messages := false
	for i := range w.frames {
		f := &w.frames[i]
		messages = messages || f.message
		if f.message && f.passed && !f.valued {
			w.doubt("a message has no %.40s, and its other members are not read", w.valuePath)
		}
	}
	if w.messagesOnly && !messages && w.values > 0 {
		w.doubt("nothing lies at %.80s, and what stands elsewhere is not read", strings.Join(w.messages, "."))
	}
	if len(w.out) == 0 {
		return nil, nil
	}
	var says said
	was, dotted := -1, false
	for i := range w.out {
		r, a := &w.out[i], &w.about[i]
		if a.frame != was {
			says, was = w.saidOf(a.frame), a.frame
		}
		prefix := w.in.place.prefix
		switch {
		case !a.value && says.name != "":
			prefix = join(prefix, ".", says.name)
		case !a.value:
		case says.name != "":
			r.Name = says.name + r.Name
		default:
			r.Name, prefix = w.in.place.name+r.Name, ""
		}
		w.measure(r, cmp.Or(a.unit, says.unit))
		if prefix != "" {
			r.Name = prefix + "." + r.Name
		}
		if a.escaped != "" {
			dotted = true
			switch {
			case a.value && says.name != "":
				a.escaped = join(prefix, ".", says.name) + a.escaped
			case a.value:
				a.escaped = w.in.place.name + a.escaped
			case prefix != "":
				a.escaped = prefix + "." + a.escaped
			}
		}
		r.Device = says.device
		says.time.on(r, w.in.received)
		r.Quality |= says.quality
	}
	if dotted {
		w.keepApart()
	}
	if len(w.frames) > 1 {
		w.tellMerged()
	}
	return slices.Clone(w.out), nil
}

type named struct{ device, name string }

// keepApart gives readings of other members that would have one name theirs with the dots in members' names escaped. What other
// messages in the payload hold does not change a name.
func (w *walk) keepApart() {
	for changed := true; changed; {
		changed = false
		members := make(map[named]string, len(w.out))
		clash := map[named]bool{}
		for i := range w.out {
			r, a := &w.out[i], &w.about[i]
			key, member := named{r.Device, r.Name}, cmp.Or(a.escaped, r.Name)
			if other, taken := members[key]; !taken {
				members[key] = member
			} else if other != member {
				clash[key] = true
			}
		}
		for i := range w.out {
			r, a := &w.out[i], &w.about[i]
			if a.escaped != "" && r.Name != a.escaped && clash[named{r.Device, r.Name}] {
				r.Name, changed = a.escaped, true
			}
		}
	}
}

// tellMerged tells of readings that are of several messages and that nothing keeps apart: they may be of several machines.
func (w *walk) tellMerged() {
	type moment struct {
		named
		at    int64
		timed bool
	}
	frames := make(map[moment]int, len(w.out))
	for i := range w.out {
		r := &w.out[i]
		key := moment{named{r.Device, r.Name}, r.Time, r.Timed}
		if frame, taken := frames[key]; taken && frame != w.about[i].frame {
			w.doubt("%.40q has %.40q of one time from more than one message: a device_path or name_path may keep them apart", r.Device, r.Name)
			return
		}
		frames[key] = w.about[i].frame
	}
}
