package lightchain

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Each check of this package is left out in turn, and a published vector must notice: what no vector holds, the author of
// another verifier forgets, and so may we. A check is a return of an error, or a call of fail with the return behind it. All are
// written into one build of the tests, where an environment variable names the one that is left out; nothing of the tree is
// changed (go test -overlay).
//
// A vector notices a check if its verdict is another one without. Where a second check of the same name refuses the same (a
// limit that is looked at before anything is allocated, and once more), no vector can; then one must reach the check, so that
// it is refused in other words without.

const (
	leftOutVariable = "LIGHTCHAIN_LEFT_OUT"      // the name of the check that is left out
	listVariable    = "LIGHTCHAIN_LEFT_OUT_LIST" // a file with the names of those that are to be left out in turn
)

// mutant is a check that can be left out.
type mutant struct {
	name       string // the function, and the words of the return: they stay as they are where lines move
	begin, end int    // in its file
}

// makers are functions that make something, or read what no verifier is given; their errors are no checks.
var makers = map[string]string{
	"lightchain.go":                  "it makes keys and signatures, and reads a chain's name, of which trust files have vectors",
	"sshsig.go/ReadSSHSignatureFile": "a program's, which reads what ssh-keygen wrote; no file holds it",
	"note.go/ParseStatement":         "an agent's, which reads what is to be signed; no file holds it",
	"note.go/ParseSpans":             "an agent's, as above",
	"note.go/CheckNote":              "an agent's, as above",
	"note.go/UnmarshalJSON":          "for programs that read reports",
	"note_json.go/Bytes":             "it gives an attachment's bytes back, which were checked",
	"accusation.go":                  "it makes evidence, which is verified like any other",
	"blocks.go/Evidence":             "as above",
	"blocks.go/Accuse":               "it says in words what was found",
	"tip.go":                         "an aggregator's, which follows a chain",
	"consistency.go":                 "an aggregator's, which follows a chain; VerifyConsistency is in tree.go",
	"run.go":                         "an aggregator's, which follows a chain",
	"run_codec.go":                   "an aggregator's, which follows a chain",
	"column.go":                      "an aggregator's, which follows a chain",
	"entry.go/Body":                  "the store's",
	"tree.go/ProveInclusion":         "it makes",
	"tree.go/ProveConsistency":       "it makes",
	"tree.go/prove":                  "it makes",
	"tree.go/nodes":                  "for who makes paths",
	"tree.go/pair":                   "for who makes paths",
	"tree.go/subtree":                "for who makes paths",
	"verify.go/Unwrap":               "for programs that match errors",
}

// isMaker says of a function by its name whether it encodes or signs.
func isMaker(file, name string) bool {
	for _, begin := range []string{"Append", "append", "Sign", "sign", "Encode", "Countersign", "Prove", "New", "Marshal", "must"} {
		if strings.HasPrefix(name, begin) {
			return true
		}
	}
	return makers[file] != "" || makers[file+"/"+name] != ""
}

