package hwmon

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"edgechain.example/lightchain"
)

// quantity is one kind of file of a chip, as the kernel's Documentation/hwmon/sysfs-interface has it.
type quantity struct {
	prefix string
	unit   string  // SenML
	per    float64 // what the file counts, per unit; 1 gives integers
}

var quantities = [...]quantity{
	{"temp", "Cel", 1000},
	{"in", "V", 1000},
	{"curr", "A", 1000},
	{"power", "W", 1e6},
	{"fan", "1/min", 1},
	{"humidity", "%RH", 1000},
}

// quantityOf returns the sensor that a file of a chip is the input of: "temp1" for "temp1_input".
func quantityOf(file string) (name string, q quantity, ok bool) {
	name, ok = strings.CutSuffix(file, "_input")
	if !ok {
		return "", quantity{}, false
	}
	kind := strings.TrimRight(name, "0123456789")
	for _, q := range quantities {
		if kind == q.prefix && len(name) > len(kind) {
			return name, q, true
		}
	}
	return "", quantity{}, false
}

// named is a folder under the name that its own file gives it.
type named struct{ name, dir string }

// distinct makes names unique. A number like that of hwmon3 is not what tells two chips of one name apart: it changes
// from boot to boot. What the kernel calls the device behind them does not; rename says that. A chip that is alone
// under its name keeps it, so that its readings are called the same on every machine.
func distinct(all []named, rename func(dir string) string) []named {
	count := make(map[string]int)
	for _, n := range all {
		count[n.name]++
	}
	for i := range all {
		if n := &all[i]; count[n.name] > 1 {
			n.name += "-" + rename(n.dir)
		}
	}
	return all
}

// chips lists the sensors of the chips under /sys/class/hwmon.
func chips(root, device string) []sensor {
	class := filepath.Join(root, "sys/class/hwmon")
	var found []named
	for _, entry := range list(class) {
		dir := filepath.Join(class, entry.Name())
		name := oneLine(filepath.Join(dir, "name"))
		if name == "" {
			name = entry.Name() // "name" is mandatory; a chip without one is recorded all the same
		}
		found = append(found, named{name, dir})
	}
	var all []sensor
	for _, chip := range distinct(found, behind) {
		all = append(all, inputs(chip, device)...)
	}
	return all
}

// behind returns the kernel's name of the device that a chip belongs to: "nvme0", "coretemp.0", "1-0048".
func behind(dir string) string {
	target, err := os.Readlink(filepath.Join(dir, "device"))
	if err != nil {
		return filepath.Base(dir)
	}
	return clean(filepath.Base(target))
}

// inputs lists the sensors of one chip.
func inputs(chip named, device string) []sensor {
	entries := list(chip.dir)
	labels := make(map[string]int)
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), "_label") {
			labels[oneLine(filepath.Join(chip.dir, entry.Name()))]++
		}
	}
	var all []sensor
	for _, entry := range entries {
		name, q, ok := quantityOf(entry.Name())
		if !ok {
			continue
		}
		// The label is for people. Where it does not tell one sensor of the chip from another, the sensor's own name does.
		label := oneLine(filepath.Join(chip.dir, name+"_label"))
		if label == "" || labels[label] > 1 {
			label = name
		}
		all = append(all, sensor{
			source: "hwmon:" + chip.name + "/" + name,
			path:   filepath.Join(chip.dir, entry.Name()),
			fault:  filepath.Join(chip.dir, name+"_fault"),
			decode: number(device, chip.name+"/"+label, q),
		})
	}
	return all
}

// zones lists the thermal zones. The kernel gives most of them a chip too; those are read there.
func zones(root, device string) []sensor {
	class := filepath.Join(root, "sys/class/thermal")
	var found []named
	for _, entry := range list(class) {
		dir := filepath.Join(class, entry.Name())
		if !strings.HasPrefix(entry.Name(), "thermal_zone") || hasChip(dir) {
			continue
		}
		name := oneLine(filepath.Join(dir, "type"))
		if name == "" {
			name = entry.Name()
		}
		found = append(found, named{name, dir})
	}
	var all []sensor
	for _, zone := range distinct(found, filepath.Base) {
		all = append(all, sensor{
			source: "hwmon:thermal/" + zone.name,
			path:   filepath.Join(zone.dir, "temp"),
			decode: number(device, "thermal/"+zone.name, quantities[0]),
		})
	}
	return all
}

func hasChip(zone string) bool {
	for _, entry := range list(zone) {
		if strings.HasPrefix(entry.Name(), "hwmon") {
			return true
		}
	}
	return false
}

// number reads a file that holds one integer, in the kernel's unit, and a line break.
func number(device, name string, q quantity) func([]byte) ([]lightchain.Reading, error) {
	return func(b []byte) ([]lightchain.Reading, error) {
		n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		value := lightchain.Int(n)
		if q.per != 1 {
			value = lightchain.Float(float64(n) / q.per) // one division: the nearest float to the decimal
		}
		return []lightchain.Reading{{Device: device, Name: name, Unit: q.unit, Value: value}}, nil
	}
}

// oneLine returns what a file of one line says, as a name; "" if there is no such file.
func oneLine(path string) string {
	b, err := readFile(path)
	if err != nil {
		return ""
	}
	return clean(strings.TrimSpace(string(b)))
}

// clean makes a part of a name of what a driver says: valid text, without what separates the parts.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '/' || unicode.IsControl(r) || r == unicode.ReplacementChar {
			return '_'
		}
		return r
	}, s)
}
