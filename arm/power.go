package arm

import (
	"path/filepath"
	"time"
)

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
func (b Board) Power() Power { return b.PowerProbe().Read() }

// PowerProbe reads the flags again and again. It knows the files: looking for them costs more than reading them.
type PowerProbe struct {
	throttled []string // get_throttled, where the board has it
	voltage   []string // in0_lcrit_alarm of the chips called rpi_volt
}

// PowerProbe looks for the files. Drivers may come and go, so whoever reads for long asks for another one now and then.
func (b Board) PowerProbe() *PowerProbe {
	p := &PowerProbe{}
	// The first reader after a boot makes the kernel log a warning with a stack trace, since the file is deprecated,
	// though nothing replaces it but for voltage. Where a warning stops the machine, it is left alone.
	if b.line("proc/sys/kernel/panic_on_warn") != "1" {
		// soc/soc:firmware up to the 4; soc@107c000000/soc@107c000000:firmware on the 5.
		p.throttled, _ = filepath.Glob(under(b.Root, "sys/devices/platform/soc*/soc*:firmware/get_throttled"))
	}
	chips, _ := filepath.Glob(under(b.Root, "sys/class/hwmon/hwmon*"))
	for _, chip := range chips {
		if firstLine(filepath.Join(chip, "name")) == "rpi_volt" {
			p.voltage = append(p.voltage, filepath.Join(chip, "in0_lcrit_alarm"))
		}
	}
	return p
}

// Read reads the flags as the kernel last heard them.
func (p *PowerProbe) Read() Power {
	var power Power
	for _, file := range p.throttled {
		flags, err := hexadecimal(firstLine(file), 32)
		if err != nil {
			continue
		}
		flags |= flags >> 16
		power = Power{
			VoltageKnown:    true,
			UnderVoltage:    flags&firmwareUnderVoltage != 0,
			ThrottlingKnown: true,
			Capped:          flags&firmwareCapped != 0,
			Throttled:       flags&firmwareThrottled != 0,
			SoftLimit:       flags&firmwareSoftLimit != 0,
		}
		break
	}
	for _, file := range p.voltage {
		switch firstLine(file) {
		case "1":
			power.VoltageKnown, power.UnderVoltage = true, true
		case "0":
			power.VoltageKnown = true // and the firmware's word, if it said otherwise a moment ago, stands
		}
	}
	return power
}

// PowerHold is how long a flag is shown after it was last true: a flag of the firmware lasts two seconds, and whoever
// looks now and then would not see it. What comes and goes all the time is one trouble, not one each time.
const PowerHold = time.Minute

// PowerLatch holds each flag that was true for [PowerHold]. Its zero value holds none.
type PowerLatch struct {
	until [4]time.Time
}

// Observe returns what was read now, with what is held from before.
func (l *PowerLatch) Observe(p Power, now time.Time) Power {
	for i, flag := range []*bool{&p.UnderVoltage, &p.Capped, &p.Throttled, &p.SoftLimit} {
		if *flag {
			l.until[i] = now.Add(PowerHold)
		}
		*flag = now.Before(l.until[i])
	}
	return p
}
