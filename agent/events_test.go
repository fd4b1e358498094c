package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/agent/recorder"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/sensors"
)

func TestWhatASourceLosesWhileItStopsIsRecorded(t *testing.T) {
	c := quickConfig(t)
	log := slog.New(slog.DiscardHandler)
	if _, err := Init(c, log); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	a := New(c, Options{Log: log, Fatal: func(err error) { panic(err) }, Ready: func(a *Agent) {
		s := &source{name: "late", stats: func() api.Source { return api.Source{} }}
		s.run = func(ctx context.Context, _ sensors.Sink) error {
			<-ctx.Done()
			a.losses.add("late", 3, "dropped by its broker")
			return nil
		}
		a.startSource(a.sourcesCtx, s)
		a.mu.Lock()
		a.sources = []*source{s}
		a.mu.Unlock()
		stop()
	}})
	if err := a.Run(ctx); err != nil {
		t.Fatal(err)
	}
	r, err := store.OpenReader(c.ChainDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for m, err := range r.Find(store.Query{Source: "agent:gap"}) {
		var gap gapEvent
		if err != nil || json.Unmarshal(m.Entry.Payload, &gap) != nil || gap.Source != "late" || gap.Count != 3 || !m.Sealed {
			t.Errorf("%+v, %v", gap, err)
		}
		return
	}
	t.Error("the loss is nowhere")
}

func TestLossesDoNotKeepAnAgentWithAFullDiskFromStopping(t *testing.T) {
	a := New(DefaultConfig(), Options{Log: slog.New(slog.DiscardHandler)})
	a.queue = recorder.NewQueue(1, 1)
	if !a.queue.TryPut(&sensors.Message{Payload: []byte("it waits for the disk")}) {
		t.Fatal("one message alone always fits")
	}
	a.losses.add("mqtt:plant", 1, "dropped")
	ended, end := context.WithCancel(t.Context())
	end()
	a.recordLosses(ended)
}

func TestTheReturnFromABackupKeepsTheCountOfRestores(t *testing.T) {
	b := newRecording(t, nil)
	b.start()
	defer b.stop(t)
	var before tally
	for _, event := range []any{restoreEvent{FirstEntry: 100, NextEntry: 140}, restoredEvent{Height: 7}} {
		payload, err := json.Marshal(before.add(event))
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		m := &sensors.Message{Source: "agent:restore", Flags: lightchain.ByAgent, Received: time.Unix(1_700_000_000, 0), Payload: payload, Done: func(err error) { done <- err }}
		if err := b.queue.Put(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	var after tally
	after.recall(&b.store.Reader)
	if got := after.condition().Restored; got.Times != 1 || got.Count != 40 {
		t.Errorf("%+v: expected one restore that lost 40 entries", got)
	}
}
