package main

import (
	"io"

	"github.com/spf13/cobra"

	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain"
)

func newTrust() *cobra.Command {
	c := &cobra.Command{
		Use:     "trust",
		GroupID: "chain",
		Short:   "Print a trust file of this chain and its configured aggregators",
		Long: `trust prints a trust file, which tells edgeverify whom to believe. An auditor does not take it from the gateway
unseen: the chain's name and the aggregators' keys are compared with what was written down elsewhere.`,
		Args: command.Args(cobra.NoArgs),
	}
	quorum := c.Flags().Uint64("quorum", 0, "how many aggregators a proof must show (default: as many as are configured, at most 1)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		config, err := quietConfig(c)
		if err != nil {
			return err
		}
		out, err := command.NewOutput(c)
		if err != nil {
			return err
		}
		client, done, err := connect(c)
		if err != nil {
			return err
		}
		defer done()
		status, err := client.Status(c.Context())
		if err != nil {
			return err
		}
		trust := lightchain.Trust{Chains: []lightchain.ChainID{status.Chain}, Quorum: *quorum}
		seen := map[lightchain.PublicKey]bool{}
		for _, u := range config.Upstream {
			for _, g := range u.Aggregator {
				key, err := lightchain.ParsePublicKey(g.Key)
				if err != nil {
					return command.Fail(command.ExitUsage, err)
				}
				if !seen[key] {
					seen[key] = true
					trust.Aggregators = append(trust.Aggregators, lightchain.Aggregator{Name: g.Name, Key: key})
				}
			}
		}
		if !c.Flags().Changed("quorum") {
			trust.Quorum = min(1, uint64(len(trust.Aggregators)))
		}
		text := trust.Format()
		return out.Print(map[string]string{"trust": string(text)}, func(w io.Writer) { _, _ = w.Write(text) })
	}
	return c
}
