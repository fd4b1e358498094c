package sparkplug

import (
	"cmp"
	"slices"
	"strings"

	"edgechain.example/lightchain"
)

// Memory is what a Host remembers, for its caller to keep over a restart. The payloads of the births stand beside it, each under
// its hash.
type Memory struct {
	Nodes []NodeMemory `json:"nodes"`
}

// NodeMemory is what is remembered of one node.
type NodeMemory struct {
	Before string        `json:"before,omitempty"` // in its topics, before the namespace
	Group  string        `json:"group"`
	Node   string        `json:"node"`
	Online bool          `json:"online,omitempty"`
	Dead   bool          `json:"dead,omitempty"`
	BdSeq  int           `json:"bdseq"` // −1: not known
	Seq    int           `json:"seq"`   // of its next message; −1: not known
	Births []BirthMemory `json:"births,omitempty"`
}

// BirthMemory is what is remembered of a birth.
type BirthMemory struct {
	Device   string `json:"device,omitempty"` // "" is the node's own
	Hash     string `json:"hash"`
	Received int64  `json:"received"`
	Retained bool   `json:"retained,omitempty"`
}

// Memory returns what is remembered, and the payloads that [Host.Saved] was not told of yet. Nobody may change them.
func (h *Host) Memory() (m Memory, unsaved map[lightchain.Hash][]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	unsaved = map[lightchain.Hash][]byte{}
	for _, n := range h.nodes {
		of := NodeMemory{Before: n.topic.before, Group: n.topic.group, Node: n.topic.node, Online: n.known, Dead: n.dead, BdSeq: n.bdSeq, Seq: n.seq}
		add := func(device string, b *birth) {
			if b == nil {
				return
			}
			of.Births = append(of.Births, BirthMemory{device, b.hash.String(), b.received, b.retained})
			if b.payload != nil {
				unsaved[b.hash] = b.payload
			}
		}
		add("", n.birth)
		for name, d := range n.devices {
			add(name, d.birth)
		}
		slices.SortFunc(of.Births, func(a, b BirthMemory) int { return strings.Compare(a.Device, b.Device) })
		m.Nodes = append(m.Nodes, of)
	}
	slices.SortFunc(m.Nodes, func(a, b NodeMemory) int {
		return cmp.Or(strings.Compare(a.Before, b.Before), strings.Compare(a.Group, b.Group), strings.Compare(a.Node, b.Node))
	})
	return m, unsaved
}

// Unsaved reports whether a birth came that [Host.Saved] was not told of.
func (h *Host) Unsaved() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.unsaved > 0
}

// Saved says that a payload that [Host.Memory] returned need not be held any more.
func (h *Host) Saved(saved map[lightchain.Hash][]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	forget := func(n *node, b *birth) {
		if b == nil || b.payload == nil {
			return
		}
		if _, is := saved[b.hash]; is {
			h.bytes -= len(b.payload)
			n.bytes -= len(b.payload)
			b.cost -= len(b.payload)
			b.payload = nil
			h.unsaved--
		}
	}
	for _, n := range h.nodes {
		forget(n, n.birth)
		for _, d := range n.devices {
			forget(n, d.birth)
		}
	}
}

// Remember takes what a Host remembered before. load returns the payload of a birth, nil where it is not there any more; what it
// names is then not known. Nothing is told of any of it.
func (h *Host) Remember(m Memory, load func(hash string) []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.recalling = true
	defer func() { h.recalling = false }()
	for _, of := range m.Nodes {
		t := topic{before: of.Before, group: of.Group, node: of.Node}
		n := h.node(&t)
		if n == nil {
			return
		}
		n.known, n.dead, n.bdSeq, n.seq = of.Online, of.Dead, of.BdSeq, of.Seq
		for _, was := range of.Births {
			b := load(was.Hash)
			if b == nil || hashOf(b).String() != was.Hash {
				continue
			}
			flags := lightchain.Flags(0)
			if was.Retained {
				flags = lightchain.Retained
			}
			r := reading{h: h, t: &t, p: &h.scratch, flags: flags, received: was.Received, payload: b, n: n}
			if r.p.readAny(b) != nil {
				continue
			}
			at := &n.birth
			if was.Device != "" {
				d := h.device(n, was.Device)
				if d == nil {
					continue
				}
				d.alive, at = true, &d.birth
			}
			h.keep(n, at, r.newBirth(), b)
			if *at != nil { // it is saved
				h.bytes -= len(b)
				n.bytes -= len(b)
				(*at).cost -= len(b)
				(*at).payload = nil
				h.unsaved--
			}
		}
	}
}
