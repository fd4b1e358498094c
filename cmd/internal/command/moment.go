package command

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/cmd/internal/moment"
	"edgechain.example/tomlconf"
)

// Moment reads the moment that a flag names, in local time where it names no zone. One in the future is most likely not
// meant and is warned of; it is no error, since the clock that is wrong may be this machine's.
func Moment(c *cobra.Command, flag, text string) (time.Time, error) {
	now := time.Now()
	t, err := moment.Parse(text, now)
	if err != nil {
		return time.Time{}, Failf(ExitUsage, "--%s %q: %w", flag, text, err)
	}
	if name := unknownZone(); name != "" && local(text, now) {
		return time.Time{}, Failf(ExitUsage, "--%s %q: which time is meant is not known: TZ=%s names no time zone of this machine's. "+
			"Write the zone, as in 2026-11-27T14:00:00+01:00, or set TZ to a name such as Europe/Berlin", flag, text, name)
	}
	if t.After(now) {
		fmt.Fprintf(c.ErrOrStderr(), "%s: warning: --%s %q is %s, in the future: it is %s by this machine's clock\n",
			c.Root().Name(), flag, text, Instant(t), Instant(now))
	}
	return t, nil
}

// unknownZone returns what the variable TZ says, if no such zone is known: Go takes the time for UTC then, and other programs
// may know better.
func unknownZone() string {
	said := os.Getenv("TZ")
	name := strings.TrimPrefix(said, ":")
	var err error
	if filepath.IsAbs(name) {
		var zone []byte
		if zone, err = tomlconf.ReadFile(name, 1<<20); err == nil {
			_, err = time.LoadLocationFromTZData(name, zone)
		}
	} else {
		_, err = time.LoadLocation(name) // "" is UTC
	}
	if err == nil {
		return ""
	}
	return said
}

// local reports whether a text names another moment in another zone.
func local(text string, now time.Time) bool {
	a, errA := moment.Parse(text, now.In(time.FixedZone("", -3600)))
	b, errB := moment.Parse(text, now.In(time.FixedZone("", 3600)))
	return errA != nil || errB != nil || !a.Equal(b)
}

// duration is a flag's value that is read as durations of the configuration are: with days, and without a sign.
type duration time.Duration

// Duration adds a flag for how long something takes, as in 30s, 12h or 7d, to a command.
func Duration(c *cobra.Command, name string, value time.Duration, usage string) *time.Duration {
	d := duration(value)
	c.Flags().Var(&d, name, usage)
	return (*time.Duration)(&d)
}

func (d *duration) Set(text string) error {
	long, err := tomlconf.ParseDuration(text)
	*d = duration(long)
	return err
}

func (d *duration) Type() string { return "duration" }

func (d *duration) String() string { return time.Duration(*d).String() }
