package serial

import (
	"context"
	"testing"
	"time"

	"edgechain.example/build/testenv"
	"edgechain.example/sensors"
	"edgechain.example/sensors/poll"
)

// sink takes messages.
type sink chan string

func (k sink) Put(ctx context.Context, m *sensors.Message) error {
	select {
	case k <- string(m.Payload):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (k sink) TryPut(*sensors.Message) bool { return false }

// A cable that is pulled out behind an adapter shows by silence alone.
func TestSilenceIsAState(t *testing.T) {
	line := testenv.NewLine(t)
	c := Config{Name: "scale", Port: line.One, Silence: 300 * time.Millisecond}
	c.SetDefaults()
	told := make(chan poll.Change, 10)
	s := New(c, Options{
		Decode: func(telegram []byte, _ bool, received time.Time) *sensors.Message {
			return &sensors.Message{Received: received, Payload: telegram}
		},
		Changed: func(_ context.Context, c poll.Change) error { told <- c; return nil },
	})
	ctx, cancel := context.WithCancel(t.Context())
	took, done := make(sink), make(chan error, 1)
	go func() { done <- s.Run(ctx, took) }()
	next := func() poll.Change {
		select {
		case c := <-told:
			return c
		case <-time.After(testenv.Patience):
			t.Fatal("nothing is told")
		}
		return poll.Change{}
	}
	if c := next(); len(c.Failing) != 1 || c.Failing[0].Why != "no telegram within 300ms" {
		t.Errorf("%+v", c)
	}
	testenv.Await(t, "more of it, which is not told", func() bool { return s.Stats().Failed > 2 })
	if s.Stats().Open || len(told) > 0 {
		t.Errorf("%+v, and %d more are told", s.Stats(), len(told))
	}
	line.Say("1 kg\r\n")
	if c := next(); len(c.Recovered) != 1 || c.Recovered[0].Polls < 3 {
		t.Errorf("%+v", c)
	}
	if got := <-took; got != "1 kg" {
		t.Errorf("got %q", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestALineThatIsTakenSaysSo(t *testing.T) {
	line := testenv.NewLine(t)
	c := Config{Name: "scale", Port: line.One}
	c.SetDefaults()
	run := func() *Source {
		s := New(c, Options{})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx, make(sink)) }()
		t.Cleanup(func() {
			cancel()
			<-done
		})
		return s
	}
	first := run()
	testenv.Await(t, "the line is open", func() bool { return first.Stats().Open })
	second := run()
	testenv.Await(t, "it fails", func() bool { return second.Stats().Why == "opening the line: another program has the line" })
	third := New(Config{Name: "x", Port: "/etc/hostname", Frame: frameLine}, Options{})
	if err := third.session(t.Context(), nil); err == nil || err.Error() != "opening the line: it is no serial line: inappropriate ioctl for device" {
		t.Error(err)
	}
}

// A disk that stalls is no silence of the line: what comes meanwhile goes on where it was.
func TestWhatWaitsForTheDiskIsNoSilence(t *testing.T) {
	line := testenv.NewLine(t)
	c := Config{Name: "scale", Port: line.One}
	c.SetDefaults()
	torn := make(chan bool, 10)
	s := New(c, Options{Decode: func(telegram []byte, isTorn bool, received time.Time) *sensors.Message {
		torn <- isTorn
		return &sensors.Message{Received: received, Payload: telegram}
	}})
	ctx, cancel := context.WithCancel(t.Context())
	took, done := make(sink), make(chan error, 1)
	go func() { done <- s.Run(ctx, took) }()
	testenv.Await(t, "the line is open", func() bool { return s.Stats().Open })
	line.Say("1 kg\r\n2")
	<-torn
	time.Sleep(settles + 200*time.Millisecond) // the sink takes nothing
	line.Say("3 kg\r\n")
	if got := <-took; got != "1 kg" {
		t.Errorf("got %q", got)
	}
	if isTorn, got := <-torn, <-took; isTorn || got != "23 kg" {
		t.Errorf("got %q, torn: %v", got, isTorn)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
