package collector

import (
	"testing"

	headersync "edgechain.example/sync"
	"edgechain.example/sync/gateway"
	"edgechain.example/sync/pace"
	"edgechain.example/sync/synctest"
)

func FuzzState(f *testing.F) {
	c := synctest.NewChain(1)
	empty := State{Chain: c.Tip.Chain}
	full := State{Chain: c.Tip.Chain, Last: 5, Spent: pace.Spent{Day: 3, Bytes: 4}}
	for i := range 30 {
		c.Seal(uint64(i%3), synctest.Time*1e9+int64(i)*60e9, nil)
	}
	g, err := gateway.New(gateway.Config{Chain: c, Receipts: c, Signer: c.Signer})
	if err != nil {
		f.Fatal(err)
	}
	page, err := g.Page(&headersync.Pull{Want: headersync.EveryHeader, Last: headersync.NoCeiling}, headersync.DefaultPage)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := Judge(&full, page, true, nil, func(Held) error { return nil }); err != nil {
		f.Fatal(err)
	}
	r, err := full.Head.Head.Countersign(synctest.Signer("north"), "north", synctest.Time)
	if err != nil {
		f.Fatal(err)
	}
	full.Receipt = &r
	synctest.FuzzCodec(f, DecodeState, (*State).Encode, synctest.Must(empty.Encode()), synctest.Must(full.Encode()))
}
