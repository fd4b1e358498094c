package arm

import "encoding/json"

// Sources of the entries that a chain holds about its own board.
const (
	SourcePower = "agent:power"
	SourceCard  = "agent:card"
)

// State is what changes on a board and belongs into its chain.
type State struct {
	Power Power
	Cards []Card
}

// State reads the board.
func (b Board) State() State { return State{Power: b.Power(), Cards: b.Cards()} }

// Change is an entry about the board, made by the agent itself.
type Change struct {
	Source  string
	Payload []byte // a JSON object
}

// Changes returns the entries that follow from next being what prev was before. Against the zero State, that of a
// start, each card is one, so that a chain tells on which card it was written, and so is power that is not well.
//
// SPEC: What happens to the chain itself is an entry too (flag 5, payload a JSON object, readings empty), so that a
// loss is as provable as a reading.
func Changes(prev, next State) []Change {
	var all []Change
	if prev.Power.trouble() != next.Power.trouble() {
		all = append(all, change(SourcePower, next.Power.payload()))
	}
	before := make(map[string]Card)
	for _, c := range prev.Cards {
		before[c.Device] = c
	}
	for _, c := range next.Cards {
		old, ok := before[c.Device]
		if !ok || old != c {
			all = append(all, change(SourceCard, c.payload()))
		}
		delete(before, c.Device)
	}
	for _, c := range prev.Cards {
		if _, gone := before[c.Device]; gone {
			all = append(all, change(SourceCard, cardPayload{Device: c.Device}))
		}
	}
	return all
}

// trouble is p without what is in order or unknown: what a chain need not hold.
func (p Power) trouble() Power {
	p.VoltageKnown, p.ThrottlingKnown = false, false
	return p
}

// powerPayload has null for what is not known.
type powerPayload struct {
	UnderVoltage *bool `json:"under_voltage"`
	Capped       *bool `json:"capped"`
	Throttled    *bool `json:"throttled"`
	SoftLimit    *bool `json:"soft_limit"`
}

func (p Power) payload() powerPayload {
	var out powerPayload
	if p.VoltageKnown {
		out.UnderVoltage = &p.UnderVoltage
	}
	if p.ThrottlingKnown {
		out.Capped, out.Throttled, out.SoftLimit = &p.Capped, &p.Throttled, &p.SoftLimit
	}
	return out
}

type cardPayload struct {
	Device       string `json:"device"`
	Present      bool   `json:"present"`
	Kind         string `json:"kind,omitempty"`
	Name         string `json:"name,omitempty"`
	Manufacturer string `json:"manufacturer,omitempty"`
	OEM          string `json:"oem,omitempty"`
	Date         string `json:"date,omitempty"`
	Serial       string `json:"serial,omitempty"`
	LifeA        int    `json:"life_a,omitempty"`
	LifeB        int    `json:"life_b,omitempty"`
	PreEOL       int    `json:"pre_eol,omitempty"`
}

func (c Card) payload() cardPayload {
	return cardPayload{
		Device: c.Device, Present: true, Kind: c.Kind, Name: c.Name, Manufacturer: c.Manufacturer, OEM: c.OEM,
		Date: c.Date, Serial: c.Serial, LifeA: c.LifeA, LifeB: c.LifeB, PreEOL: c.PreEOL,
	}
}

func change(source string, payload any) Change {
	b, err := json.Marshal(payload)
	if err != nil {
		panic(err) // structs of booleans, numbers and text always encode
	}
	return Change{Source: source, Payload: b}
}
