package main

import (
	"strings"

	"edgechain/arm"
)

// emulated makes the steps of a board: the packages that decide what a byte means. What a board can show and this
// machine cannot is how wide an int is, how memory is aligned and shared, and what the assembler of its kind does.
//
// Every test runs on the oldest board, which has 32 bits. On the others those of sameOnEveryBoard are left out.
func emulated(target arm.Target, env ...string) []step {
	args := []string{"-short", "-run=^(Test|Example)", "-exec=" + target.Exec()}
	if target.GOARM != "6" {
		args = append(args, "-skip=^("+strings.Join(sameOnEveryBoard, "|")+")$")
	}
	s := test(append(target.Env(), env...), append(args, "./lightchain", "./lightchain/store", "./lightchain/keyfile")...)
	s.needs = target.Emulator[0]
	return []step{s}
}

// sameOnEveryBoard are tests of the store that take long under emulation because they open a chain very many times: they
// cut the power at each write, or damage one place after the other. The order of writes is the same on every processor,
// and what is written and read meanwhile, other tests write and read on every board.
var sameOnEveryBoard = []string{
	"TestAFailedDeletionIsWholeOrNotAtAllWhetherItPersistedOrNot",
	"TestAFailedWriteIsNeverAcknowledgedWhetherItPersistedOrNot",
	"TestAMarkThatCannotBeWrittenLetsNoHeaderOut",
	"TestAPowerCutAtAnyWriteLeavesNoHeaderToBeSignedAgain",
	"TestAPowerCutAtAnyWriteLosesNothingAcknowledgedAndForksNothing",
	"TestAPowerCutLeavesNoDeletionWithoutItsEntryAndNoEntryWithoutItsDeletion",
	"TestAQueryLooksIntoTheBlocksThatMatter",
	"TestARoundGoesOnWhereItWasCutOff",
	"TestAScrubLeavesTheCacheToOthers",
	"TestAScrubMendsNodesAndSummaries",
	"TestAScrubTellsOfEachLossOnceWithItsNumbers",
	"TestAScrubThatIsToldToStopFindsNoDamage",
	"TestAStoreWhoseNewestTablesAreSpoiledOpensAndDoesNotFork",
	"TestADamagedBlockStopsNothingAndIsNotSearched",
	"TestAnOldImageGoesOnFromAHeadAlone",
	"TestAnOldImageTakesItsHeadersBackAndGoesOn",
	"TestDamageAmongWhatIsPrunedStopsNothing",
	"TestNoFileCostsMoreThanItHolds",
}
