package salvage

import (
	"fmt"
	"slices"
	"strings"
)

// A marker is an empty file whose name says which record counts: the one with the highest number does.
const (
	MarkerPrefix = "marker.manifest."
	markerDigits = 6
)

// IsMarker tells a marker by its name.
func IsMarker(name string) bool {
	rest, ok := strings.CutPrefix(name, MarkerPrefix)
	if !ok || len(rest) <= markerDigits+1 || rest[markerDigits] != '.' {
		return false
	}
	return strings.Trim(rest[:markerDigits], "0123456789") == "" && strings.HasPrefix(rest[markerDigits+1:], "MANIFEST-")
}

// Marked returns which record a marker names.
func Marked(marker string) string { return marker[len(MarkerPrefix)+markerDigits+1:] }

// Markers returns the markers among the names, the one that counts first.
func Markers(names []string) (found []string) {
	for _, name := range names {
		if IsMarker(name) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	slices.Reverse(found)
	return found
}

// WholeManifest fails if a record of files cannot be read to its end, unless it is only cut off in its last piece, which
// Pebble was writing then and nothing relies on yet.
func WholeManifest(b []byte) error {
	for at := 0; at < len(b); {
		rest := b[at:min(len(b), (at/logBlock+1)*logBlock)]
		if len(rest) < chunkHeads[0] {
			// No chunk fits into the rest of a block, which is empty then; at the end one is cut off.
			if at+len(rest) < len(b) && strings.Trim(string(rest), "\x00") != "" {
				return fmt.Errorf("byte %d cannot be read", at)
			}
			at += len(rest)
			continue
		}
		if rest[6] == 0 {
			// The length may have become durable before what was to stand there: zeros end the record. Nothing follows them.
			if strings.Trim(string(b[at:]), "\x00") != "" {
				return fmt.Errorf("byte %d cannot be read", at)
			}
			return nil
		}
		c, ok := chunkAt(rest)
		if !ok {
			end := at + chunkHeads[0] + int(rest[4]) + int(rest[5])<<8
			if end > len(b) && end <= (at/logBlock+1)*logBlock {
				return nil // cut off
			}
			return fmt.Errorf("byte %d cannot be read", at)
		}
		at += c.end
	}
	return nil
}
