package main

import (
	"slices"
	"strings"

	"edgechain.example/arm"
)

// emulated makes the steps of a board: the packages that decide what a byte means. What a board can show and this
// machine cannot is how wide an int is, how memory is aligned and shared, and what the assembler of its kind does.
//
// Tests that open a chain very many times take minutes there. None runs those that cut the power, or that look how one kind of
// damage is mended. The oldest board, which has 32 bits, runs the one that damages each file, and the store's tests for both
// boards of 32 bits.
func emulated(target arm.Target, env ...string) []step {
	left := leaveOut(cutPower, mendDamage, mendRunning, damageFiles)
	if target.GOARM == "6" {
		left = leaveOut(cutPower, mendDamage, mendRunning)
	}
	packages := []string{"./lightchain", "./lightchain/keyfile", "./lightchain/store"}
	if target.GOARM == "7" {
		packages = packages[:2] // an int is as wide as on the oldest board, which runs the rest
	}
	s := test(append(target.Env(), env...), append([]string{"-short", "-run=^(Test|Example)", "-exec=" + target.Exec(), left}, packages...)...)
	s.needs = target.Emulator[0]
	return []step{s}
}

// leaveOut makes the flag that leaves tests out.
func leaveOut(names ...[]string) string {
	return "-skip=^(" + strings.Join(slices.Concat(names...), "|") + ")$"
}

// Tests of the store that make a power cut, or a failure, of each write. The order of writes is the same on every
// processor, and what is written and read meanwhile other tests write and read on every board.
var cutPower = []string{
	"TestAFailedDeletionIsWholeOrNotAtAllWhetherItPersistedOrNot",
	"TestAFailedWriteIsNeverAcknowledgedWhetherItPersistedOrNot",
	"TestALargeOpenBlockMovesInPieces",
	"TestAMarkThatCannotBeWrittenLetsNoHeaderOut",
	"TestAPowerCutAtAnyWriteLeavesNoHeaderToBeSignedAgain",
	"TestAPowerCutAtAnyWriteLosesNothingAcknowledgedAndForksNothing",
	"TestAPowerCutLeavesNoDeletionWithoutItsEntryAndNoEntryWithoutItsDeletion",
	"TestARoundGoesOnWhereItWasCutOff",
	"TestAnOldImageGoesOnFromAHeadAlone",
	"TestAnOldImageTakesItsHeadersBackAndGoesOn",
	"TestKeysAreDerivedFromHeaders",
	"TestNoHeightIsSignedTwiceWhateverIsLostAtOnce",
	"TestTheKeyChangesAsOftenAsAProofBears",
	"TestWhatIsLostWithATableIsWrittenAnewAfterAPowerCut",
	"TestWhatStandsBehindAGapMovesInPieces",
}

// Tests of the store that damage each file in many places. A length that is read from damaged bytes may be anything, which
// the width of an int may decide about.
var damageFiles = []string{"TestNoFileCostsMoreThanItHolds"}

// Tests of the store that look what becomes of one kind of damage, in many places.
var mendDamage = []string{
	"TestADamagedLastButOneGroupCostsNoOther",
	"TestADatabaseThatDoesNotOpenIsDamaged",
	"TestADatabaseThatIsSetBackGoesOnAboveTheMark",
	"TestAGapIsBridgedWhereTheMarkIsFarAbove",
	"TestAnOverlappedDamagedTableIsReplacedWithWhatIsNewer",
	"TestAReadThatFailsOnceCostsNothing",
	"TestAReadThatFailsOnceKeepsNoChainFromOpening",
	"TestASectorThatCannotBeReadCostsItselfAlone",
	"TestAStrayFolderHidesNoDatabase",
	"TestWhatTheSystemRefusesIsNoDamage",
	"TestATableThatIsGoneCostsWhatStoodInItAlone",
	"TestDamageThatIsMetMakesAScrubDue",
	"TestGenesisIsHadFromBesideAndPutBack",
	"TestAChainOutlivesTheLossOfItsDatabase",
	"TestADamagedBlockStopsNothingAndIsNotSearched",
	"TestAQueryLooksIntoTheBlocksThatMatter",
	"TestAScanOfASideSpaceStepsOverWhatCannotBeRead",
	"TestAScrubLeavesTheCacheToOthers",
	"TestAScrubMendsNodesAndSummaries",
	"TestAScrubTellsOfEachLossOnceWithItsNumbers",
	"TestAScrubThatIsToldToStopFindsNoDamage",
	"TestASlotThatCannotBeReadIsMadeGood",
	"TestAStoreWhoseNewestTablesAreSpoiledOpensAndDoesNotFork",
	"TestAnUnreadableBlockCostsItselfAlone",
	"TestDamageAmongWhatIsPrunedStopsNothing",
	"TestDamageBesideTheBlocksStopsNothing",
}

// A test of the store that looks, of each kind of table, whether one that is damaged ends recording: a hundred flushes each. The
// race detector has an eye on it.
var mendRunning = []string{"TestADamagedTableBesideTheBlocksNeverEndsWriting"}

// Tests that compute for many seconds on one goroutine, of which the race detector sees nothing that it does not see of others.
var onOneGoroutine = []string{
	"TestALargeGroupIsStagedInPieces",
	"TestAPayloadOfTenMegabytesIsDecodedOrRefused",
	"TestAPayloadWithAnyByteChangedNeverPanics",
	"TestEveryProofAndBundleOfAnHonestChainVerifies",
	"TestHeadsAgreeAndForksShowWhateverTheLinkDoes",
	"TestNoContradictionIsLostAmongSeveralFiles",
}
