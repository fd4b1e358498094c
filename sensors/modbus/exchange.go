package modbus

import (
	"encoding/binary"
	"fmt"
)

// Function is one of the four that read, as the protocol numbers them.
type Function byte

// The functions, by what they read (MODBUS Application Protocol V1.1b3, sections 6.1 to 6.4).
const (
	Coils    Function = 1
	Discrete Function = 2
	Holding  Function = 3
	Input    Function = 4
)

// What one question may ask for.
const (
	MaxBits      = 2000
	MaxRegisters = 125
)

// functionNames are as a configuration has them, which are Telegraf's.
var functionNames = map[string]Function{"coil": Coils, "discrete": Discrete, "holding": Holding, "input": Input}

// Bits reports whether the function reads single bits, and not registers of 16.
func (f Function) Bits() bool { return f == Coils || f == Discrete }

// most returns how many the function can read at once.
func (f Function) most() int {
	if f.Bits() {
		return MaxBits
	}
	return MaxRegisters
}

// size returns how many bytes the answer has for a quantity.
func (f Function) size(quantity int) int {
	if f.Bits() {
		return (quantity + 7) / 8
	}
	return 2 * quantity
}

// Exchange is a question and its answer, as they were on the wire.
type Exchange struct {
	Unit     byte
	Function Function
	Address  uint16 // of the first, counted from 0
	Quantity uint16
	Data     []byte // registers of two bytes, the first the higher; or bits, eight to a byte, the first the lowest
}

// exchangeHeader is how many bytes stand before the data.
const exchangeHeader = 8

// Append appends the payload that an exchange is in an entry: the unit, and the question and the answer without what the
// transport adds to them.
//
// SPEC: unit, function, first address (2), quantity (2); function, number of bytes, data
func (e *Exchange) Append(b []byte) []byte {
	b = append(b, e.Unit, byte(e.Function))
	b = binary.BigEndian.AppendUint16(b, e.Address)
	b = binary.BigEndian.AppendUint16(b, e.Quantity)
	b = append(b, byte(e.Function), byte(len(e.Data)))
	return append(b, e.Data...)
}

// ParseExchange reads a payload, and takes none that Append does not give back. The exchange keeps the payload's bytes.
func ParseExchange(b []byte) (e Exchange, err error) {
	if len(b) < exchangeHeader {
		return e, fmt.Errorf("%d bytes, where a question and an answer have more than %d", len(b), exchangeHeader)
	}
	e = Exchange{Unit: b[0], Function: Function(b[1]), Address: binary.BigEndian.Uint16(b[2:]), Quantity: binary.BigEndian.Uint16(b[4:]), Data: b[exchangeHeader:]}
	switch quantity := int(e.Quantity); {
	case e.Function < Coils || e.Function > Input:
		return e, fmt.Errorf("function %d reads neither bits nor registers", e.Function)
	case quantity == 0 || quantity > e.Function.most():
		return e, fmt.Errorf("%d asked for, where 1 to %d can be", quantity, e.Function.most())
	case int(e.Address)+quantity > 1<<16:
		return e, fmt.Errorf("%d from %d on end beyond 65535", quantity, e.Address)
	case Function(b[6]) != e.Function:
		return e, fmt.Errorf("function %d was answered to %d", b[6], e.Function)
	case int(b[7]) != len(e.Data) || len(e.Data) != e.Function.size(quantity):
		return e, fmt.Errorf("%d bytes of data, said to be %d, for %d asked for", len(e.Data), b[7], quantity)
	}
	return e, nil
}

// bit returns one of the bits, counted from the first.
func (e *Exchange) bit(i int) bool { return e.Data[i/8]>>(i%8)&1 == 1 }
