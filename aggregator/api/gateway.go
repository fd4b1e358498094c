package api

import (
	"time"

	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/lighttime"
	headersync "edgechain.example/sync"
)

// Gateway is what is told of one gateway. Times are by the aggregator's clock unless something else is said.
type Gateway struct {
	Chain     lightchain.ChainID `json:"chain"`
	Standing  registry.Standing  `json:"standing"`
	Name      string             `json:"name,omitempty"`   // from its genesis header
	Labels    map[string]string  `json:"labels,omitempty"` // the operator's words
	Mode      registry.Mode      `json:"mode,omitempty"`   // "" is the configuration's
	Silence   int64              `json:"silence_seconds,omitempty"`
	Added     time.Time          `json:"added"` // when it was first heard of
	Decided   time.Time          `json:"decided,omitzero"`
	By        string             `json:"by,omitempty"`        // who gave it its standing
	Head      Head               `json:"head,omitzero"`       // the newest that is known
	Announced uint64             `json:"announced,omitempty"` // height of the head that it announced while it waits; nobody has checked it
	Receipt   Receipt            `json:"receipt,omitzero"`    // the newest that was issued
	Seen      time.Time          `json:"seen,omitzero"`       // when a head higher than the last was accepted
	Online    registry.Presence  `json:"online,omitempty"`
	Report    *Report            `json:"report,omitempty"` // what it said of itself last
	Traffic   *Traffic           `json:"traffic,omitempty"`
	Findings  []Finding          `json:"findings"`         // the worst first
	Key       string             `json:"key,omitempty"`    // in force; only where one gateway is asked for
	Keys      int                `json:"keys,omitempty"`   // how many there were
	Genesis   time.Time          `json:"genesis,omitzero"` // when the chain was begun, by the gateway's clock
}

// Head is the newest header of a gateway that is known.
type Head struct {
	Height uint64          `json:"height"`
	Hash   lightchain.Hash `json:"hash"`
	Next   uint64          `json:"next"`            // number of the next entry
	Sealed time.Time       `json:"sealed"`          // by the gateway's clock
	Clock  string          `json:"clock"`           // how that stood
	Boot   uint64          `json:"boot"`            // of the gateway
	Every  uint64          `json:"every,omitempty"` // height up to which every header is held
}

// Receipt is the newest receipt that was issued for a gateway.
type Receipt struct {
	Height uint64    `json:"height"`
	Time   time.Time `json:"time"`
}

// Report is what a gateway said of itself last.
type Report struct {
	At     time.Time `json:"at"`     // when it came
	Height uint64    `json:"height"` // of the gateway's newest header then
	Start  uint64    `json:"start"`  // starts of its program
	Number uint64    `json:"number"` // of the report since that start
	headersync.Condition
}

// Traffic is what a gateway has cost on a day.
type Traffic struct {
	Day   string `json:"day"` // "2026-11-30", in UTC
	Bytes uint64 `json:"bytes"`
}

// Finding is something that an operator should know about a gateway.
type Finding struct {
	Kind   registry.Kind `json:"kind"`
	First  time.Time     `json:"first"`
	Last   time.Time     `json:"last"`
	Count  uint64        `json:"count"`
	Height uint64        `json:"height"`         // that it is about
	Lost   uint64        `json:"lost,omitempty"` // messages or entries, at most, where the gateway says how many
	Text   string        `json:"text"`
}

// tell returns what is told of a record.
func (s *Server) tell(r *registry.Record) Gateway {
	g := Gateway{
		Chain: r.Chain, Standing: r.Standing, Name: r.Name, Labels: r.Labels, Mode: r.Mode, Silence: r.Silence, Added: second(r.Added),
		Decided: second(r.Decided), By: r.By, Announced: r.Announced, Seen: second(r.Seen), Online: r.Online, Findings: []Finding{},
	}
	if h := &r.Head; h.Known {
		g.Head = Head{h.Height, h.Hash, h.Next, lighttime.Instant(h.Sealed), h.Clock.State.String(), h.Clock.Boot, h.Every}
	}
	if r.Receipt.Time > 0 {
		at, _ := lighttime.Second(r.Receipt.Time)
		g.Receipt = Receipt{r.Receipt.Height, at}
	}
	if p := r.Report; p != nil {
		g.Report = &Report{second(p.At), p.Height, p.Start, p.Number, p.Condition}
	}
	if r.Traffic.Bytes > 0 {
		g.Traffic = &Traffic{second(r.Traffic.Day * 86400).Format(time.DateOnly), r.Traffic.Bytes}
	}
	for _, a := range r.Ailments(s.Now(), s.Registry.Rules().Silence) {
		g.Findings = append(g.Findings, Finding{a.Kind, second(a.First), second(a.Last), a.Count, a.Height, a.Lost, a.Text})
	}
	return g
}

// second returns a time of the registry's, which are whole seconds; 0 is none.
func second(s int64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}

// Finding returns the finding of a kind; nil: there is none.
func (g *Gateway) Finding(kind registry.Kind) *Finding {
	for i := range g.Findings {
		if g.Findings[i].Kind == kind {
			return &g.Findings[i]
		}
	}
	return nil
}

// A Token lets one gateway in: what is told of it.
type Token struct {
	ID      string              `json:"id"`             // first bytes of its SHA-256, as the gateway shows them
	Text    string              `json:"text,omitempty"` // what the gateway is given; told once
	Made    time.Time           `json:"made"`
	Expires time.Time           `json:"expires"`
	Labels  map[string]string   `json:"labels,omitempty"`
	UsedBy  *lightchain.ChainID `json:"used_by,omitempty"`
	Used    time.Time           `json:"used,omitzero"`
}

func tellToken(t *registry.Token) Token {
	return Token{t.ID, t.Text, second(t.Made), second(t.Expires), t.Labels, t.UsedBy, second(t.Used)}
}
