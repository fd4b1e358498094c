package sensors

import "testing"

func TestNDJSONIsAPayloadALine(t *testing.T) {
	table{
		{"each with a time of its own", "{\"t\":1,\"ts\":1715000000}\n{\"t\":2,\"ts\":1715000001}\r\n", "press|t||int 1|2024-05-06T12:53:20Z|\npress|t||int 2|2024-05-06T12:53:21Z|"},
		{"without a line's end", `{"t":1}{"t":2}`, "press|t||int 1||\npress|t||int 2||"},
		{"half of the last", "{\"t\":1}\n{\"t\"", "error: syntax"},
		{"no object", "{\"t\":1}\n5", "error: syntax"},
		{"nothing", "\n", "error: empty"},
	}.run(t, Config{Dialect: "ndjson", TimestampPath: "ts"})
}

func TestInfluxLinesAreReadAsTheirDocumentationHasThem(t *testing.T) {
	table{
		{"all kinds of values", `m,location=hall3 a=82.1,b=71i,c="x \"y\", z",d=t,e=FALSE,f=5,g=.5,h=-1e3,i=12u,j=18446744073709551615u 1714979289000000001`,
			"hall3|a||float 82.1|2024-05-06T07:08:09.000000001Z|\nhall3|b||int 71|2024-05-06T07:08:09.000000001Z|\nhall3|c||text x \"y\", z|2024-05-06T07:08:09.000000001Z|\n" +
				"hall3|d||bool true|2024-05-06T07:08:09.000000001Z|\nhall3|e||bool false|2024-05-06T07:08:09.000000001Z|\nhall3|f||float 5.0|2024-05-06T07:08:09.000000001Z|\n" +
				"hall3|g||float 0.5|2024-05-06T07:08:09.000000001Z|\nhall3|h||float -1000.0|2024-05-06T07:08:09.000000001Z|\nhall3|i||int 12|2024-05-06T07:08:09.000000001Z|\n" +
				"hall3|j||text 18446744073709551615|2024-05-06T07:08:09.000000001Z|"},
		{"lines, comments, no time, no tags", "# c\nm a=1i\r\n\nn,location=b a=2i\n", "press/m|a||int 1||\nb|a||int 2||"},
		{"escapes", `my\ m,location=a\,b\ c\=d x\ y=1i`, "a,b c=d|x y||int 1||"},
		{"no field", "m", "error: syntax"},
		{"no value", "m a=", "error: syntax"},
		{"an open string", `m a="x`, "error: syntax"},
		{"a tag without a value", "m,a b=1", "error: syntax"},
		{"a time that is none", "m a=1 now", "error: syntax"},
		{"not finite", "m a=NaN", "error: syntax"},
		{"nothing", "\n# c", "error: empty"},
	}.run(t, Config{Dialect: "influx", DevicePath: "location"})
	table{
		{"seconds", "m a=1i 1714979289", "press/m|a||int 1|2024-05-06T07:08:09Z|"},
		{"what nothing names is the series, which two machines do not share", "m,host=a t=1i 1714979289\nm,host=b t=2i 1714979289\nn,host=a t=3i 1714979289",
			"press/m,host=a|t||int 1|2024-05-06T07:08:09Z|\npress/m,host=b|t||int 2|2024-05-06T07:08:09Z|\npress/n,host=a|t||int 3|2024-05-06T07:08:09Z|"},
		{"a field twice", "m t=1i,h=2i,t=3i 1714979289", "press/m|t||null null|2024-05-06T07:08:09Z|bad\npress/m|h||int 2|2024-05-06T07:08:09Z|"},
	}.run(t, Config{Dialect: "influx", TimestampFormat: "unix"})
	table{
		{"a configured device", "m,host=a t=1i", "p7|t||int 1||"},
	}.run(t, Config{Dialect: "influx", Device: "p7"})
	table{
		{"a tag and a field that may both be the device", "m,host=a host=\"b\",t=1i", "error: duplicate_key"},
	}.run(t, Config{Dialect: "influx", DevicePath: "host"})
}

func TestCSVIsReadByItsColumns(t *testing.T) {
	table{
		{"a logger's line", "2024-05-06 07:08:09;21,5;x;\"a;b\"\n2024-05-06 07:08:10;;x;", "press|t||float 21.5|2024-05-06T07:08:09Z|zoneless\npress|note||text a;b|2024-05-06T07:08:09Z|zoneless\n" +
			"press|t||null null|2024-05-06T07:08:10Z|zoneless\npress|note||null null|2024-05-06T07:08:10Z|zoneless"},
		{"a value that is no number", "2024-05-06 07:08:09;nan;x;y", "press|t||null null|2024-05-06T07:08:09Z|bad zoneless\npress|note||text y|2024-05-06T07:08:09Z|zoneless"},
		{"a column less", "2024-05-06 07:08:09;21,5", "error: columns"},
		{"an open quotation mark", `1;2;3;"`, "error: syntax"},
		{"nothing", "", "error: empty"},
	}.run(t, Config{Dialect: "csv", Separator: ";", Columns: []string{"time", "t", "_", "note"}, TimestampPath: "time", Numbers: []string{"t"}})
	table{
		{"names in the first line", "t,h\n1,2.5\n3,4", "press|t||int 1||\npress|h||float 2.5||\npress|t||int 3||\npress|h||int 4||"},
		{"names alone", "t,h", "error: empty"},
		{"a column twice", "t,h,t\n1,2,3", "press|t||null null||bad\npress|h||int 2||"},
	}.run(t, Config{Dialect: "csv"})
	table{
		{"an empty value between tabs", "a\tb\tc\n1\t\t3", "press|a||int 1||\npress|b||null null||\npress|c||int 3||"},
	}.run(t, Config{Dialect: "csv", Separator: "\t"})
	table{
		{"two columns that may both be the device", "id,t,id\na,1,b", "error: duplicate_key"},
	}.run(t, Config{Dialect: "csv", DevicePath: "id"})
}

