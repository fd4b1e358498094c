package suggest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"edgechain.example/lightchain"
)

func TestBothFormsOfMosquittoSubAreRead(t *testing.T) {
	const file = `line1/press/temp 21.5
line1/press/text several words
line1/press/gone (null)
line1/press/state {
  "t": 1
}
line1/press/torn {"t":1
{"tst":"2026-03-01T09:00:01.000000+0100","topic":"a/b","qos":1,"retain":1,"payloadlen":4,"payload":"21.5"}
{"tst":"2026-03-01T09:00:02.186124Z+0100","topic":"a/c","qos":0,"retain":0,"payload":{"t":2}}
{"topic":"a/d","payload":null}

nothing
{"payload":"1"}
`
	var got []string
	skipped, first, err := ReadFile(strings.NewReader(file), received, func(m Message) {
		got = append(got, fmt.Sprintf("%s=%s %v %s", m.Topic, m.Payload, m.Flags&lightchain.Retained != 0, m.Received.UTC().Format(time.TimeOnly)))
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"line1/press/temp=21.5 false 08:00:00", "line1/press/text=several words false 08:00:00", "line1/press/gone= false 08:00:00",
		"line1/press/state={\n  \"t\": 1\n} false 08:00:00", "line1/press/torn={\"t\":1 false 08:00:00",
		"a/b=21.5 true 08:00:01", `a/c={"t":2} false 08:00:02`, "a/d= false 08:00:00",
	}
	if !slices.Equal(got, want) {
		t.Errorf("read are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if skipped != 2 || first == nil || first.Line != 12 || !strings.Contains(first.Error(), "mosquitto_sub -v") {
		t.Errorf("passed over are %d lines, the first %v", skipped, first)
	}
}

func TestALineThatIsTooLongEndsTheFile(t *testing.T) {
	messages := 0
	_, _, err := ReadFile(strings.NewReader("a 1\nb "+strings.Repeat("x", maxLine)), received, func(Message) { messages++ })
	if err == nil || !strings.Contains(err.Error(), "line 2") || messages != 1 {
		t.Errorf("%d messages, and %v", messages, err)
	}
}
