package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
)

// figure is one line of the table.
type figure struct {
	Part     string  `json:"part"`
	Name     string  `json:"name"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit"`
	Baseline string  `json:"baseline,omitempty"`
	Base     float64 `json:"baseline_value,omitempty"`
	Ratio    float64 `json:"ratio,omitempty"` // to the baseline: the median of the rounds' own ratios
	Target   string  `json:"target,omitempty"`
	Met      *bool   `json:"met,omitempty"`
	N        int     `json:"n"` // rounds
}

// target is a bound of a figure's value, or of its ratio to the baseline.
type target struct {
	text    string
	ofRatio bool
	holds   func(float64) bool
}

func none() target { return target{} }

func timesAtLeast(bound float64) target {
	return target{fmt.Sprintf("≥ %g ×", bound), true, func(v float64) bool { return v >= bound }}
}

func atLeast(bound float64) target {
	return target{"≥ " + plain(bound), false, func(v float64) bool { return v >= bound }}
}

func atMost(bound float64) target {
	return target{"≤ " + plain(bound), false, func(v float64) bool { return v <= bound }}
}

// report adds a figure without a baseline.
func (b *bench) report(part, name, unit string, values []float64, t target) {
	b.add(figure{Part: part, Name: name, Value: median(values), Unit: unit, N: len(values)}, t)
}

// compare adds a figure with its baseline; values and base are of the same rounds.
func (b *bench) compare(part, name, unit string, values []float64, baseline string, base []float64, t target) {
	ratios := make([]float64, 0, len(values))
	for i := range min(len(values), len(base)) {
		if base[i] != 0 { // what takes less than the clock tells has no ratio
			ratios = append(ratios, values[i]/base[i])
		}
	}
	f := figure{Part: part, Name: name, Value: median(values), Unit: unit, Baseline: baseline, Base: median(base), N: len(values)}
	if len(ratios) > 0 {
		f.Ratio = median(ratios)
	}
	b.add(f, t)
}

func (b *bench) add(f figure, t target) {
	if t.holds != nil {
		v := f.Value
		if t.ofRatio {
			v = f.Ratio
		}
		met := t.holds(v)
		f.Target, f.Met = t.text, &met
	}
	b.figures = append(b.figures, f)
}

func median(values []float64) float64 { return quantile(values, 0.5) }

func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.SortedFunc(slices.Values(values), cmp.Compare[float64])
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}

// plain writes a number as people read it: three digits that count, thousands apart.
func plain(v float64) string {
	switch {
	case math.Abs(v) >= 1000:
		digits := fmt.Sprintf("%.0f", v)
		for i := len(digits) - 3; i > 0; i -= 3 {
			digits = digits[:i] + " " + digits[i:]
		}
		return digits
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func printTable(out io.Writer, place machine, figures []figure) error {
	fmt.Fprintf(out, "\n%s\n\n", place)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	last := ""
	for _, f := range figures {
		if f.Part != last {
			fmt.Fprintf(w, "%s\tmeasured\t\tbaseline\t\tratio\ttarget\t\tn\n", f.Part)
			last = f.Part
		}
		base, ratio, met := "", "", ""
		if f.Baseline != "" {
			base, ratio = plain(f.Base), fmt.Sprintf("%.2f", f.Ratio)
		}
		switch {
		case f.Met == nil:
		case *f.Met:
			met = "met"
		default:
			met = "MISSED"
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n", f.Name, plain(f.Value), f.Unit, base, f.Baseline, ratio, f.Target, met, f.N)
	}
	return w.Flush()
}
