package lightchain

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// schema is as much of JSON Schema (2020-12) as testdata/vector.schema.json uses; a word that is not here makes the test fail.
type schema struct {
	Schema      string            `json:"$schema"`
	Title       string            `json:"title"`
	Description string            `json:"description"`
	Defs        map[string]schema `json:"$defs"`
	Ref         string            `json:"$ref"`

	Type       string            `json:"type"`
	Enum       []string          `json:"enum"`
	Pattern    string            `json:"pattern"`
	Minimum    *json.Number      `json:"minimum"` // which is 0
	Required   []string          `json:"required"`
	Properties map[string]schema `json:"properties"`
	Additional *bool             `json:"additionalProperties"`
	Items      *schema           `json:"items"`
	AllOf      []schema          `json:"allOf"`
	If         *schema           `json:"if"`
	Then       *schema           `json:"then"`
	Else       *schema           `json:"else"`
}

// check says why a value is not of the schema.
func (s *schema) check(root *schema, v any) error {
	if s.Ref != "" {
		to, found := root.Defs[strings.TrimPrefix(s.Ref, "#/$defs/")]
		if !found {
			return fmt.Errorf("no %s", s.Ref)
		}
		return to.check(root, v)
	}
	kinds := map[string]bool{}
	switch v := v.(type) {
	case string:
		kinds["string"] = true
		if s.Enum != nil && !slices.Contains(s.Enum, v) {
			return fmt.Errorf("%q is none of %q", v, s.Enum)
		}
		if s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(v) {
			return fmt.Errorf("%.80q does not match %s", v, s.Pattern)
		}
	case json.Number:
		kinds["integer"] = !strings.ContainsAny(v.String(), ".eE")
		if s.Minimum != nil && strings.HasPrefix(v.String(), "-") {
			return fmt.Errorf("%s is below %s", v, s.Minimum)
		}
	case []any:
		kinds["array"] = true
		for i, item := range v {
			if s.Items != nil {
				if err := s.Items.check(root, item); err != nil {
					return fmt.Errorf("%d: %w", i, err)
				}
			}
		}
	case map[string]any:
		kinds["object"] = true
		for _, name := range s.Required {
			if _, there := v[name]; !there {
				return fmt.Errorf("no %s", name)
			}
		}
		for name, value := range v {
			property, known := s.Properties[name]
			if !known && s.Additional != nil && !*s.Additional {
				return fmt.Errorf("%s is not known", name)
			}
			if err := property.check(root, value); known && err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if s.Type != "" && !kinds[s.Type] {
		return fmt.Errorf("not of type %s: %v", s.Type, v)
	}
	for i := range s.AllOf {
		if err := s.AllOf[i].check(root, v); err != nil {
			return err
		}
	}
	if s.If != nil {
		branch := s.Else
		if s.If.check(root, v) == nil {
			branch = s.Then
		}
		if branch != nil {
			return branch.check(root, v)
		}
	}
	return nil
}

// All published vectors, those of the sync protocol too, are of the one schema.
func TestVectorsAreOfTheirSchema(t *testing.T) {
	b, err := os.ReadFile("testdata/vector.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.DisallowUnknownFields()
	var s schema
	if err := d.Decode(&s); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, folder := range []string{vectorFolder, "../sync/testdata/vectors"} {
		files, err := filepath.Glob(folder + "/*.json")
		if err != nil || len(files) == 0 {
			t.Fatalf("no vectors in %s (%v)", folder, err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var v map[string]any
			d := json.NewDecoder(strings.NewReader(string(b)))
			d.UseNumber()
			if err := d.Decode(&v); err != nil {
				t.Fatal(err)
			}
			if err := s.check(&s, v); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			for name := range v {
				used[name] = true
			}
			used["kind "+fmt.Sprint(v["kind"])] = true
		}
	}
	for name := range s.Properties {
		if !used[name] {
			t.Errorf("no vector has %s", name)
		}
	}
	for _, kind := range s.Properties["kind"].Enum {
		if !used["kind "+kind] {
			t.Errorf("no vector is of the kind %s", kind)
		}
	}
	if err := s.check(&s, map[string]any{"about": "x", "kind": "proof", "bytes": "AA==", "trust": "", "expect": "fail"}); err == nil {
		t.Error("a bad proof that names no check is of the schema")
	}
}
