package sensors

import (
	"math/big"
	"slices"
	"strconv"
	"strings"

	"edgechain.example/lightchain"
)

// decodeCBOR reads the cbor dialect: any CBOR map or array, as the json dialect reads JSON. Members of a map come in the order
// of their names, whole numbers among them as their digits.
func (d *Decoder) decodeCBOR(in *arrival) ([]lightchain.Reading, error) {
	if len(in.payload) == 0 {
		return nil, refuse(Empty, "no payload")
	}
	var x any
	if err := d.cbor.Unmarshal(in.payload, &x); err != nil {
		return nil, cborError(err)
	}
	w := d.newWalk(in, "")
	defer w.release()
	switch x.(type) {
	case map[any]any, []any:
	default:
		v, _, err := cborLeaf(x)
		if err != nil {
			return nil, err
		}
		return []lightchain.Reading{w.bare(in, v)}, nil
	}
	w.begin()
	if err := w.cborContainer(x); err != nil {
		return nil, err
	}
	return w.settle()
}

func (w *walk) cborContainer(x any) error {
	w.depth++
	defer func() { w.depth-- }()
	switch x := x.(type) {
	case []any:
		if len(x) == 0 {
			return w.count()
		}
		for i, element := range x {
			if err := w.cborChild(strconv.Itoa(i), true, element); err != nil {
				return err
			}
		}
	case map[any]any:
		if len(x) == 0 {
			return w.count()
		}
		members, err := cborMembers(x)
		if err != nil {
			return err
		}
		for _, m := range members {
			if err := w.cborChild(m.key, false, m.value); err != nil {
				return err
			}
		}
	}
	return nil
}

type cborMember struct {
	key   string
	value any
}

func cborMembers(x map[any]any) (members []cborMember, err error) {
	for key, value := range x {
		switch key := key.(type) {
		case string:
			members = append(members, cborMember{key, value})
		case uint64:
			members = append(members, cborMember{strconv.FormatUint(key, 10), value})
		case int64:
			members = append(members, cborMember{strconv.FormatInt(key, 10), value})
		default:
			return nil, refuse(WrongType, "a map's key is neither text nor a whole number")
		}
	}
	slices.SortFunc(members, func(a, b cborMember) int { return strings.Compare(a.key, b.key) })
	for i := 1; i < len(members); i++ {
		if members[i].key == members[i-1].key {
			return nil, duplicate(0, members[i].key) // 1 and "1"
		}
	}
	return members, nil
}

func (w *walk) cborChild(key string, inArray bool, x any) (err error) {
	_, isMap := x.(map[any]any)
	_, isArray := x.([]any)
	step := w.stepInto(key, inArray, isMap || isArray, isArray)
	if isMap || isArray {
		w.level++
		err = w.cborContainer(x)
		w.level--
	} else {
		err = w.cborValue(key, x, step.whole)
	}
	w.stepOut(step)
	return err
}

func (w *walk) cborValue(key string, x any, whole bool) error {
	if err := w.count(); err != nil {
		return err
	}
	v, literal, err := cborLeaf(x)
	r := lightchain.Reading{Value: v}
	switch ReasonOf(err) {
	case "":
	case NotFinite, Overflow:
		r.Quality = lightchain.Bad
	default:
		return err
	}
	return w.take(key, literal, r, whole)
}

// cborLeaf takes a value that is neither map nor array.
func cborLeaf(x any) (v lightchain.Value, literal string, err error) {
	switch x := x.(type) {
	case nil:
		return v, "", nil
	case uint64:
		if literal = strconv.FormatUint(x, 10); x > 1<<63-1 {
			return lightchain.Text(literal), literal, nil
		}
	case big.Int:
		return v, "", refuse(Overflow, "an integer beyond 64 bits")
	}
	v, text, err := cborValue(x)
	if ReasonOf(err) == NotSenML {
		err = refuse(WrongType, "a value that is no number, text, boolean, bytes or null")
	}
	return v, string(text), err
}
