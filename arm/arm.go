// Package arm holds what is particular to the boards Edgechain runs on: the state of the clock and of the power supply,
// the wear of the card, the service manager, and the matrix of targets the programs are built for.
//
// It reads what the kernel tells and says what that means, each reading from a root folder given by the caller, so that a
// recorded tree stands in for a board. It decides nothing: what becomes an entry of the chain, and what only a metric, is
// the agent's business.
package arm
