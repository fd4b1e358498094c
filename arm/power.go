package arm

import "path/filepath"

// Power is the state of the supply, and what the firmware does about it and about heat. The kernel asks the firmware
// every two seconds; a flag is true if the answer says that it is so, or was since the question before.
type Power struct {
	VoltageKnown bool
	UnderVoltage bool // the supply fell below about 4.63 V: writes to the card may be damaged

	ThrottlingKnown bool
	Capped          bool // the processor's clock is held down
	Throttled       bool // the processor is slowed, by low voltage or heat
	SoftLimit       bool // the first temperature limit is reached (3B+: 60 °C)
}

// Bits of the firmware's answer; the same 16 places higher for what has been. See "get_throttled" in Raspberry Pi's
// documentation of vcgencmd.
const (
	firmwareUnderVoltage = 1 << iota
	firmwareCapped
	firmwareThrottled
	firmwareSoftLimit
)

// Power reads the flags. Under-voltage comes from the kernel's rpi_volt chip where there is one; the others stand in
// get_throttled alone, which newer kernels for the Raspberry Pi 5 no longer have.
func (b Board) Power() Power {
	var p Power
	if flags, ok := b.throttled(); ok {
		flags |= flags >> 16
		p = Power{
			VoltageKnown:    true,
			UnderVoltage:    flags&firmwareUnderVoltage != 0,
			ThrottlingKnown: true,
			Capped:          flags&firmwareCapped != 0,
			Throttled:       flags&firmwareThrottled != 0,
			SoftLimit:       flags&firmwareSoftLimit != 0,
		}
	}
	chips, _ := filepath.Glob(under(b.Root, "sys/class/hwmon/hwmon*"))
	for _, chip := range chips {
		if firstLine(filepath.Join(chip, "name")) != "rpi_volt" {
			continue
		}
		switch firstLine(filepath.Join(chip, "in0_lcrit_alarm")) {
		case "1":
			p.VoltageKnown, p.UnderVoltage = true, true
		case "0":
			p.VoltageKnown = true // and the firmware's word, if it said otherwise a moment ago, stands
		}
	}
	return p
}

// throttled reads the firmware's flags as the kernel last heard them.
func (b Board) throttled() (flags uint64, ok bool) {
	// The first reader after a boot makes the kernel log a warning with a stack trace, since the file is deprecated,
	// though nothing replaces it but for voltage. Where a warning stops the machine, it is left alone.
	if b.line("proc/sys/kernel/panic_on_warn") == "1" {
		return 0, false
	}
	// soc/soc:firmware up to the 4; soc@107c000000/soc@107c000000:firmware on the 5.
	files, _ := filepath.Glob(under(b.Root, "sys/devices/platform/soc*/soc*:firmware/get_throttled"))
	for _, file := range files {
		if flags, err := hexadecimal(firstLine(file), 32); err == nil {
			return flags, true
		}
	}
	return 0, false
}
