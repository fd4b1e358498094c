package main

import (
	"github.com/spf13/cobra"

	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

func newVersion() *cobra.Command {
	return command.NewVersion("edgeagent", version, command.Numbered{Name: "format", Number: lightchain.Version},
		command.Numbered{Name: "decoders", Number: sensors.DecoderVersion})
}
