package arm

import "testing"

func TestChangesBecomeEntries(t *testing.T) {
	unwell, fine := recorded(t, "zero2w").State(), recorded(t, "4b").State()
	worn := recorded(t, "cm4").State()
	replace := func(s State, change func(*State)) State {
		s.Cards = append([]Card(nil), s.Cards...)
		change(&s)
		return s
	}
	const (
		cardOf4B = `agent:card {"device":"mmcblk0","present":true,"kind":"SD","name":"EB1QT","manufacturer":"0x00001b","oem":"0x534d","date":"08/2022","serial":"0x9a1c66e2"}`
		well     = `agent:power {"under_voltage":false,"capped":false,"throttled":false,"soft_limit":false}`
	)
	for _, c := range []struct {
		name       string
		prev, next State
		want       []string
	}{
		{"nothing known", State{}, State{}, nil},
		{"start, all well", State{}, fine, []string{cardOf4B}},
		{"nothing new", fine, fine, nil},
		{"start, unwell", State{}, replace(unwell, func(s *State) { s.Cards = nil }), []string{
			`agent:power {"under_voltage":true,"capped":false,"throttled":true,"soft_limit":false}`}},
		{"well again", replace(fine, func(s *State) { s.Power = unwell.Power }), fine, []string{well}},
		{"out of sight", replace(fine, func(s *State) { s.Power = unwell.Power }), replace(fine, func(s *State) { s.Power = Power{} }), []string{
			`agent:power {"under_voltage":null,"capped":null,"throttled":null,"soft_limit":null}`}},
		{"out of sight while well", fine, replace(fine, func(s *State) { s.Power = Power{} }), nil},
		{"another card", replace(fine, func(s *State) { s.Cards[0].Serial = "0x00000001" }), fine, []string{cardOf4B}},
		{"worn further, second card pulled", worn, replace(worn, func(s *State) {
			s.Cards = s.Cards[:1]
			s.Cards[0].PreEOL = 2
		}), []string{
			`agent:card {"device":"mmcblk0","present":true,"kind":"MMC","name":"BJTD4R","manufacturer":"0x000015","oem":"0x0100","date":"06/2021","serial":"0x5fa31c07","life_a":2,"life_b":3,"pre_eol":2}`,
			`agent:card {"device":"mmcblk1","present":false}`}},
	} {
		var got []string
		for _, ch := range Changes(c.prev, c.next) {
			got = append(got, ch.Source+" "+string(ch.Payload))
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s:\n%s, want\n%s", c.name, got[i], c.want[i])
			}
		}
	}
}