func TestPairsAreNamesAndValues(t *testing.T) {
	table{
		{"RFLink's", "20;7F;Oregon;ID=1234ab;TEMP=00c3;HUM=45;", "press|ID||text 1234ab||\npress|TEMP||text 00c3||\npress|HUM||int 45||"},
		{"by commas", "a=1,b=x y", "press|a||int 1||\npress|b||text x y||"},
		{"by spaces", "a=1 b=true", "press|a||int 1||\npress|b||bool true||"},
		{"by lines", "a = 1\r\nb=2\r\n", "press|a||int 1||\npress|b||int 2||"},
		{"one", "a=1", "press|a||int 1||"},
		{"an empty one", "a=;b=nan", "press|a||null null||\npress|b||null null||bad"},
		{"one name twice", "a=1;a=2;b=3", "press|a||null null||bad\npress|b||int 3||"},
		{"a comma of a number", "t=21,5", "press|t||text 21,5||"},
		{"commas of numbers", "t=21,5 h=45,0", "press|t||text 21,5||\npress|h||text 45,0||"},
		{"a separator in quotation marks", `a="x y;z" b=1`, "press|a||text x y;z||\npress|b||int 1||"},
		{"none", "20;7F", "error: syntax"},
	}.run(t, Config{Dialect: "pairs"})
}

func TestCBORIsReadAsJSONIs(t *testing.T) {
	table{
		{"a map", "\xa2\x61a\x01\x61b\xa1\x61c\xf9\x3e\x00", "press|a||int 1||\npress|b.c||float 1.5||"},
		{"in the order of names", "\xa2\x61b\x01\x61a\x02", "press|a||int 2||\npress|b||int 1||"},
		{"whole numbers for names", "\xa2\x01\x61x\x20\x61y", "press|-1||text y||\npress|1||text x||"},
		{"an array of all kinds", "\x87\xf5\xf6\x41\xff\x38\x63\x1b\xff\xff\xff\xff\xff\xff\xff\xff\xf9\x7e\x00\x80", "press|0||bool true||\npress|1||null null||\npress|2||bytes ff||\npress|3||int -100||\n" +
			"press|4||text 18446744073709551615||\npress|5||null null||bad"},
		{"one value", "\x18\x2a", "press|temp||int 42||"},
		{"one name twice", "\xa2\x61a\x01\x61a\x02", "error: duplicate_key"},
		{"a key of another kind", "\xa1\xf5\x01", "error: wrong_type"},
		{"cut short", "\xa2\x61a\x01", "error: syntax"},
		{"bytes behind it", "\xa0\x00", "error: syntax"},
		{"nothing", "", "error: empty"},
	}.run(t, Config{Dialect: "cbor"})
	table{
		{"paths", "\xa2\x61m\x81\xa2\x62id\x63dev\x61t\x01\x62ts\x1a\x66\x38\xd2\xc0", "dev|t||int 1|2024-05-06T12:53:20Z|"},
	}.run(t, Config{Dialect: "cbor", MessagesPath: "m.*", DevicePath: "id", TimestampPath: "ts", TimestampFormat: "unix"})
}

func TestTextsAreNumbersWhereTheConfigurationSaysSo(t *testing.T) {
	table{
		{"", "23.5 °C", "press|temp|Cel|float 23.5||"},
		{"", "23,5 °C", "press|temp|Cel|float 23.5||"},
		{"", "001422.970*kWh", "press|temp|kWh|float 1422.97||"},
		{"", "00317", "press|temp||int 317||"},
		{"", "-0,5", "press|temp||float -0.5||"},
		{"", "45%", "press|temp|%|int 45||"},
		{"", "1.5e3 W", "press|temp|W|float 1500.0||"},
		{"", "12 m3/h", "press|temp|m3/h|int 12||"},
		{"", "5.", "press|temp||int 5||"},
		{"", ".5", "press|temp||float 0.5||"},
		{"", "+5 V", "press|temp|V|int 5||"},
		{"it may be a thousand", "1,016", "press|temp||text 1,016||"},
		{"it cannot be a thousand", "0,016", "press|temp||float 0.016||"},
		{"two marks", "1,016.76", "press|temp||text 1,016.76||"},
		{"two numbers", "12 345", "press|temp||text 12 345||"},
		{"a code", "00c3", "press|temp||text 00c3||"},
		{"another", "0x1F", "press|temp||text 0x1F||"},
		{"a date", "2024-05-06", "press|temp||text 2024-05-06||"},
		{"a word", "online", "press|temp||text online||"},
		{"a serial number", `"4530303034303031"`, "press|temp||int 4530303034303031||"},
		{"one of more than 64 bits", `"4530303034303031353934373534343134"`, "press|temp||text 4530303034303031353934373534343134||"},
		{"a sentence", "23 open doors", "press|temp||text 23 open doors||"},
	}.run(t, Config{Numbers: []string{"*"}})
	table{
		{"those that are named", `{"a":"47","b":{"c":"1,5 bar","d":"7"},"e":"8"}`, "press|a||int 47||\npress|b.c|bar|float 1.5||\npress|b.d||int 7||\npress|e||text 8||"},
	}.run(t, Config{Numbers: []string{"a", "b"}})
	table{
		{"the configured unit goes first", `{"a":"4.7 V"}`, "press|a|mV|float 4.7||"},
	}.run(t, Config{Numbers: []string{"*"}, Units: map[string]string{"a": "mV"}})
}
