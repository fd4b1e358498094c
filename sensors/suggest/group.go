package suggest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"edgechain.example/lightchain"
	"edgechain.example/mqttwire"
	"edgechain.example/sensors"
)

// spread gives a preset to all topics below the levels that belong to its sender, where it reads them; else each topic stands for
// itself.
func (c *Collector) spread(all []*topic) {
	areas := map[string][]*topic{} // the topics that have it
	for _, t := range all {
		if t.area != "" {
			areas[t.area] = append(areas[t.area], t)
		}
	}
	// Those nearest to the top last: within the other they stand for themselves.
	for _, area := range slices.SortedFunc(maps.Keys(areas), func(a, b string) int {
		return cmp.Or(strings.Count(b, "/")-strings.Count(a, "/"), strings.Compare(a, b))
	}) {
		owners := areas[area]
		first := owners[0]
		fits := true
		var others []*topic
		for _, t := range all {
			if !mqttwire.Match(area, t.name) || t.area == area && table(t.config) == table(first.config) {
				continue
			}
			others = append(others, t)
			own, as := t.read(t.config), t.read(first.config)
			fits = fits && t.area == "" && t.config.Preset == "" && as.understood >= own.understood && as.doubts <= own.doubts
		}
		for _, t := range owners {
			if !fits {
				t.area = ""
			}
		}
		for _, t := range others {
			if fits {
				t.config, t.area, t.hints = first.config, area, nil
			}
		}
	}
}

// group joins topics that are read alike: those of an area, and those with the same number of levels whose payloads look alike.
func group(all []*topic) (groups []Group) {
	type kind struct{ table, area, shape string }
	members := map[kind][]*topic{}
	for _, t := range all {
		k := kind{table: table(t.config), area: t.area}
		if t.area == "" {
			k.shape = fmt.Sprint(len(t.levels), " ", t.shape())
		}
		members[k] = append(members[k], t)
	}
	for k, topics := range members {
		if k.area != "" {
			groups = append(groups, newGroup([]string{k.area}, topics))
			continue
		}
		for _, p := range merge(topics, all) {
			groups = append(groups, newGroup([]string{p.filter()}, p.topics))
		}
	}
	slices.SortFunc(groups, func(a, b Group) int { return strings.Compare(a.Filters[0], b.Filters[0]) })
	return joined(groups, all)
}

// joined puts groups of one configuration behind each other: they are one table.
func joined(groups []Group, all []*topic) (out []Group) {
	var order []string
	tables := map[string][]Group{}
	for _, g := range groups {
		key := table(g.Config)
		if tables[key] == nil {
			order = append(order, key)
		}
		tables[key] = append(tables[key], g)
	}
	for _, key := range order {
		out = append(out, fewer(tables[key], key, all)...)
	}
	return out
}

// mostFilters is how many filters a table has before those that begin alike become one.
const mostFilters = 8

// fewer replaces the filters of a table with many of them by one for all below a topic's first level, where nothing below that is
// read otherwise.
func fewer(groups []Group, key string, all []*topic) []Group {
	if len(groups) <= mostFilters {
		return groups
	}
	below := map[string]bool{} // first levels
	for _, t := range all {
		if len(t.levels) > 1 && t.levels[0] != "" && !mqttwire.Reserved(t.name) {
			is, known := below[t.levels[0]]
			below[t.levels[0]] = (is || !known) && table(t.config) == key
		} else {
			below[t.levels[0]] = false
		}
	}
	count := map[string]int{}
	firstOf := func(g *Group) string { first, _, _ := strings.Cut(g.Filters[0], "/"); return first }
	for i := range groups {
		count[firstOf(&groups[i])]++
	}
	var out []Group
	at := map[string]int{}
	for _, g := range groups {
		first := firstOf(&g)
		if !below[first] || count[first] < 2 {
			out = append(out, g)
			continue
		}
		if i, is := at[first]; is {
			out[i].take(&g)
			continue
		}
		at[first] = len(out)
		g.Filters = []string{first + "/#"}
		out = append(out, g)
	}
	return out
}

func (g *Group) take(other *Group) {
	g.Topics, g.Messages, g.Retained = g.Topics+other.Topics, g.Messages+other.Messages, g.Retained+other.Retained
	for _, u := range other.Unread {
		g.unread(u)
	}
	g.hint(other.Hints)
}

func (g *Group) hint(hints []string) {
	const most = 8
	for _, h := range hints {
		if !slices.Contains(g.Hints, h) && len(g.Hints) < most {
			g.Hints = append(g.Hints, h)
		}
	}
}

func (g *Group) unread(u Unread) {
	for i := range g.Unread {
		if g.Unread[i].Reason == u.Reason {
			g.Unread[i].Messages += u.Messages
			return
		}
	}
	g.Unread = append(g.Unread, u)
}

// enough is how many readings make a message a good example.
const enough = 8

// newGroup reads the samples of topics, and takes the one with the most readings for an example, of several the first.
func newGroup(filters []string, topics []*topic) Group {
	g := Group{Filters: filters, Config: topics[0].config, Topics: len(topics)}
	d, err := sensors.New(g.Config)
	if err != nil {
		panic("suggest: a configuration that is none: " + err.Error())
	}
	best := -1
	for _, t := range topics {
		g.Messages += t.messages
		g.Retained += t.retained
		g.hint(t.hints)
		for i := range t.samples {
			s := &t.samples[i]
			got, err := s.by(d, t.name)
			switch {
			case err != nil:
				reason := sensors.ReasonOf(err)
				g.unread(Unread{t.name, string(reason), strings.TrimPrefix(err.Error(), string(reason)+": "), 1})
			case got.Doubt != "":
				g.unread(Unread{t.name, "doubt", got.Doubt, 1})
			}
			score := 0
			if err == nil {
				score = 1 + min(enough, len(got.Readings))
			}
			if score > best {
				best, g.Example = score, Example{t.name, s.payload, got, err}
			}
		}
	}
	return g
}

