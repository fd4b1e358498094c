package store

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

func TestASlowDiskIsToldOfOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		l := quietListener(slog.New(slog.NewTextHandler(&said, nil)))
		for range 600 { // five minutes
			l.WriteStallBegin(pebble.WriteStallBeginInfo{Reason: "memtable count limit reached"})
			time.Sleep(time.Second / 2)
		}
		if n := strings.Count(said.String(), "the disk is too slow"); n != 5 {
			t.Errorf("said %d times", n)
		}
	})
}
