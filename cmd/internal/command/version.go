package command

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
)

// Numbered is something with a version number of its own that a program's version implies: the format that it writes.
type Numbered struct {
	Name   string
	Number uint64
}

// NewVersion returns the command that prints a program's version, and those of what it implies.
func NewVersion(program, version string, implied ...Numbered) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the program's version",
		Args:  Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			out, err := NewOutput(c)
			if err != nil {
				return err
			}
			platform := runtime.GOOS + "/" + runtime.GOARCH
			answer := map[string]any{"version": version, "go": runtime.Version(), "platform": platform}
			for _, n := range implied {
				answer[n.Name] = n.Number
			}
			return out.Print(answer, func(w io.Writer) {
				fmt.Fprintf(w, "%s %s (", program, version)
				for _, n := range implied {
					fmt.Fprintf(w, "%s %d, ", n.Name, n.Number)
				}
				fmt.Fprintf(w, "%s, %s)\n", runtime.Version(), platform)
			})
		},
	}
}
