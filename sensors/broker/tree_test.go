package broker

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"edgechain.example/mqttwire"
)

// costly are filters that someone would choose who wants to make the tree large, or each message slow.
var costly = map[string]func(client, i int) string{
	"slashes": func(client, i int) string { return fmt.Sprintf("%d-%d", client, i) + strings.Repeat("/", 60_000) },
	"as many levels as a filter may have": func(client, i int) string {
		return fmt.Sprintf("%d-%d", client, i) + strings.Repeat("/", maxFilterLevels-1)
	},
	"short levels": func(client, i int) string {
		return fmt.Sprintf("%x", client*maxSubscriptions+i) + strings.Repeat("/a", 28)
	},
	"every combination":   func(_, i int) string { return combination(i, 12) },
	"nothing that covers": func(_, i int) string { return combination(i, 12) + "/none" },
	"all below":           func(_, i int) string { return combination(i, 12) + "/#" },
	"groups":              func(client, i int) string { return fmt.Sprintf("$share/%d-%d/#", client, i) },
	"one of each":         func(_, i int) string { return strings.Repeat("a/", i%100) + "+" + strings.Repeat("/a", i/100) },
}

// combination is a filter of a and +, another one for each i.
func combination(i, levels int) string {
	all := make([]string, levels)
	for l := range all {
		all[l] = string("a+"[i>>l&1])
	}
	return strings.Join(all, "/")
}

// subscribeAll has clients subscribe to as much as each is let.
func subscribeAll(tr *tree, clients int, filter func(client, i int) string) (all []*session) {
	for client := range clients {
		s := &session{id: fmt.Sprint(client)}
		all = append(all, s)
		for i, refused := 0, 0; i < maxSubscriptions && refused < 100; i++ {
			if _, ok := tr.add(&subscription{s: s, filter: filter(client, i)}); !ok {
				refused++
			}
		}
	}
	return all
}

// Whatever its filters, a client's share of the tree is a few MiB, and it costs a message the work of some thousand steps.
func TestWhatAClientsFiltersCostHasAnEnd(t *testing.T) {
	topics := []string{strings.Repeat("a/", 11) + "a", strings.Repeat("a/", 12) + "none", strings.Repeat("a/", 127) + "a", strings.Repeat("a/", 20) + "a", strings.Repeat("/", 60_000)}
	for name, filter := range costly {
		t.Run(name, func(t *testing.T) {
			const clients = 4
			tr := tree{most: maxSubscriptions}
			before := heap()
			all := subscribeAll(&tr, clients, filter)
			if held := heap() - before; held > clients*8<<20 {
				t.Errorf("%d clients' subscriptions take %d KiB", clients, held>>10)
			}
			for _, topic := range topics {
				steps := tr.root.steps(topic, true)
				tr.match(topic, func(*subscription) { steps++ })
				if steps > clients*(maxWildLevels+4*maxFilterLevels) {
					t.Errorf("a message costs %d steps", steps)
				}
			}
			for _, s := range all {
				tr.removeAll(s)
				if s.filterWeight != (weight{}) || s.filterBytes != 0 {
					t.Errorf("%+v and %d bytes are left", s.filterWeight, s.filterBytes)
				}
			}
			if !tr.root.empty() || tr.count.Load() != 0 {
				t.Errorf("something is left: %+v", tr.root)
			}
			runtime.KeepAlive(all)
		})
	}
}

// However many clients there are, their filters take bounded memory and cost a message bounded work; and however many of them
// take all they can, one that wants little gets it.
func TestWhatAllClientsFiltersCostHasAnEnd(t *testing.T) {
	for name, filter := range costly {
		t.Run(name, func(t *testing.T) {
			const clients = 64
			tr := tree{most: maxSubscriptions}
			before := heap()
			all := subscribeAll(&tr, clients, filter)
			if held := heap() - before; held > 64<<20 {
				t.Errorf("all clients' subscriptions take %d KiB", held>>10)
			}
			if w := tr.weight; w.levels > allLevels+clients*ownLevels || w.wild > allWildLevels+clients*ownWildLevels || tr.bytes > allFilterBytes+clients*ownFilterBytes {
				t.Errorf("they weigh %+v and %d bytes", w, tr.bytes)
			}
			modest := &session{id: "modest"}
			for _, filter := range []string{"plant/+/state", "plant/press-07/#", "homeassistant/status", "$share/group/plant/#"} {
				if _, ok := tr.add(&subscription{s: modest, filter: filter}); !ok {
					t.Errorf("%s is refused", filter)
				}
			}
			for _, s := range append(all, modest) {
				tr.removeAll(s)
			}
			if tr.weight != (weight{}) || tr.bytes != 0 {
				t.Errorf("%+v and %d bytes are left", tr.weight, tr.bytes)
			}
			runtime.KeepAlive(all)
		})
	}
}

