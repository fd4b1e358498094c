package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"math"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/server"
	"github.com/gopcua/opcua/server/attrs"
	"github.com/gopcua/opcua/ua"
	"github.com/simonvetter/modbus"
	"google.golang.org/protobuf/encoding/protowire"
)

// course is what a machine measures now: some value and its swing, once a minute.
func course(middle, swing float64) float64 {
	return middle + swing*math.Sin(2*math.Pi*float64(time.Now().UnixMilli()%60_000)/60_000)
}

// press is a device of Modbus: register 100 is its temperature in tenths of a degree, 101 counts its cycles.
type press struct{ cycles atomic.Uint32 }

func newPress(port int) (*modbus.ModbusServer, error) {
	s, err := modbus.NewServer(&modbus.ServerConfiguration{URL: fmt.Sprintf("tcp://127.0.0.1:%d", port), Logger: log.New(io.Discard, "", 0)}, &press{})
	if err != nil {
		return nil, err
	}
	return s, s.Start()
}

// HandleHoldingRegisters implements [modbus.RequestHandler].
func (p *press) HandleHoldingRegisters(r *modbus.HoldingRegistersRequest) ([]uint16, error) {
	if r.IsWrite || r.UnitId != 1 || r.Addr != 100 || r.Quantity > 2 {
		return nil, modbus.ErrIllegalDataAddress
	}
	all := []uint16{uint16(int16(course(450, 25))), uint16(p.cycles.Add(1))}
	return all[:r.Quantity], nil
}

// HandleCoils implements [modbus.RequestHandler].
func (p *press) HandleCoils(*modbus.CoilsRequest) ([]bool, error) {
	return nil, modbus.ErrIllegalFunction
}

// HandleDiscreteInputs implements [modbus.RequestHandler].
func (p *press) HandleDiscreteInputs(*modbus.DiscreteInputsRequest) ([]bool, error) {
	return nil, modbus.ErrIllegalFunction
}

// HandleInputRegisters implements [modbus.RequestHandler].
func (p *press) HandleInputRegisters(*modbus.InputRegistersRequest) ([]uint16, error) {
	return nil, modbus.ErrIllegalFunction
}

// newOven starts a server of OPC UA with one node, whose value changes each half second.
func newOven(ctx context.Context, port int) (*server.Server, error) {
	log.SetOutput(io.Discard) // the library tells of each table that it reads
	s := server.New(server.EnableSecurity("None", ua.MessageSecurityModeNone), server.EnableAuthMode(ua.UserTokenTypeAnonymous),
		server.EndPoint("127.0.0.1", port))
	space := server.NewNodeNameSpace(s, "factory")
	temperature := func() *ua.DataValue {
		now := time.Now()
		return &ua.DataValue{EncodingMask: ua.DataValueValue | ua.DataValueSourceTimestamp | ua.DataValueServerTimestamp,
			Value: ua.MustVariant(math.Round(course(180, 4)*10) / 10), SourceTimestamp: now, ServerTimestamp: now}
	}
	node := server.NewNode(ua.NewStringNodeID(space.ID(), "temperature"), server.Attributes{
		ua.AttributeIDNodeClass:     server.DataValueFromValue(uint32(ua.NodeClassVariable)),
		ua.AttributeIDBrowseName:    server.DataValueFromValue(attrs.BrowseName("temperature")),
		ua.AttributeIDDisplayName:   server.DataValueFromValue(attrs.DisplayName("temperature", "")),
		ua.AttributeIDDataType:      server.DataValueFromValue(ua.NewNumericExpandedNodeID(0, id.Double)),
		ua.AttributeIDEventNotifier: server.DataValueFromValue(int16(0)),
	}, nil, temperature)
	space.Objects().AddRef(space.AddNode(node), id.HasComponent, true)
	if err := s.Start(ctx); err != nil {
		return nil, err
	}
	go func() {
		for tick := time.NewTicker(500 * time.Millisecond); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				space.ChangeNotification(node.ID())
			}
		}
	}()
	return s, nil
}

// mixer is an edge node of Sparkplug B, of the group plant.
type mixer struct {
	client mqtt.Client
	ended  chan struct{}
}

// Data types of Sparkplug B that it has.
const (
	typeInt64  = 4
	typeDouble = 10
)

func newMixer(ctx context.Context, broker string) (*mixer, error) {
	const node = "plant/%s/mixer-3"
	topic := func(kind string) string { return "spBv1.0/" + fmt.Sprintf(node, kind) }
	session := metric("bdSeq", 0, typeInt64, 11, 0)
	o := mqtt.NewClientOptions().AddBroker(broker).SetClientID("mixer-3").
		SetBinaryWill(topic("NDEATH"), payload(-1, session), 1, false)
	m := &mixer{client: mqtt.NewClient(o), ended: make(chan struct{})}
	if t := m.client.Connect(); t.Wait() && t.Error() != nil {
		return nil, t.Error()
	}
	speed := func(name string) []byte {
		return metric(name, 7, typeDouble, 13, math.Float64bits(math.Round(course(1450, 30))))
	}
	if t := m.client.Publish(topic("NBIRTH"), 0, false, payload(0, session, speed("speed"))); t.Wait() && t.Error() != nil {
		return nil, t.Error()
	}
	go func() {
		defer close(m.ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for seq := int64(1); ; seq = (seq + 1) % 256 {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				m.client.Publish(topic("NDATA"), 0, false, payload(seq, speed(""))).Wait() // under its alias
			}
		}
	}()
	return m, nil
}

func (m *mixer) close() { m.client.Disconnect(0) }

// payload is a Payload of Sparkplug B: the time, metrics, and the number in the sequence, none where it is negative.
func payload(seq int64, metrics ...[]byte) []byte {
	b := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(time.Now().UnixMilli()))
	for _, m := range metrics {
		b = protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), m)
	}
	if seq >= 0 {
		b = protowire.AppendVarint(protowire.AppendTag(b, 3, protowire.VarintType), uint64(seq))
	}
	return b
}

// metric is a Metric: its name, or else its alias, its type, and the value in the field that goes with it.
func metric(name string, alias, kind uint64, field protowire.Number, value uint64) []byte {
	var b []byte
	if name != "" {
		b = protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), name)
	}
	if alias != 0 {
		b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), alias)
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, 3, protowire.VarintType), uint64(time.Now().UnixMilli()))
	b = protowire.AppendVarint(protowire.AppendTag(b, 4, protowire.VarintType), kind)
	if kind == typeDouble {
		return protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), value)
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), value)
}
