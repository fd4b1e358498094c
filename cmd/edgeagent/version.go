package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"edgechain/cmd/internal/command"
	"edgechain/lightchain"
	"edgechain/sensors"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the program's version",
		Args:  command.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			out, err := command.NewOutput(c)
			if err != nil {
				return err
			}
			v := map[string]any{
				"version": version, "format": lightchain.Version, "decoders": sensors.DecoderVersion,
				"go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
			}
			return out.Print(v, func(w io.Writer) {
				fmt.Fprintf(w, "edgeagent %s (format %d, decoders %d, %s, %s/%s)\n", version, lightchain.Version, sensors.DecoderVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			})
		},
	}
}
