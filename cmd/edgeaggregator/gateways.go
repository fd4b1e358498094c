package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/registry"
	"edgechain.example/cmd/internal/command"
)

func newGateways() *cobra.Command {
	c := &cobra.Command{
		Use:     "gateways",
		GroupID: "gateways",
		Short:   "Who is countersigned, who waits, and what is wrong with whom",
	}
	c.AddCommand(newGatewaysList(), newGatewaysShow(), newGatewaysApprove(), newGatewaysChange("acknowledge",
		"Take back what was noted about gateways, but for forks",
		(*api.Client).Acknowledge), newGatewaysChange("reject",
		"Ignore gateways from now on",
		(*api.Client).Reject), newGatewaysChange("forget",
		"Drop what is kept of gateways, but for their newest heads and any evidence against them",
		(*api.Client).Forget), newGatewaysToken())
	return c
}

func newGatewaysList() *cobra.Command {
	c := &cobra.Command{
		Use:   "list",
		Short: "List gateways",
		Args:  command.Args(cobra.NoArgs),
	}
	standing := c.Flags().String("standing", "", "only those `approved`, waiting, rejected or forgotten (default approved and waiting)")
	finding := c.Flags().String("finding", "", `only those with this finding, such as "silent", or "any"`)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return with(c, func(asked *api.Client, out *command.Output) error {
			var table *command.Table
			if !out.JSON() {
				table = command.NewTable(out.Writer(), "CHAIN", "NAME", "STANDING", "HEIGHT", "ENTRIES", "SEEN", "RECEIPT", "FINDINGS", "LABELS")
				defer table.Flush()
			}
			for g, err := range asked.Gateways(c.Context(), registry.Standing(*standing), registry.Kind(*finding)) {
				if err != nil {
					return err
				}
				if *standing == "" && g.Standing != registry.Approved && g.Standing != registry.Waiting {
					continue
				}
				if table == nil {
					if err := json.NewEncoder(out.Writer()).Encode(g); err != nil {
						return err
					}
					continue
				}
				receipt := "-"
				if g.Receipt != (api.Receipt{}) {
					receipt = strconv.FormatUint(g.Receipt.Height, 10)
				}
				height := strconv.FormatUint(max(g.Head.Height, g.Announced), 10)
				table.Row(g.Chain.String()[:16], command.Printable(g.Name), string(g.Standing), height,
					strconv.FormatUint(g.Head.Next, 10), second(g.Seen), receipt, findings(&g), labelText(&g))
			}
			return nil
		})
	}
	return c
}

func findings(g *api.Gateway) string {
	var kinds []string
	for _, a := range g.Findings {
		kinds = append(kinds, string(a.Kind))
	}
	if kinds == nil {
		return "-"
	}
	return strings.Join(kinds, ",")
}

func labelText(g *api.Gateway) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(g.Labels)) {
		all = append(all, command.Printable(name+"="+g.Labels[name]))
	}
	return strings.Join(all, ",")
}

func newGatewaysShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show CHAIN",
		Short: "Show all that is known of a gateway",
		Args:  command.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c, func(asked *api.Client, out *command.Output) error {
				g, err := asked.Gateway(c.Context(), args[0])
				if err != nil {
					return err
				}
				return out.Print(g, func(w io.Writer) { writeGateway(w, &g) })
			})
		},
	}
}

