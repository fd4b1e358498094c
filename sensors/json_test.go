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
		{"one more", `[9223372036854775808]`, "press|0||text 9223372036854775808||"},
		{"the largest of 64 bits without a sign", `[18446744073709551615]`, "press|0||text 18446744073709551615||"},
		{"the smallest int", `[-9223372036854775808]`, "press|0||int -9223372036854775808||"},
		{"one less", `[-9223372036854775809]`, "press|0||float -9.223372036854776e+18||"},
		{"beyond 64 bits", `[18446744073709551616]`, "press|0||float 1.8446744073709552e+19||"},
		{"all digits of the data", `[73.96732207]`, "press|0||float 73.96732207||"},
		{"too small is zero", `[1e-999]`, "press|0||float 0.0||"},
		{"too large", `[1e999,2]`, "press|0||null null||bad\npress|1||int 2||"},
		{"too large without an exponent", `[1` + strings.Repeat("0", 400) + `]`, "press|0||null null||bad"},
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
		{"NaN in a text of more", `{"a":NaNny}`, "error: syntax"},
		{"NaN alone", `NaN`, "error: syntax"},
		{"capitals", `[True]`, "error: syntax"},
		{"a byte order mark within", "{}\ufeff", "error: syntax"},
		{"an open line in a string", "[\"a\nb\"]", "error: syntax"},
		{"an unknown escape", `["\x"]`, "error: syntax"},
		{"a short escape", `["\u12"]`, "error: syntax"},
		{"a NUL between values", "[1,\x002]", "error: syntax"},
		{"half a pair", `["\ud83d"]`, "error: utf8"},
		{"half a pair and something else", `["\ud83d\u0041"]`, "error: utf8"},
		{"the other half alone", `["\ude00"]`, "error: utf8"},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", "error: utf8"},
		{"a surrogate in UTF-8", "{\"a\":\"\xed\xa0\x80\"}", "error: utf8"},
		{"the same key in another object", `{"a":{"a":1},"b":{"a":1}}`, "press|a.a||int 1||\npress|b.a||int 1||"},
		{"32 levels", strings.Repeat("[", 32) + strings.Repeat("]", 32), ""},
		{"33 levels", strings.Repeat("[", 33) + strings.Repeat("]", 33), "error: depth"},
		{"a thousand levels", strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1000), "error: depth"},
		{"1,025 values", "{" + members(1025) + "}", "error: too_many_values"},
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
		{"a time that cannot be read", `{"time":"yesterday","temperature":1}`, "press|temperature||int 1||bad"},
		{"a count that is no time", `{"time":1,"temperature":1}`, "press|temperature||int 1||bad"},
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
	if got := decodeLines(mustNew(t, Config{DeviceFrom: "client"}), "t", long, "["+strings.Repeat("0,", 1000)+"0]"); got != "error: too_large" {
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

// What is odd about one value costs that value, and never the message.
func TestJSONThatIsOddInOnePlaceIsReadInAllOthers(t *testing.T) {
	table{
		{"NaN and infinities", `{"a":nan,"b":-NaN,"c":Infinity,"d":-inf,"e":1}`,
			"press|a||null null||bad\npress|b||null null||bad\npress|c||null null||bad\npress|d||null null||bad\npress|e||int 1||"},
		{"a repeated key", `{"a":1,"b":2,"a":3}`, "press|a||null null||bad\npress|b||int 2||"},
		{"one under another spelling", `{"a":1,"\u0061":1}`, "press|a||null null||bad"},
		{"one three times", `{"a":1,"a":2,"b":0,"a":3}`, "press|a||null null||bad\npress|b||int 0||"},
		{"a repeated object", `{"x":{"a":{"p":1},"a":{"q":2},"b":3}}`, "press|x.a.p||null null||bad\npress|x.a.q||null null||bad\npress|x.b||int 3||"},
		{"one that looks alike", `{"a":1,"ab":2,"a":3}`, "press|a||null null||bad\npress|ab||int 2||"},
		{"an array of too much", `{"a":[` + strings.Repeat("null,", 1024) + `0],"b":2}`, "press|a||null null||bad\npress|b||int 2||"},
		{"many arrays in one", `{"a":[` + strings.Repeat("[1,2],", 600) + `0],"b":2}`, "press|a||null null||bad\npress|b||int 2||"},
	}.run(t, Config{})

	many := `{` + members(100) + `,"k99":0}`
	got := decodeLines(mustNew(t, Config{Device: "d"}), "t", "", many)
	if n := strings.Count(got, "\n") + 1; n != 100 || !strings.HasSuffix(got, "\nd|k99||null null||bad") || strings.Count(got, "bad") != 1 {
		t.Errorf("one of a hundred keys is repeated: %s", got)
	}
	for _, payload := range []string{`{"id":"a","t":1,"id":"b"}`, `{"h":{"id":"a"},"t":1,"h":{"id":"b"}}`} {
		if got := decodeLines(mustNew(t, Config{DevicePath: "id,h.id"}), "t", "", payload); got != "error: duplicate_key" {
			t.Errorf("%s, whose device may be either: %s", payload, got)
		}
	}
}

func TestAnArrayOfTooManyNumbersIsSummedUp(t *testing.T) {
	table{
		{"whole numbers", `{"v":[` + strings.Repeat("1,", 1023) + `1,-3],"t":2}`,
			"press|v/count||int 1025||\npress|v/min|g|int -3||\npress|v/max|g|int 1||\npress|v/mean|g|float 0.9960975609756098||\npress|v/rms|g|float 1.003894854080237||\npress|t||int 2||"},
		{"a payload that is nothing else", `[` + strings.Repeat("0.5,", 2000) + `1.5]`,
			"press|temp/count||int 2001||\npress|temp/min||float 0.5||\npress|temp/max||float 1.5||\npress|temp/mean||float 0.5004997501249375||\npress|temp/rms||float 0.5009985032411525||"},
		{"beyond a float in sum", `{"v":[` + strings.Repeat("1e308,", 1100) + `1]}`,
			"press|v/count||int 1101||\npress|v/min|g|int 1||\npress|v/max|g|float 1e+308||\npress|v/mean||null null||bad\npress|v/rms||null null||bad"},
		{"two of which one has room", `{"v":[` + strings.Repeat("1,", 1000) + `1],"w":[` + strings.Repeat("2,", 100) + `2]}`, samplesOf(1001) +
			"\npress|w/count||int 101||\npress|w/min||int 2||\npress|w/max||int 2||\npress|w/mean||float 2.0||\npress|w/rms||float 2.0||"},
	}.run(t, Config{Units: map[string]string{"v": "g"}})
	out, err := mustNew(t, Config{}).Decode("t", "", []byte("["+strings.Repeat("0,", 1024)+"0]"), received)
	for _, r := range out {
		if !r.Derived {
			t.Errorf("%s is not marked as computed", r.Name)
		}
	}
	if err != nil || len(out) != 5 {
		t.Errorf("%d readings, %v", len(out), err)
	}
}

func samplesOf(n int) string {
	var s []string
	for i := range n {
		s = append(s, fmt.Sprintf("press|v.%d||int 1||", i))
	}
	return strings.Join(s, "\n")
}

func TestNamesThatWouldMeetAreKeptApart(t *testing.T) {
	table{
		{"a dot in a name", `{"a.b":1,"c":2}`, "press|a.b||int 1||\npress|c||int 2||"},
		{"and a path that is spelt alike", `{"a.b":1,"a":{"b":2}}`, `press|a\.b||int 1||` + "\npress|a.b||int 2||"},
		{"deeper down", `{"x":{"a.b":1,"a":{"b":2}}}`, `press|x.a\.b||int 1||` + "\npress|x.a.b||int 2||"},
	}.run(t, Config{})
}

func TestPathsLeadFromTheMessageOutward(t *testing.T) {
	table{
		{"from the nearest object on", `{"ts":1715000000,"site":{"id":"s1","list":[{"t":1},{"t":2,"ts":1715000001,"id":"own"}]}}`,
			"s1|t||int 1|2024-05-06T12:53:20Z|\nown|t||int 2|2024-05-06T12:53:21Z|"},
		{"what stands behind the message counts, too", `{"site":{"list":[{"t":1}],"id":"s1"},"ts":1715000000}`, "s1|t||int 1|2024-05-06T12:53:20Z|"},
	}.run(t, Config{MessagesPath: "site.list.*", DevicePath: "id", TimestampPath: "ts", TimestampFormat: "unix"})
	table{
		{"a path from the top leads into the message", `{"ts":1715000000000,"values":{"serial":"SN-1","t":36.6}}`, "SN-1|t||float 36.6|2024-05-06T12:53:20Z|"},
	}.run(t, Config{MessagesPath: "values", DevicePath: "values.serial", TimestampPath: "ts"})
	table{
		{"names, values, qualities", `{"values":[{"id":"Level","v":630,"q":true},{"id":"Temp","v":81.5,"q":false},{"id":"Flow","v":1,"q":null}],"n":3}`,
			"press|Level||int 630||\npress|Temp||float 81.5||bad\npress|Flow||int 1||"},
	}.run(t, Config{MessagesPath: "values.*", NamePath: "id", ValuePath: "v", QualityPath: "q"})
	table{
		{"the key names the value", `{"Messages":[{"W":7,"Payload":{"Pos":{"Value":-9.5},"On":{"Value":true,"StatusCode":2147483648},"Raw":4}}]}`,
			"7|Pos||float -9.5||\n7|On||bool true||bad\n7|Raw||int 4||"},
	}.run(t, Config{MessagesPath: "Messages.*.Payload.*", DevicePath: "W", ValuePath: "Value", QualityPath: "StatusCode", MessagesOnly: true})
	table{
		{"several fields make a name", `{"model":"Bresser","id":72,"t":5.2,"ch":null}`, "Bresser/72|t||float 5.2||"},
	}.run(t, Config{DevicePath: "model,ch,id"})
	table{
		{"good is what the configuration says", `[{"v":1,"q":192},{"v":2,"q":0}]`, "press|temp||int 1||\npress|temp||int 2||bad"},
	}.run(t, Config{MessagesPath: "*", ValuePath: "v", QualityPath: "q", QualityGood: []string{"192"}})
	table{
		{"some fields, and not all of these", `{"a":{"x":1,"y":2},"b":3,"c":{"x":4}}`, "press|a.x||int 1||\npress|c.x||int 4||"},
	}.run(t, Config{Fields: []string{"a", "c.x", "$.d[0]"}, Ignore: []string{"*.y"}})
	table{
		{"nothing outside of messages", `{"a":1,"m":{"b":2},"c":3}`, "press|b||int 2||"},
	}.run(t, Config{MessagesPath: "m", MessagesOnly: true})
}

func TestPathsAreTakenInOtherSpellingsOrRefused(t *testing.T) {
	for _, c := range []struct{ path, want string }{
		{"a.b", "a.b"}, {"$.a.b", "a.b"}, {"", ""}, {".a.b", "a.b"}, {"a[0].b", "a.0.b"}, {"$['a'][\"b\"]", "a.b"},
		{"a[*].b", "a.*.b"}, {"a[].b", "a.*.b"}, {"[0]", "0"}, {"switch:0", "switch:0"},
		{"/a/b", `"/a/b" is a JSON Pointer; expected names joined by ".", such as "a.b"`},
		{"#/a/b", `"#/a/b" is a JSON Pointer; expected names joined by ".", such as "a.b"`},
		{"$", `"$" names no field; expected names joined by "."`},
		{"a.", `"a." names no field; expected names joined by "."`},
		{"$..b", `"$..b" looks at every depth; expected the names from the top`},
		{"a[0", `"a[0" has no "]" for its "["`},
		{"a[?(@.x>1)]", `"a[?(@.x>1)]" selects by "?(@.x>1)"; expected names joined by ".", "*" for any`},
		{"a[0]b", `"a[0]b" goes on with "b" behind "]"; expected "."`},
	} {
		got, err := plainPath(c.path, true)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q: %s, want %s", c.path, got, c.want)
		}
	}
	_, err := New(Config{DevicePath: "list[*].id"})
	if want := `device_path: "list[*].id" has a "*", which only messages_path may; expected one field of a message, and messages_path = "list.*"`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// Whatever stands in a payload, no two machines become one, and no member takes another's name.
func TestJSONOfSeveralMachinesIsKeptApart(t *testing.T) {
	table{
		{"members at each star", `{"line1":{"press":{"t":1}},"line2":{"press":{"t":2}}}`, "line1/press|t||int 1||\nline2/press|t||int 2||"},
		{"lists of a machine's messages", `{"press":[{"t":1,"ts":1715000000},{"t":2,"ts":1715000001}],"oven":[{"t":3,"ts":1715000000}]}`,
			"press|t||int 1|2024-05-06T12:53:20Z|\npress|t||int 2|2024-05-06T12:53:21Z|\noven|t||int 3|2024-05-06T12:53:20Z|"},
	}.run(t, Config{MessagesPath: "*.*", TimestampPath: "ts"})
	table{
		{"a star before a name", `{"press":{"v":{"t":1},"x":2},"oven":{"v":{"t":3}}}`, "press|t||int 1||\npress|press.x||int 2||\noven|t||int 3||"},
	}.run(t, Config{MessagesPath: "*.v"})
	table{
		{"the last member names the value, those around it the device", `{"press":{"t":{"v":1},"n":{"v":2}},"oven":{"t":{"v":3}}}`, "press|t||int 1||\npress|n||int 2||\noven|t||int 3||"},
	}.run(t, Config{MessagesPath: "*.*", ValuePath: "v"})
	table{
		{"what a path from the top leads into comes last", `{"id":"a","up":{"id":"b","v":{"t":1}}}`, "a|t||int 1||"},
		{"but it comes", `{"up":{"id":"b","v":{"t":1}}}`, "b|t||int 1||"},
	}.run(t, Config{MessagesPath: "up.v", DevicePath: "id", MessagesOnly: true})
	table{
		{"two members that may both be the device", `{"a.b":"x","a":{"b":"y"},"t":1}`, "error: duplicate_key"},
		{"one", `{"a.b":"x","t":1}`, "x|t||int 1||"},
	}.run(t, Config{DevicePath: "a.b"})
	table{
		{"dots higher up", `{"a.b":{"c":1},"a":{"b":{"c":2}}}`, "press|a\\.b.c||int 1||\npress|a.b.c||int 2||"},
		{"a name that looks escaped", `{"a.b":1,"a":{"b":2},"a\\.b":3}`, "press|a\\.b||int 1||\npress|a.b||int 2||\npress|a\\\\\\.b||int 3||"},
		{"a backslash alone", `{"a\\b":1}`, "press|a\\b||int 1||"},
		{"empty names", `{"":{"":1},".":2}`, "press|.||int 1||\npress|\\.||int 2||"},
	}.run(t, Config{})
	table{
		{"a name does not depend on how many messages there are", `[{"m.t":1,"ts":1715000000},{"m.t":2,"ts":1715000001}]`, "press|m.t||int 1|2024-05-06T12:53:20Z|\npress|m.t||int 2|2024-05-06T12:53:21Z|"},
	}.run(t, Config{MessagesPath: "*", TimestampPath: "ts"})
}

func TestReadingsThatNothingKeepsApartAreTold(t *testing.T) {
	for _, c := range []struct {
		payload, want string
	}{
		{`[{"id":"a","t":1},{"id":"b","t":2}]`, ""},
		{`[{"t":1},{"t":2}]`, `"plant" has "t" of one time from more than one message: a device_path or name_path may keep them apart`},
		{`[{"t":1,"ts":1715000000},{"t":2,"ts":1715000001}]`, ""},
	} {
		got, err := mustNew(t, Config{MessagesPath: "*", DevicePath: "id", TimestampPath: "ts"}).Read("plant", "", []byte(c.payload), received)
		if err != nil || got.Doubt != c.want {
			t.Errorf("%s: %q, want %q (%v)", c.payload, got.Doubt, c.want, err)
		}
	}
}

func TestARepeatedKeyCostsWhatStandsUnderIt(t *testing.T) {
	table{
		{"not what looks like it", `{"a":1,"a":2,"a.b":7}`, "press|a||null null||bad\npress|a.b||int 7||"},
		{"all below it", `{"a":{"x":1},"b":2,"a":{"x":3,"y":4}}`, "press|a.x||null null||bad\npress|b||int 2||\npress|a.y||null null||bad"},
		{"not the messages beside it", `{"x":1,"x":2,"m":[{"id":"p","t":1},{"id":"q","t":2}]}`, "press|x||null null||bad\np|t||int 1||\nq|t||int 2||"},
		{"in one of the messages", `{"m":[{"id":"p","t":1,"t":3},{"id":"q","t":2}]}`, "p|t||null null||bad\nq|t||int 2||"},
		{"the messages", `{"m":[{"id":"p","t":1}],"m":[{"id":"q","t":2}]}`, "error: duplicate_key"},
		{"the device", `{"m":[{"id":"p","id":"q","t":1}]}`, "error: duplicate_key"},
		{"the time", `{"m":[{"id":"p","ts":1715000000,"ts":1715000001,"t":1},{"id":"q","ts":1715000000,"t":2}]}`, "p|t||int 1||bad\nq|t||int 2|2024-05-06T12:53:20Z|"},
		{"the quality", `{"m":[{"id":"p","ts":1715000000,"t":1}],"q":true,"q":true}`, "p|t||int 1|2024-05-06T12:53:20Z|bad"},
	}.run(t, Config{MessagesPath: "m.*", DevicePath: "id", TimestampPath: "ts", QualityPath: "q"})
}

// A value is read whatever it is made of, and what stands in its place otherwise is told.
func TestNothingAtValuePathIsPassedOverInSilence(t *testing.T) {
	table{
		{"an array", `[{"id":"a","v":[1,2]},{"id":"b","v":3}]`, "press|a.0||int 1||\npress|a.1||int 2||\npress|b||int 3||"},
		{"an object", `[{"id":"a","v":{"x":1,"y.z":2}}]`, "press|a.x||int 1||\npress|a.y.z||int 2||"},
		{"samples", `[{"id":"a","v":[` + strings.Repeat("2,", 2000) + `2]}]`, "press|a/count||int 2001||\npress|a/min||int 2||\npress|a/max||int 2||\npress|a/mean||float 2.0||\npress|a/rms||float 2.0||"},
	}.run(t, Config{MessagesPath: "*", NamePath: "id", ValuePath: "v"})
	table{
		{"a quality that is an object with a code", `[{"id":"a","v":1,"q":{"Code":2150891520,"Symbol":"BadX"}},{"id":"b","v":2,"q":{"Symbol":"Good","Code":0}},{"id":"c","v":3,"q":{"x":1}},{"id":"d","v":4,"q":{}}]`,
			"press|a||int 1||bad\npress|b||int 2||\npress|c||int 3||bad\npress|d||int 4||"},
	}.run(t, Config{MessagesPath: "*", NamePath: "id", ValuePath: "v", QualityPath: "q"})
	nowhere, err := mustNew(t, Config{MessagesPath: "m.v", MessagesOnly: true}).Read("plant", "", []byte(`{"x":1}`), received)
	if want := "nothing lies at m.v, and what stands elsewhere is not read"; err != nil || nowhere.Doubt != want || len(nowhere.Readings) > 0 {
		t.Errorf("%+v, want %q (%v)", nowhere, want, err)
	}
	got, err := mustNew(t, Config{ValuePath: "v"}).Read("plant", "", []byte(`{"value":1}`), received)
	if want := "a message has no v, and its other members are not read"; err != nil || got.Doubt != want || len(got.Readings) > 0 {
		t.Errorf("%+v, want %q (%v)", got, want, err)
	}
}

func TestSamplesBeforeOtherValuesAreSummedUpToo(t *testing.T) {
	sums := func(n int) string {
		return fmt.Sprintf("press|s/count||int %d||\npress|s/min||int 1||\npress|s/max||int 1||\npress|s/mean||float 1.0||\npress|s/rms||float 1.0||\n", n)
	}
	ones := func(n int) string { return "[" + strings.Repeat("1,", n-1) + "1]" }
	table{
		{"1,024 and one more", `{"s":` + ones(1024) + `,"t":5}`, sums(1024) + "press|t||int 5||"},
		{"the few stay", `{"s":` + ones(1000) + `,"few":[1,2],"x":{` + members(100) + `}}`, sums(1000) + "press|few.0||int 1||\npress|few.1||int 2||\n" + strings.TrimRight(namesOf(100), "\n")},
		{"too many all the same", `{"s":` + ones(1024) + `,` + members(1100) + `}`, "error: too_many_values"},
	}.run(t, Config{})
}

// namesOf returns the readings of members(n) below "x".
func namesOf(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, "press|x.k%d||int %d||\n", i, i)
	}
	return s.String()
}
