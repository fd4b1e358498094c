package tomlconf

import (
	"slices"
	"strings"
)

// alternatives joins words as a sentence does: "a, b or c".
func alternatives(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// DidYouMean returns a hint at the word that a mistyped one was most likely meant to be, or "".
func DidYouMean(word string, words []string) string {
	nearest, least := "", max(1, len(word)/3)+1
	for _, candidate := range slices.Sorted(slices.Values(words)) {
		if n := distance(strings.ToLower(word), strings.ToLower(candidate)); n < least {
			nearest, least = candidate, n
		}
	}
	if nearest == "" {
		return ""
	}
	return "; did you mean " + nearest + "?"
}

// distance counts the single bytes to insert, remove or replace, and the neighbours to swap, that turn a into b: the
// optimal string alignment distance.
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := 1
			if a[i] == b[j] {
				change = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+change)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
