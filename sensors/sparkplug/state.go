package sparkplug

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// stateMessage is what a host says of itself.
//
// Sparkplug 3.0, tck-id-payloads-state-birth-payload: JSON with online, a boolean, and timestamp, milliseconds since the epoch.
type stateMessage struct {
	Online    *bool   `json:"online"`
	Timestamp *uint64 `json:"timestamp"`
}

// readState reads what a host says of itself: the device is its topic, which is no node's.
func (h *Host) readState(name string, b []byte, received time.Time) (sensors.Result, error) {
	if len(b) == 0 { // erases a retained one
		return sensors.Result{Decoder: h.decoder}, nil
	}
	const most = 4096 // bytes: far more than any has
	var m stateMessage
	if len(b) > most {
		return sensors.Result{}, sensors.NotUnderstood(sensors.TooLarge, "a host's state of %d bytes", len(b))
	}
	if err := json.Unmarshal(b, &m); err != nil || m.Online == nil {
		return sensors.Result{}, sensors.NotUnderstood(sensors.Syntax, `a host's state is {"online":true,"timestamp":…}, and not %.40q`, b)
	}
	r := lightchain.Reading{Device: name, Name: "online", Value: lightchain.Bool(*m.Online)}
	doubt := "a host's state without a timestamp"
	if m.Timestamp != nil {
		doubt = ""
		sensors.Measured(&r, *m.Timestamp, sensors.Nanoseconds(received))
	}
	return sensors.Result{Readings: []lightchain.Reading{r}, Decoder: h.decoder, Doubt: doubt}, nil
}

// CheckHostID refuses what cannot be a host's id.
//
// Sparkplug 3.0, chapter 4: any UTF-8 but the reserved characters '+', '/' and '#'.
func CheckHostID(id string) error {
	if id == "" || len(id) > 256 || !utf8.ValidString(id) || strings.ContainsAny(id, "+/#\x00") {
		return errors.New("expected 1 to 256 bytes without '+', '/' and '#'")
	}
	return nil
}

// StateTopic is where a host says of itself whether it is online.
func StateTopic(id string) string { return sensors.SparkplugNamespace + state + "/" + id }

// StatePayload is what it says there: that it is online, or not, since a time in milliseconds since the Unix epoch.
func StatePayload(online bool, ms uint64) []byte {
	return fmt.Appendf(nil, `{"online":%t,"timestamp":%d}`, online, ms)
}

// SaysOnline reports whether a message is a host's word that it is online, in a form that nodes read.
func SaysOnline(b []byte) bool {
	var m stateMessage
	return json.Unmarshal(b, &m) == nil && m.Online != nil && *m.Online && m.Timestamp != nil
}
