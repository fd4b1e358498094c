package sensors

import (
	"testing"
	"time"
)

var benchReceived = time.Date(2013, 12, 2, 21, 15, 1, 0, time.UTC)

func benchmarkDecode(b *testing.B, cfg Config, topic, payload string) {
	d, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	in := []byte(payload)
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if _, err := d.Decode(topic, "", in, benchReceived); err != nil {
			b.Fatal(err)
		}
	}
}

const oneValue = `{"time":"2013-12-02T21:15:00Z","temperature":73.96732207,"unit":"[degF]"}`

func BenchmarkJSONOneValue(b *testing.B) {
	benchmarkDecode(b, Config{Dialect: "json", TimestampPath: "time", UnitPath: "unit"}, "factory/press-07/temperature", oneValue)
}

func BenchmarkAutoOneValue(b *testing.B) {
	benchmarkDecode(b, Config{TimestampPath: "time", UnitPath: "unit"}, "factory/press-07/temperature", oneValue)
}

func BenchmarkJSONTasmota(b *testing.B) {
	benchmarkDecode(b, Config{Preset: "tasmota"}, "tele/kitchen/SENSOR",
		`{"Time":"2017-02-16T10:13:52","DS18B20":{"Temperature":20.6},"AM2301":{"Temperature":21.5,"Humidity":40},"TempUnit":"C"}`)
}

func BenchmarkSenMLJSON(b *testing.B) {
	benchmarkDecode(b, Config{Dialect: "senml+json"}, "factory/press-07/temperature",
		`[{"bn":"urn:dev:ow:10e2073a01080063:","bt":1.320078429e+09,"n":"voltage","u":"V","v":120.1},{"n":"current","u":"A","v":1.2}]`)
}

func BenchmarkValue(b *testing.B) {
	benchmarkDecode(b, Config{Dialect: "value"}, "factory/press-07/temperature", "73.96732207")
}
