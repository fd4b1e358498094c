package sensors

import (
	"slices"
	"strings"
	"unicode"

	"edgechain.example/lightchain"
)

// measure makes a number of a text where the configuration says that it is one, and gives a reading its unit. Its name is the
// one in the payload.
func (d *Decoder) measure(r *lightchain.Reading, messageUnit string) {
	if text, ok := r.Value.Text(); ok && r.Value.Kind() == lightchain.KindText && len(d.numbers) > 0 && matchesAny(d.numbers, r.Name) {
		if v, unit, ok := NumberIn(text); ok {
			r.Value = v
			if unit != "" {
				messageUnit = unit
			}
		}
	}
	r.Unit = d.unitOf(r, messageUnit)
}

// NumberIn reads a number that stands in a text, with the unit behind it if there is one: "00317.3988", "23,5 °C",
// "001422.970*kWh". It takes nothing that may mean something else: "1,016" may be a thousand or one.
func NumberIn(text string) (v lightchain.Value, unit string, ok bool) {
	s := strings.TrimFunc(text, unicode.IsSpace)
	digits, exponent, _ := splitNumber(s)
	rest := s[len(digits)+len(exponent):]
	number, ok := plainDigits(digits)
	if !ok {
		return v, "", false
	}
	unit = strings.TrimLeftFunc(rest, func(r rune) bool { return r == '*' || unicode.IsSpace(r) })
	if !isUnit(unit, len(unit) < len(rest)) {
		return v, "", false
	}
	sc := scanner{s: number + exponent, lenient: true}
	v, _, err := sc.number()
	if err != nil || sc.spoilt || sc.i != len(sc.s) {
		return v, "", false
	}
	if k := v.Kind(); k == lightchain.KindText || k == lightchain.KindFloat && exponent == "" && !strings.Contains(number, ".") {
		return v, "", false // a whole number of more than 64 bits is a serial number, and would lose digits
	}
	return v, unitSymbol(unit), true
}

// splitNumber parts a text into sign, digits and decimal mark, an exponent, and what follows.
func splitNumber(s string) (digits, exponent, rest string) {
	at := 0
	for at < len(s) && (isDigit(s[at]) || s[at] == '.' || s[at] == ',' || at == 0 && (s[at] == '+' || s[at] == '-')) {
		at++
	}
	digits, rest = s[:at], s[at:]
	if len(rest) > 1 && rest[0]|0x20 == 'e' {
		end := 1
		if rest[end] == '+' || rest[end] == '-' {
			end++
		}
		first := end
		for end < len(rest) && isDigit(rest[end]) {
			end++
		}
		if end > first {
			return digits, rest[:end], rest[end:]
		}
	}
	return digits, "", rest
}

// plainDigits writes sign and digits as JSON does: without leading zeros or a plus, with a point for a comma.
func plainDigits(s string) (string, bool) {
	sign := ""
	switch {
	case strings.HasPrefix(s, "-"):
		sign, s = "-", s[1:]
	case strings.HasPrefix(s, "+"):
		s = s[1:]
	}
	whole, fraction := s, ""
	if at := strings.IndexAny(s, ".,"); at >= 0 {
		whole, fraction = s[:at], s[at:]
	}
	switch {
	case whole == "" && len(fraction) < 2, strings.ContainsAny(fraction[min(1, len(fraction)):], ".,"):
		return "", false
	case strings.HasPrefix(fraction, ",") && len(fraction) == 4 && len(whole) <= 3 && !strings.HasPrefix(whole, "0"):
		return "", false // thousands, or thousandths
	case len(fraction) == 1:
		fraction = ""
	case fraction != "":
		fraction = "." + fraction[1:]
	}
	if whole = strings.TrimLeft(whole, "0"); whole == "" {
		whole = "0"
	}
	return sign + whole + fraction, true
}

// attached are units that are often written to a number without a space.
var attached = []string{"%", "°C", "°F", "°", "C", "F", "K", "V", "mV", "kV", "A", "mA", "kA", "W", "mW", "kW", "MW", "VA", "kVA", "var", "kvar",
	"Wh", "kWh", "MWh", "kvarh", "Hz", "kHz", "MHz", "s", "ms", "min", "h", "m", "mm", "cm", "km", "g", "kg", "t", "l", "L", "ml", "m3", "m³", "m2", "m²",
	"m3/h", "m³/h", "l/h", "l/min", "m/s", "km/h", "bar", "mbar", "Pa", "hPa", "kPa", "MPa", "psi", "J", "kJ", "MJ", "GJ", "N", "kN", "Nm",
	"lx", "lux", "dB", "dBm", "ppm", "ppb", "Ohm", "Ω", "kΩ", "rpm", "%RH", "%rH"}

// isUnit reports whether what stands behind a number is a unit, and not the rest of a code such as "00c3" or "2026-11-27".
func isUnit(s string, apart bool) bool {
	const longest = 16
	switch {
	case s == "":
		return !apart
	case !apart:
		return slices.Contains(attached, s)
	case len(s) > longest:
		return false
	}
	first := true
	for _, r := range s {
		switch {
		case unicode.IsLetter(r), strings.ContainsRune("°%‰/", r):
		case first:
			return false
		case unicode.IsDigit(r) && r <= '9' && !strings.ContainsRune("234", r):
			return false
		case !unicode.IsDigit(r) && !strings.ContainsRune("²³⁻¹·^-", r):
			return false
		}
		first = false
	}
	return true
}
