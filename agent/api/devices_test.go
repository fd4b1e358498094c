package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/localhttp"
)

// measured stages and seals a message of one device, which arrives and was measured at two times.
func measured(t *testing.T, s *store.Store, received, at int64, device string, readings ...lightchain.Reading) {
	t.Helper()
	for i := range readings {
		readings[i].Device, readings[i].Timed, readings[i].Time = device, true, at
	}
	staged, err := s.Stage([]lightchain.Entry{{Received: received, Source: "mqtt:a:x", Payload: []byte("x"), Readings: readings}})
	if err == nil {
		err = staged.Wait()
	}
	if err == nil {
		_, err = s.Seal(store.SealParams{Sealed: received})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func reading(name, unit string, v lightchain.Value) lightchain.Reading {
	return lightchain.Reading{Name: name, Unit: unit, Value: v}
}

// A device that is silent for longer than the list goes back is what somebody who asks for the list looks for.
func TestALateDeviceIsListedThoughNothingOfItIsFound(t *testing.T) {
	s := newChain(t, 1)
	now := time.Now().UnixNano()
	const hour = int64(time.Hour)
	measured(t, s, now-400*hour, now-400*hour, "fan", reading("speed", "", lightchain.Int(3)))
	measured(t, s, now-2*hour, now-2*hour, "press", reading("temperature", "Cel", lightchain.Float(71.5)), reading("pressure", "bar", lightchain.Int(2)))
	measured(t, s, now-hour, now-hour, "press", reading("temperature", "Cel", lightchain.Float(72.5)))
	server := &Server{Chain: &s.Reader}
	ask := func(values url.Values) Devices {
		t.Helper()
		all, err := Local(server).Devices(t.Context(), values)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	all := ask(nil)
	if len(all.Devices) != 1 || all.Running || all.Devices[0].Name != "press" || len(all.Devices[0].Readings) != 2 {
		t.Fatalf("%+v", all)
	}
	last := all.Devices[0].Readings[1]
	if string(last.Value) != "72.5" || last.Unit != "Cel" || last.Time.UnixNano() != now-hour || last.Age < 3600 || last.Age > 7200 || !last.ByDevice {
		t.Errorf("%+v", last)
	}
	server.Status = func() Status {
		return Status{Live: &Live{Late: []LateDevice{{Name: "fan", Last: time.Unix(0, now-400*hour), Usual: 60}}}}
	}
	if all = ask(nil); len(all.Devices) != 2 || !all.Devices[0].Late || len(all.Devices[0].Readings) != 0 || all.Devices[1].Late {
		t.Errorf("%+v", all)
	}
	if all = ask(url.Values{"device": {"pr*"}}); len(all.Devices) != 1 {
		t.Errorf("%+v", all)
	}
	b, err := json.Marshal(ask(url.Values{"device": {"none"}}))
	if err != nil || strings.Contains(string(b), "null") {
		t.Errorf("%s %v: a list is never null", b, err)
	}
}

func TestAPatternStandsForNames(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"press", "press", true}, {"press", "press-07", false}, {"", "", true},
		{"*", "line1/press-07/state", true}, {"line1/*", "line1/press-07/state", true}, {"*/state", "line1/press-07/state", true},
		{"line1/*/s*e", "line1/press-07/state", true}, {"line1/*x", "line1/press-07/state", false},
		{"press-0?", "press-07", true}, {"press-0?", "press-0", false}, {"ofen-?", "ofen-ü", true}, {"*aab", "aaaab", true}, {"a*b*c", "abcb", false},
	} {
		if got := matchesPattern(c.pattern, c.name); got != c.want {
			t.Errorf("%q and %q: %v", c.pattern, c.name, got)
		}
	}
}

// A package that is updated leaves the agent of before running until it is restarted.
func TestAnAgentThatDoesNotKnowTheQuestionIsToBeRestarted(t *testing.T) {
	client := &Client{localhttp.NewClient("gateway", localhttp.InProcess(http.NewServeMux()), refused)}
	if _, err := client.Devices(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "older than this command") {
		t.Errorf("%v", err)
	}
}
