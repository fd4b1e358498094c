package sparkplug

import (
	"fmt"
	"testing"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// What a message of data costs: beside it the same readings in JSON. Both name a device, three values, a unit and a time.

func BenchmarkData(b *testing.B) {
	p := newPlant(b, Config{})
	unit := property("engUnit", typeString, message{}.text(8, "°C"))
	p.must(birthTopic, nbirthOf(0,
		metricOf("Inputs/Temperature", 1, typeDouble).bytes(9, unit).double(valueDouble, 20.5),
		metricOf("Inputs/Pressure", 2, typeDouble).double(valueDouble, 20.5), metricOf("Inputs/Count", 3, typeInt64).uint(valueLong, 1)))
	data := make([][]byte, 256)
	for i := range data {
		data[i] = payloadOf(i, metricOf("", 1, 0).double(valueDouble, 73.96732207), metricOf("", 2, 0).double(valueDouble, 1013.25), metricOf("", 3, 0).uint(valueLong, 123456))
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(data[0])))
	seq := 1
	for b.Loop() {
		if _, err := p.Read(dataTopic, lightchain.QoS0, data[seq&255], arrived); err != nil {
			b.Fatal(err)
		}
		seq++
	}
}

func BenchmarkJSON(b *testing.B) {
	d, err := sensors.New(sensors.Config{Dialect: "json", TimestampPath: "t", Units: map[string]string{"Inputs/Temperature": "Cel"}})
	if err != nil {
		b.Fatal(err)
	}
	payload := []byte(`{"t":1699999999990,"Inputs/Temperature":73.96732207,"Inputs/Pressure":1013.25,"Inputs/Count":123456}`)
	b.ReportAllocs()
	b.SetBytes(int64(len(payload)))
	for b.Loop() {
		if _, err := d.Decode("G1/E1", "", payload, arrived); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBirth(b *testing.B) {
	var metrics []message
	for i := range 500 {
		metrics = append(metrics, metricOf(fmt.Sprintf("Folder/Metric %d", i), i, typeDouble).double(valueDouble, 1))
	}
	birth := nbirthOf(0, metrics...)
	p := newPlant(b, Config{})
	b.ReportAllocs()
	b.SetBytes(int64(len(birth)))
	for b.Loop() {
		if _, err := p.Read(birthTopic, lightchain.QoS0, birth, arrived); err != nil {
			b.Fatal(err)
		}
	}
}
