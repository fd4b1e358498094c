package recorder

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

func message(payload string) *sensors.Message {
	return &sensors.Message{Source: "test:x", Payload: []byte(payload)}
}

func TestTheBudgetBoundsWhatIsInFlight(t *testing.T) {
	one := message("x").Size()
	q := NewQueue(2*one, 10)
	if !q.TryPut(message("a")) || !q.TryPut(message("b")) {
		t.Fatal("two messages do not fit into a budget for two")
	}
	if q.TryPut(message("c")) {
		t.Fatal("a third one does")
	}
	put := make(chan error, 1)
	go func() { put <- q.Put(t.Context(), message("c")) }()
	got := q.take(nil, 10, 1<<20)
	if len(got) != 2 {
		t.Fatalf("%d messages wait", len(got))
	}
	// Taken is not done: the room is given back with the acknowledgement only.
	if q.TryPut(message("d")) {
		t.Fatal("there is room before anything is done")
	}
	q.release(got[:1])
	if err := <-put; err != nil {
		t.Fatal(err)
	}
	if n, bytes := q.Pending(); n != 2 || bytes != 2*one {
		t.Errorf("%d messages of %d bytes in flight", n, bytes)
	}
}

// A gateway that heard nothing for an hour is not stuck when the next message comes, nor one that has only begun.
func TestWaitingBeginsWithTheFirstMessageAfterAQuietTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(1<<20, 10)
		c := &Committer{queue: q}
		begin := time.Now()
		if since := q.busySince(); !since.IsZero() {
			t.Errorf("nothing is in flight, since %v", since)
		}
		q.TryPut(message("x"))
		first := q.busySince()
		if first.Before(begin) {
			t.Errorf("a message put after %v waits since %v", begin, first)
		}
		if stuck := c.Stuck(); stuck != 0 {
			t.Errorf("before the first commit it is stuck for %v", stuck)
		}
		c.alive.mark(begin.Add(-time.Hour))
		if stuck := c.Stuck(); stuck != 0 {
			t.Errorf("an hour after the last commit it is stuck for %v", stuck)
		}
		q.TryPut(message("y"))
		if since := q.busySince(); since != first {
			t.Error("a second message makes the first one younger")
		}
		q.release(q.take(nil, 10, 1<<20))
		if since := q.busySince(); !since.IsZero() {
			t.Errorf("all is done, and something waits since %v", since)
		}
	})
}

func TestAMessageLargerThanTheBudgetGoesAlone(t *testing.T) {
	q := NewQueue(10, 10)
	if !q.TryPut(message("larger than ten bytes")) {
		t.Fatal("it never goes")
	}
	if q.TryPut(message("y")) {
		t.Fatal("it does not go alone")
	}
}

func TestMessagesOfOneGoroutineKeepTheirOrder(t *testing.T) {
	q := NewQueue(1<<20, 100)
	for _, p := range []string{"1", "2", "3", "4", "5"} {
		if err := q.Put(t.Context(), message(p)); err != nil {
			t.Fatal(err)
		}
	}
	var order string
	for range 3 {
		for _, m := range q.take(nil, 2, 1<<20) {
			order += string(m.Payload)
		}
	}
	if order != "12345" {
		t.Errorf("taken in the order %s", order)
	}
}

func TestAClosedQueueTakesNothingAndKeepsWhatItHas(t *testing.T) {
	q := NewQueue(message("x").Size(), 10)
	q.TryPut(message("x"))
	waiting := make(chan error, 1)
	go func() { waiting <- q.Put(context.Background(), message("y")) }()
	q.Close()
	if err := <-waiting; !errors.Is(err, ErrStopping) {
		t.Errorf("one that waited for room hears %v", err)
	}
	if q.TryPut(message("z")) || q.drained() {
		t.Error("it takes more, or lost what it had")
	}
	if got := q.take(nil, 10, 1<<20); len(got) != 1 || !q.drained() {
		t.Errorf("%d messages were left", len(got))
	}
}

func TestWaitingForRoomEndsWithTheContext(t *testing.T) {
	q := NewQueue(1, 10)
	q.TryPut(message("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := q.Put(ctx, message("y")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A group ends by bytes, too, and never before its first message.
func TestAGroupHoldsNoMoreThanItsBytes(t *testing.T) {
	q := NewQueue(1<<30, 100)
	for _, size := range []int{50, 1 << 20, 50, 50, 1 << 20} {
		if err := q.Put(t.Context(), &sensors.Message{Payload: make([]byte, size)}); err != nil {
			t.Fatal(err)
		}
	}
	var got []int
	for q.waits().messages > 0 {
		got = append(got, len(q.take(nil, 100, 1<<19)))
	}
	if want := []int{1, 1, 2, 1}; !slices.Equal(got, want) {
		t.Errorf("groups of %v messages, want %v", got, want)
	}
}

// One source that wants all there is, with however many putters, leaves another, which has one, as much as it wants up to
// half; of QoS 0 no more than half of the queue is in flight.
func TestNoSourceKeepsAnotherOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const putters, groups, each = 64, 200, 10
		one := message("x").Size()
		q := NewQueue(100*one, 1000)
		ctx, stop := context.WithCancel(t.Context())
		counts := map[string]int{}
		flood, quiet := q.Share("flood"), q.Share("quiet")
		put := func(s *Share, source string) {
			for s.Put(ctx, &sensors.Message{Source: source, Payload: []byte("x")}) == nil {
			}
		}
		for range putters {
			go put(flood, "flood:")
		}
		synctest.Wait()
		for range 2 {
			if !quiet.TryPut(&sensors.Message{Source: "first", Payload: []byte("x")}) {
				t.Error("a source that had nothing in flight finds no room")
			}
		}
		go put(quiet, "quiet:")
		for range groups {
			synctest.Wait()
			if _, bytes := q.Pending(); bytes > 100*one {
				t.Fatalf("%d bytes in flight", bytes)
			}
			group := q.take(nil, each, 1<<20)
			for _, m := range group {
				counts[m.Source]++
			}
			q.release(group)
		}
		if n := counts["quiet:"]; n < groups*each*4/10 {
			t.Errorf("one putter against %d gets %d of %d", putters, n, groups*each)
		}
		// It ends: all is left to the other, once what it had in flight is done.
		stop()
		synctest.Wait()
		quiet.Retire()
		q.release(q.take(nil, 1000, 1<<20))
		n := 0
		for flood.TryPut(message("x")) {
			n++
		}
		if n != 100 {
			t.Errorf("alone it may put %d of 100", n)
		}
	})
}

func TestQoS0FillsHalfOfTheQueueAtMost(t *testing.T) {
	one := message("x").Size()
	q := NewQueue(100*one, 1000)
	s := q.Share("broker")
	promised := 0
	for n := 0; ; n++ {
		if !s.TryPut(&sensors.Message{Source: "test:x", Payload: []byte("x"), Flags: lightchain.QoS0}) {
			if n != 50 {
				t.Errorf("%d of 100 messages in flight are of QoS 0", n)
			}
			break
		}
	}
	for s.TryPut(message("x")) {
		promised++
	}
	if promised != 50 {
		t.Errorf("%d others find room", promised)
	}
	q.release(q.take(nil, 50, 1<<20))
	if !s.TryPut(&sensors.Message{Source: "test:x", Payload: []byte("x"), Flags: lightchain.QoS0}) {
		t.Error("when they are done there is no room for more")
	}
}
