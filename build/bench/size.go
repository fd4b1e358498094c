package main

import (
	"context"
	"os"
	"path/filepath"

	"edgechain.example/arm"
)

// size builds the programs as they are shipped.
func (b *bench) size(ctx context.Context) error {
	for _, p := range []struct {
		name string
		most float64
	}{{"edgeagent", arm.MaxAgentSize}, {"edgeverify", arm.MaxVerifierSize}} {
		for _, t := range arm.Targets() {
			if b.short && (t.Name != "armv7" || p.name != "edgeverify") {
				continue
			}
			file := filepath.Join(b.dir, p.name+"-"+t.Name)
			if err := build(ctx, p.name, file, t.Env()...); err != nil {
				return err
			}
			info, err := os.Stat(file)
			if err != nil {
				return err
			}
			b.report("size", p.name+", "+t.Name+", stripped", "MB", []float64{float64(info.Size()) / 1e6}, atMost(p.most/1e6))
		}
	}
	return nil
}
