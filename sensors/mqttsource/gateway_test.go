package mqttsource

import (
	"context"
	"fmt"
	"os"
	"sync"

	"edgechain.example/sensors"
)

// gateway is what a test kills: a source whose disk is a file, one line for each entry, acknowledged once written.
// A killed process loses nothing that it gave to the kernel.
func gateway(file, server string) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	s, err := New(config(server, 1))
	if err != nil {
		panic(err)
	}
	go func() {
		<-s.Ready()
		if err := os.WriteFile(file+".ready", nil, 0o600); err != nil {
			panic(err)
		}
	}()
	if err := s.Run(context.Background(), &lineSink{f: f}); err != nil {
		panic(err)
	}
}

type lineSink struct {
	mu sync.Mutex
	f  *os.File
}

func (l *lineSink) Put(_ context.Context, m *sensors.Message) error {
	l.TryPut(m)
	return nil
}

func (l *lineSink) TryPut(m *sensors.Message) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := fmt.Fprintf(l.f, "%s %d\n", m.Payload, m.Flags)
	m.Done(err)
	return true
}
