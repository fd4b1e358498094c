package pgstore

import (
	"fmt"
	"strings"
	"testing"

	"edgechain.example/build/testenv"
)

// Tables of another layout are refused with one sentence that says what to do, and stay as they are.
func TestTablesOfAnotherLayoutAreRefused(t *testing.T) {
	dsn := testenv.Postgres(t)
	s := open(t, dsn, Options{})
	if err := s.Update(t.Context(), chainOf("kept"), count("one")); err != nil {
		t.Fatal(err)
	}
	for version, says := range map[int]string{
		oldest - 1: "its tables were made before the format was fixed, and the heads in them are none of this format: begin in another database, and let the gateways enrol again",
		layout + 1: fmt.Sprintf("its layout is version %d, this program knows %d", layout+1, layout),
	} {
		if _, err := s.pool.Exec(t.Context(), "UPDATE edgechain_layout SET version = $1", version); err != nil {
			t.Fatal(err)
		}
		other, err := Open(t.Context(), dsn, Options{})
		if err == nil {
			other.Close()
			t.Fatalf("tables of layout %d are opened", version)
		}
		if !strings.HasSuffix(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("layout %d: %v", version, err)
		}
		var found int
		if err := s.pool.QueryRow(t.Context(), "SELECT version FROM edgechain_layout").Scan(&found); err != nil || found != version {
			t.Errorf("layout %d became %d (%v)", version, found, err)
		}
	}
	if by := counted(t, s, chainOf("kept")); len(by) != 1 {
		t.Errorf("of what was there %v is left", by)
	}
}