// shape says what payloads of a topic look like: which names they have, and of which kind their values are. Bare values are all of
// one shape: a sensor that says 21.5 and then "unavailable" is one.
func (t *topic) shape() string {
	r := t.read(t.config)
	switch {
	case r.understood == 0:
		return "unread"
	case len(r.readings) == 0:
		return "empty"
	case !r.named(), len(r.readings) == r.understood && t.isBare(&r):
		return "bare"
	}
	kinds := map[string]string{}
	for i := range r.readings {
		x := &r.readings[i]
		levels := strings.Split(x.Name, ".")
		for n := range levels {
			if isIndex(levels[n]) {
				levels[n] = "*"
			}
		}
		name := strings.Join(levels, ".")
		switch x.Value.Kind() {
		case lightchain.KindNull:
			kinds[name] = cmp.Or(kinds[name], "")
		case lightchain.KindInt, lightchain.KindFloat:
			kinds[name] = "number"
		default:
			kinds[name] = fmt.Sprint(x.Value.Kind())
		}
	}
	var shape strings.Builder
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		fmt.Fprintf(&shape, "%q %s\n", name, kinds[name])
	}
	return shape.String()
}

// isBare reports whether the readings have no name of their own, but that of the topic's last level.
func (t *topic) isBare(r *trial) bool {
	return !slices.ContainsFunc(r.readings, func(x lightchain.Reading) bool { return x.Name != t.levels[len(t.levels)-1] })
}

// pattern is topics that one filter covers, and no other topic that is known.
type pattern struct {
	levels []string
	topics []*topic
}

func (p *pattern) filter() string { return strings.Join(p.levels, "/") }

// merge finds filters for topics with the same number of levels whose payloads look alike. A level becomes "+" where it varies
// and nothing else does, and where the filter then covers no other topic of all.
func merge(topics []*topic, all []*topic) []*pattern {
	var patterns []*pattern
	for _, t := range topics {
		patterns = append(patterns, &pattern{slices.Clone(t.levels), []*topic{t}})
	}
	for merged := true; merged; {
		merged = false
		for at := len(topics[0].levels) - 1; at >= 0; at-- {
			next := mergeAt(patterns, at, all)
			merged = merged || len(next) < len(patterns)
			patterns = next
		}
	}
	return patterns
}

// leastAtTop is how many names the first level must have before it is taken for one that varies: what stands there is, as a rule, what
// a plant or a program is called.
const leastAtTop = 3

func mergeAt(patterns []*pattern, at int, all []*topic) (out []*pattern) {
	var order []string
	alike := map[string][]*pattern{}
	for _, p := range patterns {
		levels := slices.Clone(p.levels)
		levels[at] = "+"
		key := strings.Join(levels, "/")
		if alike[key] == nil {
			order = append(order, key)
		}
		alike[key] = append(alike[key], p)
	}
	for _, key := range order {
		some := alike[key]
		wide := &pattern{levels: strings.Split(key, "/")}
		for _, p := range some {
			wide.topics = append(wide.topics, p.topics...)
		}
		if len(some) < 2 || at == 0 && len(some) < leastAtTop || !wide.fits(all) {
			out = append(out, some...)
			continue
		}
		out = append(out, wide)
	}
	return out
}

// fits reports whether the filter names a level, and covers these topics and no other.
func (p *pattern) fits(all []*topic) bool {
	if !slices.ContainsFunc(p.levels, func(level string) bool { return level != "+" && level != "" }) {
		return false
	}
	filter, covered := p.filter(), 0
	for _, t := range all {
		if mqttwire.Match(filter, t.name) {
			covered++
		}
	}
	return covered == len(p.topics) && !slices.ContainsFunc(p.topics, func(t *topic) bool { return !mqttwire.Match(filter, t.name) })
}

// collisions says where two topics give one device the same reading.
func collisions(all []*topic) (warnings []string) {
	const most = 20
	type reading struct{ device, name string }
	from := map[reading][]string{}
	for _, t := range all {
		r := t.read(t.config)
		for i := range r.readings {
			k := reading{r.readings[i].Device, r.readings[i].Name}
			if n := len(from[k]); n == 0 || from[k][n-1] != t.name {
				from[k] = append(from[k], t.name)
			}
		}
	}
	// One warning for each device and the topics that say the same of it.
	type clash struct{ device, topics string }
	names := map[clash][]string{}
	for k, topics := range from {
		if len(topics) > 1 {
			shown := topics[:min(len(topics), 4)]
			text := strings.Join(shown, ", ")
			if more := len(topics) - len(shown); more > 0 {
				text += fmt.Sprintf(" and %d more", more)
			}
			names[clash{k.device, text}] = append(names[clash{k.device, text}], k.name)
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(names), func(a, b clash) int {
		return cmp.Or(strings.Compare(a.device, b.device), strings.Compare(a.topics, b.topics))
	}) {
		if len(warnings) == most {
			return append(warnings, fmt.Sprintf("%d more devices have readings of the same name from several topics", len(names)-most))
		}
		same := names[k]
		slices.Sort(same)
		text := fmt.Sprintf("%q", same[0])
		if len(same) > 1 {
			text += fmt.Sprintf(" and %d more", len(same)-1)
		}
		warnings = append(warnings, fmt.Sprintf("the device %q has a reading %s from each of %s: either they say the same of one machine, and one of them is enough, "+
			"or two machines have one name: then name them apart by device, device_path or topic_parsing", k.device, text, k.topics))
	}
	return warnings
}
