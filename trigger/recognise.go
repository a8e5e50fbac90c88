package trigger

// recognise returns the trigger whose events are most like n, and its template among all; nil if none is.
func recognise(n, all *node) (best *Trigger, template *node) {
	most := 0
	for _, t := range All() {
		m := all.member(t.Name)
		if score := likeness(m, n); score > most && enough(m, n) {
			best, template, most = t, m, score
		}
	}
	return best, template
}

// enough reports whether the keys of the event itself are those of the template, but for their spelling: half of those
// that it has, and a quarter of those that it should have.
func enough(template, n *node) bool {
	found, wanted := 0, 0
	for i, key := range template.keys {
		if !template.vals[i].is(optional | accepted) {
			wanted++
		}
		if _, v := n.similar(key); v != nil && (v.kind == template.vals[i].kind || v.kind < list) {
			found++
		}
	}
	return found > 0 && 2*found >= len(n.keys) && 4*found >= wanted
}

// likeness counts what n has in common with a template: keys, less for those that are only similar, and constants.
func likeness(template, n *node) (score int) {
	if template.kind == list && n.kind == list && len(template.vals) > 0 && len(n.vals) > 0 {
		return likeness(template.vals[0], n.vals[0])
	}
	if template.kind != object || n.kind != object || template.is(free) || template.is(texts) {
		return 0
	}
	for i, key := range template.keys {
		t := template.vals[i]
		found, v := n.similar(key)
		if v == nil {
			continue
		}
		score += 2
		if found == key {
			score++
		}
		if t.is(constant) && v.text == t.text {
			score += 10
		}
		score += likeness(t, v)
	}
	return score
}

// similar finds the member of that key, or else of one that differs in capitals, underscores or the plural.
func (n *node) similar(key string) (found string, v *node) {
	if v := n.member(key); v != nil {
		return key, v
	}
	if n.alike == nil {
		n.alike = placesOf(n.keys, normal)
	}
	if i, ok := n.alike[normal(key)]; ok {
		return n.keys[i], n.vals[i]
	}
	return "", nil
}
