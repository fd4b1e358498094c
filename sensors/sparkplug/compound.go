package sparkplug

import (
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// dataSet makes a reading of each cell, NAME.ROW.COLUMN, rows numbered from 0.
func (r *reading) dataSet(name string, b []byte) {
	var columns []string
	var types []uint32
	var rows [][]byte
	err := fields(b, func(n protowire.Number, t protowire.Type, bits uint64, data []byte) (err error) {
		switch {
		case n == 2 && t == protowire.BytesType:
			columns = append(columns, string(data))
		case n == 3:
			types, err = numbers(types, t, bits, data)
		case n == 4 && t == protowire.BytesType:
			rows = append(rows, data)
		}
		if len(columns) > maxElements || len(types) > maxElements || len(rows) > maxReadings {
			return errMetrics
		}
		return err
	})
	if err == nil && len(rows) > maxElements {
		err = errMetrics
	}
	if err != nil || len(types) != len(columns) {
		r.says("the metric %s "+doubtShape, name)
		r.put(name, bad)
		return
	}
	if len(r.out)+len(rows)*len(columns) > maxReadings {
		r.says("the metric %s "+doubtMany, name)
		r.put(name, bad)
		return
	}
	twice := map[string]bool{}
	for i, column := range columns {
		if !utf8.ValidString(column) || column == "" || len(column) > mostName {
			columns[i] = strconv.Itoa(i)
		}
		twice[columns[i]] = true
	}
	if len(twice) < len(columns) { // of two cells of one name nobody could tell which is which
		for i := range columns {
			columns[i] = strconv.Itoa(i)
		}
	}
	for i, row := range rows {
		at := 0
		err := fields(row, func(n protowire.Number, t protowire.Type, _ uint64, data []byte) error {
			if n != 1 || t != protowire.BytesType {
				return nil
			}
			if at >= len(columns) {
				return errMetrics
			}
			var cell metric
			if err := cell.readCell(data); err != nil {
				return err
			}
			v, doubt := lightchain.Reading{}, "" // a cell without a value is null
			if cell.field != 0 {
				v, doubt = scalar(types[at], &cell)
			}
			if doubt != "" {
				r.says("the metric %s "+doubt, name)
			}
			r.put(name+"."+strconv.Itoa(i)+"."+columns[at], v)
			at++
			return nil
		})
		if err != nil || at < len(columns) {
			r.says("the metric %s "+doubtShape, name)
		}
	}
}

// template makes readings of an instance's members and parameters, NAME.MEMBER. A definition says what instances will be like,
// and measures nothing.
func (r *reading) template(name string, m *metric, depth int) error {
	if depth >= maxDepth {
		r.says("the metric %s "+doubtShape, name)
		r.put(name, bad)
		return nil
	}
	if isDefinition(m.data) {
		return nil
	}
	var refused error
	err := members(m.data, func(member *metric) error {
		if !member.timed {
			member.timestamp, member.timed = m.timestamp, m.timed
		}
		member.historical = member.historical || m.historical
		refused = r.metric(name+".", member, depth+1)
		return refused
	}, func(parameter *metric) error {
		if !parameter.named || !utf8.Valid(parameter.name) || len(parameter.name) > mostName {
			return nil
		}
		v, doubt := scalar(parameter.datatype, parameter)
		if parameter.field == 0 {
			v, doubt = lightchain.Reading{}, ""
		}
		if doubt != "" {
			r.says("the metric %s "+doubt, name)
		}
		r.put(name+"."+string(parameter.name), v)
		return nil
	})
	if refused != nil {
		return refused
	}
	if err != nil {
		r.says("the metric %s "+doubtShape, name)
		r.put(name, bad)
	}
	return nil
}

// isDefinition reports whether a template is a definition.
func isDefinition(b []byte) (is bool) {
	_ = fields(b, func(n protowire.Number, t protowire.Type, bits uint64, _ []byte) error {
		if n == 5 && t == protowire.VarintType {
			is = bits != 0
		}
		return nil
	})
	return is
}

// members calls do for each metric of a template, and parameter, which may be nil, for each parameter.
func members(b []byte, do, parameter func(*metric) error) error {
	count := 0
	return fields(b, func(n protowire.Number, t protowire.Type, _ uint64, data []byte) error {
		if t != protowire.BytesType || n != 2 && n != 3 {
			return nil
		}
		if count++; count > maxMetrics {
			return errMetrics
		}
		var m metric
		switch {
		case n == 2:
			if err := m.read(data); err != nil {
				return err
			}
			return do(&m)
		case parameter != nil:
			if err := m.readParameter(data); err != nil {
				return err
			}
			return parameter(&m)
		}
		return nil
	})
}

// array makes a reading of each element, NAME.INDEX, or five derived ones of many numbers.
//
// SPEC: becomes five derived readings instead, NAME/count, /min, /max, /mean and /rms
func (r *reading) array(name string, datatype uint32, b []byte) {
	first, size, full := len(r.out), r.size, r.full
	again := func() { r.out, r.size, r.full = r.out[:first], size, full } // without the elements, which take no room then
	n, whole := 0, true
	var sum sensors.Samples
	ok := elements(datatype, b, func(v lightchain.Reading, doubt string) {
		if doubt != "" {
			r.says("the metric %s "+doubt, name)
		}
		sum.Add(v.Value)
		if n++; n <= maxElements && len(r.out) < maxReadings {
			r.put(name+"."+strconv.Itoa(n-1), v)
		} else {
			whole = false
		}
	})
	switch {
	case !ok:
		again()
		r.says("the metric %s "+doubtShape, name)
		r.put(name, bad)
	case !whole && sum.Count == n:
		again()
		for behind, v := range sum.Readings() {
			r.put(name+behind, v)
		}
	case !whole:
		again()
		r.says("the metric %s "+doubtMany, name)
		r.put(name, bad)
	}
}
