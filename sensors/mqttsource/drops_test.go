package mqttsource

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// The counter rises within a minute of the last report, and then never again.
func TestDropsWithinAMinuteOfAReportAreToldWhenItIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lost []int
		var at []time.Duration
		began := time.Now()
		cfg := config("tcp://broker", 1)
		cfg.Lost = func(n int, _ string) { lost, at = append(lost, n), append(at, time.Since(began)) }
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); s.tellLate(ctx) }()
		s.watched(topicDropped, []byte("100"))
		s.watched(topicDropped, []byte("107"))
		time.Sleep(10 * time.Second)
		s.watched(topicDropped, []byte("110"))
		time.Sleep(10 * time.Second)
		s.watched(topicDropped, []byte("111"))
		time.Sleep(time.Hour)
		synctest.Wait()
		if !slices.Equal(lost, []int{7, 4}) || at[0] != 0 || at[1] != reportInterval {
			t.Errorf("reported were %v after %v", lost, at)
		}
		s.watched(topicDropped, []byte("120")) // an hour later: at once
		s.watched(topicDropped, []byte("121"))
		stop()
		<-ended
		s.tellDrops(true) // as Run does at its end
		if !slices.Equal(lost, []int{7, 4, 9, 1}) {
			t.Errorf("reported were %v", lost)
		}
	})
}
