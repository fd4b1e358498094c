package agent

import (
	"testing"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/sensors"
)

// The rate is that of the last five minutes, and of a young agent that of its first ones: neither an hour of silence before a burst
// nor a burst an hour ago is in it.
func TestARateIsThatOfTheLastFiveMinutes(t *testing.T) {
	began := time.Unix(1_700_000_000, 0)
	now := began
	p := newPulses(began, func() time.Time { return now })
	hear := func(source string, n int) {
		group := make([]*sensors.Message, n)
		for i := range group {
			group[i] = &sensors.Message{Source: source, Received: now.Add(-time.Second)}
		}
		p.heard(group)
	}
	of := func(name string) api.Source {
		s := api.Source{Name: name}
		p.show(&s)
		return s
	}
	if s := of("mqtt:plant"); !s.Last.IsZero() || s.PerMinute != 0 || s.Window != 60 {
		t.Errorf("before any message: %+v", s)
	}
	hear("mqtt:plant:line-1/state", 4)
	hear("modbus:a%2Fb:1/3/0", 1)
	if s := of("mqtt:plant"); s.PerMinute != 4 || s.Window != 60 || s.Silent != 0 {
		t.Errorf("in the first moment: %+v", s)
	}
	if s := of("modbus:a/b"); s.PerMinute != 1 {
		t.Errorf("a name with a slash: %+v", s)
	}
	now = began.Add(2 * time.Minute)
	if s := of("mqtt:plant"); s.PerMinute != 2 || s.Window != 120 || s.Silent != 120 || !s.Last.Equal(began.Add(-time.Second)) {
		t.Errorf("after two minutes: %+v", s)
	}
	now = began.Add(time.Hour)
	if s := of("mqtt:plant"); s.PerMinute != 0 || s.Window != 300 || s.Silent != 3600 {
		t.Errorf("after an hour: %+v", s)
	}
	for now = began.Add(time.Hour + 10*time.Second - 1); now.Before(began.Add(2 * time.Hour)); now = now.Add(time.Second) {
		hear("mqtt:plant:line-1/state", 1)
	}
	now = now.Add(-time.Second)
	if s := of("mqtt:plant"); s.PerMinute < 59.5 || s.PerMinute > 60.5 {
		t.Errorf("with a message a second: %+v", s)
	}
}