func writeGateway(w io.Writer, g *api.Gateway) {
	line(w, "chain", g.Chain.String())
	line(w, "name", command.Printable(g.Name))
	standing := string(g.Standing)
	if g.By != "" {
		standing += " since " + second(g.Decided) + " by " + command.Printable(g.By)
	}
	line(w, "standing", standing)
	line(w, "labels", labelText(g))
	line(w, "mode", string(g.Mode))
	line(w, "heard of", second(g.Added))
	line(w, "status", string(g.Online))
	if g.Standing == registry.Waiting {
		line(w, "announced", fmt.Sprintf("%d, as it says; that was not checked", g.Announced))
	}
	if h := g.Head; h != (api.Head{}) {
		line(w, "head", fmt.Sprintf("%d, %s, seen %s", h.Height, h.Hash, second(g.Seen)))
		line(w, "entries", strconv.FormatUint(h.Next, 10))
		line(w, "sealed", fmt.Sprintf("%s by its clock, which is %s; boot %d", command.Instant(h.Sealed), h.Clock, h.Boot))
		headers := "the newest head and those that set the key are held"
		if h.Every > 0 {
			headers = fmt.Sprintf("all up to %d are held", h.Every)
		}
		line(w, "headers", headers)
	}
	if r := g.Report; r != nil {
		line(w, "reported", second(r.At)+" at block "+strconv.FormatUint(r.Height, 10)+", by version "+command.Printable(r.Version))
		line(w, "", fmt.Sprintf("its clock is %s, wrong by at most %s, stepped %d times", r.Clock.State, time.Duration(r.Clock.Error)*time.Millisecond, r.Clock.Steps))
		line(w, "", fmt.Sprintf("since its chain began: %d messages missing at most, in %d gaps; damage %d times; set back %d times; %d starts after an unclean stop",
			r.Gaps.Count, r.Gaps.Times, r.Damage.Times, r.Restored.Times, r.Unclean))
		if r.Within > 0 {
			line(w, "expected", fmt.Sprintf("a new head within %s", time.Duration(r.Within)*time.Second))
		}
	}
	line(w, "key", g.Key)
	if g.Keys > 1 {
		line(w, "", fmt.Sprintf("changed %d times", g.Keys-1))
	}
	if r := g.Receipt; r != (api.Receipt{}) {
		line(w, "receipt", fmt.Sprintf("on %d, at %s", r.Height, second(r.Time)))
	}
	if t := g.Traffic; t != nil {
		line(w, "traffic", fmt.Sprintf("%d bytes on %s", t.Bytes, t.Day))
	}
	for _, a := range g.Findings {
		line(w, "finding", fmt.Sprintf("%s: %s (first %s, last %s, %d times)", a.Kind, command.Printable(a.Text), second(a.First), second(a.Last), a.Count))
	}
}

func newGatewaysApprove() *cobra.Command {
	c := &cobra.Command{
		Use:   "approve CHAIN... | --name PATTERN",
		Short: "Follow and countersign gateways, or change their settings",
		Long: `approve has gateways followed and countersigned: those named by their chains, or all that wait under a name that the
pattern matches (* any characters, ? one, [a-z] one of these). Names are what gateways say of themselves: a chain is
the 52 characters that a gateway's own "edgeagent init" printed.`,
	}
	flags := c.Flags()
	name := flags.String("name", "", "approve all that wait under a name that matches the `PATTERN`")
	labelTexts := flags.StringArray("label", nil, "add a label, as in `site=north`; an empty value removes it; may be repeated")
	mode := flags.String("mode", "", "`headers` or sparse, instead of pull.mode")
	silence := command.Duration(c, "silence-after", 0, "report silence after so `LONG`, instead of silence.after")
	c.RunE = func(c *cobra.Command, args []string) error {
		if (*name == "") == (len(args) == 0) {
			return command.Failf(command.ExitUsage, "expected chains, or --name and a pattern\nUsage: %s", c.UseLine())
		}
		settings := registry.Settings{Mode: registry.Mode(*mode), Silence: *silence}
		var err error
		if settings.Labels, err = labels(*labelTexts); err != nil {
			return err
		}
		return with(c, func(asked *api.Client, out *command.Output) error {
			if *name != "" {
				found := false
				for g, err := range asked.ApproveNames(c.Context(), *name, settings) {
					if err != nil {
						return err
					}
					found = true
					if err := tell(out, &g); err != nil {
						return err
					}
				}
				if !found {
					return command.Failf(command.ExitNotFound, "nobody waits under a name that %q matches", *name)
				}
				return nil
			}
			for _, chain := range args {
				g, err := asked.Approve(c.Context(), chain, settings)
				if err != nil {
					return err
				}
				if err := tell(out, &g); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return c
}

// newGatewaysChange returns a command that does the same to each chain named.
func newGatewaysChange(verb, short string, do func(*api.Client, ctx, string) (api.Gateway, error)) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " CHAIN...",
		Short: short,
		Args:  command.Args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c, func(asked *api.Client, out *command.Output) error {
				for _, chain := range args {
					g, err := do(asked, c.Context(), chain)
					if err != nil {
						return err
					}
					if err := tell(out, &g); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

// tell says what became of a gateway.
func tell(out *command.Output, g *api.Gateway) error {
	return out.Print(g, func(w io.Writer) {
		text := strings.TrimSpace(fmt.Sprintf("%s %s %s", g.Chain, g.Standing, command.Printable(g.Name)))
		if g.Head == (api.Head{}) && g.Seen.IsZero() {
			text += "; it was never heard of, so look at its name again" // a letter of it may be wrong
		}
		fmt.Fprintln(w, text)
	})
}
