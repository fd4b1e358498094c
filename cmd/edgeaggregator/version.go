package main

import (
	"github.com/spf13/cobra"

	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain"
)

func newVersion() *cobra.Command {
	return command.NewVersion("edgeaggregator", version, command.Numbered{Name: "format", Number: lightchain.Version})
}
