package agent

import (
	"runtime"
	"testing"
	"time"

	"edgechain.example/agent/recorder"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/sensors"
)

// mostCommitAllocs is how many allocations a message costs at most between its source and its acknowledgement, where many share a
// write: queue, committer, store and metrics. With those of its source, see mqttsource, that is 8 in all.
const mostCommitAllocs = 0.5

func TestCommittingAMessageCostsFewAllocations(t *testing.T) {
	const n, groups = 1000, 20
	b := newRecording(t, func(o *store.Options, c *recorder.Config) {
		o.MaxBlockEntries = lightchain.MaxBlock
		c.Queue = recorder.NewQueue(64<<20, n)
		c.Commit = recorder.CommitConfig{MaxDelay: time.Hour, MaxEntries: n, Idle: time.Hour} // a group is closed by its number alone
		c.Block.MaxEntries = lightchain.MaxBlock
	})
	b.start()
	done := make(chan error, n)
	notify := func(err error) { done <- err }
	group := func() {
		messages := make([]sensors.Message, n)
		readings := make([]lightchain.Reading, n)
		for i := range messages {
			readings[i] = lightchain.Reading{Device: "press-07", Name: "temperature", Unit: "Cel", Value: lightchain.Float(float64(i))}
			messages[i] = sensors.Message{Source: "mqtt:plant:press/07", Received: time.Unix(1_700_000_000, int64(i)), Payload: []byte(`{"temperature":73.967}`),
				Decoder: "json/1", Readings: readings[i : i+1 : i+1], Done: notify}
			if err := b.queue.Put(t.Context(), &messages[i]); err != nil {
				t.Fatal(err)
			}
		}
		for range n {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	}
	group()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range groups {
		group()
	}
	runtime.ReadMemStats(&after)
	each := float64(after.Mallocs-before.Mallocs)/(n*groups) - 1 // the payload is the test's
	t.Logf("%.2f allocations a message", each)
	if each > mostCommitAllocs {
		t.Errorf("%.2f allocations a message, at most %v are allowed", each, mostCommitAllocs)
	}
	b.stop(t)
}
