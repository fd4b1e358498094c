package hwmon

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"edgechain.example/lightchain"
)

// system lists the two files of /proc that are polled, as proc(5) has them.
func system(root, device string) []sensor {
	return []sensor{{
		source: "hwmon:proc/loadavg",
		path:   filepath.Join(root, "proc/loadavg"),
		decode: func(b []byte) ([]lightchain.Reading, error) { return load(device, b) },
	}, {
		source: "hwmon:proc/meminfo",
		path:   filepath.Join(root, "proc/meminfo"),
		keep:   untilAvailable,
		decode: func(b []byte) ([]lightchain.Reading, error) { return memory(device, b) },
	}}
}

// load reads "0.20 0.18 0.12 1/80 11206": the runnable tasks, averaged over 1, 5 and 15 minutes.
func load(device string, b []byte) ([]lightchain.Reading, error) {
	fields := strings.Fields(string(b))
	if len(fields) < 3 {
		return nil, errors.New("reading the load: three numbers are expected")
	}
	var all []lightchain.Reading
	for i, name := range [...]string{"load/1min", "load/5min", "load/15min"} {
		f, err := strconv.ParseFloat(fields[i], 64)
		if err != nil || !(f >= 0 && f < 1e9) { // and so neither NaN nor infinite
			return nil, fmt.Errorf("reading the load: %q is not a number", fields[i])
		}
		all = append(all, lightchain.Reading{Device: device, Name: name, Unit: "1", Value: lightchain.Float(f)})
	}
	return all, nil
}

// untilAvailable keeps the first lines of /proc/meminfo, to the end of MemAvailable: what is read stands there, and
// the other fifty lines would be most of what a quiet gateway writes to its card.
func untilAvailable(b []byte) []byte {
	start := bytes.Index(b, []byte("MemAvailable:"))
	if start < 0 {
		return b
	}
	end := bytes.IndexByte(b[start:], '\n')
	if end < 0 {
		return b
	}
	return bytes.Clone(b[:start+end+1])
}

// memory reads lines like "MemTotal:  1893244 kB", which are KiB.
func memory(device string, b []byte) ([]lightchain.Reading, error) {
	names := map[string]string{"MemTotal": "memory/total", "MemAvailable": "memory/available"}
	var all []lightchain.Reading
	for line := range strings.Lines(string(b)) {
		key, rest, _ := strings.Cut(line, ":")
		name, ok := names[key]
		if !ok {
			continue
		}
		digits, ok := strings.CutSuffix(strings.TrimSpace(rest), " kB")
		n, err := strconv.ParseInt(digits, 10, 64)
		if !ok || err != nil || n < 0 || n > 1<<52 {
			return nil, fmt.Errorf("reading the memory: %q is not a number of kB", strings.TrimSpace(rest))
		}
		all = append(all, lightchain.Reading{Device: device, Name: name, Unit: "B", Value: lightchain.Int(n << 10)})
	}
	if len(all) != len(names) {
		return nil, errors.New("reading the memory: MemTotal and MemAvailable are expected, once each")
	}
	return all, nil
}