// steps is how many nodes a message has the fan-out visit: as match does.
func (n *node) steps(topic string, more bool) int {
	if n == nil || !more {
		return 1
	}
	level, rest, more := strings.Cut(topic, "/")
	return 1 + n.child("+").steps(rest, more) + n.child(level).steps(rest, more)
}

// Filters as they are in use are taken, as many as a client may have.
func TestUsualFiltersAreTaken(t *testing.T) {
	for _, form := range []string{"zigbee2mqtt/living room/device %d", "homeassistant/sensor/0x00158d000%d/temperature/config", "site/%d/line/+", "site/%d/#", "a/b/c/d/e/f/g/%d"} {
		tr := tree{most: maxSubscriptions}
		s := &session{}
		for i := range maxSubscriptions {
			if _, ok := tr.add(&subscription{s: s, filter: fmt.Sprintf(form, i)}); !ok {
				t.Errorf("%s: refused after %d", form, i)
				break
			}
		}
	}
}

func TestAFilterOfTooManyLevelsIsRefused(t *testing.T) {
	b := start(t, newDisk(1), nil)
	w := dial(t, b, login{id: "a", v5: true, clean: true})
	w.subscribe(1, strings.Repeat("/", maxFilterLevels-1), 0)
	w.wants("SUBACK 1 0")
	w.subscribe(2, strings.Repeat("/", maxFilterLevels), 0)
	w.wants(fmt.Sprintf("SUBACK 2 %x", byte(mqttwire.QuotaExceeded)))
}

// The tree finds what the filters cover, however it came to be as it is.
func TestTheTreeFindsWhatFiltersCover(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	levels := []string{"a", "b", "", "+", "#", "c"}
	name := func(wild bool) string {
		var parts []string
		for range 1 + r.IntN(4) {
			l := levels[r.IntN(len(levels))]
			if !wild && (l == "+" || l == "#") {
				l = "a"
			}
			parts = append(parts, l)
			if l == "#" {
				break
			}
		}
		return strings.Join(parts, "/")
	}
	tr := tree{most: maxSubscriptions}
	sessions := []*session{{id: "1"}, {id: "2"}, {id: "3"}}
	there := make(map[string]bool) // by session and filter
	for range 3000 {
		s, filter := sessions[r.IntN(len(sessions))], name(true)
		if filter == "" {
			continue
		}
		key := s.id + " " + filter
		if r.IntN(3) > 0 {
			if fresh, ok := tr.add(&subscription{s: s, filter: filter}); !ok || fresh == there[key] {
				t.Fatalf("adding %s: %t %t", key, fresh, ok)
			}
			there[key] = true
		} else {
			if tr.remove(s, filter) != there[key] {
				t.Fatalf("removing %s", key)
			}
			delete(there, key)
		}
		topic := name(false)
		if topic == "" {
			continue
		}
		found := make(map[string]bool)
		tr.match(topic, func(sub *subscription) { found[sub.s.id+" "+sub.filter] = true })
		for key := range there {
			_, filter, _ := strings.Cut(key, " ")
			if mqttwire.Match(filter, topic) != found[key] {
				t.Fatalf("%s and %s: found %t", topic, key, found[key])
			}
			delete(found, key)
		}
		if len(found) > 0 {
			t.Fatalf("%s: found %v, which are gone", topic, found)
		}
	}
	for _, s := range sessions {
		tr.removeAll(s)
	}
	if !tr.root.empty() {
		t.Error("nodes are left")
	}
}
