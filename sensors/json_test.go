package sensors

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"edgechain.example/lightchain"
)

func TestJSONNumbersKeepTheirKind(t *testing.T) {
	table{
		{"without fraction or exponent", `[20]`, "press|0||int 20||"},
		{"with a fraction of nothing", `[20.0]`, "press|0||float 20.0||"},
		{"with an exponent", `[2e1]`, "press|0||float 20.0||"},
		{"minus zero is zero as an int", `[-0]`, "press|0||int 0||"},
		{"minus zero stays as a float", `[-0.0]`, "press|0||float -0.0||"},
		{"minus zero with an exponent", `[-0e0]`, "press|0||float -0.0||"},
		{"the largest int", `[9223372036854775807]`, "press|0||int 9223372036854775807||"},
		{"one more", `[9223372036854775808]`, "press|0||float 9.223372036854776e+18||"},
		{"the smallest int", `[-9223372036854775808]`, "press|0||int -9223372036854775808||"},
		{"one less", `[-9223372036854775809]`, "press|0||float -9.223372036854776e+18||"},
		{"beyond 64 bits", `[18446744073709551616]`, "press|0||float 1.8446744073709552e+19||"},
		{"all digits of the data", `[73.96732207]`, "press|0||float 73.96732207||"},
		{"too small is zero", `[1e-999]`, "press|0||float 0.0||"},
		{"too large", `[1e999]`, "error: overflow"},
		{"too large without an exponent", `[1` + strings.Repeat("0", 400) + `]`, "error: overflow"},
	}.run(t, Config{Dialect: "json"})
}

func TestJSONIsReadInDocumentOrderWithJoinedNames(t *testing.T) {
	table{
		{"members and elements", `{"b":1,"a":{"y":[true,null,{"z":"x"}],"":2},"c":[]}`,
			"press|b||int 1||\npress|a.y.0||bool true||\npress|a.y.1||null null||\npress|a.y.2.z||text x||\npress|a.||int 2||"},
		{"an array on top", `[1,[2]]`, "press|0||int 1||\npress|1.0||int 2||"},
		{"an empty name on top", `{"":{"a":1}}`, "press|.a||int 1||"},
		{"nothing in it", ` { } `, ""},
		{"a bare value is named by the topic", `23.5`, "press|temp||float 23.5||"},
		{"a bare string loses its quotes", `"on"`, "press|temp||text on||"},
		{"escapes", `{"\u00b0\/\n":"\ud83d\ude00\"\\\b\f\r\t"}`, "press|°/\n||text 😀\"\\\b\f\r\t||"},
	}.run(t, Config{Dialect: "json"})
}

func TestJSONIsReadStrictly(t *testing.T) {
	cases := table{
		{"nothing", ``, "error: empty"},
		{"white space", `  `, "error: syntax"},
		{"a comma at the end", `{"a":1,}`, "error: syntax"},
		{"a comma at the end", `[1,]`, "error: syntax"},
		{"a comma at the start", `[,1]`, "error: syntax"},
		{"no comma", `[1 2]`, "error: syntax"},
		{"a comment", `{/**/}`, "error: syntax"},
		{"two values", `{} {}`, "error: syntax"},
		{"a leading zero", `[01]`, "error: syntax"},
		{"a plus", `[+1]`, "error: syntax"},
		{"no digit", `[-]`, "error: syntax"},
		{"no fraction", `[1.]`, "error: syntax"},
		{"no exponent", `[1e]`, "error: syntax"},
		{"NaN", `{"a":NaN}`, "error: syntax"},
		{"Infinity", `{"a":Infinity}`, "error: syntax"},
		{"capitals", `[True]`, "error: syntax"},
		{"a byte order mark", "\ufeff{}", "error: syntax"},
		{"an open line in a string", "[\"a\nb\"]", "error: syntax"},
		{"an unknown escape", `["\x"]`, "error: syntax"},
		{"a short escape", `["\u12"]`, "error: syntax"},
		{"a NUL between values", "[1,\x002]", "error: syntax"},
		{"half a pair", `["\ud83d"]`, "error: utf8"},
		{"half a pair and something else", `["\ud83d\u0041"]`, "error: utf8"},
		{"the other half alone", `["\ude00"]`, "error: utf8"},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", "error: utf8"},
		{"a surrogate in UTF-8", "{\"a\":\"\xed\xa0\x80\"}", "error: utf8"},
		{"a repeated key", `{"a":1,"b":2,"a":1}`, "error: duplicate_key"},
		{"a repeated key under another spelling", `{"a":1,"\u0061":1}`, "error: duplicate_key"},
		{"the same key in another object", `{"a":{"a":1},"b":{"a":1}}`, "press|a.a||int 1||\npress|b.a||int 1||"},
		{"a repeated key far away", `{` + members(100) + `,"k99":0}`, "error: duplicate_key"},
		{"a repeated key next to itself, far away", `{` + members(40) + `,"x":0,"x":0}`, "error: duplicate_key"},
		{"32 levels", strings.Repeat("[", 32) + strings.Repeat("]", 32), ""},
		{"33 levels", strings.Repeat("[", 33) + strings.Repeat("]", 33), "error: depth"},
		{"a thousand levels", strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1000), "error: depth"},
		{"1,025 values", "[" + strings.Repeat("0,", 1024) + "0]", "error: too_many_values"},
		{"1,025 empty objects", "[" + strings.Repeat("{},", 1024) + "{}]", "error: too_many_values"},
	}
	cases.run(t, Config{Dialect: "json"})
	d := mustNew(t, Config{Dialect: "json"})
	if out, err := d.Decode("t", "", []byte("["+strings.Repeat("0,", 1023)+"0]"), received); err != nil || len(out) != 1024 {
		t.Errorf("1,024 values: %d readings, %v", len(out), err)
	}
}

