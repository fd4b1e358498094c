package broker

import (
	"errors"
	"io"
	"testing"
	"time"

	"edgechain.example/mqttwire"
)

// toldKeepAlive is what the CONNACK says of it, 0 if nothing.
func (w *wire) toldKeepAlive() uint32 {
	w.t.Helper()
	p, err := mqttwire.DecodeConnack(mqttwire.V5, mqttwire.Header{Type: mqttwire.CONNACK, Length: len(w.connack)}, w.connack)
	if err != nil {
		w.t.Fatal(err)
	}
	return p.Properties.Number(mqttwire.ServerKeepAlive, 0)
}

func TestALongerKeepAliveThanMayBeIsNotAgreedTo(t *testing.T) {
	for _, c := range []struct {
		most, idle time.Duration
		asked      uint16
		told       uint32
	}{
		{0, 0, 0, 0},
		{0, 0, 65535, 0},
		{time.Minute, 0, 0, 60},
		{time.Minute, 0, 60, 0},
		{time.Minute, 0, 61, 60},
		{0, 10 * time.Second, 0, 10},
		{0, 10 * time.Second, 11, 0}, // it has one of its own
		{time.Minute, 10 * time.Second, 0, 10},
		{time.Minute, time.Hour, 0, 60},
		{0, 100 * time.Hour, 0, 65535},
	} {
		b := start(t, autoDisk(t, 0), func(cfg *Config) { cfg.MaxKeepAlive, cfg.MaxIdle = c.most, c.idle })
		w := dial(t, b, login{id: "w", v5: true, clean: true, keepAlive: c.asked})
		if told := w.toldKeepAlive(); told != c.told {
			t.Errorf("%+v: told %d", c, told)
		}
		if old := dial(t, b, login{id: "old", clean: true, keepAlive: c.asked}); old.code != 0 || len(old.connack) != 2 {
			t.Errorf("%+v: MQTT 3.1.1 hears %x", c, old.connack)
		}
	}
}

func TestAClientWithoutKeepAliveIsClosedWhenItIsIdleForTooLong(t *testing.T) {
	b := start(t, autoDisk(t, 0), func(cfg *Config) { cfg.MaxIdle = time.Second })
	watched := dial(t, b, login{id: "watched", clean: true, keepAlive: 60})
	idle := dial(t, b, login{id: "idle", clean: true})
	if _, err := idle.r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the idle one: %v", err)
	}
	watched.send(typePingreq<<4, nil)
	watched.wants("PINGRESP")
}

// One that was told a keep-alive is held to that one.
func TestAKeepAliveThatWasToldCounts(t *testing.T) {
	b := start(t, autoDisk(t, 0), func(cfg *Config) { cfg.MaxKeepAlive = time.Second })
	w := dial(t, b, login{id: "w", v5: true, clean: true, keepAlive: 600})
	w.wants("DISCONNECT 8d")
}
