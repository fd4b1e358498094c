package store
import ("testing";"fmt";"github.com/cockroachdb/pebble/v2/vfs")
func TestTmp(t *testing.T) {
			disk := vfs.NewMem()
			o := testOptions(t, disk)
			o.MemTableSize = 64 << 10
			s := newStore(t, o)
			n := 0
			for range 40 {
				for range 5 {
					stage(t, s, testEntries(n, 12))
					n += 12
				}
				seal(t, s)
				if n%600 == 0 { s.db.Flush() }
			}
			run := runAbove(t, s, 0)
			closeStore(t, s)
			spoil(t, disk, "flipped")
			o.Rand = &counter{1 << 40}
			s = openStore(t, o)
			fmt.Println(s.Tip().Height, s.Tip().Next, s.Next())
			stage(t, s, testEntries(n, 5))
			fmt.Println(s.Tip().Height, s.Tip().Next, s.Next())
			s.Adopt(run[s.Tip().Height:])
			fmt.Println(s.Tip().Height, s.Tip().Next, s.Next())
			seal(t,s)
			fmt.Println(s.Tip().Height, s.Tip().Next, s.Next())
			for r, err := range s.Entries(2200, 1<<60) { if err!=nil {fmt.Printf("%v\n",err)} else {fmt.Println(r.Number)} }
}
