package main

import (
	"github.com/spf13/cobra"

	"edgechain/cmd/internal/command"
	"edgechain/lightchain"
	"edgechain/sensors"
)

func newVersion() *cobra.Command {
	return command.NewVersion("edgeagent", version, command.Numbered{Name: "format", Number: lightchain.Version},
		command.Numbered{Name: "decoders", Number: sensors.DecoderVersion})
}