// mutantsOf finds the checks of a file, and returns it with each of them guarded.
func mutantsOf(t *testing.T, file string) (found []mutant, guarded []byte) {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, file, source, 0)
	if err != nil {
		t.Fatal(err)
	}
	at := func(p token.Pos) int { return set.Position(p).Offset }
	ends := map[int]bool{} // where a body ends that can be left by now
	for _, d := range parsed.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil || isMaker(filepath.Base(file), f.Name.Name) {
			continue
		}
		seen := map[string]int{}
		add := func(n ast.Node, end token.Pos) {
			words := strings.Join(strings.Fields(string(source[at(n.Pos()):at(n.End())])), " ")
			name := f.Name.Name + ": " + words
			if seen[name]++; seen[name] > 1 {
				name = fmt.Sprintf("%s (%d)", name, seen[name])
			}
			found = append(found, mutant{filepath.Base(file) + " " + name, at(n.Pos()), at(end)})
		}
		behind := map[*ast.ExprStmt]token.Pos{} // where the return ends that is the next and last statement
		remember := func(list []ast.Stmt) {
			if n := len(list); n > 1 {
				call, isCall := list[n-2].(*ast.ExprStmt)
				if _, isReturn := list[n-1].(*ast.ReturnStmt); isCall && isReturn {
					behind[call] = list[n-1].End()
				}
			}
		}
		var walk func(results *ast.FieldList, body *ast.BlockStmt)
		walk = func(results *ast.FieldList, body *ast.BlockStmt) {
			fails := returnsError(results)
			ast.Inspect(body, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncLit:
					walk(n.Type.Results, n.Body)
					return false
				case *ast.ReturnStmt:
					if fails && len(n.Results) > 0 && !isNil(n.Results[len(n.Results)-1]) {
						add(n, n.End())
						ends[at(body.Rbrace)] = true
					}
				case *ast.ExprStmt:
					if call, ok := n.X.(*ast.CallExpr); ok {
						if method, ok := call.Fun.(*ast.SelectorExpr); ok && method.Sel.Name == "fail" {
							end, leaves := behind[n]
							if !leaves {
								end = n.End()
							}
							add(n, end)
							if leaves && results != nil {
								ends[at(body.Rbrace)] = true
							}
						}
					}
				case *ast.BlockStmt:
					remember(n.List)
				case *ast.CaseClause:
					remember(n.Body)
				}
				return true
			})
		}
		walk(f.Type.Results, f.Body)
	}
	type edit struct {
		at   int
		text string
	}
	var edits []edit
	for _, m := range found {
		edits = append(edits, edit{m.begin, fmt.Sprintf("if !leftOut(%q) { ", m.name)}, edit{m.end, " }"})
	}
	for end := range ends {
		edits = append(edits, edit{end, "\npanic(\"a check was left out\")\n"})
	}
	slices.SortStableFunc(edits, func(a, b edit) int { return a.at - b.at })
	last := 0
	for _, e := range edits {
		guarded = append(append(guarded, source[last:e.at]...), e.text...)
		last = e.at
	}
	return found, append(guarded, source[last:]...)
}

func returnsError(results *ast.FieldList) bool {
	if results == nil || len(results.List) == 0 {
		return false
	}
	name, ok := results.List[len(results.List)-1].Type.(*ast.Ident)
	return ok && name.Name == "error"
}

// isNil reports whether what is returned is no error, or one of a call, which has checks of its own.
func isNil(e ast.Expr) bool {
	name, ok := e.(*ast.Ident)
	return ok && name.Name == "nil"
}

// buildMutants builds the tests with each check guarded, and returns the program and the checks' names.
func buildMutants(t *testing.T) (program string, names []string) {
	t.Helper()
	dir := t.TempDir()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	overlay := map[string]string{}
	put := func(name string, b []byte) {
		at := filepath.Join(dir, name)
		if err := os.WriteFile(at, b, 0o666); err != nil {
			t.Fatal(err)
		}
		overlay[filepath.Join(here, name)] = at
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		found, guarded := mutantsOf(t, file)
		for _, m := range found {
			names = append(names, m.name)
		}
		if len(found) > 0 {
			put(file, guarded)
		}
	}
	put("left_out.go", fmt.Appendf(nil, "package lightchain\n\nimport \"os\"\n\nfunc leftOut(check string) bool { return os.Getenv(%q) == check }\n", leftOutVariable))
	b, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, b, 0o666); err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, "mutants")
	build := exec.Command("go", "test", "-c", "-vet=off", "-overlay", list, "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program, names
}

// missed returns those of the checks that no vector notices when they are left out, and how many others are only reached. Where
// a check left out has the verifier break down, or run on without an end, it is noticed, and the program started again for
// those behind it.
func missed(t *testing.T, program string, names []string) (all []string, reached int) {
	t.Helper()
	list := filepath.Join(t.TempDir(), "checks")
	for len(names) > 0 {
		if err := os.WriteFile(list, []byte(strings.Join(names, "\n")), 0o666); err != nil {
			t.Fatal(err)
		}
		run := exec.Command(program, "-test.run", "^TestVectorsWithChecksLeftOut$", "-test.timeout", "0")
		run.Env = append(os.Environ(), leftOutVariable+"=none", listVariable+"="+list, "GOMEMLIMIT=512MiB")
		out, err := run.Output()
		ended := 0
		for line := range strings.Lines(string(out)) {
			switch verdict, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); verdict {
			case "missed":
				all = append(all, name)
				ended++
			case "reached":
				reached++
				ended++
			case "noticed":
				ended++
			}
		}
		if ended < len(names) {
			if err == nil {
				t.Fatalf("it ended before %q: %s", names[ended], out)
			}
			ended++
		}
		names = names[ended:]
	}
	return all, reached
}

