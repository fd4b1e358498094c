package main

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"edgechain.example/agent/api"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/tomlconf"
)

// lookedThrough is how many of the newest entries are looked through for names that resemble one that is not there.
const lookedThrough = 1000

// known fails, as not found, where the chain holds nothing at all of the device, name or source that is asked for: most
// likely it is spelt wrong, and an empty list would pass for the answer that nothing was recorded. What the agent itself
// records may well not have happened yet.
func (s *selection) known(c *cobra.Command, client *api.Client) error {
	type question struct {
		what, word string
		asked, of  url.Values // what has to be there, and among what there may be others like it
		words      func(e *api.Entry) []string
	}
	var all []question
	if s.device != "" {
		all = append(all, question{fmt.Sprintf("device %q", s.device), s.device, url.Values{"device": {s.device}}, nil, devices})
	}
	if s.name != "" {
		q := question{fmt.Sprintf("reading %q", s.name), s.name, url.Values{"name": {s.name}}, url.Values{}, readingNames}
		if s.device != "" {
			q.what += fmt.Sprintf(" of device %q", s.device)
			q.asked.Set("device", s.device)
			q.of.Set("device", s.device)
		}
		all = append(all, q)
	}
	if s.source != "" && !strings.HasPrefix(s.source, "agent:") {
		all = append(all, question{fmt.Sprintf("source %q", s.source), s.source, url.Values{"source": {s.source}}, nil, sources})
	}
	for _, q := range all {
		there, err := isThere(c, client, q.asked)
		if err != nil {
			return err
		}
		if there {
			continue
		}
		words, err := wordsOf(c, client, q.of, q.words)
		if err != nil {
			return err
		}
		if q.word == s.device { // one that seldom speaks is not among the newest entries
			if all, err := client.Devices(c.Context(), nil); err == nil {
				for _, name := range deviceNames(&all) {
					if !slices.Contains(words, name) {
						words = append(words, name)
					}
				}
			}
		}
		return command.Failf(command.ExitNotFound, "there is no %s in chain %s%s", q.what, chainName(c.Context(), client), alike(q.word, words))
	}
	return nil
}

// isThere reports whether any entry answers a question.
func isThere(c *cobra.Command, client *api.Client, values url.Values) (bool, error) {
	values.Set("reverse", "true")
	for e, err := range client.Entries(c.Context(), values) {
		if err != nil || e.Gone == "" {
			return err == nil, err
		}
	}
	return false, nil
}

// wordsOf gathers words of the newest entries that answer a question.
func wordsOf(c *cobra.Command, client *api.Client, values url.Values, words func(*api.Entry) []string) ([]string, error) {
	newest := url.Values{"reverse": {"true"}, "limit": {strconv.Itoa(lookedThrough)}}
	maps.Copy(newest, values)
	var all []string
	for e, err := range client.Entries(c.Context(), newest) {
		if err != nil {
			return nil, err
		}
		for _, word := range words(&e) {
			if word != "" && !slices.Contains(all, word) {
				all = append(all, word)
			}
		}
	}
	return all, nil
}

// alike names the word that was most likely meant, or else those that were met last.
func alike(word string, words []string) string {
	if hint := tomlconf.DidYouMean(word, words); hint != "" {
		return command.Printable(hint)
	}
	for _, longer := range words { // the last level of a topic, say
		if strings.Contains(strings.ToLower(longer), strings.ToLower(word)) {
			return "; did you mean " + command.Printable(longer) + "?"
		}
	}
	const most = 8
	if len(words) == 0 {
		return ""
	}
	rest := ""
	if len(words) > most {
		words, rest = words[:most], ", …"
	}
	names := make([]string, len(words))
	for i, word := range words {
		names[i] = nameText(word)
	}
	return "; the newest entries have " + strings.Join(names, ", ") + rest
}

func devices(e *api.Entry) (all []string) {
	for i := range e.Readings {
		all = append(all, e.Readings[i].Device)
	}
	return all
}

func readingNames(e *api.Entry) (all []string) {
	for i := range e.Readings {
		all = append(all, e.Readings[i].Name)
	}
	return all
}

func sources(e *api.Entry) []string { return []string{e.Source} }
