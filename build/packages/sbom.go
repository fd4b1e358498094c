package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// sbomFile returns the name of the release's bill of materials.
func (r *release) sbomFile() string {
	return "edgechain-" + strings.TrimPrefix(r.version, "v") + ".cdx.json"
}

// writeSBOM writes what the programs are made of, for programs: a CycloneDX document with all modules of all targets.
func (r *release) writeSBOM(dist string, linked map[string][]module) (err error) {
	ours := &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}}
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{
		Timestamp: r.date.Format(time.RFC3339),
		Component: &cdx.Component{BOMRef: "edgechain", Type: cdx.ComponentTypeApplication, Name: "edgechain", Version: r.version, Licenses: ours},
	}
	var programs, modules []cdx.Component
	var dependencies []cdx.Dependency
	seen := make(map[string]bool)
	for _, program := range slices.Sorted(maps.Keys(linked)) {
		var refs []string
		for _, m := range linked[program] {
			ref := m.purl()
			refs = append(refs, ref)
			if seen[ref] {
				continue
			}
			seen[ref] = true
			c := cdx.Component{
				BOMRef: ref, Type: cdx.ComponentTypeLibrary, Name: m.path, Version: m.version, PackageURL: ref,
				Scope: cdx.ScopeRequired, Licenses: &cdx.Licenses{{Expression: m.licence}},
			}
			if m.sum != "" {
				c.Properties = &[]cdx.Property{{Name: "go.sum", Value: m.sum}}
			}
			modules = append(modules, c)
		}
		slices.Sort(refs)
		refs = slices.Compact(refs)
		programs = append(programs, cdx.Component{BOMRef: program, Type: cdx.ComponentTypeApplication, Name: program, Version: r.version, Licenses: ours})
		dependencies = append(dependencies, cdx.Dependency{Ref: program, Dependencies: &refs})
	}
	slices.SortFunc(modules, func(a, b cdx.Component) int { return strings.Compare(a.BOMRef, b.BOMRef) })
	components := append(programs, modules...)
	bom.Components, bom.Dependencies = &components, &dependencies

	out, err := os.Create(filepath.Join(dist, r.sbomFile()))
	if err != nil {
		return err
	}
	defer func() {
		if e := out.Close(); err == nil {
			err = e
		}
	}()
	return cdx.NewBOMEncoder(out, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_6)
}

// purl is the package URL of a module.
func (m *module) purl() string {
	return fmt.Sprintf("pkg:golang/%s@%s", strings.ToLower(m.path), strings.ReplaceAll(m.version, "+", "%2B"))
}
