package runtime

// Begin has a parked worker load user code, as one of this generation. The error says that it has ended.
func (w *Worker) Begin(generation int) error {
	f, ok := w.transport.(*frames)
	if !ok {
		return ErrNotParked
	}
	w.mu.Lock()
	w.Generation = generation
	err := f.events.load() // with the lock held: Hello may come just now, and what follows it comes after Load
	w.parked = false
	h := w.parkedHello
	w.mu.Unlock()
	if err != nil || h == nil {
		return err
	}
	return f.sendUserData(h)
}
