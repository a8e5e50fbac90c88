package apig

import (
	"gantry/logger"
	"slices"
)

// pairs are names with one value each, in the order in which the names first came.
type pairs struct {
	list  []pair
	index map[string]int // of list; only while that is long
}

type pair struct {
	name, value []byte
	own         bool // value was made here, and may grow
}

// longList is from where on names are found by a map: a request may have thousands of them.
const longList = 32

func (p *pairs) reset() {
	clear(p.list) // no request keeps the memory of an earlier one
	p.list = p.list[:0]
	p.index = nil
}

// find returns the pair of that name, or nil.
func (p *pairs) find(name []byte) *pair {
	if p.index != nil {
		if i, ok := p.index[string(name)]; ok {
			return &p.list[i]
		}
		return nil
	}
	for i := range p.list {
		if string(p.list[i].name) == string(name) {
			return &p.list[i]
		}
	}
	return nil
}

// add adds a value; a further one of the same name follows the separator.
func (p *pairs) add(name, value []byte, separator string) {
	known := p.find(name)
	if known == nil {
		p.insert(name, value)
		return
	}
	if !known.own {
		known.value, known.own = append(make([]byte, 0, 2*len(known.value)+len(value)+16), known.value...), true
	}
	known.value = append(append(known.value, separator...), value...)
}

// set replaces the value.
func (p *pairs) set(name, value []byte) {
	if known := p.find(name); known != nil {
		known.value, known.own = value, false
		return
	}
	p.insert(name, value)
}

// keep adds the value if there is none of that name.
func (p *pairs) keep(name, value []byte) {
	if p.find(name) == nil {
		p.insert(name, value)
	}
}

func (p *pairs) insert(name, value []byte) {
	p.list = append(p.list, pair{name: name, value: value})
	switch {
	case p.index != nil:
		p.index[string(name)] = len(p.list) - 1
	case len(p.list) > longList:
		p.number()
	}
}

// drop takes the pairs of these names out, in one pass: a caller may name thousands.
func (p *pairs) drop(names [][]byte) {
	if len(names) == 0 {
		return
	}
	dropped := make(map[string]bool, len(names))
	for _, name := range names {
		dropped[string(name)] = true
	}
	p.list = slices.DeleteFunc(p.list, func(one pair) bool { return dropped[string(one.name)] })
	p.number()
}

// number makes the index, if the list is long.
func (p *pairs) number() {
	p.index = nil
	if len(p.list) <= longList {
		return
	}
	p.index = make(map[string]int, 2*len(p.list))
	for i := range p.list {
		p.index[string(p.list[i].name)] = i
	}
}

// append writes the pairs as a JSON object.
func (p *pairs) append(b []byte) []byte {
	b = append(b, '{')
	for i := range p.list {
		b = appendMember(b, i, p.list[i].name, p.list[i].value)
	}
	return append(b, '}')
}

func appendMember(b []byte, i int, name, value []byte) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	b = logger.AppendJSONString(b, name)
	return logger.AppendJSONString(append(b, ':'), value)
}
