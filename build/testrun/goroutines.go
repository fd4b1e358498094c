package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
)

// concurrent reports whether the Go files of a folder, its tests among them, start a goroutine. Where none does, the race
// detector finds nothing that its run of another package would not.
func concurrent(folder string) (bool, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return false, err
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return false, fmt.Errorf("looking for goroutines: %w", err)
		}
		found := false
		ast.Inspect(parsed, func(n ast.Node) bool {
			found = found || starts(n)
			return !found
		})
		if found {
			return true, nil
		}
	}
	return false, nil
}

// starts reports whether a node of the syntax is a go statement, or calls what runs a function on a goroutine of its own:
// [sync.WaitGroup.Go], [testing.T.Parallel], [time.AfterFunc], [context.AfterFunc], a server of net/http/httptest.
func starts(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GoStmt:
		return true
	case *ast.CallExpr:
		called, ok := n.Fun.(*ast.SelectorExpr)
		return ok && slices.Contains([]string{"Go", "Parallel", "AfterFunc", "NewServer", "NewTLSServer", "NewUnstartedServer"}, called.Sel.Name)
	}
	return false
}
