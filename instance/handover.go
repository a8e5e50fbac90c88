package instance

import (
	"container/list"
	"gantry/runtime"
)

// extended reports whether there are extensions that are notified.
func (a *Instance) extended() bool { return a.cfg.Extended != nil && a.cfg.Extended() }

// handOver hands the calls over that have got their slots, in the order in which they got them. It is called after
// everything that gives slots, without mu.
func (a *Instance) handOver() {
	a.handing.Lock()
	a.mu.Lock()
	handed := a.handed
	a.handed = nil
	a.mu.Unlock()
	var writes []func()
	for len(handed) > 0 {
		w, all := handed[0].worker, []*runtime.Ahead(nil)
		for len(handed) > 0 && handed[0].worker == w {
			all, handed = append(all, handed[0].ahead), handed[1:]
		}
		if write := w.HandOver(all); write != nil {
			writes = append(writes, write)
		}
	}
	a.handing.Unlock()
	for _, write := range writes {
		write()
	}
}

// inOrder puts a call before those that came later; called with mu held.
func (a *Instance) inOrder(l *Lease) *list.Element {
	for e := a.waiting.Front(); e != nil; e = e.Next() {
		if other := e.Value.(*Lease); other.came.After(l.came) || other.came.IsZero() {
			return a.waiting.InsertBefore(l, e)
		}
	}
	return a.waiting.PushBack(l)
}

// behind is how many synchronous calls wait, in the waiting room or behind another call of their worker; called with mu
// held.
func (a *Instance) behind() int {
	n := a.waiting.Len()
	if w := a.workers[0]; a.cfg.Runtime.WritesAhead() && w != nil {
		n += max(0, w.Busy()-1)
	}
	return n
}

// takeBack takes the calls back that were written ahead and have not begun.
func (a *Instance) takeBack() {
	a.mu.Lock()
	w := a.workers[0]
	a.mu.Unlock()
	a.handOver() // all of them can be taken back then
	if a.cfg.Runtime.WritesAhead() && w != nil {
		w.TakeBack()
	}
}
