package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// rereadCases are payloads that take long to read for their bytes, of some 16 MB together in entries as large as they may be.
func rereadCases() map[string]*lightchain.Entry {
	const most = sensors.MostPayloadMax
	filled := func(begin, part, end string) []byte {
		n := (most - len(begin) - len(end)) / len(part)
		return []byte(begin + strings.Repeat(part, n) + end)
	}
	lines := func(line func(i int) string, most int) []byte {
		var b bytes.Buffer
		for i := 0; b.Len() < most; i++ {
			b.WriteString(line(i))
		}
		return b.Bytes()
	}
	one := []lightchain.Reading{{Name: "x", Value: lightchain.Int(1)}}
	all := map[string]*lightchain.Entry{
		"json/many members":  {Decoder: "json/2", Payload: filled("{", `"a":1,`, `"b":1}`)},
		"json/deep":          {Decoder: "json/2", Payload: filled("[", "[1],", "1]")},
		"json/one text":      {Decoder: "json/2", Payload: filled(`{"a":"`, "x", `"}`)},
		"json/escaped":       {Decoder: "json/2", Payload: filled(`{"a":"`, `\u00e9`, `"}`)},
		"json/numbers":       {Decoder: "json/2", Payload: filled(`{"a":[`, "1.5,", "1]}")},
		"json/spaces":        {Decoder: "json/2", Payload: filled(`{"a":1`, " ", "}")},
		"influx/one text":    {Decoder: "influx/2", Payload: filled(`m a="`, "x", `"`)},
		"influx/escaped":     {Decoder: "influx/2", Payload: filled(`m a="`, `\"`, `"`)},
		"influx/one tag":     {Decoder: "influx/2", Payload: filled(`m,a=`, `x`, ` b=1`)},
		"influx/escaped tag": {Decoder: "influx/2", Payload: filled(`m,a=`, `\,`, ` b=1`)},
		"influx/tags":        {Decoder: "influx/2", Payload: filled(`m`, `,a=x`, ` b=1`)},
		"influx/fields":      {Decoder: "influx/2", Payload: filled(`m a=1`, `,b=2`, ``)},
		"influx/comments":    {Decoder: "influx/2", Payload: filled("m a=1\n", "#\n", "")},
		"influx/lines":       {Decoder: "influx/2", Payload: lines(func(i int) string { return fmt.Sprintf("m a=%d %d\n", i, 1_700_000_000_000_000_000+i) }, 1<<20)},
		"ndjson/lines":       {Decoder: "ndjson/2", Payload: lines(func(i int) string { return fmt.Sprintf("{\"a\":%d}\n", i) }, 512<<10)},
		"senml/records":      {Decoder: "senml-json/2", Payload: filled("[", `{"n":"a","v":1},`, `{"n":"a","v":1}]`)},
		"text/one":           {Decoder: "value/2", Payload: filled("", "x", "")},
	}
	for _, e := range all {
		e.Source, e.Readings = "mqtt:plant:a/b", one
	}
	return all
}

// What it costs to read a payload again, in times of the SHA-256 of the entry, which whoever checks a proof computes anyhow.
func BenchmarkReadAgain(b *testing.B) {
	for name, e := range rereadCases() {
		b.Run(name, func(b *testing.B) {
			_ = 0
			encoded, err := e.Append(nil)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(encoded)))
			b.ReportAllocs()
			var result reread
			for b.Loop() {
				result, _ = readAgain(e)
			}
			if result == notReread {
				b.Fatal("it was not read")
			}
			all, hash := time.Hour, time.Hour
			for range 5 {
				begin := time.Now()
				readAgain(e)
				all = min(all, time.Since(begin))
				begin = time.Now()
				sha256.Sum256(encoded)
				hash = min(hash, time.Since(begin))
			}
			b.ReportMetric(float64(all)/float64(hash), "×hash")
		})
	}
}