// TestVectorsWithChecksLeftOut is what the program of buildMutants runs: the vectors, with each check of a list left out in turn.
func TestVectorsWithChecksLeftOut(t *testing.T) {
	if os.Getenv(listVariable) == "" {
		t.Skip("no check is left out")
	}
	list, err := os.ReadFile(os.Getenv(listVariable))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(vectorFolder + "/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors (%v)", err)
	}
	var vectors []vector
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var v vector
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatal(err)
		}
		vectors = append(vectors, v)
	}
	whole := make([]string, len(vectors))
	for i := range vectors {
		whole[i] = words(&vectors[i])
	}
	for name := range strings.SplitSeq(string(list), "\n") {
		if err := os.Setenv(leftOutVariable, name); err != nil {
			t.Fatal(err)
		}
		endless := time.AfterFunc(time.Minute, func() { os.Exit(1) })
		verdict := "missed"
		for i := range vectors {
			if !t.Run("vector", func(t *testing.T) {
				defer func() {
					if p := recover(); p != nil {
						t.Errorf("panic: %v", p)
					}
				}()
				vectors[i].run(t)
			}) {
				verdict = "noticed"
				break
			}
			if verdict == "missed" && words(&vectors[i]) != whole[i] {
				verdict = "reached"
			}
		}
		endless.Stop()
		fmt.Printf("%s\t%s\n", verdict, name)
	}
}

// words are those in which a vector is refused.
func words(v *vector) (why string) {
	defer func() {
		if p := recover(); p != nil {
			why = fmt.Sprint("panic: ", p)
		}
	}()
	return fmt.Sprint(v.refusal())
}

// unheld are the checks that no vector holds, each with its reason: testdata/unheld.txt, which is kept by hand.
func unheld(t *testing.T) map[string]string {
	b, err := os.ReadFile("testdata/unheld.txt")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for line := range strings.Lines(string(b)) {
		name, why, found := strings.Cut(strings.TrimSpace(line), " ## ")
		if !found || why == "" || all[name] != "" {
			t.Fatalf("testdata/unheld.txt: %q", line)
		}
		all[name] = why
	}
	return all
}

// A few checks, always the same ones for the same code, so that a change that breaks the run is seen before the next soak.
func TestAVectorNoticesAFewChecksLeftOut(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the tests once more")
	}
	program, names := buildMutants(t)
	reasons := unheld(t)
	for name := range reasons {
		if !slices.Contains(names, name) {
			t.Errorf("testdata/unheld.txt names %q, and there is no such check", name)
		}
	}
	if len(names) < 200 {
		t.Errorf("%d checks are found", len(names))
	}
	some := []string{"none"}
	for i := 0; i < len(names); i += len(names)/16 + 1 {
		if reasons[names[i]] == "" {
			some = append(some, names[i])
		}
	}
	all, _ := missed(t, program, some)
	if len(all) == 0 || all[0] != "none" {
		t.Fatal("vectors fail with no check left out")
	}
	for _, name := range all[1:] {
		t.Errorf("left out, this is missed by no vector: %s", name)
	}
}

// TestSoakEachCheckIsHeldByAVector takes all of them, however long that is.
func TestSoakEachCheckIsHeldByAVector(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("SOAK is not set: `make soak` runs it")
	}
	program, names := buildMutants(t)
	reasons := unheld(t)
	all, reached := missed(t, program, names)
	for _, name := range all {
		if reasons[name] == "" {
			t.Errorf("left out, this is missed by no vector: %s", name)
		}
	}
	for name := range reasons {
		if !slices.Contains(all, name) {
			t.Errorf("this has a vector, and testdata/unheld.txt says that it has none: %s", name)
		}
	}
	t.Logf("%d checks, %d of them without a vector, and %d only reached", len(names), len(all), reached)
}
