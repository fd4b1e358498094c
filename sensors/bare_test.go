package sensors

import (
	"strings"
	"testing"
)

func TestValueIsOneNumberBooleanOrText(t *testing.T) {
	table{
		{"an int", "20", "press|temp||int 20||"},
		{"a float", "73.96732207", "press|temp||float 73.96732207||"},
		{"a line's end", " 20.0\r\n", "press|temp||float 20.0||"},
		{"a plus", "+5", "press|temp||int 5||"},
		{"minus zero", "-0", "press|temp||int 0||"},
		{"minus zero as a float", "-0.0", "press|temp||float -0.0||"},
		{"an exponent", "1e3", "press|temp||float 1000.0||"},
		{"both signs", "+-5", "press|temp||text +-5||"},
		{"leading zeros are a code, not a number", "007", "press|temp||text 007||"},
		{"a number and a unit are text", "20 C", "press|temp||text 20 C||"},
		{"a boolean", "true", "press|temp||bool true||"},
		{"a boolean of Python's", "False", "press|temp||bool false||"},
		{"a switch is text", "ON", "press|temp||text ON||"},
		{"several lines", "a\nb", "press|temp||text a\nb||"},
		{"nothing", "", "error: empty"},
		{"white space", " \n", "error: empty"},
		{"too large", "-1e999", "error: overflow"},
		{"too large, but text", "1e999 x", "press|temp||text 1e999 x||"},
		{"not a number", "nan", "error: not_finite"},
		{"not a number", "NaN", "error: not_finite"},
		{"infinity", "-inf", "error: not_finite"},
		{"infinity", "+Infinity", "error: not_finite"},
		{"control characters", "a\x01", "error: not_text"},
		{"a string of C", "21.5\x00", "press|temp||float 21.5||"},
		{"a byte order mark", "\ufeff21.5", "press|temp||float 21.5||"},
		{"UTF-16, low byte first", "\xff\xfe2\x001\x00", "press|temp||int 21||"},
		{"UTF-16, high byte first", "\xfe\xff\x002\x001\x00\x00", "press|temp||int 21||"},
		{"half a character of UTF-16", "\xff\xfe2", "error: not_text"},
		{"64 bits without a sign", "18446744073709551615", "press|temp||text 18446744073709551615||"},
		{"invalid UTF-8", "\xff", "error: not_text"},
	}.run(t, Config{Dialect: "value"})
	table{
		{"a unit belongs to numbers", "20", "press|temp|Cel|int 20||"},
		{"a unit does not belong to text", "ON", "press|temp||text ON||"},
	}.run(t, Config{Dialect: "value", Unit: "Cel"})
}

func TestRawIsThePayloadAsOneValue(t *testing.T) {
	table{
		{"text", `{"a":1}`, `press|temp||text {"a":1}||`},
		{"white space stays", " 1\n", "press|temp||text  1\n||"},
		{"control characters make it bytes", "a\x00", "press|temp||bytes 6100||"},
		{"invalid UTF-8 makes it bytes", "\xff\xfe", "press|temp||bytes fffe||"},
		{"nothing has no reading", "", ""},
	}.run(t, Config{Dialect: "raw"})
}

func TestAutoTakesTheFirstDialectThatDecodesTheWholePayload(t *testing.T) {
	table{
		{"SenML in JSON", ` [{"bn":"p7:","n":"temp","v":20}]`, "p7|temp||int 20||"},
		{"SenML in CBOR", "\x81\xa2\x00\x61a\x02\x01", "press|a||int 1||"},
		{"an array that is no SenML", `[{"a":1}]`, "press|0.a||int 1||"},
		{"an empty array", `[]`, ""},
		{"an object", `{"a":1}`, "press|a||int 1||"},
		{"a number", `20.0`, "press|temp||float 20.0||"},
		{"null", `null`, "press|temp||null null||"},
		{"a JSON string", `"on"`, "press|temp||text on||"},
		{"half a JSON string", `"on`, `press|temp||text "on||`},
		{"text", "online", "press|temp||text online||"},
		{"a number with a plus", "+20", "press|temp||int 20||"},
		{"bytes are nobody's", "\xff\x00", "error: utf8"},
		{"half a SenML pack is nobody's", "\x81\xa2\x00", "error: utf8"},
		{"bytes in ASCII", "\x01\x02", "error: not_text"},
		{"an object behind something else", `}{"a":1}`, "error: syntax"},
		{"an array behind something else", `x[1,2]`, "error: syntax"},
		{"a text with brackets", `state [ok] {now}`, "press|temp||text state [ok] {now}||"},
		{"a byte order mark", "\ufeff{\"a\":1}", "press|a||int 1||"},
		{"the zero byte of C", "{\"a\":1}\x00", "press|a||int 1||"},
		{"UTF-16", "\xff\xfe{\x00}\x00", ""},
		{"nothing but a byte order mark", "\xff\xfe", "error: empty"},
		{"InfluxDB's line protocol with a time", "weather,location=hall3 t=82.1,h=71i 1714979289000000000", "press/weather,location=hall3|t||float 82.1|2024-05-06T07:08:09Z|\npress/weather,location=hall3|h||int 71|2024-05-06T07:08:09Z|"},
		{"what may be it, without a time", "weather t=82.1", "press|temp||text weather t=82.1||"},
		{"what may be it, with a time that cannot be", "weather t=82.1 9714979289000000000", "press|temp||text weather t=82.1 9714979289000000000||"},
		{"white space", " ", "press|temp||text  ||"},
		{"nothing, which erases a retained message", "", ""},
		{"half an object is nobody's", `{"a":1`, "error: syntax"},
		{"half an array is nobody's", `[1`, "error: syntax"},
		{"a repeated key costs its value", `{"a":1,"a":1}`, "press|a||null null||bad"},
		{"and one of a SenML record", `[{"n":"a","v":1,"v":2}]`, "error: duplicate_key"},
		{"invalid UTF-8 in an object", "{\"a\":\"\xff\"}", "error: utf8"},
		{"half a surrogate pair", `"\ud800"`, "error: utf8"},
		{"a SenML label that must be understood", `[{"n":"a","v":1,"x_":1}]`, "error: unknown_label"},
		{"a bare number that overflows", "1e999", "error: overflow"},
		{"a bare NaN", "nan", "error: not_finite"},
		{"a thousand levels", strings.Repeat("[", 1000) + strings.Repeat("]", 1000), "error: depth"},
	}.run(t, Config{})
}
