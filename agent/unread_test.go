package agent

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"edgechain.example/sensors"
)

// What was not understood is told by source and reason, with a count and without a flood.
func TestWhatIsNotUnderstoodIsToldOncePerSourceAndReason(t *testing.T) {
	var log bytes.Buffer
	u := unread{log: slog.New(slog.NewTextHandler(&log, nil))}
	d, err := sensors.New(sensors.Config{})
	if err != nil {
		t.Fatal(err)
	}
	in := sensors.Intake{Decoder: d, Refused: func(topic string, err error) { u.refused("mqtt:plant", topic, err) }}
	for range 250 {
		in.Message("mqtt:plant:a/b", "a/b", "", 0, []byte(`{"a":`), time.Unix(1_700_000_000, 0))
	}
	in.Message("mqtt:plant:a/b", "a/b", "", 0, []byte("\xff"), time.Unix(1_700_000_000, 0))
	u.doubted("mqtt:plant", "c", "no time")

	all, beyond := u.status()
	if len(all) != 3 || beyond != 0 || all[0].Source != "mqtt:plant" || all[0].Topic != "c" || all[2].Messages != 250 || !strings.Contains(all[2].Detail, "cut short at byte 5") {
		t.Errorf("status says %+v and %d more", all, beyond)
	}
	if n := strings.Count(log.String(), "topic=a/b reason=syntax"); n != 3 { // the first, the tenth, the hundredth
		t.Errorf("%d lines of one reason:\n%s", n, log.String())
	}

	for i := range mostUnread {
		u.doubted("mqtt:plant", fmt.Sprint(i), "no time")
	}
	if all, beyond := u.status(); len(all) != mostUnread || beyond != 3 {
		t.Errorf("%d kinds are kept, %d messages counted beyond", len(all), beyond)
	}
}
