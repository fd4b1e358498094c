package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"edgechain.example/lightchain"

	"github.com/klauspost/compress/zstd"
)

// A chunk is one group commit: consecutive entries of one block, staged with one synced write.
//
//	chunk = codec, uvarint count, varint received, (count−1) × varint received − the one before,
//	        (count−1) × uvarint length of body, bodies
//
// With codec 1 everything behind the codec is one zstd frame. A body is what [lightchain.Entry.AppendBody] gives;
// salt and time of arrival are not in it, and [lightchain.AppendEntry] puts the three together again, so that the
// exact bytes that were hashed come back without decoding one of them.
const (
	codecPlain byte = iota
	codecZstd
)

// compressFrom is the size in bytes from which a chunk is compressed by itself. Smaller ones gain more from their
// table's compression, which sees many of them at once (45 bytes a reading instead of 91 at chunks of one).
const compressFrom = 4 << 10

// maxChunk bounds the bytes of a chunk before compression that is read: what a board with 512 MB can still unpack. Those
// that are written are smaller: see pieceBytes.
const maxChunk = 128 << 20

// compressor turns plain chunks into what is stored. Its encoder is told to stay small: left alone it takes 30 MB. The
// fastest level stores small readings in no more bytes than the default one, and costs a fifth less CPU in all at
// groups of 100, since it has smaller tables to clear before each chunk.
type compressor struct {
	encoder *zstd.Encoder
}

func newCompressor() (compressor, error) {
	encoder, err := zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithLowerEncoderMem(true),
		zstd.WithWindowSize(256<<10),
		zstd.WithEncoderCRC(false)) // Pebble's checksums cover it, and the block's root
	return compressor{encoder}, err
}

// chunkBuilder gathers the entries of one chunk. Its zero value is an empty chunk.
type chunkBuilder struct {
	received []int64
	ends     []int // of each body in bodies
	bodies   []byte
	plain    []byte // scratch: the chunk before compression
}

func (c *chunkBuilder) reset() {
	c.received, c.ends, c.bodies = c.received[:0], c.ends[:0], c.bodies[:0]
	if cap(c.bodies) > keptBuffer {
		c.bodies, c.plain = nil, nil
	}
}

// keptBuffer is the size in bytes from which a buffer is not kept for the next group: one huge group must not stay in
// memory for ever.
const keptBuffer = 2 << 20

// body returns the i-th body.
func (c *chunkBuilder) body(i int) []byte {
	start := 0
	if i > 0 {
		start = c.ends[i-1]
	}
	return c.bodies[start:c.ends[i]]
}

// append appends the stored form to b.
func (c *chunkBuilder) append(b []byte, z compressor) []byte {
	plain := binary.AppendUvarint(c.plain[:0], uint64(len(c.received)))
	last := int64(0)
	for _, t := range c.received {
		plain = binary.AppendVarint(plain, t-last) // wraps for times an age apart, and wraps back
		last = t
	}
	for i := range len(c.received) - 1 {
		plain = binary.AppendUvarint(plain, uint64(len(c.body(i))))
	}
	plain = append(plain, c.bodies...)
	c.plain = plain
	if len(plain) < compressFrom {
		return append(append(b, codecPlain), plain...)
	}
	return z.encoder.EncodeAll(plain, append(b, codecZstd))
}

// chunk is a decoded chunk. It points into the buffer that it was decoded from.
type chunk struct {
	received []int64
	bodies   [][]byte
}

var errChunk = errors.New("not a chunk of entries")

// unpacker decodes chunks, reusing its buffers: what it returns holds until the next call. It belongs to one
// goroutine; the decoder behind it may be shared.
type unpacker struct {
	decoder *zstd.Decoder
	plain   []byte
	chunk   chunk
}

func newDecoder() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxChunk), zstd.IgnoreChecksum(true))
}

// unpack decodes a chunk as stored.
func (u *unpacker) unpack(b []byte) (*chunk, error) {
	if len(b) == 0 {
		return nil, errChunk
	}
	codec, b := b[0], b[1:]
	switch codec {
	case codecPlain:
	case codecZstd:
		var err error
		if u.plain, err = u.decoder.DecodeAll(b, u.plain[:0]); err != nil {
			return nil, fmt.Errorf("%w: %w", errChunk, err)
		}
		b = u.plain
	default:
		return nil, fmt.Errorf("%w: codec %d", errChunk, codec)
	}
	count, n := binary.Uvarint(b)
	if n <= 0 || count == 0 || count > uint64(len(b)) { // each entry takes more than a byte
		return nil, errChunk
	}
	b = b[n:]
	c := &u.chunk
	c.received, c.bodies = c.received[:0], c.bodies[:0]
	last := int64(0)
	for range count {
		delta, n := binary.Varint(b)
		if n <= 0 {
			return nil, errChunk
		}
		b = b[n:]
		last += delta
		c.received = append(c.received, last)
	}
	lengths := b
	for range count - 1 { // skip the lengths, to find where the bodies begin
		_, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errChunk
		}
		b = b[n:]
	}
	for range count - 1 {
		length, n := binary.Uvarint(lengths)
		lengths = lengths[n:]
		if length > uint64(len(b)) {
			return nil, errChunk
		}
		c.bodies = append(c.bodies, b[:length:length])
		b = b[length:]
	}
	c.bodies = append(c.bodies, b)
	return c, nil
}

// entry appends the encoded entry i of the chunk, whose salt is the given one.
func (c *chunk) entry(b []byte, i int, salt lightchain.Salt) []byte {
	return lightchain.AppendEntry(b, salt, c.received[i], c.bodies[i])
}
