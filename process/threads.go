package process

import (
	"runtime"
	"sync"
)

// spareThreads is how many threads KeepThreads makes if there may be many processes.
const spareThreads = 24

// KeepThreads makes threads in advance, as many as limit processes and threads leave room for, and returns when they
// are there. Go keeps a thread that has nothing to do, and takes it when a goroutine blocks in the kernel. A program
// that can make no thread then is ended by package runtime: children that use up all processes would end the agent.
func KeepThreads(limit int64) {
	n := int(min(spareThreads, limit/4))
	var made, ended sync.WaitGroup
	made.Add(n)
	for range n {
		ended.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			made.Done()
			made.Wait() // a blocked goroutine keeps its thread, so that the next one needs another
		})
	}
	ended.Wait()
}
