package command

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// NewLog makes a program's log, on standard error: text on a terminal, JSON for journals and files, unless format is
// "text" or "json". It logs what setLevel names, which may be called again at any time.
func NewLog(c *cobra.Command, format string) (log *slog.Logger, setLevel func(string)) {
	w, ok := c.ErrOrStderr().(*os.File)
	if !ok {
		w = os.Stderr
	}
	level := new(slog.LevelVar)
	setLevel = func(name string) {
		var l slog.Level
		if l.UnmarshalText([]byte(name)) == nil {
			level.Set(l)
		}
	}
	options := &slog.HandlerOptions{Level: level}
	if format == "text" || format == "auto" && term.IsTerminal(int(w.Fd())) {
		return slog.New(slog.NewTextHandler(w, options)), setLevel
	}
	options.ReplaceAttr = func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration { // people read journals, too: "14.5s", not nanoseconds
			a.Value = slog.StringValue(a.Value.Duration().String())
		}
		return a
	}
	return slog.New(slog.NewJSONHandler(w, options)), setLevel
}
