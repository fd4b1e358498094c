package sensors

// UnitSymbol returns the symbol that readings have for a unit that a person or a device wrote.
func UnitSymbol(u string) string { return unitSymbol(u) }

// unitSymbol returns the symbol of RFC 8428, section 12.1, for what devices commonly write instead, and everything
// else as it is: "[degF]" has no symbol there, and "C" already is one (the coulomb).
//
// SPEC: SenML unit symbol (RFC 8428, section 12.1) where there is one, else what the device says; "" unknown
func unitSymbol(u string) string {
	switch u {
	case "°C", "℃", "º C", "° C", "ºC", "degC", "Celsius", "celsius":
		return "Cel"
	case "\u03a9", "\u2126", "ohm": // the Greek letter, and the ohm sign
		return "Ohm"
	case "m²":
		return "m2"
	case "m³":
		return "m3"
	case "m/s²":
		return "m/s2"
	case "m³/s":
		return "m3/s"
	case "W/m²":
		return "W/m2"
	case "lux":
		return "lx"
	case "rpm", "RPM":
		return "1/min"
	case "% RH", "%rh", "%rH":
		return "%RH"
	case "bpm":
		return "beat/min"
	}
	return u
}

// sumUnit returns the unit of a SenML sum, which is the integral of the value over time.
//
// RFC 8428, section 4.2: "This field is in the unit specified in the Unit value multiplied by seconds."
func sumUnit(u string) string {
	switch u {
	case "":
		return ""
	case "W":
		return "J"
	case "A":
		return "C"
	case "V":
		return "Wb"
	case "m/s":
		return "m"
	case "m/s2":
		return "m/s"
	case "m3/s":
		return "m3"
	case "l/s":
		return "l"
	case "bit/s":
		return "bit"
	case "1/s", "Hz", "Bq":
		return "count"
	case "kat":
		return "mol"
	}
	return u + ".s"
}
