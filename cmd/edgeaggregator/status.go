package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/registry"
	"edgechain.example/cmd/internal/command"
)

func newStatus() *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		GroupID: "gateways",
		Short:   "Say how the aggregator stands",
		Args:    command.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c, func(asked *api.Client, out *command.Output) error {
				s, err := asked.Status(c.Context())
				if err != nil {
					return err
				}
				return out.Print(s, func(w io.Writer) { writeStatus(w, &s) })
			})
		},
	}
}

func writeStatus(w io.Writer, s *api.Status) {
	running := "no"
	if s.Running {
		running = "yes"
	}
	line(w, "name", s.Name)
	line(w, "running", running)
	line(w, "key", s.Key)
	line(w, "store", s.Store)
	var gateways []string
	for _, standing := range []registry.Standing{registry.Approved, registry.Waiting, registry.Rejected, registry.Forgotten} {
		if n := s.Gateways[standing]; n > 0 {
			gateways = append(gateways, fmt.Sprintf("%d %s", n, standing))
		}
	}
	if gateways == nil {
		gateways = []string{"none yet"}
	}
	counted := ""
	if !s.Counted.IsZero() {
		counted = ", counted at " + second(s.Counted)
	}
	if s.Uncounted != "" && s.Gateways == nil {
		gateways = []string{"not counted yet"}
	}
	line(w, "gateways", strings.Join(gateways, ", ")+counted)
	line(w, "", s.Uncounted)
	var ailing []string
	for _, kind := range registry.Kinds {
		if n := s.Findings[kind]; n > 0 {
			ailing = append(ailing, fmt.Sprintf("%d %s", n, kind))
		}
	}
	if s.Live != nil && s.Live.Log != nil && s.Live.Log.Finding != "" {
		ailing = append(ailing, s.Live.Log.Finding)
	}
	line(w, "findings", strings.Join(ailing, ", "))
	if s.Opened != nil {
		line(w, "damage", "at its start the store was "+strings.Join(damage(s.Opened), "; "))
	}
	if s.Live == nil {
		return
	}
	line(w, "since", s.Live.Started.Local().Format(time.RFC3339))
	clock := s.Live.Clock
	if clock == api.ClockAssumed {
		clock += " to be synchronised, whatever the kernel says: clock.assume_synchronised"
	}
	if s.Live.Withheld > 0 {
		clock += fmt.Sprintf("; %d heads are not countersigned until it and the database are right", s.Live.Withheld)
	}
	line(w, "clock", clock)
	if s.Live.Deaf != "" {
		line(w, "WARNING", "nobody is answered over TCP: "+s.Live.Deaf)
	}
	if s.Live.Log != nil {
		writeLogStanding(w, s.Live.Log)
	}
	if s.Live.Database != nil {
		writeDatabase(w, s.Live.Database)
	}
	if s.Live.Replica != "" {
		living := strings.Join(s.Live.Replicas, ", ")
		if living == "" {
			living = "none lives"
		}
		if s.Live.Owned != nil {
			living += fmt.Sprintf("; this is %s, which follows %d of the approved gateways", s.Live.Replica, *s.Live.Owned)
		} else {
			living += "; this is " + s.Live.Replica
		}
		line(w, "replicas", living)
		line(w, "", s.Live.Idle)
	}
	for _, b := range s.Live.Brokers {
		state := "connected to " + b.Server
		if !b.Connected {
			state = "not connected: " + b.Error
		}
		line(w, "broker", b.Name+", "+state)
	}
}

// damage says what a store found when it was opened.
func damage(o *registry.Opened) (all []string) {
	if o.Rebuilt {
		all = append(all, fmt.Sprintf("damaged and rebuilt, without %d places that cannot be read", o.Unreadable))
	}
	if o.LogBytes > 0 {
		all = append(all, fmt.Sprintf("without %d bytes of its log", o.LogBytes))
	}
	if o.SetBack > 0 {
		all = append(all, fmt.Sprintf("set back below what was countersigned of %d gateways, which is put back: gateways list --finding set-back", o.SetBack))
	}
	if o.Journal {
		all = append(all, "without the file beside it that says what was countersigned, or with a damaged one")
	}
	return all
}

func writeDatabase(w io.Writer, d *registry.Database) {
	standbys := "no standbys"
	if len(d.Standbys) > 0 {
		var all []string
		for _, s := range d.Standbys {
			sync := s.Sync
			if sync == "" {
				sync = "unknown"
			}
			all = append(all, fmt.Sprintf("%s (%s)", s.Name, sync))
		}
		standbys = "standbys " + strings.Join(all, ", ")
	}
	line(w, "database", fmt.Sprintf("%s, synchronous_commit %s, synchronous_standby_names %q, timeline %d", standbys, d.Commit, d.Synchronous, d.Timeline))
	if d.Silent != nil {
		line(w, "", fmt.Sprintf("IT DOES NOT ANSWER, and nothing is countersigned, since %s: %s", d.Silent.Local().Format(time.RFC3339), d.Error))
	}
	if d.Standby {
		line(w, "", "it is a standby now, which nothing is written to")
	}
	if d.Refused != "" {
		line(w, "", "NOTHING IS COUNTERSIGNED: "+d.Refused)
	}
	for _, why := range slices.Concat(d.AtCrash, d.AtFailover, d.Notes) {
		if !strings.Contains(d.Refused, why) {
			line(w, "", why)
		}
	}
	if d.Changes > 0 {
		line(w, "", fmt.Sprintf("changed %d times since the start, the last time: %s", d.Changes, d.Change))
	}
}
