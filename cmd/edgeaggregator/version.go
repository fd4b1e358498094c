package main

import (
	"github.com/spf13/cobra"

	"edgechain/cmd/internal/command"
	"edgechain/lightchain"
)

func newVersion() *cobra.Command {
	return command.NewVersion("edgeaggregator", version, command.Numbered{Name: "format", Number: lightchain.Version})
}
