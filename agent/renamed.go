package agent

import (
	"cmp"
	"slices"
	"strings"

	"edgechain.example/agent/api"
	"edgechain.example/sensors"
)

// Before decoders of version 2 a device that nothing named was called after its client or one level of its topic; now it is
// called after its whole topic. Where a device of an older table is heard under its new name, the operator is told how to keep
// the old one.

// mostRenamed is how many of these are told.
const mostRenamed = 16

// noteRenamed looks whether a device that is heard for the first time is one that was known by another name. Under d.mu.
func (d *devices) noteRenamed(m *sensors.Message, name string) {
	kind, rest, _ := strings.Cut(m.Source, ":")
	from, topic, _ := strings.Cut(rest, ":")
	topic = strings.Trim(topic, "/")
	owner, _, _ := cutLast(topic, "/")
	if name != topic && name != owner || len(d.renamed) >= mostRenamed {
		return
	}
	was, key := "", ""
	if _, client, isBroker := strings.Cut(from, "/"); kind == "broker" && isBroker {
		was, key = sensors.NameInSource(client), "client"
	}
	if d.before(was) == nil {
		_, last, _ := cutLast(owner, "/")
		was, key = last, "level"
	}
	if d.before(was) != nil && was != name {
		d.renamed = append(d.renamed, api.Renamed{Was: was, Now: name, Rule: `device_from = "` + key + `"`})
	}
}

// before returns a device that was known when the program started, and was not heard since. Under d.mu.
func (d *devices) before(name string) *device {
	if known := d.known[name]; known != nil && known.heard.Equal(d.start) {
		return known
	}
	return nil
}

// renamedStatus returns those whose old name is not heard any more.
func (d *devices) renamedStatus() (all []api.Renamed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.renamed {
		if d.before(r.Was) != nil {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b api.Renamed) int { return cmp.Or(cmp.Compare(a.Was, b.Was), cmp.Compare(a.Now, b.Now)) })
	return all
}

// cutLast cuts s around the last sep; without one, all of it is after.
func cutLast(s, sep string) (before, after string, found bool) {
	at := strings.LastIndex(s, sep)
	if at < 0 {
		return "", s, false
	}
	return s[:at], s[at+len(sep):], true
}