// members returns n members, k0 to k(n-1).
func members(n int) string {
	var s []string
	for i := range n {
		s = append(s, fmt.Sprintf(`"k%d":%d`, i, i))
	}
	return strings.Join(s, ",")
}

func TestJSONFieldsByPathAreSaidOfAllReadings(t *testing.T) {
	table{
		{"the data of the sample", oneValue, "press|temperature|[degF]|float 73.96732207|2013-12-02T21:15:00Z|"},
		{"fields behind the values", `{"temperature":1,"door":"open","unit":"°C","id":"p7","time":"2024-05-06T09:08:09+02:00"}`,
			"p7|temperature|Cel|int 1|2024-05-06T07:08:09Z|\np7|door||text open|2024-05-06T07:08:09Z|"},
		{"nothing said", `{"temperature":1}`, "press|temperature||int 1||"},
		{"null says nothing", `{"temperature":1,"time":null,"unit":null,"id":null}`, "press|temperature||int 1||"},
		{"a number as a device", `{"id":7,"temperature":1}`, "7|temperature||int 1||"},
		{"a boolean as a device", `{"id":true,"temperature":1}`, "error: wrong_type"},
		{"another format", `{"time":"yesterday","temperature":1}`, "error: time"},
		{"another kind", `{"time":1,"temperature":1}`, "error: time"},
		{"an object in its place is no field", `{"time":{"a":1}}`, "press|time.a||int 1||"},
	}.run(t, Config{Dialect: "json", TimestampPath: "time", UnitPath: "unit", DevicePath: "id"})

	table{
		{"a nested path", `{"head":{"ts":1715000000.25},"v":[{"u":"V"},1]}`, "press|v.1|V|int 1|2024-05-06T12:53:20.25Z|"},
	}.run(t, Config{Dialect: "json", TimestampPath: "head.ts", TimestampFormat: "unix", UnitPath: "v.0.u"})

	table{
		{"units by name go first, others to numbers only", `{"t":1,"h":2.5,"state":"on","ok":true}`,
			"press|t|Cel|int 1||\npress|h|%RH|float 2.5||\npress|state||text on||\npress|ok||bool true||"},
	}.run(t, Config{Dialect: "json", Unit: "°C", Units: map[string]string{"h": "% RH"}})
}

func TestJSONHoldsMessagesOfSeveralDevices(t *testing.T) {
	table{
		{"a list", `[{"id":"a","ts":1715000000,"t":1},{"id":"b","t":2,"ts":1715000001},{"t":3}]`,
			"a|t||int 1|2024-05-06T12:53:20Z|\nb|t||int 2|2024-05-06T12:53:21Z|\npress|t||int 3||"},
		{"an object of devices", `{"a":{"t":1},"b":{"x":{"t":2}},"n":3}`, "a|t||int 1||\nb|x.t||int 2||\npress|n||int 3||"},
		{"what a message lacks is looked for on top", `{"a":{"t":1},"ts":1715000000,"b":{"t":2,"ts":1715000001}}`,
			"a|t||int 1|2024-05-06T12:53:20Z|\nb|t||int 2|2024-05-06T12:53:21Z|"},
		{"a named device goes before its member", `{"a":{"id":"z","t":1}}`, "z|t||int 1||"},
	}.run(t, Config{Dialect: "json", MessagesPath: "*", DevicePath: "id", TimestampPath: "ts", TimestampFormat: "unix"})

	table{
		{"deeper down", `{"site":"s1","devices":{"list":[{"t":1},{"t":2}],"n":2},"list":[{"t":9}]}`,
			"press|site||text s1||\npress|t||int 1||\npress|t||int 2||\npress|devices.n||int 2||\npress|list.0.t||int 9||"},
	}.run(t, Config{Dialect: "json", MessagesPath: "devices.list.*"})
}

func TestJSONNamesCannotOutgrowAnEntry(t *testing.T) {
	long := strings.Repeat("n", 100_000)
	payload := `{"` + long + `":[` + strings.Repeat("0,", 1000) + `0]}`
	if got := decodeLines(mustNew(t, Config{}), "t", "", payload); got != "error: too_large" {
		t.Errorf("a long name around a thousand numbers: %.200s", got)
	}
	if got := decodeLines(mustNew(t, Config{}), "t", long, "["+strings.Repeat("0,", 1000)+"0]"); got != "error: too_large" {
		t.Errorf("a long client id and a thousand numbers: %.200s", got)
	}
}

func TestJSONReadingsDoNotKeepALongPayloadInMemory(t *testing.T) {
	const size, n = 1 << 20, 64
	d := mustNew(t, Config{Dialect: "json", DevicePath: "id", UnitPath: "unit"})
	payload := []byte(`{"id":"p7","unit":"V","name":"value"` + strings.Repeat(" ", size) + `}`)
	var kept [][]lightchain.Reading
	for range n {
		out, err := d.Decode("t", "", payload, received)
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, out)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > n*size/2 {
		t.Errorf("%d MiB in use beside %d readings", m.HeapAlloc>>20, n)
	}
	runtime.KeepAlive(kept)
}
