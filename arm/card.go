package arm

import (
	"path/filepath"
	"strings"
)

// Card is an SD card or an eMMC, by what it says of itself. An eMMC since version 5.0 (a Compute Module's) tells its
// wear; SD cards do not.
type Card struct {
	Device string // "mmcblk0"
	Kind   string // "SD" or "MMC"

	// The card's identification register (CID), as the kernel spells it.
	Name         string // "SC32G"
	Manufacturer string // "0x000003"
	OEM          string // "0x5344"
	Date         string // month and year of making, "09/2021"
	Serial       string // "0x9a1c66e2"

	WearKnown bool
	LifeA     int // used life of the cells of type A (SLC), in tenths begun: 1 up to 10 %, …, 10 up to 100 %, 11 beyond; 0 it does not say
	LifeB     int // the same of type B (MLC)
	PreEOL    int // spare blocks: 1 normal, 2 four fifths are used, 3 urgent; 0 it does not say
}

// Cards returns every card, by device name.
func (b Board) Cards() []Card {
	dirs, _ := filepath.Glob(under(b.Root, "sys/block/mmcblk*"))
	var cards []Card
	for _, dir := range dirs {
		name := filepath.Base(dir)
		if strings.Trim(strings.TrimPrefix(name, "mmcblk"), "0123456789") != "" {
			continue // mmcblk0boot0, mmcblk0rpmb: parts of a card
		}
		cards = append(cards, readCard(dir, name))
	}
	return cards
}

func readCard(dir, name string) Card {
	attribute := func(file string) string { return firstLine(filepath.Join(dir, "device", file)) }
	c := Card{
		Device:       name,
		Kind:         attribute("type"),
		Name:         attribute("name"),
		Manufacturer: attribute("manfid"),
		OEM:          attribute("oemid"),
		Date:         attribute("date"),
		Serial:       attribute("serial"),
	}
	// JESD84-B51: DEVICE_LIFE_TIME_EST_TYP_A and _B, and PRE_EOL_INFO. Values beyond those defined there count as not said.
	wear := strings.Fields(attribute("life_time"))
	if len(wear) == 2 {
		a, errA := hexadecimal(wear[0], 8)
		b, errB := hexadecimal(wear[1], 8)
		if errA == nil && errB == nil {
			c.WearKnown, c.LifeA, c.LifeB = true, defined(a, 11), defined(b, 11)
		}
	}
	if n, err := hexadecimal(attribute("pre_eol_info"), 8); err == nil {
		c.WearKnown, c.PreEOL = true, defined(n, 3)
	}
	return c
}

func defined(n, largest uint64) int {
	if n > largest {
		return 0
	}
	return int(n)
}

// CardUnder returns the card that a file system lies on; ok is false if it lies on none.
func (b Board) CardUnder(f Filesystem) (card Card, ok bool) {
	if f.Device == "" {
		return Card{}, false
	}
	for _, c := range b.Cards() {
		dir := under(b.Root, "sys/block/"+c.Device)
		partitions, _ := filepath.Glob(filepath.Join(dir, c.Device+"p*", "dev"))
		for _, file := range append(partitions, filepath.Join(dir, "dev")) {
			if firstLine(file) == f.Device {
				return c, true
			}
		}
	}
	return Card{}, false
}
